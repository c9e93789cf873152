"""What was wrong of a customer, and since when: two clocks, and any order of recording."""

from datetime import date
from itertools import permutations

import pytest
from hypothesis import given as with_examples
from hypothesis import strategies as st

from credit_es.domain.customer import (
    CorrectCustomer,
    Customer,
    decide_correction,
    evolve,
    known_on,
)
from credit_es.domain.errors import ForbiddenError, NotAllowedError
from credit_es.domain.events import CustomerCorrected
from credit_es.domain.values import CustomerDetails
from tests.domain.facts import CUSTOMER, day, imported_customer, money, registered
from tests.scenario import PROPERTY, TODAY

YEAR_AGO = "2025-01-15"


def details(
    *, income: str = "", limit: str = "", age: int | None = None, phone: int | None = None
) -> CustomerDetails:
    return CustomerDetails(
        age=age,
        phone_number=phone,
        monthly_income=money(income) if income else None,
        approved_limit=money(limit) if limit else None,
    )


def correct(what: CustomerDetails, on: str) -> CorrectCustomer:
    return CorrectCustomer(
        customer_number=CUSTOMER, details=what, effective_on=day(on), reason="the payslip says so"
    )


def corrected(who: Customer, what: CustomerDetails, on: str) -> Customer:
    return evolve(who, decide_correction(who, correct(what, on), today=TODAY))


def a_customer() -> Customer:
    """Registered a year ago, with an income of 100,000 and the limit that it allows."""
    return evolve(None, registered(on=YEAR_AGO, limit="3600000"))


def test_the_limit_of_a_registered_customer_follows_the_income() -> None:
    fact = decide_correction(
        a_customer(), correct(details(income="50000"), "2025-06-01"), today=TODAY
    )
    assert fact == CustomerCorrected(
        occurred_on=date(2025, 6, 1),
        customer_number=CUSTOMER,
        was=details(income="100000", limit="3600000"),
        is_=details(income="50000", limit="1800000"),
        reason="the payslip says so",
    )
    after = evolve(a_customer(), fact)
    assert (after.monthly_income, after.approved_limit) == (money("50000"), money("1800000"))
    assert after.version == 2


def test_a_limit_that_is_corrected_itself_is_the_one_that_counts() -> None:
    after = corrected(a_customer(), details(income="50000", limit="2000000"), "2025-06-01")
    assert after.approved_limit == money("2000000")


def test_an_imported_limit_stays_unless_it_is_corrected() -> None:
    imported = evolve(None, imported_customer(limit="700000"))
    after = corrected(imported, details(income="200000"), "2020-06-01")
    assert after.approved_limit == money("700000")
    assert corrected(after, details(limit="1"), "2020-06-01").approved_limit == money("1")


def test_what_is_true_since_an_earlier_day_overwrites_nothing_known_of_later_ones() -> None:
    later = corrected(a_customer(), details(income="50000"), "2025-06-01")
    both = corrected(later, details(income="80000", age=40), "2025-03-01")
    assert (both.monthly_income, both.age) == (money("50000"), 40)
    assert known_on(both, date(2025, 2, 28)).monthly_income == money("100000")
    assert known_on(both, date(2025, 3, 1)).monthly_income == money("80000")
    assert known_on(both, date(2025, 6, 1)).monthly_income == money("50000")


@pytest.mark.parametrize(
    ("on", "right"), [("2026-01-16", "today is 2026-01-15"), ("2025-01-14", "registered on 2025")]
)
def test_a_correction_is_not_of_the_future_nor_of_before_the_registration(
    on: str, right: str
) -> None:
    with pytest.raises(NotAllowedError, match=right) as refused:
        decide_correction(a_customer(), correct(details(age=40), on), today=TODAY)
    assert refused.value.field == "effective_on"


def test_a_correction_that_says_nothing_new_is_refused() -> None:
    with pytest.raises(ForbiddenError, match="nothing is to be corrected"):
        decide_correction(a_customer(), correct(details(age=36), "2025-06-01"), today=TODAY)


DAYS = [date(2025, month, 1) for month in range(2, 7)]


@PROPERTY
@with_examples(
    st.lists(
        st.tuples(
            st.sampled_from(DAYS), st.integers(50, 60), st.sampled_from([7_000_001, 7_000_002])
        ),
        max_size=4,
        # A correction that says nothing new is refused: two of one income may be, in some order.
        unique_by=(lambda each: each[0], lambda each: each[1]),
    )
)
def test_no_order_of_recording_changes_what_is_known_of_a_day(
    said: list[tuple[date, int, int]],
) -> None:
    known: set[str] = set()
    for order in permutations(said):
        who = a_customer()
        for on, income, phone in order:
            what = details(income=f"{income}000", phone=phone)
            who = corrected(who, what, on.isoformat())
        known.add(str([known_on(who, one) for one in (*DAYS, TODAY)]))
        assert known_on(who, TODAY).approved_limit == who.approved_limit
    assert len(known) == 1
