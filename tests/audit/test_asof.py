"""What was true on a day, as known at an instant, beside a model that keeps every snapshot."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import accumulate

import pytest
from hypothesis import example
from hypothesis import given as given_any
from hypothesis import strategies as st

from credit_es.audit.asof import believed, customer_as_of, loan_as_of
from credit_es.domain import customer, loan
from credit_es.domain.errors import DomainError
from credit_es.domain.events import (
    CustomerEvent,
    LoanEvent,
    RepaymentReceived,
    RepaymentReversed,
)
from credit_es.domain.loan import Loan
from credit_es.domain.repaying import Repay, decide_repayment, decide_reversal, decide_write_off
from credit_es.domain.schedule import schedule
from credit_es.domain.standing import Status, installments_due, repayments_left, status_of
from credit_es.store.mapper import Entry, Recorded, stream_of
from tests.domain.facts import (
    day,
    declined,
    imported_customer,
    imported_loan,
    loans_imported,
    opened,
    received,
    registered,
    reversed_repayment,
)
from tests.scenario import PROPERTY

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
FOREVER = date.max


def instant(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}T12:00:00+00:00")


def recorded(*facts: CustomerEvent | LoanEvent, at: Sequence[datetime] = ()) -> list[Recorded]:
    """One stream, recorded at these instants, or a day after each other."""
    return [
        Recorded(
            stream_of(fact),
            version,
            Entry(
                fact=fact,
                recorded_at=at[version - 1] if at else START + timedelta(days=version),
                actor="clerk",
                correlation_id="a-test",
            ),
        )
        for version, fact in enumerate(facts, 1)
    ]


def test_a_repayment_recorded_late_was_true_before_it_was_known() -> None:
    history = recorded(
        opened(1, on="2026-01-15"),
        received("452.27", on="2026-02-10", paid=(1,)),
        at=[instant("2026-01-15"), instant("2026-03-05")],
    )
    then, now = date(2026, 2, 20), instant("2026-03-05")

    as_known_now = loan_as_of(history, on=then)
    as_known_then = loan_as_of(history, on=then, known_at=instant("2026-02-20"))

    assert as_known_now is not None
    assert as_known_then is not None
    assert (repayments_left(as_known_now), status_of(as_known_now, then)) == (23, Status.CURRENT)
    assert (repayments_left(as_known_then), status_of(as_known_then, then)) == (24, Status.OVERDUE)
    assert loan_as_of(history, on=then, known_at=now) == as_known_now
    assert loan_as_of(history, on=date(2026, 2, 9)) == as_known_then


def test_a_reversed_repayment_never_came_as_known_now_and_had_come_as_known_then() -> None:
    history = recorded(
        opened(1, on="2026-01-15"),
        received("452.27", on="2026-02-10", paid=(1,)),
        reversed_repayment("452.27", repayment=2, on="2026-02-10", reversed_on="2026-04-01"),
        at=[instant("2026-01-15"), instant("2026-02-10"), instant("2026-04-01")],
    )
    left = {
        known_at: repayments_left(one)
        for known_at in (None, instant("2026-03-31"), instant("2026-04-01"))
        if (one := loan_as_of(history, on=date(2026, 3, 31), known_at=known_at))
    }
    assert left == {None: 24, instant("2026-03-31"): 23, instant("2026-04-01"): 24}


def test_a_reversal_names_its_repayment_though_one_before_it_was_not_true_yet() -> None:
    history = recorded(
        opened(1, on="2026-01-15"),
        received("100", on="2026-03-01"),
        received("200", on="2026-02-01"),
        reversed_repayment("200", repayment=3, on="2026-02-01", reversed_on="2026-03-02"),
    )
    one = loan_as_of(history, on=date(2026, 2, 15))
    assert one is not None
    assert [(each.version, each.reversed_on) for each in one.repayments] == [(3, day("2026-03-02"))]
    assert one.version == 4


def test_nobody_was_a_customer_before_registering_and_an_imported_one_always_was() -> None:
    known = recorded(registered(on="2026-01-15"), declined())
    assert customer_as_of(known, on=date(2026, 1, 14)) is None
    assert customer_as_of(known, on=date(2026, 1, 15)) == customer.evolve(
        customer.evolve(None, registered(on="2026-01-15")), declined()
    )
    brought = recorded(imported_customer(), loans_imported(1, 2))
    long_ago = customer_as_of(brought, on=date(1990, 1, 1))
    assert long_ago is not None
    assert long_ago.loans == (1, 2)
    assert customer_as_of(brought, on=FOREVER, known_at=START) is None


def test_an_imported_loan_is_there_from_its_own_opening_on() -> None:
    history = recorded(imported_loan(on="2025-01-15"), at=[instant("2026-06-01")])
    assert loan_as_of(history, on=date(2025, 1, 14)) is None
    assert loan_as_of(history, on=date(2025, 1, 15)) is not None
    assert loan_as_of(history, on=FOREVER, known_at=instant("2026-05-31")) is None


def test_a_fact_is_known_no_sooner_than_the_one_before_it_whatever_a_clock_said() -> None:
    history = recorded(
        opened(1, on="2026-01-15"),
        received("100", on="2026-02-01"),
        reversed_repayment("100", repayment=2, on="2026-02-01", reversed_on="2026-02-02"),
        at=[instant("2026-01-15"), instant("2026-02-03"), instant("2026-02-02")],
    )
    assert believed(history, on=FOREVER, known_at=instant("2026-02-02")) == history[:1]
    assert believed(history, on=FOREVER, known_at=instant("2026-02-03")) == history


@pytest.mark.parametrize(
    ("opened_on", "on", "due"),
    [
        ("2024-01-31", "2024-02-28", 0),
        ("2024-01-31", "2024-02-29", 1),
        ("2024-01-31", "2024-03-30", 1),
        ("2024-01-31", "2024-03-31", 2),
        ("2025-01-31", "2025-02-28", 1),
        ("2024-02-29", "2025-02-27", 11),
        ("2024-02-29", "2025-02-28", 12),
    ],
)
def test_installments_fall_due_on_the_months_last_day(opened_on: str, on: str, due: int) -> None:
    one = loan_as_of(recorded(opened(1, on=opened_on)), on=day(on))
    assert one is not None
    assert installments_due(one, day(on)) == due


TERMS = opened(1, amount="1200", rate="12", tenure=12, installment="106.62", on="2024-01-31")
DAYS_AGO = st.integers(min_value=0, max_value=90)
MONEY = st.sampled_from(["0.01", "50.00", "106.62", "250.00"])
REPAY = st.tuples(st.just("repay"), DAYS_AGO, MONEY)
PREPAY = st.tuples(st.just("prepay"), DAYS_AGO, MONEY)
REVERSE = st.tuples(st.just("reverse"), st.integers(min_value=2, max_value=4), st.none())
WRITE_OFF = st.tuples(st.just("write off"), st.none(), st.none())


def happened(steps: Sequence[tuple[str, int | None, str | None]]) -> list[LoanEvent]:
    """What is recorded of the loan, a step every forty days; what is refused is not."""
    facts: list[LoanEvent] = [TERMS]
    one = loan.evolve(None, TERMS)
    for number, (step, which, amount) in enumerate(steps, 1):
        today = TERMS.occurred_on + timedelta(days=40 * number)
        try:
            if step == "write off":
                fact: LoanEvent = decide_write_off(one, "given up", today=today)
            elif step == "reverse":
                fact = decide_reversal(one, f"1-{which}", "mistaken", today=today)[0]
            else:
                assert which is not None
                assert amount is not None
                command = Repay(
                    loan_number=1,
                    amount=Decimal(amount),
                    paid_on=today - timedelta(days=which),
                    prepay=step == "prepay",
                )
                fact = decide_repayment(one, command, today=today)
        except DomainError:
            continue
        facts.append(fact)
        one = loan.evolve(one, fact)
    return facts


@PROPERTY
@given_any(steps=st.lists(REPAY | PREPAY | REVERSE | WRITE_OFF, max_size=8))
def test_what_was_known_is_the_snapshot_of_that_moment(
    steps: list[tuple[str, int | None, str | None]],
) -> None:
    facts = happened(steps)
    history = recorded(*facts)
    snapshots: list[Loan] = [*accumulate(facts[1:], loan.evolve, initial=loan.evolve(None, TERMS))]
    for one, snapshot in zip(history, snapshots, strict=True):
        at = one.entry.recorded_at
        assert loan_as_of(history, on=FOREVER, known_at=at) == snapshot
        assert loan_as_of(history, on=FOREVER, known_at=at + timedelta(hours=23)) == snapshot
    assert loan_as_of(history, on=FOREVER, known_at=START) is None
    assert loan_as_of(history, on=FOREVER) == snapshots[-1]


@PROPERTY
@example(steps=[("repay", 9, "0.01"), ("repay", 70, "250.00"), ("reverse", 3, None)], after=20)
@given_any(
    steps=st.lists(REPAY | REPAY | REVERSE, max_size=6),
    after=st.integers(min_value=-3, max_value=200),
)
def test_what_was_true_is_the_money_of_the_days_until_then(
    steps: list[tuple[str, int | None, str | None]], after: int
) -> None:
    facts = happened(steps)
    on = TERMS.occurred_on + timedelta(days=after)
    mistaken = {fact.repayment for fact in facts if isinstance(fact, RepaymentReversed)}
    money = sum(
        fact.amount
        for version, fact in enumerate(facts, 1)
        if isinstance(fact, RepaymentReceived)
        and fact.occurred_on <= on
        and version not in mistaken
    )
    sums = accumulate(
        row.principal + row.interest
        for row in schedule(TERMS.amount, TERMS.annual_rate, 12, payment=TERMS.installment)
    )
    one = loan_as_of(recorded(*facts), on=on)
    if after < 0:
        assert one is None
    else:
        assert one is not None
        assert repayments_left(one) == 12 - sum(due <= money for due in sums)
