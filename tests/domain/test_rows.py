"""One row of a workbook: taken as said, or rejected with every fault named."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_es.domain.cells import Cell, Finding, Unreadable
from credit_es.domain.rows import CustomerRow, LoanRow, read_customer, read_loan
from tests.scenario import PROPERTY

AS_OF = date(2026, 11, 23)
DIVISION_BY_ZERO = Unreadable("the error #DIV/0!")

CUSTOMER: Mapping[str, Cell] = {
    "number": 1,
    "first_name": "Aaron",
    "last_name": "Garcia",
    "age": 63,
    "phone_number": 9629317944,
    "monthly_income": 50000,
    "approved_limit": 4500000,
    "current_debt": Decimal("12.5"),
}
LOAN: Mapping[str, Cell] = {
    "customer_number": 14,
    "source_loan_id": 5930,
    "amount": 900000,
    "tenure_months": 129,
    "annual_rate": Decimal("8.2"),
    "monthly_payment": 15344,
    "emis_on_time": 114,
    "approved_on": date(2017, 3, 9),
    "ends_on": date(2027, 12, 9),
}


def headings(cells: Mapping[str, Cell]) -> dict[str, str]:
    return {field: field.replace("_", " ").title() for field in cells}


def customer(**changed: Cell) -> tuple[CustomerRow | None, list[Finding]]:
    cells = {**CUSTOMER, **changed}
    return read_customer(7, cells, headings(cells), "Sheet1")


def loan(**changed: Cell) -> tuple[LoanRow | None, list[Finding]]:
    return loan_on(AS_OF, changed)


def loan_on(as_of: date, changed: Mapping[str, Cell]) -> tuple[LoanRow | None, list[Finding]]:
    cells = {**LOAN, **changed}
    return read_loan(7, cells, headings(cells), "Sheet1", as_of)


def taken_customer(**changed: Cell) -> CustomerRow:
    row, findings = customer(**changed)
    assert row is not None, findings
    return row


def taken_loan(**changed: Cell) -> LoanRow:
    row, findings = loan(**changed)
    assert row is not None, findings
    return row


def faults(outcome: tuple[CustomerRow | LoanRow | None, list[Finding]]) -> list[tuple[str, str]]:
    row, findings = outcome
    assert row is None
    return [(finding.column or "", finding.code) for finding in findings]


def oddities(outcome: tuple[CustomerRow | LoanRow | None, list[Finding]]) -> list[str]:
    row, findings = outcome
    assert row is not None
    return [finding.code for finding in findings]


def test_a_customer_is_taken_as_said_with_two_places() -> None:
    row, findings = customer()
    assert row == CustomerRow(
        row=7,
        number=1,
        first_name="Aaron",
        last_name="Garcia",
        age=63,
        phone_number=9629317944,
        monthly_income=Decimal("50000.00"),
        approved_limit=Decimal("4500000.00"),
        current_debt=Decimal("12.50"),
    )
    assert str(row.monthly_income) == "50000.00"
    assert str(row.current_debt) == "12.50"
    assert findings == []


def test_a_loan_is_taken_as_said_with_two_places() -> None:
    row, findings = loan()
    assert row == LoanRow(
        row=7,
        customer_number=14,
        source_loan_id="5930",
        amount=Decimal("900000.00"),
        tenure_months=129,
        annual_rate=Decimal("8.20"),
        monthly_payment=Decimal("15344.00"),
        emis_on_time=114,
        approved_on=date(2017, 3, 9),
        ends_on=date(2027, 12, 9),
    )
    assert (str(row.annual_rate), str(row.amount)) == ("8.20", "900000.00")
    assert findings == []


@pytest.mark.parametrize(
    "field", ["number", "first_name", "last_name", "monthly_income", "approved_limit"]
)
@pytest.mark.parametrize(
    ("cell", "code"), [(None, "BLANK"), ("", "BLANK"), (DIVISION_BY_ZERO, "UNREADABLE")]
)
def test_a_customer_needs_id_names_salary_and_limit(field: str, cell: Cell, code: str) -> None:
    column = headings(CUSTOMER)[field]
    assert faults(customer(**{field: cell})) == [(column, code)]


@pytest.mark.parametrize("field", list(LOAN))
@pytest.mark.parametrize(
    ("cell", "code"), [(None, "BLANK"), ("", "BLANK"), (DIVISION_BY_ZERO, "UNREADABLE")]
)
def test_a_loan_needs_all_its_fields(field: str, cell: Cell, code: str) -> None:
    assert faults(loan(**{field: cell})) == [(headings(LOAN)[field], code)]


def test_every_fault_of_a_row_is_named_at_once_and_nothing_else() -> None:
    row, findings = loan(
        customer_number=None,
        amount=-5,
        tenure_months=Decimal("1.5"),
        annual_rate="eight",
        emis_on_time=1_000,
        approved_on="yesterday",
    )
    assert row is None
    assert [(finding.column, finding.code) for finding in findings] == [
        ("Customer Number", "BLANK"),
        ("Amount", "OUT_OF_RANGE"),
        ("Tenure Months", "NOT_WHOLE"),
        ("Annual Rate", "NOT_A_NUMBER"),
        ("Approved On", "NOT_A_DATE"),
    ]
    assert {(f.workbook, f.sheet, f.row) for f in findings} == {("loans", "Sheet1", 7)}


def test_a_finding_says_what_is_there_and_what_would_be_right() -> None:
    _, [finding] = loan(amount=-5)
    assert finding.message == "-5 is out of range; it must be from 0.01 to 1000000000000"
    _, [finding] = customer(monthly_income="x" * 500)
    assert finding.message.startswith("'xxxxxxxxxx")
    assert len(finding.message) < 120


@pytest.mark.parametrize("given", [36, "36", "36.0", Decimal("36.0")], ids=repr)
def test_an_integral_number_is_the_same_id_however_it_is_written(given: Cell) -> None:
    assert taken_loan(source_loan_id=given).source_loan_id == "36"
    assert taken_loan(customer_number=given).customer_number == 36


@pytest.mark.parametrize("given", ["LOAN_000001", "0036", "L-7/2", "٣٦"])
def test_a_loan_id_of_text_is_kept_as_written(given: str) -> None:
    assert taken_loan(source_loan_id=given).source_loan_id == given


@pytest.mark.parametrize("given", [1, 10**12])
def test_an_id_runs_from_1_to_a_million_millions(given: int) -> None:
    assert taken_customer(number=given).number == given
    assert taken_loan(source_loan_id=given).source_loan_id == str(given)


@pytest.mark.parametrize("given", [0, -1, 10**12 + 1, "-5", 10**400])
def test_an_id_out_of_range_is_rejected(given: Cell) -> None:
    assert faults(customer(number=given)) == [("Number", "OUT_OF_RANGE")]
    assert faults(loan(source_loan_id=given)) == [("Source Loan Id", "OUT_OF_RANGE")]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (Decimal("36.5"), "NOT_WHOLE"),
        ("000", "OUT_OF_RANGE"),
        (date(2020, 1, 1), "NOT_A_NUMBER"),
        ("a" * 101, "TEXT_TOO_LONG"),
        ("a\nb", "UNPRINTABLE"),
        ("a\x00b", "UNPRINTABLE"),
    ],
)
def test_a_loan_id_that_is_none_is_rejected(given: Cell, code: str) -> None:
    assert faults(loan(source_loan_id=given)) == [("Source Loan Id", code)]


@pytest.mark.parametrize("given", ["1,500", "1 500", "1e5", "NaN", "Infinity", "₹500", "1_000"])
def test_a_number_that_can_be_read_two_ways_is_none(given: str) -> None:
    assert faults(loan(amount=given)) == [("Amount", "NOT_A_NUMBER")]


@pytest.mark.parametrize("field", ["monthly_income", "approved_limit"])
def test_a_salary_or_limit_with_cents_is_rejected(field: str) -> None:
    column = headings(CUSTOMER)[field]
    assert faults(customer(**{field: Decimal("50000.50")})) == [(column, "NOT_WHOLE")]
    assert faults(customer(**{field: -1})) == [(column, "OUT_OF_RANGE")]
    assert getattr(taken_customer(**{field: 0}), field) == 0


@pytest.mark.parametrize("field", ["amount", "annual_rate", "monthly_payment"])
def test_more_than_two_places_are_rejected_and_never_rounded(field: str) -> None:
    column = headings(LOAN)[field]
    row, [finding] = loan(**{field: Decimal("13.465")})
    assert row is None
    assert (finding.column, finding.code) == (column, "MORE_THAN_TWO_PLACES")
    assert finding.message == ("13.465 has more than two decimal places; nothing is rounded here")
    assert getattr(taken_loan(**{field: "13.460"}), field) == Decimal("13.46")


@pytest.mark.parametrize(
    ("field", "lowest", "highest"),
    [
        ("amount", Decimal("0.01"), 10**12),
        ("tenure_months", 1, 1_200),
        ("annual_rate", 0, 10_000),
        ("monthly_payment", 0, 10**12),
        ("emis_on_time", 0, 10**12),
    ],
)
def test_a_loan_s_numbers_are_taken_up_to_their_bounds_and_no_further(
    field: str, lowest: int | Decimal, highest: int
) -> None:
    step = lowest if isinstance(lowest, Decimal) else 1
    assert getattr(taken_loan(**{field: lowest}), field) == lowest
    assert getattr(taken_loan(**{field: highest}), field) == highest
    for beyond in (lowest - step, highest + 1):
        assert faults(loan(**{field: beyond})) == [(headings(LOAN)[field], "OUT_OF_RANGE")]


@pytest.mark.parametrize("field", ["tenure_months", "emis_on_time"])
def test_months_and_installments_are_whole(field: str) -> None:
    assert faults(loan(**{field: Decimal("3.5")})) == [(headings(LOAN)[field], "NOT_WHOLE")]


@pytest.mark.parametrize("given", ["2017-03-09", "2017-03-09T10:00", "2017-03-09 10:00:00.5Z"])
def test_iso_text_is_a_date(given: str) -> None:
    assert taken_loan(approved_on=given).approved_on == date(2017, 3, 9)


@pytest.mark.parametrize("given", ["2017-02-30", "09/03/2017", "20170309", "2017-W10-4", 42803])
def test_other_text_and_numbers_are_no_date(given: Cell) -> None:
    assert faults(loan(approved_on=given)) == [("Approved On", "NOT_A_DATE")]


def test_an_end_before_the_approval_cannot_be_true() -> None:
    assert faults(loan(ends_on=date(2017, 3, 8))) == [("Ends On", "END_BEFORE_APPROVAL")]
    assert oddities(loan(ends_on=date(2017, 3, 9))) == ["END_DATE_DIFFERS"]


@pytest.mark.parametrize("given", [0, 17, 121, 150])
def test_an_age_beyond_registration_s_bounds_is_imported_and_told(given: int) -> None:
    outcome = customer(age=given)
    assert oddities(outcome) == ["AGE_ODD"]
    assert taken_customer(age=given).age == given


@pytest.mark.parametrize("given", [18, 120, "63"])
def test_a_usual_age_is_no_finding(given: Cell) -> None:
    assert oddities(customer(age=given)) == []


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (-1, "OUT_OF_RANGE"),
        (151, "OUT_OF_RANGE"),
        (Decimal("30.5"), "NOT_WHOLE"),
        ("n/a", "NOT_A_NUMBER"),
    ],
)
def test_an_age_that_cannot_be_true_rejects_the_row(given: Cell, code: str) -> None:
    assert faults(customer(age=given)) == [("Age", code)]


@pytest.mark.parametrize("cell", [None, DIVISION_BY_ZERO])
@pytest.mark.parametrize(
    ("field", "code"), [("age", "AGE_UNKNOWN"), ("phone_number", "PHONE_UNKNOWN")]
)
def test_a_missing_age_or_phone_stays_unknown_and_is_told(
    field: str, code: str, cell: Cell
) -> None:
    row, [finding] = customer(**{field: cell})
    assert row is not None
    assert getattr(row, field) is None
    assert (finding.code, finding.column) == (code, headings(CUSTOMER)[field])
    assert ("#DIV/0!" in finding.message) == (cell is DIVISION_BY_ZERO)


def test_a_column_that_is_missing_is_no_finding_of_each_row() -> None:
    cells = {
        field: cell
        for field, cell in CUSTOMER.items()
        if field not in {"age", "phone_number", "current_debt"}
    }
    row, findings = read_customer(7, cells, headings(cells), "Sheet1")
    assert row is not None
    assert (row.age, row.phone_number, row.current_debt, findings) == (None, None, None, [])


@pytest.mark.parametrize(
    ("given", "number", "codes"),
    [
        ("9629317944", 9629317944, []),
        ("9629317944.0", 9629317944, ["PHONE_ODD"]),
        ("+91 96293-17944", 919629317944, ["PHONE_ODD"]),
        ("(020) 2612 3456", 2026123456, ["PHONE_ODD"]),
        (12345, 12345, ["PHONE_ODD"]),
    ],
)
def test_a_phone_is_its_digits_and_a_change_is_told(
    given: Cell, number: int, codes: list[str]
) -> None:
    outcome = customer(phone_number=given)
    assert oddities(outcome) == codes
    assert taken_customer(phone_number=given).phone_number == number


@pytest.mark.parametrize("given", ["ask her", -962931, Decimal("98.5"), date(2020, 1, 1), 10**18])
def test_what_is_no_phone_rejects_the_row(given: Cell) -> None:
    assert faults(customer(phone_number=given)) == [("Phone Number", "NOT_A_PHONE")]


def test_a_debt_below_zero_is_imported_and_told() -> None:
    assert oddities(customer(current_debt=Decimal("-3.20"))) == ["DEBT_NEGATIVE"]
    assert oddities(customer(current_debt=DIVISION_BY_ZERO)) == ["DEBT_UNKNOWN"]
    assert oddities(customer(current_debt=None)) == []
    assert faults(customer(current_debt="much")) == [("Current Debt", "NOT_A_NUMBER")]


@pytest.mark.parametrize(("given", "name"), [("N" * 101, "N" * 101), (7, "7")])
def test_an_unusual_name_is_imported_and_told(given: Cell, name: str) -> None:
    assert oddities(customer(first_name=given)) == ["NAME_ODD"]
    assert taken_customer(first_name=given).first_name == name


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("N" * 1001, "TEXT_TOO_LONG"),
        ("Aa\x00ron", "UNPRINTABLE"),
        (date(2020, 1, 1), "NOT_TEXT"),
        (Unreadable("the truth value TRUE"), "UNREADABLE"),
    ],
)
def test_a_name_that_cannot_be_kept_rejects_the_row(given: Cell, code: str) -> None:
    assert faults(customer(last_name=given)) == [("Last Name", code)]


def test_more_installments_on_time_than_the_tenure_are_imported_and_told() -> None:
    outcome = loan(
        tenure_months=12,
        monthly_payment=81150,
        emis_on_time=13,
        ends_on=date(2018, 3, 9),
    )
    assert oddities(outcome) == ["EMIS_EXCEED_TENURE"]


@pytest.mark.parametrize(
    ("as_of", "codes"),
    [
        (date(2026, 9, 9), []),
        (date(2026, 9, 8), ["MORE_EMIS_THAN_MONTHS_ELAPSED"]),
        (date(2017, 3, 8), ["APPROVED_IN_FUTURE", "MORE_EMIS_THAN_MONTHS_ELAPSED"]),
    ],
)
def test_installments_are_held_against_the_months_that_are_over(
    as_of: date, codes: list[str]
) -> None:
    assert oddities(loan_on(as_of, {"emis_on_time": 114})) == codes


@pytest.mark.parametrize(
    ("amount", "rate", "tenure", "payment"),
    [
        (900000, "8.20", 129, 15344),
        (300000, "13.46", 3, 100000),
        (5, "0", 2, 3),
        (100, "50", 12, 13),
    ],
)
def test_a_payment_of_the_lender_s_formula_is_no_finding(
    amount: int, rate: str, tenure: int, payment: int
) -> None:
    terms: dict[str, Cell] = {
        "amount": amount,
        "annual_rate": Decimal(rate),
        "tenure_months": tenure,
        "emis_on_time": 0,
        "ends_on": date.max,
    }
    assert oddities(loan(**terms, monthly_payment=payment)) == ["END_DATE_DIFFERS"]
    for other in (payment + 1, payment - 1, Decimal(payment) + Decimal("0.01")):
        assert "PAYMENT_DIFFERS_FROM_FORMULA" in oddities(loan(**terms, monthly_payment=other))


@pytest.mark.parametrize(
    ("approved", "tenure", "end"),
    [
        (date(2020, 1, 31), 1, date(2020, 2, 29)),
        (date(2019, 12, 31), 14, date(2021, 2, 28)),
        (date(2019, 12, 15), 12, date(2020, 12, 15)),
    ],
)
def test_an_end_after_the_tenure_is_no_finding(approved: date, tenure: int, end: date) -> None:
    terms: dict[str, Cell] = {
        "approved_on": approved,
        "tenure_months": tenure,
        "emis_on_time": 0,
        "annual_rate": 0,
        "amount": tenure * 100,
        "monthly_payment": 100,
    }
    assert oddities(loan(**terms, ends_on=end)) == []
    assert oddities(loan(**terms, ends_on=end.replace(day=end.day - 1))) == ["END_DATE_DIFFERS"]


def test_a_tenure_past_the_calendar_is_told() -> None:
    row, findings = loan(approved_on=date(9999, 6, 1), ends_on=date(9999, 12, 1))
    assert row is not None
    assert "past the calendar" in findings[-1].message


def test_a_rate_above_a_hundred_is_imported_and_told() -> None:
    assert "RATE_ODD" in oddities(loan(annual_rate=Decimal("100.01")))
    assert "RATE_ODD" not in oddities(loan(annual_rate=100))


cells = st.one_of(
    st.none(),
    st.text("aZé0 ,.-\n\x00", max_size=12),
    st.sampled_from(["36", "-1", "1e9", "2017-03-09", "0", "LOAN_1", "  "]),
    st.integers(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.dates(),
    st.just(DIVISION_BY_ZERO),
)


@PROPERTY
@given(st.fixed_dictionaries({}, optional={field: cells for field in LOAN}), st.dates())
def test_any_cells_are_a_loan_or_at_least_one_fault(changed: dict[str, Cell], as_of: date) -> None:
    row, findings = loan_on(as_of, changed)
    assert row is not None or findings
    if row is not None:
        assert row.amount > 0
        assert row.approved_on <= row.ends_on
        for money in (row.amount, row.annual_rate, row.monthly_payment):
            assert money.as_tuple().exponent == -2


@PROPERTY
@given(st.fixed_dictionaries({}, optional={field: cells for field in CUSTOMER}))
def test_any_cells_are_a_customer_or_at_least_one_fault(changed: dict[str, Cell]) -> None:
    row, findings = customer(**changed)
    assert row is not None or findings
    if row is not None:
        assert row.first_name
        assert row.monthly_income == int(row.monthly_income)
