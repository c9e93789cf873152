"""Every refusal in the life of a loan says what would be right, with its amounts and days."""

from collections.abc import Iterator
from datetime import date

import pytest

from credit_es.application import Facts
from tests.api.client import Api
from tests.domain.facts import imported_loan, opened, registered
from tests.store.given import BY

TODAY = date(2026, 6, 15)
REASON = {"reason": "typed twice"}


def paying(amount: object, on: str, **fields: object) -> dict[str, object]:
    return {"amount": amount, "paid_on": on} | fields


@pytest.fixture(scope="module")
def house(shared: Api) -> Iterator[Api]:
    """Of customer 7 loan 1 was prepaid, 2 paid, 3 written off; 4 to 6 came with a workbook."""
    lending = shared.services.lending
    year = {"amount": "12000", "rate": "12", "installment": "1066.19"}
    facts: Facts = [
        (1, registered(on="2026-01-31")),
        (1, opened(1, tenure=12, on="2026-01-31", ends="2027-01-31", **year)),
        (1, opened(2, tenure=12, on="2026-01-31", ends="2027-01-31", **year)),
        (1, opened(3, tenure=12, on="2026-01-31", ends="2027-01-31", **year)),
        (1, imported_loan(4, emis=10)),
        (1, imported_loan(5, emis=24)),
        (1, imported_loan(6, emis=10, ends="2026-06-14")),
    ]
    lending.record(facts, BY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lending, "today", lambda: TODAY)
        for path, body in (
            ("1/repayments", paying(50, "2026-02-09")),
            ("1/repayments/1-2/reversal", REASON),
            ("1/repayments", paying(100, "2026-02-10", reference="A-1")),
            ("1/repayments", paying(3000, "2026-02-14", prepay=True)),
            ("2/repayments", paying(12_120, "2026-02-28", prepay=True)),
            ("3/write-off", REASON),
        ):
            assert shared.post(f"/loans/{path}", body).status_code == 201, path
        yield shared


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (
            "1/repayments",
            paying(20_000, "2026-06-15"),
            "9358.00 is all that is left to pay of loan 1: pay that or less",
        ),
        (
            "1/repayments",
            paying(1, "2026-06-16"),
            "today is 2026-06-15: give that day or an earlier one",
        ),
        (
            "1/repayments",
            paying(1, "2026-01-30"),
            "the loan was opened on 2026-01-31: give that day or a later one",
        ),
        (
            "1/repayments",
            paying(20_000, "2026-06-15", prepay=True),
            "9238.01 pays the loan off on 2026-06-15: pay that or less",
        ),
        (
            "1/repayments",
            paying(10, "2026-06-15", prepay=True),
            "4289.51 goes to arrears and accrued interest first: prepay more, or send it without"
            " prepay",
        ),
    ],
)
def test_what_cannot_be_is_422_and_says_what_can(
    house: Api, path: str, body: dict[str, object], told: str
) -> None:
    refused = house.post(f"/loans/{path}", body)
    assert (refused.status_code, refused.json["errors"][0]["detail"]) == (422, told)


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (
            "1/repayments",
            paying(1, "2026-06-15", reference="A-1"),
            "Reference A-1 is that of repayment 1-4 of 100.00 on 2026-02-10: if it is another one,"
            " give it another reference.",
        ),
        (
            "1/repayments",
            paying(1, "2026-02-13"),
            "Prepayment 1-5 of 2026-02-14 was computed without this money: reverse it first, or"
            " give 2026-02-14 or a later day.",
        ),
        (
            "1/repayments/1-4/reversal",
            REASON,
            "Prepayment 1-5 of 2026-02-14 was computed with it: reverse that one first.",
        ),
        (
            "1/repayments/1-2/reversal",
            REASON,
            "Repayment 1-2 of 50.00 was reversed on 2026-06-15: one that came after all is recorded"
            " anew.",
        ),
        (
            "2/repayments",
            paying(1, "2026-06-15"),
            "Loan 2 was paid on 2026-02-28: nothing is left to pay.",
        ),
        ("2/write-off", REASON, "Loan 2 was paid on 2026-02-28: nothing is left to pay."),
        (
            "3/repayments",
            paying(1, "2026-06-15"),
            "Loan 3 was written off on 2026-06-15: nothing more is recorded on it.",
        ),
        (
            "3/write-off",
            REASON,
            "Loan 3 was written off on 2026-06-15: nothing more is recorded on it.",
        ),
        (
            "4/repayments",
            paying(1000, "2026-06-15", prepay=True),
            "Loan 4 came with a workbook that gives no balance: it can be repaid by installments of"
            " 500.00, and neither prepaid nor paid off.",
        ),
        (
            "5/repayments",
            paying(500, "2026-06-15"),
            "Loan 5 has all its 24 installments paid, as its workbook says: nothing is left to"
            " pay.",
        ),
        (
            "6/repayments",
            paying(500, "2026-06-15"),
            "Loan 6 ended on 2026-06-14, as its workbook says: where it still runs, restate it with"
            " a workbook that gives a later end date.",
        ),
    ],
)
def test_what_is_not_allowed_any_more_is_409_and_says_what_is(
    house: Api, path: str, body: dict[str, object], told: str
) -> None:
    refused = house.post(f"/loans/{path}", body)
    assert (refused.status_code, refused.json["detail"]) == (409, told)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (
            "/loans/1/payoff?on=2026-02-13",
            "a repayment came on 2026-02-14: give that day or a later one",
        ),
        (
            "/customers/7/statement?to=2026-06-16",
            "today is 2026-06-15: give that day or an earlier one",
        ),
        (
            "/customers/7/statement?from=2026-03-02&to=2026-03-01",
            "the statement ends on 2026-03-01: give no later day",
        ),
    ],
)
def test_a_day_that_cannot_be_asked_about_is_422_in_the_query(
    house: Api, path: str, told: str
) -> None:
    refused = house.get(path)
    fault = refused.json["errors"][0]
    assert (refused.status_code, fault["location"], fault["detail"]) == (422, "query", told)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"effective_on": "2026-06-16"}, "today is 2026-06-15: give that day or an earlier one"),
        (
            {"effective_on": "2026-01-30"},
            "the customer was registered on 2026-01-31: give no day before",
        ),
        (
            {"age": None},
            "Input should have a field to be corrected: first_name, last_name, age, phone_number,"
            " monthly_income, approved_limit",
        ),
    ],
)
def test_a_correction_that_cannot_be_is_422_and_says_what_can(
    house: Api, fields: dict[str, object], told: str
) -> None:
    body = {"age": 40, "effective_on": "2026-06-15", "reason": "a typo"} | fields
    refused = house.post("/customers/7/corrections", body)
    assert (refused.status_code, refused.json["errors"][0]["detail"]) == (422, told)


def test_a_correction_of_nothing_is_409_and_says_so(house: Api) -> None:
    body = {"age": 36, "effective_on": "2026-02-01", "reason": "a typo"}
    refused = house.post("/customers/7/corrections", body)
    assert (refused.status_code, refused.json["detail"]) == (
        409,
        "This is what was known of customer 7 for 2026-02-01: nothing is to be corrected.",
    )


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (
            "/loans/99/repayments",
            "No loan has the number 99: GET /view-loans/{customer_id}?status=all lists those of a"
            " customer.",
        ),
        (
            "/loans/x/write-off",
            "No loan has this id: GET /view-loans/{customer_id}?status=all lists those of a"
            " customer.",
        ),
        (
            "/loans/1/repayments/1-99/reversal",
            "No repayment of loan 1 has the id 1-99: GET /loans/{loan_id}/repayments lists those"
            " of a loan.",
        ),
        (
            "/customers/99/corrections",
            "No customer has the number 99: GET /customers?phone_number= finds one.",
        ),
        (
            "/reviews/7-99/approve",
            "No application with the id 7-99 was referred to review: GET /reviews?status=all lists"
            " all of them.",
        ),
    ],
)
def test_what_is_unknown_is_404_and_says_where_to_look(house: Api, path: str, told: str) -> None:
    body = paying(1, "2026-06-15", effective_on="2026-06-15", age=40, note="none", **REASON)
    refused = house.post(path, body)
    assert (refused.status_code, refused.json["detail"]) == (404, told)
