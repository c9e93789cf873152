"""Explain over HTTP: step by step, made again, and of the whole log a page at a time."""

import pytest

from tests.api.client import Api, next_of
from tests.api.test_problems import check_problem

ALTER = (
    "UPDATE {s}.events SET state = convert_to(replace(convert_from(state, 'UTF8'), %s, %s), 'UTF8')"
    " WHERE topic = %s"
)


def alter(api: Api, was: str, now: str, topic: str) -> None:
    """Tamper with the log."""
    database = api.services.lending.database
    statement = ALTER.format(s=database.schema).encode()
    database.run(lambda conn: conn.execute(statement, (was, now, topic)))


def test_a_decision_is_explained_step_by_step_and_comes_out_the_same(api: Api) -> None:
    customer = api.register()
    loan = api.apply(customer).json["loan_id"]
    declined = api.apply(customer, 9_000_000).json["decision_id"]
    answered = api.get(f"/audit/explain/{declined}/")
    assert answered.status_code == 200, answered.text
    assert answered.json["decision"] == api.get(f"/decisions/{declined}").json
    assert answered.json["replay"] == {
        "decision_id": declined,
        "same": True,
        "differences": [],
        "problem": None,
    }
    assert answered.json["lag"] == {"events": 0, "seconds": 0.0}
    told = {one["step"]: one["what"] for one in answered.json["steps"]}
    assert list(told) == ["asked", "seen", "score", "rate", "burden", "limit", "outcome"]
    today = api.services.lending.today()
    assert told["asked"] == (f"On {today} customer {customer} asked for 9000000.00 over 12 months.")
    assert told["seen"] == (
        "The customer was seen at version 2, with a monthly income of 100000.00 and an approved"
        f" limit of 3600000.00, with loan {loan} at version 1."
    )
    assert "for 0 of 0 installments paid on time" in told["score"]
    assert told["rate"].endswith(
        "by policy standard that is enough at such a score: 799639.10 a month."
    )
    assert told["burden"].endswith("that is by policy standard too much.")
    assert told["limit"].endswith("that is by policy standard too much.")
    assert told["outcome"].startswith("The loan is declined")


def test_a_tampered_score_is_caught_and_named(api: Api) -> None:
    customer = api.register()
    decision = api.apply(customer).json["decision_id"]
    alter(api, '"score":"50.00"', '"score":"99.00"', "credit.LoanApproved")
    replay = api.get(f"/audit/explain/{decision}").json["replay"]
    assert replay["same"] is False
    assert replay["differences"] == [
        {"field": "/verdict/scorecard/score", "recorded": "99.00", "replayed": "50.00"}
    ]
    whole = api.get("/audit/explain").json
    assert whole["not_the_same"] == [replay]
    assert (whole["decisions"], whole["unreadable"], whole["next"]) == (1, [], None)


@pytest.mark.parametrize("decision", ["1-1", "x", "10000001-1", "10000001-3"])
def test_what_is_no_decision_is_not_found(api: Api, decision: str) -> None:
    api.apply(api.register())
    check_problem(api.get(f"/audit/explain/{decision}"), 404)


def test_the_whole_log_is_made_again_in_pages_that_name_the_next(api: Api) -> None:
    customers = [api.register() for _ in range(5)]
    for customer in customers[1:]:
        api.apply(customer)
        api.apply(customer, 9_000_000)
    alter(
        api,
        f'"customer_number":{customers[3]},',
        f'"customer_number":{customers[3]},,',
        "credit.LoanDeclined",
    )
    path, counts, unreadable = "/audit/explain?limit=2", [], []
    while path:
        page = api.get(path)
        assert page.status_code == 200, page.text
        assert page.json["position"] == api.services.lending.reader.head().safe
        assert page.json["not_the_same"] == []
        counts.append(page.json["decisions"])
        unreadable += page.json["unreadable"]
        path = next_of(page)
    # One of each page's two had never asked, cannot be read, or is the last one.
    assert counts == [2, 2, 2]
    (sentence,) = unreadable
    assert sentence.startswith("the fact at version 3 of stream ")


def test_what_is_no_page_is_refused(api: Api) -> None:
    check_problem(api.get("/audit/explain?limit=0"), 422)
    check_problem(api.get("/audit/explain?after=x"), 422)
    assert api.get("/audit/explain").json["decisions"] == 0
