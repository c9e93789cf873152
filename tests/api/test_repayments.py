"""The life of a loan over HTTP: schedule, repayments, payoff, reversal, write-off, statement."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from decimal import Decimal
from io import BytesIO

import pytest
from falcon.testing import Result
from openpyxl import load_workbook

from credit_es.application import Facts
from credit_es.domain.schedule import months_later
from tests.api.client import Api
from tests.domain.facts import imported_customer, imported_loan, loans_imported
from tests.store.given import BY

PAYMENT = 888.49
"""Of 10,000 at 12 % over 12 months."""


@pytest.fixture
def loan(shared: Api) -> int:
    """A loan granted today."""
    answered = shared.apply(shared.register())
    assert answered.status_code == 201
    number: int = answered.json["loan_id"]
    return number


@pytest.fixture
def today(shared: Api) -> date:
    return shared.services.lending.today()


def pay(api: Api, loan: int, amount: object = PAYMENT, **fields: object) -> Result:
    body = {"amount": amount, "paid_on": api.services.lending.today().isoformat()} | fields
    return api.post(f"/loans/{loan}/repayments", body)


def test_a_schedule_has_every_installment_and_sums_to_the_loan(
    shared: Api, loan: int, today: date
) -> None:
    answered = shared.get(f"/loans/{loan}/schedule/")
    assert answered.status_code == 200
    whole = answered.json
    assert (whole["loan_id"], whole["source"], len(whole["installments"])) == (loan, "computed", 12)
    first, *_, last = whole["installments"]
    assert first == {
        "number": 1,
        "due_on": months_later(today, 1).isoformat(),
        "opening_balance": 10000.0,
        "interest": 100.0,
        "principal": 788.49,
        "installment": PAYMENT,
        "closing_balance": 9211.51,
        "paid_on": None,
        "status": "due",
    }
    assert last["closing_balance"] == 0
    assert round(sum(row["principal"] for row in whole["installments"]), 2) == 10_000
    assert round(whole["total_payable"] - whole["total_interest"], 2) == 10_000


def test_a_repayment_is_recorded_listed_and_followed_by_every_view(
    shared: Api, loan: int, today: date
) -> None:
    answered = pay(shared, loan, 1000, reference="A-1")
    assert answered.status_code == 201
    assert answered.json == {
        "repayment_id": f"{loan}-2",
        "loan_id": loan,
        "amount": 1000.0,
        "paid_on": today.isoformat(),
        "reference": "A-1",
        "installments_paid": [1],
        "repayments_left": 11,
        "outstanding_principal": 9211.51,
        "status": "current",
    }
    assert shared.get(f"/view-loan/{loan}").json["repayments_left"] == 11
    listed = shared.get(f"/loans/{loan}/repayments").json
    assert [(one["repayment_id"], one["reversed_on"]) for one in listed] == [(f"{loan}-2", None)]
    first, second, *_ = shared.get(f"/loans/{loan}/schedule").json["installments"]
    assert (first["status"], first["paid_on"]) == ("paid", today.isoformat())
    assert (second["status"], second["paid_on"]) == ("due", None)


def test_a_loan_without_repayments_has_an_empty_list(shared: Api, loan: int) -> None:
    answered = shared.get(f"/loans/{loan}/repayments")
    assert (answered.status_code, answered.json) == (200, [])


def test_the_payoff_closes_the_loan_and_a_reversal_opens_it_again(
    shared: Api, loan: int, today: date
) -> None:
    owed = shared.get(f"/loans/{loan}/payoff").json
    assert owed == {
        "loan_id": loan,
        "on": today.isoformat(),
        "arrears": 0.0,
        "principal": 10000.0,
        "accrued_interest": 0.0,
        "total": 10000.0,
    }
    paid = pay(shared, loan, owed["total"], prepay=True).json
    assert (paid["status"], paid["repayments_left"]) == ("closed", 0)
    shown = shared.get(f"/view-loan/{loan}").json
    assert (shown["status"], shown["closed_on"]) == ("closed", today.isoformat())
    customer = shown["customer"]["id"]
    assert shared.get(f"/view-loans/{customer}").json == []
    assert len(shared.get(f"/view-loans/{customer}?status=closed").json) == 1
    assert shared.get(f"/customers/{customer}").json["current_loans"]["amount"] == 0
    refused = pay(shared, loan)
    assert refused.status_code == 409
    assert "nothing is left to pay" in refused.json["detail"]

    path = f"/loans/{loan}/repayments/{paid['repayment_id']}/reversal"
    assert shared.post(path, {}).status_code == 422
    reversed_ = shared.post(path, {"reason": "typed twice"})
    assert (reversed_.status_code, reversed_.json["status"]) == (201, "current")
    assert shared.post(path, {"reason": "typed twice"}).status_code == 409
    assert shared.get(f"/customers/{customer}").json["current_loans"]["amount"] == 10_000
    assert len(shared.get(f"/view-loans/{customer}").json) == 1


def test_a_prepayment_gives_the_loan_a_new_schedule(shared: Api, loan: int) -> None:
    assert pay(shared, loan, 4000, prepay=True, keep="tenure").status_code == 201
    whole = shared.get(f"/loans/{loan}/schedule").json
    assert (len(whole["installments"]), whole["installments"][0]["installment"]) == (12, 533.09)
    assert round(whole["total_payable"] - whole["total_interest"], 2) == 10_000
    assert shared.get(f"/view-loan/{loan}").json["monthly_installment"] == 533.09


@pytest.mark.parametrize(
    ("fields", "pointer", "right"),
    [
        ({"amount": 0}, "/amount", "greater than 0"),
        ({"amount": 1.001}, "/amount", "two decimals"),
        ({"amount": 10661.90}, "/amount", "all that is left"),
        ({"paid_on": "2026-02-30"}, "/paid_on", "2026-01-31"),
        ({"paid_on": "2020-01-31"}, "/paid_on", "opened on"),
        ({"amount": 10_000.01, "prepay": True}, "/amount", "10000.00 pays the loan off"),
        ({"reference": ""}, "/reference", "printable"),
        ({"keep": "nothing"}, "/keep", "tenure"),
    ],
)
def test_a_repayment_that_cannot_be_says_what_would_be_right(
    shared: Api, loan: int, fields: dict[str, object], pointer: str, right: str
) -> None:
    answered = pay(shared, loan, **({"amount": PAYMENT} | fields))
    assert answered.status_code == 422
    (fault,) = answered.json["errors"]
    assert fault["pointer"] == pointer
    assert right in fault["detail"]


def test_tomorrow_is_too_early(shared: Api, loan: int, today: date) -> None:
    tomorrow = (today + timedelta(days=1)).isoformat()
    (fault,) = pay(shared, loan, paid_on=tomorrow).json["errors"]
    assert f"today is {today}" in fault["detail"]


@pytest.mark.parametrize("number", ["99999999", "0", "x"])
def test_an_unknown_loan_is_404_everywhere(shared: Api, number: str) -> None:
    assert shared.get(f"/loans/{number}/schedule").status_code == 404
    assert shared.get(f"/loans/{number}/repayments").status_code == 404
    assert shared.get(f"/loans/{number}/payoff").status_code == 404
    body = {"amount": 1, "paid_on": "2026-01-31", "reason": "none"}
    for path in ("repayments", "write-off", "repayments/1-1/reversal"):
        assert shared.post(f"/loans/{number}/{path}", body).status_code == 404


def test_an_unknown_repayment_is_404(shared: Api, loan: int) -> None:
    body = {"reason": "typed twice"}
    for name in (f"{loan}-1", f"{loan}-2", "x"):
        path = f"/loans/{loan}/repayments/{name}/reversal"
        assert shared.post(path, body).status_code == 404


def test_a_key_stands_for_a_request_on_one_loan(shared: Api, loan: int) -> None:
    other = shared.apply(shared.register()).json["loan_id"]
    headers = {"Idempotency_Key": "pay-once"}
    body = {"amount": 10, "paid_on": shared.services.lending.today().isoformat()}
    first = shared.post(f"/loans/{loan}/repayments", body, **headers)
    again = shared.post(f"/loans/{loan}/repayments/", body, **headers)
    elsewhere = shared.post(f"/loans/{other}/repayments", body, **headers)
    assert first.json == again.json
    assert elsewhere.json["loan_id"] == other
    assert len(shared.get(f"/loans/{loan}/repayments").json) == 1


def test_two_clerks_with_one_reference_record_it_once(shared: Api, loan: int) -> None:
    with ThreadPoolExecutor(4) as clerks:
        answers = list(
            clerks.map(lambda _: pay(shared, loan, 10, reference="B-7").status_code, range(4))
        )
    assert sorted(answers) == [201, 409, 409, 409]


def test_a_loan_written_off_is_out_of_the_way(shared: Api, loan: int, today: date) -> None:
    answered = shared.post(f"/loans/{loan}/write-off", {"reason": "moved abroad"})
    assert answered.status_code == 201
    assert answered.json == {
        "loan_id": loan,
        "written_off_on": today.isoformat(),
        "outstanding_principal": 10000.0,
        "repayments_left": 12,
        "status": "written_off",
    }
    shown = shared.get(f"/view-loan/{loan}").json
    assert (shown["status"], shown["closed_on"]) == ("written_off", today.isoformat())
    assert pay(shared, loan).status_code == 409
    assert shared.get(f"/loans/{loan}/payoff").status_code == 409
    assert shared.post(f"/loans/{loan}/write-off", {"reason": "again"}).status_code == 409


def test_an_imported_loan_is_repaid_by_the_workbook_s_payment(shared: Api, today: date) -> None:
    lending = shared.services.lending
    ends = months_later(today, 12).isoformat()
    own = imported_loan(77, tenure=24, emis=10, on=months_later(today, -12).isoformat(), ends=ends)
    facts: Facts = [(1, imported_customer()), (2, loans_imported(77)), (1, own)]
    lending.record(facts, BY)
    whole = shared.get("/loans/77/schedule").json
    statuses = [row["status"] for row in whole["installments"]]
    assert statuses == ["paid"] * 10 + ["overdue"] * 2 + ["due"] * 12
    assert (whole["source"], whole["total_interest"]) == ("imported", None)
    assert {row["interest"] for row in whole["installments"]} == {None}
    assert {row["paid_on"] for row in whole["installments"]} == {None}
    assert shared.get("/view-loan/77").json["status"] == "overdue"

    paid = pay(shared, 77, 1000).json
    assert (paid["installments_paid"], paid["outstanding_principal"]) == ([11, 12], None)
    assert paid["status"] == "current"
    statuses = [row["status"] for row in shared.get("/loans/77/schedule").json["installments"]]
    assert statuses[9:13] == ["paid", "late", "paid", "due"]
    for refused in (shared.get("/loans/77/payoff"), pay(shared, 77, 1000, prepay=True)):
        assert refused.status_code == 409
        assert "by installments of 500.00" in refused.json["detail"]


def test_a_statement_is_the_account_in_order_with_a_running_balance(
    shared: Api, loan: int, today: date
) -> None:
    customer = shared.get(f"/view-loan/{loan}").json["customer"]["id"]
    mistaken = pay(shared, loan, 500).json["repayment_id"]
    shared.post(f"/loans/{loan}/repayments/{mistaken}/reversal", {"reason": "another's"})
    pay(shared, loan, 4000, prepay=True)
    whole = shared.get(f"/customers/{customer}/statement").json
    assert [(one["movement"], one["amount"], one["balance"]) for one in whole["entries"]] == [
        ("opened", 10000.0, 10000.0),
        ("repayment", -500.0, 9500.0),
        ("prepayment", -4000.0, 5500.0),
        ("reversal", 500.0, 6000.0),
    ]
    assert (whole["from"], whole["to"]) == (None, today.isoformat())
    assert (whole["opening_balance"], whole["closing_balance"]) == (0, 6000.0)

    fetched = shared.get(f"/customers/{customer}/statement.xlsx?from=2026-01-01")
    sheet = load_workbook(BytesIO(fetched.content)).active
    assert sheet is not None
    rows = list(sheet.iter_rows(values_only=True))
    assert rows[0] == ("Date", "Loan", "Movement", "Repayment", "Amount", "Balance")
    assert [Decimal(str(row[5])) for row in rows[-2:]] == [6000, 6000]

    later = (today + timedelta(days=1)).isoformat()
    assert shared.get(f"/customers/{customer}/statement?to={later}").status_code == 422
    assert shared.get(f"/customers/{customer}/statement?from=x").status_code == 422
    assert shared.get("/customers/99999999/statement").status_code == 404
