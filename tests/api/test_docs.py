"""The document describes every route; the page that shows it loads nothing from anywhere else."""

import re

import jsonschema_rs
import pytest

from tests.api.client import Api


@pytest.fixture
def api(shared: Api) -> Api:
    """No test here minds what another has recorded."""
    return shared


def test_the_document_describes_every_route_and_is_openapi_3_1(api: Api) -> None:
    answered = api.get("/openapi.json")
    assert answered.headers["Content-Type"] == "application/json"
    assert api.get("/openapi.json/").content == answered.content
    document = answered.json
    assert document["openapi"] == "3.1.0"
    assert {(path, method) for path, item in document["paths"].items() for method in item} == {
        ("/register", "post"),
        ("/check-eligibility", "post"),
        ("/create-loan", "post"),
        ("/view-loan/{loan_id}", "get"),
        ("/view-loans/{customer_id}", "get"),
        ("/customers", "get"),
        ("/customers/{customer_id}", "get"),
        ("/customers/{customer_id}/decisions", "get"),
        ("/customers/{customer_id}/corrections", "post"),
        ("/customers/{customer_id}/statement", "get"),
        ("/customers/{customer_id}/statement.xlsx", "get"),
        ("/loans/{loan_id}/schedule", "get"),
        ("/loans/{loan_id}/repayments", "get"),
        ("/loans/{loan_id}/repayments", "post"),
        ("/loans/{loan_id}/repayments/{repayment_id}/reversal", "post"),
        ("/loans/{loan_id}/payoff", "get"),
        ("/loans/{loan_id}/write-off", "post"),
        ("/decisions/{decision_id}", "get"),
        ("/audit/facts", "get"),
        ("/audit/explain", "get"),
        ("/audit/explain/{decision_id}", "get"),
        ("/audit/history/{subject}/{subject_id}", "get"),
        ("/audit/as-of/{on}/customer/{customer_id}", "get"),
        ("/audit/as-of/{on}/loan/{loan_id}", "get"),
        ("/audit/as-of/{on}/portfolio", "get"),
        ("/audit/portfolio-report.xlsx", "get"),
        ("/audit/backtest", "get"),
        ("/audit/export", "get"),
        ("/audit/verify", "get"),
        ("/audit/diff/{before}/{after}/{aggregate}/{aggregate_id}", "get"),
        ("/reviews", "get"),
        ("/reviews/{application_id}", "get"),
        ("/reviews/{application_id}/approve", "post"),
        ("/reviews/{application_id}/decline", "post"),
        ("/ingestions", "get"),
        ("/ingestions", "post"),
        ("/ingestions/{ingestion_id}", "get"),
        ("/ingestions/{ingestion_id}/report.xlsx", "get"),
        ("/health/live", "get"),
        ("/health/ready", "get"),
    }


def test_every_answer_that_names_the_next_page_is_said_to_have_a_link(api: Api) -> None:
    document = api.get("/openapi.json").json
    schemas = document["components"]["schemas"]
    paged = set()
    for path, item in document["paths"].items():
        good = item.get("get", {}).get("responses", {}).get("200", {})
        schema = good.get("content", {}).get("application/json", {}).get("schema", {})
        fields = schemas.get(schema.get("$ref", "").rpartition("/")[2], {}).get("properties", {})
        assert ("Link" in good.get("headers", {})) == ("next" in fields), path
        paged |= {path} if "next" in fields else set()
    assert {"/customers", "/ingestions", "/reviews", "/audit/facts"} < paged


def test_every_reference_of_the_document_leads_somewhere(api: Api) -> None:
    answered = api.get("/openapi.json")
    names = set(re.findall(r'"#/components/schemas/(\w+)"', answered.text))
    assert names
    assert names <= set(answered.json["components"]["schemas"])
    for name, schema in answered.json["components"]["schemas"].items():
        assert jsonschema_rs.meta.is_valid(schema), name


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("age", {"type": "integer", "minimum": 18, "maximum": 120}),
        ("monthly_income", {"type": "integer", "minimum": 0, "maximum": 10**9}),
    ],
)
def test_the_document_says_the_bounds_that_are_checked(
    api: Api, field: str, expected: dict[str, object]
) -> None:
    schemas = api.get("/openapi.json").json["components"]["schemas"]
    assert schemas["RegisterRequest"]["properties"][field].items() >= expected.items()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (" Ada ", True),
        ("x" * 100, True),
        ("x" * 101, False),
        ("", False),
        ("\u00a0", False),
        ("A\u200bda", False),
        ("Ada\n", True),
        ("A\nda", False),
    ],
)
def test_the_document_and_the_check_agree_on_names(api: Api, name: str, said: bool) -> None:
    schemas = api.get("/openapi.json").json["components"]["schemas"]
    field = schemas["RegisterRequest"]["properties"]["first_name"]
    assert jsonschema_rs.is_valid(field, name) is said
    body = {"first_name": name, "last_name": "B", "age": 36, "monthly_income": 1}
    answered = api.post("/register", body | {"phone_number": 9_876_543_210})
    assert answered.status_code == (201 if said else 422)


@pytest.mark.parametrize(
    ("amount", "said"), [(0.29, True), (0.57, True), (1e12, True), (0.001, False), (0, False)]
)
def test_the_document_and_the_check_agree_on_amounts(api: Api, amount: float, said: bool) -> None:
    schemas = api.get("/openapi.json").json["components"]["schemas"]
    field = schemas["LoanRequest"]["properties"]["loan_amount"]
    assert jsonschema_rs.is_valid(field, amount) is said
    body = {"customer_id": 1, "loan_amount": amount, "interest_rate": 1, "tenure": 1}
    assert api.post("/check-eligibility", body).status_code == (404 if said else 422)


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_page_is_under_a_strict_policy_and_loads_local_files_only(api: Api, slash: str) -> None:
    page = api.get(f"/docs{slash}")
    assert page.status_code == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?:|\*", policy)
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|<style|\sstyle=", page.text)
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) >= 5
    for path in loaded:
        assert path.startswith("/")
        answered = api.get(path)
        assert answered.status_code == 200, path
        assert answered.content
        assert answered.headers["X-Content-Type-Options" if "docs" in path else "X-Request-Id"]


def test_a_file_that_has_not_changed_is_not_sent_again(api: Api) -> None:
    first = api.get("/docs/swagger-ui-bundle.js")
    again = api.get("/docs/swagger-ui-bundle.js", If_None_Match=first.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    assert api.get("/docs/nothing.js").status_code == 404
    assert api.get("/docs", If_None_Match='"other"').status_code == 200
