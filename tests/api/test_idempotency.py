"""An Idempotency-Key makes a request that is sent again get the first answer."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import psycopg
import pytest
from falcon.testing import Result
from psycopg import sql

from tests.api.client import PERSON, Api, form

pytestmark = pytest.mark.slow

LOAN = {"loan_amount": 10_000, "interest_rate": 12, "tenure": 12}


def events(api: Api) -> int:
    """How many events the log has."""
    return api.services.lending.reader.head().last


def test_the_same_registration_again_gets_the_same_bytes_and_records_nothing(api: Api) -> None:
    first = api.post("/register", PERSON, Idempotency_Key="k1")
    head = events(api)
    again = api.post("/register/", PERSON, Idempotency_Key="k1")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert events(api) == head


@pytest.mark.parametrize(("amount", "status"), [(10_000, 201), (4_000_000, 200)])
def test_the_same_application_again_gets_the_same_decision(
    api: Api, amount: int, status: int
) -> None:
    body = LOAN | {"customer_id": api.register(), "loan_amount": amount}
    first = api.post("/create-loan", body, Idempotency_Key="k1")
    head = events(api)
    again = api.post("/create-loan", body, Idempotency_Key="k1")
    assert first.status_code == status
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert events(api) == head


def test_bodies_compare_as_parsed_json(api: Api) -> None:
    customer = api.register()
    first = f'{{"customer_id":{customer},"loan_amount":10000,"interest_rate":12.5,"tenure":12}}'
    same = (
        f'{{ "tenure": 1.2e1, "interest_rate": 12.50,\n "loan_amount": 10000.00,'
        f' "customer_id": {customer} }}'
    )
    answers = [
        api.post("/create-loan", raw.encode(), Idempotency_Key="k1").content
        for raw in (first, same)
    ]
    assert answers[0] == answers[1]


def test_another_body_under_the_same_key_is_422_and_records_nothing(api: Api) -> None:
    assert api.post("/register", PERSON, Idempotency_Key="k1").status_code == 201
    head = events(api)
    answered = api.post("/register", PERSON | {"age": 37}, Idempotency_Key="k1")
    assert answered.status_code == 422
    assert answered.json["type"] == "urn:credit-es:problem:key-reused"
    assert answered.json["errors"][0]["pointer"] == "/Idempotency-Key"
    assert events(api) == head


def test_a_key_counts_per_actor_and_per_path(api: Api) -> None:
    first = api.post("/register", PERSON, Idempotency_Key="k1", X_Actor="ann")
    other = api.post("/register", PERSON, Idempotency_Key="k1", X_Actor="bob")
    assert first.json["customer_id"] != other.json["customer_id"]
    body = LOAN | {"customer_id": first.json["customer_id"]}
    assert api.post("/create-loan", body, Idempotency_Key="k1", X_Actor="ann").status_code == 201


def test_a_refused_request_does_not_use_its_key_up(api: Api) -> None:
    assert api.post("/register", PERSON | {"age": 1}, Idempotency_Key="k1").status_code == 422
    assert api.post("/register", PERSON, Idempotency_Key="k1").status_code == 201
    unknown = LOAN | {"customer_id": 77}
    assert api.post("/create-loan", unknown, Idempotency_Key="k2").status_code == 404
    known = LOAN | {"customer_id": api.register()}
    assert api.post("/create-loan", known, Idempotency_Key="k2").status_code == 201


def test_a_key_is_forgotten_after_24_hours(api: Api, database_url: str, schema: str) -> None:
    first = api.post("/register", PERSON, Idempotency_Key="k1")
    _age(database_url, schema, "23 hours 59 minutes")
    assert api.post("/register", PERSON, Idempotency_Key="k1").content == first.content
    _age(database_url, schema, "1 minute 1 second")
    later = api.post("/register", PERSON | {"age": 40}, Idempotency_Key="k1")
    assert later.status_code == 201
    assert later.json["customer_id"] != first.json["customer_id"]


def test_callers_in_flight_with_one_key_all_get_the_one_answer(api: Api) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda _: api.post("/register", PERSON, Idempotency_Key="k1"), range(12))
        )
    assert {answered.status_code for answered in answers} == {201}
    assert len({answered.content for answered in answers}) == 1
    assert events(api) == 1


def test_a_second_caller_waits_for_the_first_and_takes_over_when_it_fails(
    api: Api, database_url: str, schema: str
) -> None:
    answers: list[Result] = []
    with psycopg.connect(database_url) as first:
        _hold(first, schema, "k1")
        second = Thread(
            target=lambda: answers.append(api.post("/register", PERSON, Idempotency_Key="k1"))
        )
        second.start()
        second.join(0.5)
        assert second.is_alive()
        first.rollback()
        second.join(5)
    assert [answered.status_code for answered in answers] == [201]


def test_a_second_caller_who_waits_too_long_gets_409(
    api: Api, database_url: str, schema: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        sooner = "ALTER FUNCTION {}.append_once SET lock_timeout = '200ms'"
        conn.execute(sql.SQL(sooner).format(sql.Identifier(schema)))
    with psycopg.connect(database_url) as first:
        _hold(first, schema, "k1")
        answered = api.post("/register", PERSON, Idempotency_Key="k1")
        first.rollback()
    assert answered.status_code == 409
    assert answered.headers["Content-Type"] == "application/problem+json"
    assert int(answered.headers["Retry-After"]) >= 1
    assert events(api) == 0


@pytest.mark.parametrize("key", ["", "x" * 256, "k\u00e9", "a\tb"])
def test_a_key_of_other_than_1_to_255_printable_characters_is_refused(api: Api, key: str) -> None:
    answered = api.post("/register", PERSON, Idempotency_Key=key)
    assert answered.status_code == 422
    assert [fault["location"] for fault in answered.json["errors"]] == ["header"]


@pytest.mark.parametrize(
    "key", ["k", "x" * 255, "0a9cbb3f-2a6c-4a55-8a5e-3f7f6c0ad9f1", '"quoted, as the draft says"']
)
def test_a_key_of_printable_characters_is_taken(api: Api, key: str) -> None:
    first = api.post("/register", PERSON, Idempotency_Key=key)
    assert first.status_code == 201
    assert api.post("/register", PERSON, Idempotency_Key=key).content == first.content


def test_uploads_compare_by_content_whatever_the_boundary_and_the_names(api: Api) -> None:
    one = form(customers=b"PK one", loans=b"PK two", boundary="aaaa")
    other = form(customers=b"PK one", loans=b"PK two", boundary="bbbb", suffix="-copy.xlsx")
    first = api.upload(one, Idempotency_Key="k1")
    again = api.upload(other, Idempotency_Key="k1")
    assert first.status_code == 202
    assert (again.content, again.headers["Location"]) == (first.content, first.headers["Location"])
    assert len(api.get("/ingestions").json["ingestions"]) == 1


def test_another_upload_or_a_check_under_the_same_key_is_422(api: Api) -> None:
    one = form(customers=b"PK one", loans=b"PK two")
    assert api.upload(one, Idempotency_Key="k1").status_code == 202
    swapped = form(customers=b"PK two", loans=b"PK one")
    assert api.upload(swapped, Idempotency_Key="k1").status_code == 422
    assert api.upload(one, "?check=true", Idempotency_Key="k1").status_code == 422


def _age(database_url: str, schema: str, interval: str) -> None:
    with psycopg.connect(database_url) as conn:
        statement = sql.SQL("UPDATE {}.idempotency_keys SET kept_at = kept_at - %s::interval")
        conn.execute(statement.format(sql.Identifier(schema)), (interval,))


def _hold(conn: "psycopg.Connection[tuple[object, ...]]", schema: str, key: str) -> None:
    """Be the first caller, half-way through its transaction."""
    statement = sql.SQL("INSERT INTO {}.idempotency_keys VALUES (%s, %s, %s, %s, %s, now())")
    digest = hashlib.sha256(b"").digest()
    conn.execute(
        statement.format(sql.Identifier(schema)), ("anonymous", "/register", key, digest, b"")
    )
