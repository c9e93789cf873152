"""Everything that is refused or fails: its status, its problem+json, its headers."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import falcon
import psycopg
import pytest
import structlog
from psycopg import sql

from api.app import connect
from credit_es.application import ContendedError
from credit_es.store.database import BusyError, ConnectionLostError
from credit_es.store.mapper import customer_stream, loan_stream
from tests.api.client import PERSON, Api, form, settings_of

NOBODY = "0a9cbb3f-2a6c-4a55-8a5e-3f7f6c0ad9f1"
READ = [
    "/view-loan/1",
    "/view-loans/1",
    "/customers",
    "/customers/1",
    "/customers/1/decisions",
    "/decisions/1-2",
    "/ingestions",
    f"/ingestions/{NOBODY}",
    f"/ingestions/{NOBODY}/report.xlsx",
    "/health/live",
    "/health/ready",
    "/openapi.json",
    "/docs",
]
WRITTEN = ["/register", "/check-eligibility", "/create-loan", "/ingestions"]
LOAN = {"customer_id": 1, "loan_amount": 10_000, "interest_rate": 12, "tenure": 12}


@pytest.fixture
def api(shared: Api) -> Api:
    """No test here minds what another has recorded."""
    return shared


def check_problem(answered: falcon.testing.Result, status: int) -> dict[str, Any]:
    """The problem of an answer that is one."""
    assert answered.status_code == status
    assert answered.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answered.json
    assert problem["status"] == status
    assert problem["title"]
    assert problem["type"] == "about:blank" or problem["type"].startswith("urn:credit-es:problem:")
    assert problem["request_id"] == answered.headers["X-Request-Id"]
    return problem


@pytest.mark.parametrize("path", ["/", "/nowhere", "/register/x", "/docs/x/y.js"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_path_that_is_none_is_404(api: Api, method: str, path: str) -> None:
    problem = check_problem(api.send(method, path), 404)
    assert path.startswith("/docs") or "/docs" in problem["detail"]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "TRACE"])
@pytest.mark.parametrize("path", sorted({*READ, *WRITTEN}))
def test_a_method_that_a_path_has_not_is_405_and_allow_names_the_others(
    api: Api, path: str, method: str, slash: str
) -> None:
    answered = api.send(method, path + slash)
    problem = check_problem(answered, 405)
    assert f"takes {answered.headers['Allow']}: /docs" in problem["detail"]
    allowed = set(answered.headers["Allow"].split(", "))
    expected = ({"GET", "HEAD"} if path in READ else set()) | (
        {"POST"} if path in WRITTEN else set()
    )
    assert allowed == expected | {"OPTIONS"}


@pytest.mark.parametrize("path", WRITTEN[:3])
def test_reading_what_can_only_be_written_is_405(api: Api, path: str) -> None:
    assert api.get(path).headers["Allow"] == "POST, OPTIONS"


@pytest.mark.parametrize("path", sorted({*READ, *WRITTEN}))
def test_options_names_the_methods(api: Api, path: str) -> None:
    answered = api.send("OPTIONS", path)
    assert answered.status_code == 200
    expected = ({"GET", "HEAD"} if path in READ else set()) | (
        {"POST"} if path in WRITTEN else set()
    )
    assert set(answered.headers["Allow"].split(", ")) == expected


@pytest.mark.parametrize("path", READ)
def test_head_is_get_without_its_body(api: Api, path: str) -> None:
    got, headed = api.get(path), api.send("HEAD", path)
    assert headed.content == b""
    assert headed.status_code == got.status_code
    assert headed.headers["Content-Type"] == got.headers["Content-Type"]
    if got.status_code == 200 and path != "/health/ready":
        assert headed.headers["Content-Length"] == got.headers["Content-Length"]


@pytest.mark.parametrize("name", ["7", "letters", "0", "-1", "1" * 400, "007", "1.0", "%E2%88%9E"])
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/view-loan/{}", "unknown-loan"),
        ("/view-loans/{}", "unknown-customer"),
        ("/customers/{}", "unknown-customer"),
        ("/customers/{}/decisions", "unknown-customer"),
        ("/decisions/{}", "unknown-decision"),
        ("/decisions/{}-2", "unknown-decision"),
        ("/decisions/2-{}", "unknown-decision"),
    ],
)
def test_an_id_of_nothing_is_404(api: Api, path: str, kind: str, name: str) -> None:
    problem = check_problem(api.get(path.format(name)), 404)
    assert problem["type"] == f"urn:credit-es:problem:{kind}"


def test_an_event_that_is_no_decision_is_404(api: Api) -> None:
    check_problem(api.get(f"/decisions/{api.register()}-1"), 404)


@pytest.mark.parametrize("path", ["/check-eligibility", "/create-loan"])
def test_applying_for_nobody_is_404(api: Api, path: str) -> None:
    problem = check_problem(api.post(path, LOAN), 404)
    assert problem["type"] == "urn:credit-es:problem:unknown-customer"
    assert problem["detail"] == (
        "No customer has the number 1: GET /customers?phone_number= finds one."
    )


@pytest.mark.parametrize("given", ["a", "x" * 128, "!~"])
def test_a_request_id_is_echoed(api: Api, given: str) -> None:
    for answered in (
        api.get("/health/live", X_Request_Id=given),
        api.get("/nowhere", X_Request_Id=given),
        api.post("/register", b"{", X_Request_Id=given),
    ):
        assert answered.headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", "caf\u00e9", "tab\t."])
def test_a_request_id_is_made_where_none_can_be_echoed(api: Api, given: str) -> None:
    made = api.get("/health/live", X_Request_Id=given).headers["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert api.get("/health/live").headers["X-Request-Id"] != made


@pytest.mark.parametrize(
    ("trace", "kept"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", False),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        ("rubbish", False),
    ],
)
def test_a_traceparent_is_kept_as_correlation_else_the_request_id(
    api: Api, trace: str, kept: bool
) -> None:
    customer = api.register()
    answered = api.post(
        "/create-loan",
        LOAN | {"customer_id": customer},
        traceparent=trace,
        X_Request_Id="request-7",
        X_Actor="officer 7",
    )
    decision = api.get(f"/decisions/{answered.json['decision_id']}").json
    assert decision["correlation_id"] == (trace if kept else "request-7")
    assert decision["actor"] == "officer 7"


@pytest.mark.parametrize("error", [BusyError("held"), ContendedError()])
def test_losing_every_race_is_409_with_retry_after(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def lose(*_: object) -> None:
        raise error

    monkeypatch.setattr(api.services.lending, "apply_for_loan", lose)
    answered = api.post("/create-loan", LOAN)
    check_problem(answered, 409)
    assert int(answered.headers["Retry-After"]) >= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/health/ready"), ("GET", "/view-loan/1"), ("POST", "/check-eligibility")],
)
def test_reading_what_somebody_has_locked_is_503(
    api: Api, database_url: str, method: str, path: str
) -> None:
    with psycopg.connect(database_url) as conn:
        schema = sql.Identifier(api.services.lending.database.schema)
        conn.execute(sql.SQL("LOCK TABLE {}.events IN ACCESS EXCLUSIVE MODE").format(schema))
        answered = api.post(path, LOAN) if method == "POST" else api.get(path)
    check_problem(answered, 503)
    assert int(answered.headers["Retry-After"]) >= 1


def test_a_connection_lost_half_way_is_503_and_promises_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: object) -> None:
        raise ConnectionLostError("server closed the connection")

    monkeypatch.setattr(api.services.lending, "register", lose)
    answered = api.post("/register", PERSON)
    assert "is not known" in check_problem(answered, 503)["detail"]
    assert int(answered.headers["Retry-After"]) >= 1


def test_a_fault_of_ours_is_500_says_nothing_of_it_and_is_logged_with_the_request_id(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret internals")

    monkeypatch.setattr(api.services.lending, "register", fail)
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as logged:
        answered = api.post("/register", PERSON, X_Request_Id="request-7")
    check_problem(answered, 500)
    assert "secret" not in answered.text
    assert "RuntimeError" not in answered.text
    failed, request = logged
    assert (failed["event"], failed["request_id"]) == ("request failed", "request-7")
    assert str(failed["exc_info"]) == "secret internals"
    assert (request["status"], request["request_id"]) == (500, "request-7")


def test_a_log_line_has_no_body_no_query_and_no_name(api: Api) -> None:
    with structlog.testing.capture_logs() as logged:
        api.post("/register", PERSON)
        api.get("/customers?phone_number=9876543210")
        api.get("/view-loan/Ada")
    assert [line["route"] for line in logged] == ["/register", "/customers", "/view-loan/{loan_id}"]
    said = json.dumps(logged, default=str)
    for secret in ("Ada", "Byron", "9876543210", "100000"):
        assert secret not in said


def test_a_poisoned_row_is_503_and_names_its_projection(api: Api, database_url: str) -> None:
    loan = api.apply(api.register()).json["loan_id"]
    schema = api.services.lending.database.schema
    with psycopg.connect(database_url, autocommit=True) as conn:
        append = sql.SQL("SELECT {}.append(%s, %s::int8[], %s, %s)").format(sql.Identifier(schema))
        conn.execute(append, ([loan_stream(loan)], [2], ["credit.Unheard"], [b"{}"]))
    answered = api.get(f"/view-loan/{loan}")
    problem = check_problem(answered, 503)
    assert "loans" in problem["detail"]
    assert int(answered.headers["Retry-After"]) >= 1


def test_what_cannot_be_read_is_503_and_names_the_fact(api: Api, database_url: str) -> None:
    number = api.register()
    schema = api.services.lending.database.schema
    stream = customer_stream(number)
    with psycopg.connect(database_url, autocommit=True) as conn:
        append = sql.SQL("SELECT {}.append(%s, %s::int8[], %s, %s)").format(sql.Identifier(schema))
        conn.execute(append, ([stream], [2], ["credit.LoanDeclined"], [b"{}"]))
    for answered in (
        api.apply(number),
        api.get(f"/decisions/{number}-2"),
        api.get(f"/customers/{number}/decisions"),
    ):
        problem = check_problem(answered, 503)
        assert f"version 2 of stream {stream}" in problem["detail"]
        assert int(answered.headers["Retry-After"]) >= 1


@pytest.mark.slow
def test_without_postgres_every_route_is_503_with_retry_after(redis_url: str) -> None:
    nowhere = "postgresql://credit@/postgres?host=%2Fnowhere"
    services = connect(settings_of(nowhere, "credit", redis_url), pool_size=1)
    api = Api(services)
    routes = [path for path in READ if path not in {"/health/live", "/openapi.json", "/docs"}]
    try:
        with ThreadPoolExecutor(len(READ) + len(WRITTEN)) as pool:
            asked = [pool.submit(api.get, f"{path}?phone_number=9876543210") for path in routes]
            asked += [pool.submit(api.post, path, PERSON | LOAN) for path in WRITTEN[:3]]
            asked.append(pool.submit(api.upload, form(customers=b"PK", loans=b"PK")))
        answers = [one.result() for one in asked]
        for answered in answers:
            check_problem(answered, 503)
            assert int(answered.headers["Retry-After"]) >= 1
        assert api.get("/health/live").status_code == 200
    finally:
        services.lending.close()
