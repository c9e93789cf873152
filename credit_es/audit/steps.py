"""How a decision came about, step by step, with the figures that stand in it."""

from typing import Literal

from msgspec import Struct

from credit_es.audit.decisions import DecisionRecord, in_words, message, score_in_words
from credit_es.domain.values import Reason

Name = Literal["asked", "seen", "score", "rate", "burden", "limit", "outcome"]


class Step(Struct, frozen=True, kw_only=True):
    """One step, in a sentence or two."""

    step: Name
    what: str


def steps(record: DecisionRecord) -> list[Step]:
    """From what was asked for to what was decided, in the order in which it was judged."""
    decision = record.decision
    asked, seen, verdict = decision.terms, decision.seen, decision.verdict
    card, policy = verdict.scorecard, f"policy {verdict.policy}"
    against = set(verdict.reasons)
    loans = ", ".join(f"loan {one.loan_number} at version {one.version}" for one in seen.loans)
    rate = f"{asked.annual_rate} % a year was asked for"
    if verdict.annual_rate > asked.annual_rate:
        rate += f", and {policy} lends at such a score at {verdict.annual_rate} % or more"
    else:
        rate += f", and by {policy} that is enough at such a score"
    if Reason.LOW_SCORE in against:
        rate += "; but it lends nothing at such a score"
    told: list[tuple[Name, str]] = [
        (
            "asked",
            f"On {decision.occurred_on} customer {decision.customer_number} asked for"
            f" {asked.amount} over {asked.tenure_months} months.",
        ),
        (
            "seen",
            f"The customer was seen at version {seen.customer_version}, with a monthly income of"
            f" {seen.monthly_income} and an approved limit of {seen.approved_limit}, with"
            f" {loans or 'no loan'}.",
        ),
        ("score", score_in_words(decision)),
        ("rate", f"{rate}: {verdict.installment} a month."),
        (
            "burden",
            f"Current installments are {card.current_installments} a month: with this loan's"
            f" {verdict.installment} that is by {policy}"
            f" {'too much' if Reason.INSTALLMENT_BURDEN in against else 'not too much'}.",
        ),
        (
            "limit",
            f"Current loans are {card.current_amount}: with these {asked.amount} that is by"
            f" {policy} {'too much' if Reason.OVER_LIMIT in against else 'not too much'}.",
        ),
        ("outcome", " ".join([message(decision), *(text for _, text in in_words(decision))])),
    ]
    return [Step(step=name, what=what) for name, what in told]
