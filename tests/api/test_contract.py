"""The five endpoints of the contract, to the letter."""

import json
from decimal import Decimal

import pytest

from tests.api.client import PERSON, Api

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("path", ["/register", "/register/"])
def test_a_registration_answers_with_the_limit_of_36_months_income(api: Api, path: str) -> None:
    answered = api.post(path, PERSON | {"monthly_income": 50_000})
    assert answered.status_code == 201
    assert answered.json == {
        "customer_id": 10_000_001,
        "name": "Ada Byron",
        "age": 36,
        "monthly_income": 50_000,
        "approved_limit": 1_800_000,
        "phone_number": 9_876_543_210,
    }
    assert answered.headers["Content-Type"] == "application/json"


def test_names_are_trimmed_and_a_phone_of_digits_becomes_an_integer(api: Api) -> None:
    answered = api.post(
        "/register",
        PERSON
        | {"first_name": "\t  Zoë ", "last_name": " van  Dyk\u3000", "phone_number": "0501234567"},
    )
    assert answered.json["name"] == "Zoë van  Dyk"
    assert answered.json["phone_number"] == 501_234_567


def test_unknown_fields_are_ignored(api: Api) -> None:
    assert api.post("/register", PERSON | {"vip": True, "id": 7}).status_code == 201


@pytest.mark.parametrize("path", ["/check-eligibility", "/check-eligibility/"])
def test_eligibility_says_what_an_application_would_come_to(api: Api, path: str) -> None:
    customer = api.register()
    body = {"customer_id": customer, "loan_amount": 10_000, "interest_rate": 8.5, "tenure": 12}
    answered = api.post(path, body)
    assert answered.status_code == 200
    # A thin file scores 50, and 50 is lent to at 12 % or more.
    assert answered.json == {
        "customer_id": customer,
        "approval": True,
        "interest_rate": 8.5,
        "corrected_interest_rate": 12.0,
        "tenure": 12,
        "monthly_installment": 888.49,
        "score": 50.0,
        "reasons": ["RATE_CORRECTED"],
    }


def test_eligibility_records_nothing(api: Api) -> None:
    customer = api.register()
    before = api.services.lending.reader.head()
    body = {"customer_id": customer, "loan_amount": 10_000, "interest_rate": 8, "tenure": 12}
    assert api.post("/check-eligibility", body).status_code == 200
    assert api.services.lending.reader.head() == before


@pytest.mark.parametrize("path", ["/create-loan", "/create-loan/"])
def test_an_approved_application_is_201_and_opens_a_loan(api: Api, path: str) -> None:
    customer = api.register()
    body = {"customer_id": customer, "loan_amount": 10_000, "interest_rate": 8.5, "tenure": 12}
    answered = api.post(path, body)
    assert answered.status_code == 201
    assert answered.json == {
        "loan_id": 10_000_001,
        "customer_id": customer,
        "loan_approved": True,
        "message": (
            "The loan is approved at 12.00 % a year, with a monthly installment of 888.49."
        ),
        "monthly_installment": 888.49,
        "interest_rate": 12.0,
        "decision_id": f"{customer}-2",
        "reasons": ["RATE_CORRECTED"],
    }


def test_a_declined_application_is_200_and_has_no_loan(api: Api) -> None:
    customer = api.register()
    answered = api.apply(customer, 4_000_000, tenure=600)
    assert answered.status_code == 200
    assert answered.json["loan_id"] is None
    assert answered.json["loan_approved"] is False
    assert answered.json["reasons"] == ["OVER_LIMIT"]
    assert answered.json["decision_id"] == f"{customer}-2"
    assert "limit" in answered.json["message"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_loan_is_shown_with_its_customer(api: Api, slash: str) -> None:
    customer = api.register()
    loan = api.apply(customer).json["loan_id"]
    answered = api.get(f"/view-loan/{loan}{slash}")
    assert answered.status_code == 200
    today = api.services.lending.today()
    assert answered.json == {
        "loan_id": loan,
        "customer": {
            "id": customer,
            "first_name": "Ada",
            "last_name": "Byron",
            "phone_number": 9_876_543_210,
            "age": 36,
        },
        "loan_amount": 10_000.0,
        "interest_rate": 12.0,
        "monthly_installment": 888.49,
        "tenure": 12,
        "repayments_left": 12,
        "status": "current",
        "closed_on": None,
        "approved_on": today.isoformat(),
        "end_date": today.replace(year=today.year + 1).isoformat(),
        "source_loan_id": None,
    }


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_customers_loans_are_listed(api: Api, slash: str) -> None:
    customer = api.register()
    first, second = (api.apply(customer, amount).json["loan_id"] for amount in (1_000, 2_000))
    listed = api.get(f"/view-loans/{customer}{slash}").json
    assert [(item["loan_id"], item["loan_amount"]) for item in listed] == [
        (first, 1_000.0),
        (second, 2_000.0),
    ]
    assert set(listed[0]) >= {"interest_rate", "monthly_installment", "repayments_left"}


def test_a_customer_without_loans_has_an_empty_list(api: Api) -> None:
    answered = api.get(f"/view-loans/{api.register()}")
    assert (answered.status_code, answered.json) == (200, [])


def test_an_answer_ends_its_line(api: Api) -> None:
    answers = [api.post("/register", PERSON), api.get("/nowhere"), api.get("/openapi.json")]
    assert {answered.content[-2:] for answered in answers} == {b"}\n"}


def test_amounts_never_go_through_a_float(api: Api) -> None:
    """2^53 cents and one more: a float would round it."""
    customer = api.register(monthly_income=10**9)
    body = (
        f'{{"customer_id":{customer},"loan_amount":90071992547.93,"interest_rate":0,"tenure":600}}'
    )
    answered = api.post("/check-eligibility", body.encode())
    exact = json.loads(answered.text, parse_float=Decimal)
    assert exact["interest_rate"] == Decimal("0.00")
    loan = api.post("/create-loan", body.encode()).json["loan_id"]
    assert loan is None, "beyond the limit of 36,000,000,000"
    small = body.replace("90071992547.93", "3007199254.93").encode()
    loan = api.post("/create-loan", small).json["loan_id"]
    shown = json.loads(api.get(f"/view-loan/{loan}").text, parse_float=Decimal)
    assert shown["loan_amount"] == Decimal("3007199254.93")
    assert "3007199254.93" in api.get(f"/view-loan/{loan}").text
