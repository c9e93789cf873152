"""What is read is right, with a projector that never ran, is late, or is done."""

from collections.abc import Callable

import pytest

from tests.api.client import PERSON, Api, next_of


def everything(api: Api, customer: int) -> list[object]:
    """Every answer about one customer that may not lag."""
    listed = api.get(f"/view-loans/{customer}?status=all").json
    return [
        listed,
        *(api.get(f"/view-loan/{item['loan_id']}").json for item in listed),
        api.get(f"/customers/{customer}").json,
        api.get(f"/customers/{customer}/decisions").json,
    ]


def test_a_get_answers_with_every_write_whether_it_was_projected_or_not(
    api: Api, project: Callable[[], None]
) -> None:
    customer = api.register()
    loans = [api.apply(customer, 1_000).json["loan_id"]]
    never_projected = everything(api, customer)
    project()
    assert everything(api, customer) == never_projected

    loans.append(api.apply(customer, 2_000).json["loan_id"])
    assert [item["loan_id"] for item in api.get(f"/view-loans/{customer}").json] == loans
    late = everything(api, customer)
    project()
    assert everything(api, customer) == late
    assert api.get(f"/customers/{customer}").json["current_loans"]["amount"] == 3_000.0


def test_a_decision_is_explained_with_all_that_it_rests_on(api: Api) -> None:
    customer = api.register()
    first = api.apply(customer, 120_000).json
    second = api.post(
        "/create-loan",
        {"customer_id": customer, "loan_amount": 9_000_000, "interest_rate": 1.25, "tenure": 7},
        X_Actor="officer",
        X_Request_Id="request-7",
    ).json
    explained = api.get(f"/decisions/{second['decision_id']}/")
    assert explained.status_code == 200
    shown = explained.json
    recorded_at = shown.pop("recorded_at")
    assert recorded_at.endswith("Z")
    policy = api.services.lending.policy
    assert shown == {
        "decision_id": f"{customer}-3",
        "customer_id": customer,
        "loan_id": None,
        "approved": False,
        "decided_on": api.services.lending.today().isoformat(),
        "actor": "officer",
        "correlation_id": "request-7",
        "requested": {"loan_amount": 9_000_000.0, "interest_rate": 1.25, "tenure": 7},
        "corrected_interest_rate": 1.25,
        "monthly_installment": 1_291_077.01,
        # 40 on time, 0 past loans, 15 * (1 - 1/3) activity, 25 * (1 - 120,000 / 3,600,000).
        "score": 74.17,
        "basis": "COMPONENTS",
        "components": {"paid_on_time": 40.0, "past_loans": 0.0, "activity": 10.0, "volume": 24.17},
        "inputs": {
            "monthly_income": 100_000,
            "approved_limit": 3_600_000,
            "installments_due": 0,
            "installments_on_time": 0,
            "closed_loans": 0,
            "loans_this_year": 1,
            "current_amount": 120_000.0,
            "current_installments": first["monthly_installment"],
        },
        "policy": {"name": policy.name, "hash": policy.hash},
        "seen": {
            "customer_version": 2,
            "loans": [{"loan_id": first["loan_id"], "version": 1}],
        },
        "reasons": shown["reasons"],
        "application_id": None,
        "note": None,
    }
    assert [reason["code"] for reason in shown["reasons"]] == ["OVER_LIMIT", "INSTALLMENT_BURDEN"]
    assert all(reason["text"].endswith(".") for reason in shown["reasons"])


@pytest.mark.parametrize("slash", ["", "/"])
def test_decisions_are_listed_the_latest_first_in_pages(api: Api, slash: str) -> None:
    customer = api.register()
    made = [api.apply(customer, amount).json["decision_id"] for amount in (1, 9_000_000, 2, 3, 4)]
    listed, path = [], f"/customers/{customer}/decisions{slash}?limit=2"
    while path:
        page = api.get(path)
        assert len(page.json["decisions"]) <= 2
        listed += [one["decision_id"] for one in page.json["decisions"]]
        path = next_of(page)
    assert listed == made[::-1]


def test_a_customer_without_applications_has_no_decisions(api: Api) -> None:
    answered = api.get(f"/customers/{api.register()}/decisions")
    assert answered.json == {"decisions": [], "next": None}


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_customer_is_shown_with_limit_and_score(api: Api, slash: str) -> None:
    customer = api.register()
    answered = api.get(f"/customers/{customer}{slash}")
    assert answered.status_code == 200
    assert answered.json == {
        "customer_id": customer,
        "first_name": "Ada",
        "last_name": "Byron",
        "phone_number": 9_876_543_210,
        "age": 36,
        "monthly_income": 100_000,
        "approved_limit": 3_600_000,
        "imported": False,
        "as_of": api.services.lending.today().isoformat(),
        "score": 50.0,
        "basis": "THIN_FILE",
        "components": {"paid_on_time": 40.0, "past_loans": 0.0, "activity": 15.0, "volume": 25.0},
        "current_loans": {"count": 0, "amount": 0.0, "monthly_installments": 0.0},
    }


@pytest.mark.parametrize("slash", ["", "/"])
def test_customers_are_found_by_phone_in_pages_that_say_how_far_they_lag(
    api: Api, project: Callable[[], None], slash: str
) -> None:
    found = [api.register() for _ in range(5)]
    api.register(phone_number=1_234_567)
    project()
    late = api.register()
    listed, path = [], f"/customers{slash}?phone_number=9876543210&limit=2"
    while path:
        page = api.get(path)
        listed += [one["customer_id"] for one in page.json["customers"]]
        assert page.json["lag"]["events"] == 1
        assert page.json["lag"]["seconds"] > 0
        path = next_of(page)
    assert listed == found
    project()
    whole = api.get("/customers?phone_number=09876543210").json
    assert [one["customer_id"] for one in whole["customers"]] == [*found, late]
    assert whole["lag"] == {"events": 0, "seconds": 0.0}
    assert whole["customers"][0] == {
        "customer_id": found[0],
        **{name: PERSON[name] for name in ("first_name", "last_name", "age", "phone_number")},
        "monthly_income": 100_000,
        "approved_limit": 3_600_000,
        "imported": False,
    }


def test_a_phone_of_nobody_finds_nobody(api: Api) -> None:
    assert api.get("/customers?phone_number=7654321").json == {
        "customers": [],
        "lag": {"events": 0, "seconds": 0.0},
        "next": None,
    }
