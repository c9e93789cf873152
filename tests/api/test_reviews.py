"""``/reviews``: applications that a policy leaves to a person, on a schema that the tests share."""

import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql

from api.app import connect
from credit_es.domain.policy import SHIPPED
from projections.projector import Projector
from tests.api.client import Api, next_of, prepare, settings_of

NOTE = {"note": "known for years"}


@pytest.fixture(scope="module")
def api(
    postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """The application under a policy that refers what is above 100,000."""
    path = tmp_path_factory.mktemp("policy") / "careful.toml"
    rules = "\n[refer]\namount_above = 100000\nexpires_after_days = 14\n"
    path.write_text((SHIPPED / "standard.toml").read_text("utf-8") + rules, "utf-8")
    name = f"test_{secrets.token_hex(6)}"
    prepare(postgres_url, name)
    settings = settings_of(postgres_url, name, redis_url, CREDIT_POLICY=str(path))
    services = connect(settings, pool_size=4)
    yield Api(services)
    services.lending.close()
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


@pytest.fixture
def project(api: Api, postgres_url: str) -> Callable[[], None]:
    """Brings the read tables up to the log."""
    lending = api.services.lending

    def bring_up() -> None:
        with psycopg.connect(postgres_url, autocommit=True) as conn:
            projector = Projector(conn, lending.reader, lending.database.schema)
            while projector.step():
                pass

    return bring_up


def refer(api: Api, **headers: str) -> str:
    """An application that waits, of a new customer."""
    body = {"customer_id": api.register(), "loan_amount": 200_000, "interest_rate": 9, "tenure": 60}
    answered = api.post("/create-loan", body, **headers)
    assert answered.status_code == 202, answered.text
    application_id: str = answered.json["application_id"]
    return application_id


def test_a_referred_application_is_202_and_says_where_it_waits(api: Api) -> None:
    customer = api.register()
    body = {"customer_id": customer, "loan_amount": 100_000.01, "interest_rate": 9, "tenure": 60}
    eligible = api.post("/check-eligibility", body).json
    assert (eligible["approval"], eligible["reasons"]) == (
        False,
        ["AMOUNT_REFERRED", "RATE_CORRECTED"],
    )
    answered = api.post("/create-loan", body, X_Actor="clerk", Idempotency_Key="k1")
    today = api.services.lending.today()
    last = (today + timedelta(days=14)).isoformat()
    assert (answered.status_code, answered.json) == (
        202,
        {
            "application_id": f"{customer}-2",
            "message": f"The application is left to a reviewer, who decides by {last}.",
            "decision_id": f"{customer}-2",
        },
    )
    assert answered.headers["Location"] == f"/reviews/{customer}-2"
    again = api.post("/create-loan", body, X_Actor="clerk", Idempotency_Key="k1")
    assert (again.status_code, again.content) == (202, answered.content)
    explained = api.get(f"/decisions/{customer}-2").json
    assert (explained["approved"], explained["application_id"]) == (False, f"{customer}-2")
    assert explained["reasons"][0]["code"] == "AMOUNT_REFERRED"
    assert api.get(f"/view-loans/{customer}").json == []
    shown = api.get(f"/reviews/{customer}-2")
    assert (shown.status_code, shown.json) == (
        200,
        {
            "application_id": f"{customer}-2",
            "customer_id": customer,
            "status": "pending",
            "requested": {"loan_amount": 100_000.01, "interest_rate": 9.0, "tenure": 60},
            "corrected_interest_rate": 12.0,
            "monthly_installment": 2_224.44,
            "score": 50.0,
            "reasons": ["AMOUNT_REFERRED", "RATE_CORRECTED"],
            "asked_by": "clerk",
            "referred_on": today.isoformat(),
            "decide_by": last,
            "decision_id": None,
            "loan_id": None,
            "decided_by": None,
            "decided_on": None,
            "note": None,
        },
    )


def test_a_second_person_approves_and_the_loan_is_open(
    api: Api, project: Callable[[], None]
) -> None:
    application_id = refer(api, X_Actor="clerk")
    project()
    path = f"/reviews/{application_id}/approve"
    refused = api.post(path, NOTE, X_Actor="clerk")
    assert (refused.status_code, refused.json["type"]) == (403, "urn:credit-es:problem:four-eyes")
    answered = api.post(path, NOTE, X_Actor="officer", Idempotency_Key="a")
    assert answered.status_code == 201, answered.text
    told = answered.json
    assert (told["application_id"], told["loan_approved"]) == (application_id, True)
    assert api.get(f"/view-loan/{told['loan_id']}").json["loan_amount"] == 200_000.0
    assert api.post(path, NOTE, X_Actor="officer", Idempotency_Key="a").json == told
    late = api.get(f"/reviews/{application_id}").json
    assert (late["status"], late["decided_by"], late["note"], late["loan_id"]) == (
        "approved",
        "officer",
        "known for years",
        told["loan_id"],
    )
    project()
    assert api.get(f"/reviews/{application_id}").json == late
    decision = api.get(f"/decisions/{told['decision_id']}").json
    assert (decision["approved"], decision["application_id"], decision["note"]) == (
        True,
        application_id,
        "known for years",
    )
    for what in ("approve", "decline"):
        twice = api.post(f"/reviews/{application_id}/{what}", NOTE, X_Actor="boss")
        assert twice.status_code == 409
        assert f"was approved by officer on {late['decided_on']}" in twice.json["detail"]


def test_a_decline_is_200_and_says_who_decided(api: Api) -> None:
    application_id = refer(api)
    anonymous = api.post(f"/reviews/{application_id}/decline", NOTE)
    assert (anonymous.status_code, anonymous.json["detail"][:10]) == (403, "Applicatio")
    answered = api.post(f"/reviews/{application_id}/decline", NOTE, X_Actor="officer")
    assert (answered.status_code, answered.json["reasons"]) == (200, ["DECLINED_IN_REVIEW"])
    assert answered.json["loan_id"] is None
    assert answered.json["message"] == "The loan is declined: a reviewer decided against it."
    listed = api.get(f"/customers/{answered.json['customer_id']}/decisions").json["decisions"]
    assert [one["reasons"][0]["code"] for one in listed] == [
        "DECLINED_IN_REVIEW",
        "AMOUNT_REFERRED",
    ]


def test_what_expired_is_409_and_says_to_apply_again(
    api: Api, project: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    application_id = refer(api, X_Actor="clerk")
    project()
    last = api.services.lending.today() + timedelta(days=14)
    monkeypatch.setattr(api.services.lending, "today", lambda: last)
    assert api.get(f"/reviews/{application_id}").json["status"] == "pending"
    assert application_id in ids(api, "pending")
    monkeypatch.setattr(api.services.lending, "today", lambda: last + timedelta(days=1))
    assert api.get(f"/reviews/{application_id}").json["status"] == "expired"
    assert application_id in ids(api, "expired")
    assert application_id not in ids(api, "pending")
    answered = api.post(f"/reviews/{application_id}/approve", NOTE, X_Actor="officer")
    assert answered.status_code == 409
    assert f"by {last} and has expired" in answered.json["detail"]
    assert "applies again" in answered.json["detail"]


def ids(api: Api, status: str, limit: int = 2) -> list[str]:
    """All applications of a status, page by page."""
    found, path = [], f"/reviews?status={status}&limit={limit}"
    while path:
        page = api.get(path)
        assert len(page.json["reviews"]) <= limit
        assert page.json["lag"] == {"events": 0, "seconds": 0.0}
        found += [one["application_id"] for one in page.json["reviews"]]
        path = next_of(page)
    assert len(found) == len(set(found))
    return found


def test_reviews_are_listed_by_status_in_pages(api: Api, project: Callable[[], None]) -> None:
    waiting = {refer(api) for _ in range(3)}
    declined, approved = refer(api), refer(api)
    assert api.get("/reviews").json["lag"]["events"] > 0
    assert api.post(f"/reviews/{declined}/decline", NOTE, X_Actor="a").status_code == 200
    assert api.post(f"/reviews/{approved}/approve", NOTE, X_Actor="a").status_code == 201
    project()
    pending = ids(api, "pending")
    assert waiting <= set(pending)
    assert {declined, approved}.isdisjoint(pending)
    assert declined in ids(api, "declined")
    assert approved in ids(api, "approved")
    assert {*waiting, declined, approved} <= set(ids(api, "all", limit=100))
    assert api.get("/reviews").json["reviews"][0]["status"] == "pending"


@pytest.mark.parametrize("path", ["/reviews/10000001-1", "/reviews/x", "/reviews/1-2/approve"])
def test_what_was_not_referred_is_404(api: Api, path: str) -> None:
    answered = api.post(path, NOTE) if path.endswith("approve") else api.get(path)
    assert (answered.status_code, answered.json["type"]) == (
        404,
        "urn:credit-es:problem:unknown-application",
    )
    assert api.get("/reviews?after=1-2").status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer"), [({}, "/note"), ({"note": " "}, "/note"), ({"note": 1}, "/note")]
)
def test_a_note_is_asked_for(api: Api, body: dict[str, object], pointer: str) -> None:
    answered = api.post("/reviews/1-2/decline", body)
    assert (answered.status_code, answered.json["errors"][0]["pointer"]) == (422, pointer)


def test_what_was_reviewed_is_explained_and_comes_out_the_same_unless_its_policy_was_altered(
    api: Api,
) -> None:
    waiting, approved, declined = (refer(api, X_Actor="clerk") for _ in range(3))
    decided = [
        api.post(f"/reviews/{application}/{verdict}", NOTE, X_Actor="officer").json["decision_id"]
        for application, verdict in ((approved, "approve"), (declined, "decline"))
    ]
    explained = [api.get(f"/audit/explain/{one}").json for one in (waiting, approved, *decided)]
    assert [one["replay"]["same"] for one in explained] == [True] * 4
    outcomes = [one["steps"][-1]["what"] for one in explained]
    assert outcomes[0].startswith("The application is left to a reviewer")
    assert "200000.00 is asked for" in outcomes[1]
    assert outcomes[2].startswith("The loan is approved at 12.00 % a year")
    assert outcomes[3].endswith("A reviewer declined: known for years")

    database = api.services.lending.database
    statement = (
        f"UPDATE {database.schema}.events SET state = convert_to(replace(convert_from(state,"
        " 'UTF8'), %s, %s), 'UTF8') WHERE topic = 'credit.PolicyAdopted'"
    ).encode()
    was, now = "expires_after_days", "expires_after_dayz"
    database.run(lambda conn: conn.execute(statement, (was, now)))
    try:
        replay = api.get(f"/audit/explain/{decided[0]}").json["replay"]
        assert replay["same"] is None
        assert replay["problem"].endswith("is neither in the log, as it was, nor shipped")
        whole = api.get("/audit/explain?limit=1000").json
        assert decided[0] in [one["decision_id"] for one in whole["not_the_same"]]
    finally:
        database.run(lambda conn: conn.execute(statement, (now, was)))
    assert api.get("/audit/explain?limit=1000").json["not_the_same"] == []


def test_what_the_policy_would_decline_today_is_409_with_its_figures(api: Api) -> None:
    application_id = refer(api, X_Actor="clerk")
    customer = application_id.partition("-")[0]
    correction = {
        "approved_limit": 100_000,
        "effective_on": api.services.lending.today().isoformat(),
        "reason": "a typo",
    }
    assert api.post(f"/customers/{customer}/corrections", correction).status_code == 201
    refused = api.post(f"/reviews/{application_id}/approve", NOTE, X_Actor="officer")
    last = api.get(f"/reviews/{application_id}").json["decide_by"]
    assert (refused.status_code, refused.json["detail"]) == (
        409,
        f"By policy standard application {application_id} is to be declined today (OVER_LIMIT):"
        f" decline it, or approve it once that no longer holds, until {last}. Current loans are"
        " 0.00 and 200000.00 is asked for: by policy standard that is too much for the approved"
        " limit of 100000.00.",
    )
