"""Would another policy have decided otherwise? Every application, and every imported loan, again.

An application is judged with the versions that its decision saw, on its day; what became of it in
manual review belongs to it and is no application of its own. An imported loan is judged as if it
had been applied for on its own opening day, with what was true then of the customer and of the
loans opened before it. All sums are exact; the tallies of parts of the log add up to that of the
whole, however it is cut.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from credit_es.audit.asof import customer_as_of, loan_as_of
from credit_es.audit.dossiers import BrokenDossierError, Dossier, Progress, folded
from credit_es.audit.parts import ask_all
from credit_es.domain import customer, loan
from credit_es.domain.customer import Customer
from credit_es.domain.events import (
    Decision,
    LoanApproved,
    LoanDeclined,
    LoanImported,
    LoanReferred,
)
from credit_es.domain.loan import ZERO, Loan
from credit_es.domain.policy import Policy, Ruling, price, weigh
from credit_es.domain.score import conduct_of, score_of
from credit_es.domain.standing import due_and_on_time
from credit_es.domain.values import Reason, Terms
from credit_es.settings import Settings
from credit_es.store.log import Log
from credit_es.store.mapper import DIGESTION, Recorded

T = TypeVar("T")


class Outcome(StrEnum):
    """What becomes of an application."""

    APPROVED = "approved"
    DECLINED = "declined"
    REFERRED = "referred"


class Kind(StrEnum):
    """What is judged."""

    APPLICATION = "application"
    IMPORTED = "imported"


class Key(Struct, frozen=True, kw_only=True, order=True):
    """What cases are counted by: before is without the policy under test, after is with it.

    ``slab`` is the bound that the score is above, by the policy under test; None is below all.
    """

    kind: Kind
    before: Outcome
    after: Outcome
    slab: Decimal | None
    reasons: tuple[Reason, ...]


class Tally(Struct, kw_only=True):
    """Cases and their sums: the amounts asked for, and rates in per cent times amount.

    ``due`` and ``on_time`` are the installments since of the loans among them that were granted.
    """

    cases: int = 0
    amount: Decimal = ZERO
    rated_before: Decimal = ZERO
    rated_after: Decimal = ZERO
    dearer: int = 0
    cheaper: int = 0
    granted: int = 0
    due: int = 0
    on_time: int = 0

    def add(self, other: "Tally") -> None:
        """Take the cases of another, too."""
        self.cases += other.cases
        self.amount += other.amount
        self.rated_before += other.rated_before
        self.rated_after += other.rated_after
        self.dearer += other.dearer
        self.cheaper += other.cheaper
        self.granted += other.granted
        self.due += other.due
        self.on_time += other.on_time


Tallies = dict[Key, Tally]


class Question(Struct, frozen=True, kw_only=True):
    """What is asked: ``against`` None compares with what was decided, imported loans as granted.

    Days are those of the decisions, both included; ``today`` is the day up to which what became of
    the loans is counted.
    """

    policy: Policy
    against: Policy | None
    first: date | None
    last: date | None
    today: date


class _Case(Struct, frozen=True, kw_only=True):
    """One application with all that it is judged by, and what it came to."""

    kind: Kind
    who: Customer
    loans: Sequence[Loan] = field(default_factory=list)
    terms: Terms
    day: date
    before: Outcome
    rate: Decimal
    granted: Loan | None


def backtest(dossiers: Iterable[Dossier], question: Question) -> Tallies:
    """The tallies of some customers; those of others are to be added to them by key.

    Raises ``BrokenDossierError`` where the log was altered, so that there is nothing to judge by.
    """
    tallies: Tallies = {}
    for whole in dossiers:
        try:
            for case in _cases(whole):
                if question.first and case.day < question.first:
                    continue
                if question.last and case.day > question.last:
                    continue
                _judge(case, question, tallies)
        except DIGESTION as error:
            raise BrokenDossierError(whole.customer_number) from error
    return tallies


def backtest_log(settings: Settings, question: Question, progress: Progress) -> Tallies:
    """The tallies of all customers of the log, judged on every core."""
    return added(ask_all(settings, partial(_backtest_part, question), progress))


def _backtest_part(question: Question, _log: Log, dossiers: Iterator[Dossier]) -> Tallies:
    return backtest(dossiers, question)


def added(parts: Iterable[Tallies]) -> Tallies:
    """The tallies of all parts together."""
    whole: Tallies = {}
    for part in parts:
        for key, tally in part.items():
            whole.setdefault(key, Tally()).add(tally)
    return whole


def _judge(case: _Case, question: Question, tallies: Tallies) -> None:
    policy, against, who, terms = question.policy, question.against, case.who, case.terms
    scored = score_of(policy.score, who, conduct_of(case.loans, case.day))
    priced = price(policy, scored, terms)
    ruling = weigh(policy, who, scored, priced, terms)
    before, rate = case.before, case.rate
    if against is not None:
        # What both policies have in common is worked out once.
        if against.score != policy.score:
            scored = score_of(against.score, who, scored.conduct)
        other = priced if _prices_alike(policy, against) else price(against, scored, terms)
        before = _outcome(weigh(against, who, scored, other, terms))
        rate = other.annual_rate
    key = Key(
        kind=case.kind,
        before=before,
        after=_outcome(ruling),
        slab=priced.slab.above if priced.slab else None,
        reasons=ruling.reasons,
    )
    tally = tallies.get(key)
    if tally is None:
        tally = tallies[key] = Tally()
    tally.cases += 1
    tally.amount += terms.amount
    tally.rated_before += terms.amount * rate
    tally.rated_after += terms.amount * priced.annual_rate
    tally.dearer += priced.annual_rate > rate
    tally.cheaper += priced.annual_rate < rate
    if case.granted is not None:
        due, on_time = due_and_on_time(case.granted, question.today)
        tally.granted += 1
        tally.due += due
        tally.on_time += on_time


def _prices_alike(one: Policy, other: Policy) -> bool:
    return (one.score, one.slabs, one.declined_rate) == (
        other.score,
        other.slabs,
        other.declined_rate,
    )


def _outcome(ruling: Ruling) -> Outcome:
    if ruling.approved:
        return Outcome.APPROVED
    return Outcome.REFERRED if ruling.referred else Outcome.DECLINED


def _cases(whole: Dossier) -> Iterator[_Case]:
    customers = _states(customer.evolve, whole.history)
    loans = {number: _states(loan.evolve, stream) for number, stream in whole.loans.items()}
    reviewed = _reviewed(whole)
    for before, recorded in zip((None, *customers), whole.history, strict=False):
        fact = recorded.entry.fact
        if isinstance(fact, Decision) and not _is_of_a_review(fact):
            assert before is not None
            application = f"{whole.customer_number}-{recorded.originator_version}"
            loan_number = fact.loan_number or reviewed.get(application)
            yield _Case(
                kind=Kind.APPLICATION,
                who=before,
                loans=[loans[one.loan_number][one.version - 1] for one in fact.seen.loans],
                terms=fact.terms,
                day=fact.occurred_on,
                before=_said(fact),
                rate=fact.verdict.annual_rate,
                granted=loans[loan_number][-1] if loan_number else None,
            )
    for number, stream in whole.loans.items():
        if isinstance(opened := stream[0].entry.fact, LoanImported):
            yield from _imported(whole, number, opened, customers, loans)


def _imported(
    whole: Dossier,
    number: int,
    opened: LoanImported,
    customers: Sequence[Customer],
    loans: Mapping[int, Sequence[Loan]],
) -> Iterator[_Case]:
    day = opened.occurred_on
    who = customer_as_of(whole.history, on=day, states=customers)
    if who is None:
        return
    earlier = (
        loan_as_of(stream, on=day, states=loans[other])
        for other, stream in whole.loans.items()
        if (stream[0].entry.fact.occurred_on, other) < (day, number)
    )
    before = [one for one in earlier if one]
    yield _Case(
        kind=Kind.IMPORTED,
        who=replace(who, loans=tuple(one.number for one in before)),
        loans=before,
        terms=Terms(
            amount=opened.amount,
            annual_rate=opened.annual_rate,
            tenure_months=opened.tenure_months,
        ),
        day=day,
        before=Outcome.APPROVED,
        rate=opened.annual_rate,
        granted=loans[number][-1],
    )


def _reviewed(whole: Dossier) -> dict[str, int]:
    """The loans that reviewers granted, by application."""
    facts = (recorded.entry.fact for recorded in whole.history)
    return {
        fact.application_id: fact.loan_number
        for fact in facts
        if isinstance(fact, LoanApproved) and fact.application_id
    }


def _is_of_a_review(decision: Decision) -> bool:
    return not isinstance(decision, LoanReferred) and decision.application_id is not None


def _said(decision: Decision) -> Outcome:
    match decision:
        case LoanApproved():
            return Outcome.APPROVED
        case LoanDeclined():
            return Outcome.DECLINED
        case LoanReferred():
            return Outcome.REFERRED


def _states(evolve: Callable[[T | None, Any], T], history: Sequence[Recorded]) -> list[T]:
    states = list(folded(evolve, history))
    assert len(states) == len(history)
    return states
