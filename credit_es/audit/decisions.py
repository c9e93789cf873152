"""Why something was decided: decisions found in the log, and said in words.

A decision is found by its place in the customer's stream, without any projector. All that it was
based on stands in it: inputs, components, policy and its hash, the versions of what it saw.
"""

import re
from datetime import datetime
from typing import Final, get_args

from msgspec import Struct

from credit_es.application import fold_loan
from credit_es.domain.errors import (
    UnknownCustomerError,
    UnknownDecisionError,
    UnknownLoanError,
)
from credit_es.domain.events import Decision, LoanApproved, LoanReferred
from credit_es.domain.values import Basis, Reason
from credit_es.store.log import Log
from credit_es.store.mapper import Recorded, customer_stream, loan_stream, topic

DECISION_ID: Final = re.compile(r"([1-9][0-9]{0,12})-([1-9][0-9]{0,12})", re.ASCII)
DECISIONS: Final = tuple(topic(kind) for kind in get_args(Decision))
LATEST: Final = 2**63 - 1


class ImportedLoanError(UnknownDecisionError):
    """The loan came with a workbook: the lender decided it elsewhere."""


class DecisionRecord(Struct, frozen=True, kw_only=True):
    """A decision as recorded: when, on whose behalf, for which request."""

    decision_id: str
    decision: Decision
    recorded_at: datetime
    actor: str
    correlation_id: str

    @property
    def application_id(self) -> str | None:
        """The application that it referred to review or that was reviewed; None without one."""
        if isinstance(self.decision, LoanReferred):
            return self.decision_id
        return self.decision.application_id


class Audit:
    """Questions about what was decided in one schema."""

    def __init__(self, reader: Log) -> None:
        self._reader = reader

    def decision(self, decision_id: str) -> DecisionRecord:
        """The decision of this id; raises ``UnknownDecisionError``."""
        parts = DECISION_ID.fullmatch(decision_id)
        found = self._reader.event(customer_stream(int(parts[1])), int(parts[2])) if parts else None
        record = _record(found) if found else None
        if record is None:
            raise UnknownDecisionError(decision_id)
        return record

    def decisions(
        self, customer_number: int, *, before: int | None, limit: int
    ) -> list[DecisionRecord]:
        """A customer's decisions below a version of the stream, the latest first.

        Raises ``UnknownCustomerError``.
        """
        stream = customer_stream(customer_number)
        found = self._reader.latest(stream, DECISIONS, before=before or LATEST, limit=limit)
        if not found and self._reader.event(stream, 1) is None:
            raise UnknownCustomerError(customer_number)
        return [record for recorded in found if (record := _record(recorded))]

    def decision_of_loan(self, loan_number: int) -> DecisionRecord:
        """The decision that opened a loan.

        Raises ``UnknownLoanError``, ``ImportedLoanError`` for a loan that a workbook brought.
        """
        stream = self._reader.stream(loan_stream(loan_number))
        if not stream:
            raise UnknownLoanError(loan_number)
        loan = fold_loan(stream)
        if loan.emis_on_time is not None:
            raise ImportedLoanError(f"of loan {loan_number}")
        history = self._reader.stream(customer_stream(loan.customer_number))
        opening = next(
            recorded
            for recorded in history
            if isinstance(fact := recorded.entry.fact, LoanApproved)
            and fact.loan_number == loan_number
        )
        record = _record(opening)
        assert record is not None
        return record


def in_words(decision: Decision) -> list[tuple[Reason, str]]:
    """Each reason of a decision with a sentence that has its figures."""
    verdict, seen, asked = decision.verdict, decision.seen, decision.terms
    card = verdict.scorecard
    note = None if isinstance(decision, LoanReferred) else decision.note
    sentences = {
        Reason.OVER_LIMIT: (
            f"Current loans are {card.current_amount} and {asked.amount} is asked for: by policy"
            f" {verdict.policy} that is too much for the approved limit of {seen.approved_limit}."
        ),
        Reason.INSTALLMENT_BURDEN: (
            f"Current installments are {card.current_installments} and this loan's would be"
            f" {verdict.installment}: by policy {verdict.policy} that is too much for the monthly"
            f" income of {seen.monthly_income}."
        ),
        Reason.LOW_SCORE: (
            f"{score_in_words(decision)} Policy {verdict.policy} lends nothing at such a score."
        ),
        Reason.RATE_CORRECTED: (
            f"{score_in_words(decision)} At such a score policy {verdict.policy} lends at"
            f" {verdict.annual_rate} % or more, and {asked.annual_rate} % was asked for."
        ),
        Reason.AMOUNT_REFERRED: (
            f"{asked.amount} is asked for: policy {verdict.policy} leaves so much to a reviewer."
        ),
        Reason.SCORE_REFERRED: (
            f"{score_in_words(decision)} Policy {verdict.policy} leaves such a score to a reviewer."
        ),
        Reason.THIN_FILE_REFERRED: (
            f"There is no loan yet to judge by: policy {verdict.policy} leaves that to a reviewer."
        ),
        Reason.DECLINED_IN_REVIEW: f"A reviewer declined: {note}",
    }
    return [(reason, sentences[reason]) for reason in verdict.reasons]


def score_in_words(decision: Decision) -> str:
    """Where the score comes from, in one sentence or two."""
    card = decision.verdict.scorecard
    match card.basis:
        case Basis.THIN_FILE:
            return f"The score is {card.score}: there is no loan yet to judge by its components."
        case Basis.OVER_LIMIT:
            return (
                f"The score is {card.score}: current loans of {card.current_amount} exceed the"
                f" approved limit of {decision.seen.approved_limit}."
            )
        case Basis.COMPONENTS:
            return (
                f"The score is {card.score}: {card.paid_on_time} for {card.installments_on_time} of"
                f" {card.installments_due} installments paid on time, {card.past_loans} for"
                f" {card.closed_loans} closed loans, {card.activity} for {card.loans_this_year}"
                f" loans this year, {card.volume} for the part of the limit still free."
            )


def message(decision: Decision) -> str:
    """One sentence for the person who applied."""
    verdict = decision.verdict
    if isinstance(decision, LoanApproved):
        return (
            f"The loan is approved at {verdict.annual_rate} % a year, with a monthly installment"
            f" of {verdict.installment}."
        )
    if isinstance(decision, LoanReferred):
        return f"The application is left to a reviewer, who decides by {decision.decide_by}."
    why = {
        Reason.OVER_LIMIT: "the approved limit does not cover it",
        Reason.INSTALLMENT_BURDEN: "the installments would take too much of the monthly income",
        Reason.LOW_SCORE: "the credit score is too low",
        Reason.DECLINED_IN_REVIEW: "a reviewer decided against it",
    }
    reasons = [why[reason] for reason in verdict.reasons if reason in why]
    return f"The loan is declined: {', and '.join(reasons)}."


def _record(recorded: Recorded) -> DecisionRecord | None:
    entry = recorded.entry
    if not isinstance(entry.fact, Decision):
        return None
    return DecisionRecord(
        decision_id=f"{entry.fact.customer_number}-{recorded.originator_version}",
        decision=entry.fact,
        recorded_at=entry.recorded_at,
        actor=entry.actor,
        correlation_id=entry.correlation_id,
    )
