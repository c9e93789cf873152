"""As-of and diff over HTTP: what was true on a day, and what was believed then."""

from datetime import UTC, date, datetime, timedelta

import pytest

from credit_es.domain.schedule import months_later
from tests.api.client import Api
from tests.api.test_problems import check_problem
from tests.domain.facts import day, imported_customer, imported_loan, loans_imported, received
from tests.store.given import BY

CUSTOMER = 7
LOAN = 1
"""Of 10,000 over 24 months, 500 a month, opened on 2025-01-15."""


@pytest.fixture(scope="module")
def api(shared: Api) -> Api:
    """A customer from a workbook with a loan, of which three installments came on 2025-03-01."""
    record = shared.services.lending.record
    record([(1, imported_customer()), (2, loans_imported(LOAN)), (1, imported_loan(LOAN))], BY)
    record([(2, received("1500", on="2025-03-01", loan=LOAN, paid=(1, 2, 3)))], BY)
    return shared


def test_a_loan_is_shown_as_of_a_day(api: Api) -> None:
    answered = api.get(f"/audit/as-of/2025-02-28/loan/{LOAN}/")
    assert answered.status_code == 200, answered.text
    assert answered.json == {
        "on": "2025-02-28",
        "known_at": None,
        "as_known_now": {
            "loan_id": LOAN,
            "customer_id": CUSTOMER,
            "loan_amount": 10000.0,
            "interest_rate": 10.0,
            "monthly_installment": 500.0,
            "tenure": 24,
            "repayments_left": 24,
            "status": "overdue",
            "closed_on": None,
            "approved_on": "2025-01-15",
            "end_date": "2027-01-15",
            "source_loan_id": "1",
            "installments_paid": 0,
            "installments_due": 1,
            "installments_on_time": 0,
            "outstanding_principal": None,
        },
        "as_known_at": None,
        "lag": {"events": 0, "seconds": 0.0},
    }


def test_what_was_believed_is_told_beside_what_is_known(api: Api) -> None:
    before = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    api.services.lending.record([(3, received("500", on="2025-04-01", loan=LOAN, paid=(4,)))], BY)
    found = api.get(f"/audit/as-of/2025-05-31/customer/{CUSTOMER}?known_at={before}").json
    now, then = found["as_known_now"], found["as_known_at"]
    assert [one["repayments_left"] for one in now["loans"] + then["loans"]] == [20, 21]
    assert (now["score"], then["score"]) == (54.75, 34.75)
    assert (now["customer_id"], now["policy"]["name"]) == (CUSTOMER, "standard")
    long_ago = api.get(f"/audit/as-of/2025-05-31/customer/{CUSTOMER}?known_at=2020-01-01T00:00:00Z")
    assert long_ago.json["as_known_at"] is None


def test_two_days_are_compared_field_by_field(api: Api) -> None:
    answered = api.get(f"/audit/diff/2025-02-28/2025-03-01/loan/{LOAN}")
    assert answered.status_code == 200
    changes = {each["field"]: (each["before"], each["after"]) for each in answered.json["changes"]}
    assert changes == {
        "status": ("overdue", "current"),
        "installments_paid": (0, 3),
        "repayments_left": (24, 21),
    }
    whole = api.get(f"/audit/diff/2025-01-14/2025-01-15/customer/{CUSTOMER}").json["changes"]
    fields = {each["field"]: (each["before"], each["after"]) for each in whole}
    assert fields[f"loans.{LOAN}.amount"] == (None, 10000.0)
    assert "first_name" not in fields


def test_a_day_to_come_or_none_at_all_is_refused(api: Api) -> None:
    tomorrow = api.services.lending.today() + timedelta(days=1)
    for path in (
        f"/audit/as-of/{tomorrow}/loan/{LOAN}",
        "/audit/as-of/2026-02-30/loan/1",
        f"/audit/as-of/2026-01-31/customer/{CUSTOMER}?known_at=yesterday",
        f"/audit/diff/2026-01-01/yesterday/loan/{LOAN}",
    ):
        check_problem(api.get(path), 422)
    check_problem(api.get("/audit/as-of/2026-01-31/loan/99"), 404)


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("/audit/as-of/{}/loan/1", "/on"),
        ("/audit/as-of/{}/customer/7", "/on"),
        ("/audit/as-of/{}/portfolio", "/on"),
        ("/audit/diff/{}/2026-01-31/loan/1", "/before"),
        ("/audit/diff/2026-01-31/{}/loan/1", "/after"),
    ],
)
@pytest.mark.parametrize("given", ["9999-12-31", "2026-02-30"])
def test_a_day_that_cannot_be_is_named_where_the_path_has_it(
    api: Api, path: str, pointer: str, given: str
) -> None:
    (fault,) = check_problem(api.get(path.format(given)), 422)["errors"]
    assert (fault["location"], fault["pointer"]) == ("path", pointer)


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/audit/history/dog/1", "a customer, a loan or an application"),
        ("/audit/diff/2026-01-01/2026-01-02/dog/1", "a customer or a loan"),
    ],
)
def test_who_asks_about_anything_else_is_told_what_there_is(api: Api, path: str, what: str) -> None:
    assert what in check_problem(api.get(path), 404)["detail"]


def test_a_leap_day_is_a_day_like_any_other(api: Api) -> None:
    record = api.services.lending.record
    record([(1, imported_loan(2, on="2024-02-29", ends="2026-02-28"))], BY)
    found = {
        on: api.get(f"/audit/as-of/{on}/loan/2").json["as_known_now"]["installments_due"]
        for on in ("2024-03-28", "2024-03-29", "2025-02-27", "2025-02-28")
    }
    assert found == {"2024-03-28": 0, "2024-03-29": 1, "2025-02-27": 11, "2025-02-28": 12}
    assert months_later(date(2024, 2, 29), 12) == day("2025-02-28")
