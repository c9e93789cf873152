"""Scores and verdicts, whatever a customer's history within the bounds of the contract."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from credit_es.domain.customer import Customer
from credit_es.domain.lending import ApplyForLoan, decide_loan
from credit_es.domain.loan import Loan
from credit_es.domain.policy import Policy, judge
from credit_es.domain.schedule import schedule
from credit_es.domain.score import score
from credit_es.domain.standing import is_current
from credit_es.domain.values import Basis, Reason, Terms
from tests import scenario
from tests.domain.facts import imported_loan, opened, registered
from tests.domain.test_schedule_properties import due_days
from tests.scenario import LITERAL, PROPERTY, STANDARD, TODAY

WEIGHTS: Final = {"paid_on_time": 40, "past_loans": 20, "activity": 15, "volume": 25}

amounts = st.decimals("0.01", 10**12, places=2)
rates = st.decimals(0, 100, places=2)
tenures = st.integers(1, 600)
policies = st.sampled_from([STANDARD, LITERAL])
days = st.dates(date(2019, 1, 1), date(2027, 12, 31))

customers = st.builds(
    Customer,
    number=st.just(7),
    version=st.just(1),
    first_name=st.just("Ada"),
    last_name=st.just("Lovelace"),
    age=st.none(),
    phone_number=st.none(),
    monthly_income=st.integers(0, 10**9).map(Decimal),
    approved_limit=st.one_of(
        st.integers(0, 360).map(lambda steps: Decimal(steps * 100_000)),
        st.integers(0, 100).map(Decimal),
    ),
    imported=st.booleans(),
    loans=st.just(()),
)
loans = st.builds(
    Loan,
    number=st.integers(1, 10**6),
    version=st.just(1),
    customer_number=st.just(7),
    source_loan_id=st.none(),
    amount=st.one_of(st.decimals("0.01", "1000000", places=2), st.integers(1, 30).map(Decimal)),
    annual_rate=rates,
    tenure_months=st.integers(1, 48),
    installment=st.decimals(0, 10**6, places=2),
    opened_on=days,
    ends_on=days,
    emis_on_time=st.one_of(st.none(), st.integers(0, 60)),
)
histories = st.lists(loans, max_size=6)


def plain_due(loan: Loan, on: date) -> int:
    """The installments due that are not 0.00; a workbook's payment stands for all of them."""
    terms = loan.amount, loan.annual_rate, loan.tenure_months
    is_due = [day <= on for day in due_days(loan.opened_on, loan.tenure_months)]
    if loan.emis_on_time is not None:
        return sum(is_due)
    rows = schedule(*terms, payment=loan.installment)
    return sum(is_due[row.number - 1] for row in rows if row.principal + row.interest)


def plain_score(customer: Customer, history: list[Loan], on: date) -> Fraction:
    """The score again, straight from the table of the design: thirds stay thirds."""
    past = [loan for loan in history if loan.opened_on <= on]
    due = [plain_due(loan, on) for loan in past]
    paid = [min(loan.emis_on_time or 0, d) for loan, d in zip(past, due, strict=True)]
    current = [
        loan
        for loan in past
        if loan.emis_on_time is None
        or (loan.ends_on >= on and loan.emis_on_time < loan.tenure_months)
    ]
    used, limit = sum(Fraction(loan.amount) for loan in current), Fraction(customer.approved_limit)
    if used > limit:
        return Fraction(0)
    if not past:
        return Fraction(50)
    ratio = Fraction(sum(paid), sum(due)) if sum(due) else Fraction(1)
    this_year = len([loan for loan in past if loan.opened_on.year == on.year])
    return (
        40 * max(Fraction(0), (ratio - Fraction(1, 2)) * 2)
        + 20 * min(Fraction(1), Fraction(len(past) - len(current), 4))
        + 15 * max(Fraction(0), 1 - Fraction(this_year, 3))
        + (25 * (1 - used / limit) if limit else 0)
    )


def plain_minimum_rate(exact: Fraction) -> int | None:
    """The rate a score asks for; None where nothing is lent."""
    if exact > 50:
        return 0
    if exact > 30:
        return 12
    return 16 if exact > 10 else None


@PROPERTY
@given(customer=customers, history=histories, on=days)
def test_a_score_is_what_the_table_says_exactly(
    customer: Customer, history: list[Loan], on: date
) -> None:
    scored = score(STANDARD.score, customer, history, on)
    assert scored.exact == plain_score(customer, history, on)


@PROPERTY
@given(customer=customers, history=histories, on=days)
def test_a_score_and_its_components_keep_their_bounds(
    customer: Customer, history: list[Loan], on: date
) -> None:
    scored = score(STANDARD.score, customer, history, on)
    card = scored.card
    assert 0 <= scored.exact <= 100
    assert 0 <= card.score <= 100
    assert abs(Fraction(card.score) - scored.exact) <= Fraction(1, 200)
    points = {name: getattr(card, name) for name in WEIGHTS}
    assert all(0 <= points[name] <= weight for name, weight in WEIGHTS.items())
    assert 0 <= card.installments_on_time <= card.installments_due
    assert 0 <= max(card.closed_loans, card.loans_this_year) <= len(history)
    if card.basis is Basis.COMPONENTS:
        assert abs(sum(points.values()) - card.score) <= Decimal("0.03")


@PROPERTY
@given(
    customer=customers,
    history=st.lists(loans, min_size=1, max_size=6),
    on=days,
    larger_by=st.decimals("0.01", 10**6, places=2),
)
def test_a_larger_amount_on_a_current_loan_never_raises_a_score(
    customer: Customer, history: list[Loan], on: date, larger_by: Decimal
) -> None:
    for place, loan in enumerate(history):
        if is_current(loan, on):
            larger = [*history]
            larger[place] = replace(loan, amount=loan.amount + larger_by)
            before = score(STANDARD.score, customer, history, on)
            assert score(STANDARD.score, customer, larger, on).exact <= before.exact


@PROPERTY
@given(customer=customers, history=histories, on=days, days_later=st.integers(1, 9_000))
def test_what_is_approved_after_the_date_changes_nothing(
    customer: Customer, history: list[Loan], on: date, days_later: int
) -> None:
    opened_on = on + timedelta(days=days_later)
    future = [replace(loan, opened_on=opened_on) for loan in history]
    alone = score(STANDARD.score, customer, history, on)
    assert score(STANDARD.score, customer, [*future, *history], on) == alone


@PROPERTY
@given(
    customer=customers,
    history=histories,
    on=days,
    terms=st.builds(Terms, amount=amounts, annual_rate=rates, tenure_months=tenures),
    policy=policies,
)
@example(
    customer=scenario.given(registered(income="1000000000", limit="36000000000")).customer,
    history=[],
    on=TODAY,
    terms=Terms(amount=Decimal(10**12), annual_rate=Decimal(100), tenure_months=600),
    policy=LITERAL,
)
@example(
    customer=scenario.given(registered(income="0", limit="0")).customer,
    history=[],
    on=TODAY,
    terms=Terms(amount=Decimal("0.01"), annual_rate=Decimal(0), tenure_months=600),
    policy=STANDARD,
)
def test_every_application_is_judged_by_its_exact_score_the_limit_and_the_burden(
    customer: Customer, history: list[Loan], on: date, terms: Terms, policy: Policy
) -> None:
    verdict = judge(policy, customer, history, terms, on)
    minimum = plain_minimum_rate(plain_score(customer, history, on))
    assert verdict.annual_rate == max(terms.annual_rate, 16 if minimum is None else minimum)
    assert (Reason.LOW_SCORE in verdict.reasons) == (minimum is None)
    current = [loan for loan in history if loan.opened_on <= on and is_current(loan, on)]
    asks_too = policy is STANDARD
    amount = sum(loan.amount for loan in current) + asks_too * terms.amount
    assert (Reason.OVER_LIMIT in verdict.reasons) == (amount > customer.approved_limit)
    burden = sum(loan.installment for loan in current) + asks_too * verdict.installment
    assert (Reason.INSTALLMENT_BURDEN in verdict.reasons) == (2 * burden > customer.monthly_income)
    against = set(verdict.reasons) - {Reason.RATE_CORRECTED}
    assert verdict.approved == (not against)
    corrected = verdict.annual_rate > terms.annual_rate
    assert (Reason.RATE_CORRECTED in verdict.reasons) == (verdict.approved and corrected)


@PROPERTY
@given(
    customer=customers,
    history=histories,
    on=days,
    terms=st.builds(Terms, amount=amounts, annual_rate=rates, tenure_months=tenures),
    policy=policies,
)
def test_a_decision_is_what_was_judged_and_only_an_approval_opens_a_loan(
    customer: Customer, history: list[Loan], on: date, terms: Terms, policy: Policy
) -> None:
    command = ApplyForLoan(customer_number=7, terms=terms)
    decision, *rest = decide_loan(customer, history, command, policy, loan_number=99, today=on)
    verdict = judge(policy, customer, history, terms, on)
    assert decision.verdict == verdict
    assert len(rest) == verdict.approved


# The slabs compare the exact score. Decimals, even of 28 digits, do not add up to it.

OWED: Final = imported_loan(amount="97000", emis=10, on="2024-10-15", ends="2026-10-15")
SMALL: Final = [opened(n, amount="1000", installment="10") for n in (2, 3, 4)]


def test_thirds_add_up_to_exactly_30_and_the_lower_slab() -> None:
    known = scenario.given(registered(limit="300000"), OWED, *SMALL)
    scored = score(STANDARD.score, known.customer, known.loans, TODAY)
    assert (scored.card.installments_on_time, scored.card.installments_due) == (10, 15)
    assert scored.card.current_amount * 3 == known.customer.approved_limit
    assert scored.exact == 30

    terms = Terms(amount=Decimal("10000.00"), annual_rate=Decimal("8.00"), tenure_months=24)
    assert judge(STANDARD, known.customer, known.loans, terms, TODAY).annual_rate == 16


def test_decimals_would_lift_the_same_customer_over_30_into_the_higher_slab() -> None:
    """The control: the very sum of the test above, with decimals for its thirds."""
    on_time, used = Decimal(10) / Decimal(15), Decimal(100_000) / Decimal(300_000)
    decimal_score = 40 * (on_time - Decimal("0.5")) / Decimal("0.5") + 25 * (1 - used)
    assert decimal_score > 30
    assert plain_minimum_rate(Fraction(decimal_score)) == 12
