"""What is taken and what is refused: bounds at both edges, strict JSON, every fault at once."""

import json

import pytest

from api.jsonbody import LONGEST
from tests.api.client import PERSON, Api

LOAN = {"customer_id": 1, "loan_amount": 10_000, "interest_rate": 12, "tenure": 12}


@pytest.fixture
def api(shared: Api) -> Api:
    """No test here minds what another has recorded."""
    return shared


def faults(api: Api, path: str, body: object) -> dict[str, str]:
    """Pointer to code of every fault of a body that is refused for its fields."""
    answered = api.post(path, body)
    assert answered.status_code == 422, answered.text
    assert answered.headers["Content-Type"] == "application/problem+json"
    return {fault["pointer"]: fault["code"] for fault in answered.json["errors"]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("first_name", "A"),
        ("first_name", "Ł" * 100),
        ("first_name", " " * 50 + "x" * 100 + "\n"),
        ("last_name", "O'Neil-श्रीमान् \u200d म"),
        ("age", 18),
        ("age", 120),
        ("age", "36.0"),
        ("age", "3.6e1"),
        ("monthly_income", 0),
        ("monthly_income", 10**9),
        ("phone_number", 1_000_000),
        ("phone_number", 999_999_999_999_999),
        ("phone_number", '"1000000"'),
        ("phone_number", '"000000001234567"'),
    ],
)
def test_a_registration_is_taken_up_to_its_bounds(api: Api, field: str, value: object) -> None:
    given = json.dumps(PERSON | {field: "@"}).replace(
        '"@"',
        value if isinstance(value, str) and field in {"age", "phone_number"} else json.dumps(value),
    )
    assert api.post("/register", given.encode()).status_code == 201


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("first_name", ""),
        ("first_name", " \t\u00a0"),
        ("first_name", "x" * 101),
        ("first_name", "Ada\nByron"),
        ("first_name", "Ada\x00"),
        ("first_name", "Ada\x7f"),
        ("first_name", "\u200b"),
        ("first_name", "\u200d"),
        ("first_name", "\u202eadA"),
        ("first_name", None),
        ("first_name", 7),
        ("last_name", ["x"]),
        ("age", 17),
        ("age", 121),
        ("age", 36.5),
        ("age", "36"),
        ("age", True),
        ("age", None),
        ("age", 10**400),
        ("monthly_income", -1),
        ("monthly_income", 10**9 + 1),
        ("monthly_income", 0.5),
        ("monthly_income", False),
        ("phone_number", 999_999),
        ("phone_number", 10**15),
        ("phone_number", "123456"),
        ("phone_number", "1234567890123456"),
        ("phone_number", "0000001"),
        ("phone_number", "+919876543210"),
        ("phone_number", "12345\u0666\u0667"),
        ("phone_number", "1234567\n"),
        ("phone_number", -9_876_543_210),
        ("phone_number", 9_876_543_210.5),
    ],
)
def test_a_registration_beyond_its_bounds_names_the_field(
    api: Api, field: str, value: object
) -> None:
    assert list(faults(api, "/register", PERSON | {field: value})) == [f"/{field}"]


@pytest.mark.parametrize(
    "text",
    [
        '"loan_amount": 0.01',
        '"loan_amount": 1000000000000',
        '"loan_amount": 1e12',
        '"loan_amount": 0.10000000000000000000000000000000000000',
        '"interest_rate": 0',
        '"interest_rate": -0.0',
        '"interest_rate": 100.00',
        '"interest_rate": 99.99',
        '"tenure": 1',
        '"tenure": 600',
        '"tenure": 36.0',
        '"customer_id": 9007199254740991',
    ],
)
def test_an_application_is_taken_up_to_its_bounds(api: Api, text: str) -> None:
    """Of nobody, so that 404 is the answer to whatever the fields let through."""
    given = json.dumps(LOAN)[:-1] + "}"
    field = json.loads("{" + text + "}")
    without = {name: value for name, value in json.loads(given).items() if name not in field}
    body = json.dumps(without)[:-1] + ", " + text + "}"
    for path in ("/check-eligibility", "/create-loan"):
        assert api.post(path, body.encode()).status_code == 404, body


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("loan_amount", "0"),
        ("loan_amount", "-1"),
        ("loan_amount", "0.001"),
        ("loan_amount", "10.005"),
        ("loan_amount", "1000000000000.01"),
        ("loan_amount", "1e400"),
        ("loan_amount", "1e99999999999999999999"),
        ("loan_amount", "1e-99999999999999999999"),
        ("loan_amount", '"10000"'),
        ("loan_amount", "true"),
        ("loan_amount", "null"),
        ("interest_rate", "-0.01"),
        ("interest_rate", "100.01"),
        ("interest_rate", "8.125"),
        ("interest_rate", '"8"'),
        ("tenure", "0"),
        ("tenure", "601"),
        ("tenure", "12.5"),
        ("tenure", "1" * 5000),
        ("customer_id", "0"),
        ("customer_id", "-1"),
        ("customer_id", "9007199254740992"),
        ("customer_id", '"1"'),
    ],
)
def test_an_application_beyond_its_bounds_names_the_field(api: Api, field: str, text: str) -> None:
    rest = {name: value for name, value in LOAN.items() if name != field}
    body = json.dumps(rest)[:-1] + f', "{field}": {text}}}'
    for path in ("/check-eligibility", "/create-loan"):
        assert list(faults(api, path, body.encode())) == [f"/{field}"]


def test_every_fault_is_named_at_once(api: Api) -> None:
    body = {"first_name": " ", "age": 17, "monthly_income": -1, "phone_number": "x"}
    assert faults(api, "/register", body) == {
        "/first_name": "name",
        "/last_name": "missing",
        "/age": "greater_than_equal",
        "/monthly_income": "greater_than_equal",
        "/phone_number": "phone_number",
    }


def test_faults_of_headers_and_body_are_named_together(api: Api) -> None:
    answered = api.post(
        "/create-loan", LOAN | {"tenure": 0}, Idempotency_Key="x" * 256, X_Actor="n\u00e9e"
    )
    assert answered.status_code == 422
    found = {(fault["location"], fault["pointer"]) for fault in answered.json["errors"]}
    assert found == {
        ("header", "/Idempotency-Key"),
        ("header", "/X-Actor"),
        ("body", "/tenure"),
    }


def test_no_fault_repeats_what_was_sent(api: Api) -> None:
    answered = api.post("/register", PERSON | {"first_name": "Secret\x00", "age": "Secret"})
    assert "Secret" not in answered.text


@pytest.mark.parametrize("body", [[], "text", 7, None, True])
def test_a_body_that_is_no_object_is_a_fault_of_the_whole(api: Api, body: object) -> None:
    assert list(faults(api, "/register", body)) == [""]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{'age': 3}",
        b'{"age": NaN}',
        b'{"age": -Infinity}',
        b'{"age": 1, "age": 2}',
        b'{"deep": {"age": 1, "age": 1}}',
        b'{"first_name": "\xff"}',
        b'{"first_name": "\\ud800"}',
        b'\xef\xbb\xbf{"age": 1}',
        b'{"age": 01}',
        b"[" * 60_000,
    ],
)
def test_a_body_that_is_not_strict_json_is_malformed(api: Api, raw: bytes) -> None:
    answered = api.post("/register", raw)
    assert answered.status_code == 400, answered.text
    assert answered.json["type"] == "urn:credit-es:problem:malformed"


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=x"]
)
def test_another_media_type_is_415(api: Api, media_type: str) -> None:
    for path in ("/register", "/check-eligibility", "/create-loan"):
        answered = api.post(path, PERSON, content_type=media_type)
        assert answered.status_code == 415
        assert answered.headers["Content-Type"] == "application/problem+json"


def test_json_may_name_its_charset(api: Api) -> None:
    answered = api.post("/register", PERSON, content_type='application/JSON; charset="UTF-8"')
    assert answered.status_code == 201


def test_a_body_is_read_up_to_64_kib_and_no_further(api: Api) -> None:
    room = LONGEST - len(json.dumps(PERSON | {"x": ""}))
    assert api.post("/register", PERSON | {"x": "x" * room}).status_code == 201
    answered = api.post("/register", PERSON | {"x": "x" * (room + 1)})
    assert answered.status_code == 413
    assert answered.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "query",
    [
        "status=open",
        "status=",
        "status=all&status=closed",
    ],
)
def test_a_status_that_is_none_is_refused(api: Api, query: str) -> None:
    answered = api.get(f"/view-loans/{api.register()}?{query}")
    assert answered.status_code == 422
    (fault,) = answered.json["errors"]
    assert (fault["location"], fault["pointer"].split("/")[1]) == ("query", "status")


@pytest.mark.parametrize(
    ("path", "pointers"),
    [
        ("/customers", ["/phone_number"]),
        ("/customers?phone_number=12x&limit=0&after=-1", ["/phone_number", "/after", "/limit"]),
        ("/customers?phone_number=9876543210&limit=101", ["/limit"]),
        ("/ingestions?before=x&limit=1.0", ["/before", "/limit"]),
        ("/customers/1/decisions?before=0&limit=x", ["/before", "/limit"]),
    ],
)
def test_every_fault_of_a_query_is_named_at_once(api: Api, path: str, pointers: list[str]) -> None:
    answered = api.get(path)
    assert answered.status_code == 422
    assert [fault["pointer"] for fault in answered.json["errors"]] == pointers


def test_a_value_of_another_type_is_told_in_the_words_of_json(api: Api) -> None:
    asked = {"customer_id": 1, "loan_amount": "200,000", "interest_rate": 8, "tenure": 12}
    (fault,) = api.post("/check-eligibility", asked).json["errors"]
    assert (fault["pointer"], fault["code"]) == ("/loan_amount", "number_type")
    (fault,) = api.send("POST", "/register", b"[]", Content_Type="application/json").json["errors"]
    assert (fault["pointer"], fault["code"]) == ("", "object_type")
