"""Idempotency keys: an outcome is kept with its events, or not at all; for 24 hours."""

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.persistence import IntegrityError
from msgspec.structs import replace
from psycopg import Connection
from psycopg.rows import TupleRow

from credit_es.store.arrays import byteas, int8s, texts, uuids
from credit_es.store.database import Database
from credit_es.store.idempotency import APPEND_ONCE, IdempotencyKeys, Kept, KeyReusedError, Once
from credit_es.store.recorder import LogRecorder
from tests.store.given import stored

ONCE = Once(
    actor="asha", path="/register", key="k1", digest=hashlib.sha256(b"the request").digest()
)
KEPT = Kept(request=ONCE, outcome=b'{"customer_id":1}')


@pytest.fixture
def keys(database: Database) -> IdempotencyKeys:
    return IdempotencyKeys(database)


def let_pass(conn: Connection[TupleRow], schema: str, interval: str) -> None:
    statement = f"UPDATE {schema}.idempotency_keys SET kept_at = now() - %s::interval"
    conn.execute(statement.encode(), (interval,))


def test_an_outcome_is_kept_with_its_events(recorder: LogRecorder, keys: IdempotencyKeys) -> None:
    assert keys.outcome(ONCE) is None
    recorder.insert_events([stored(uuid4())], once=KEPT)
    assert keys.outcome(ONCE) == KEPT.outcome


def test_an_append_that_conflicts_keeps_no_outcome(
    recorder: LogRecorder, keys: IdempotencyKeys
) -> None:
    stream = uuid4()
    recorder.insert_events([stored(stream)])
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(uuid4()), stored(stream)], once=KEPT)
    assert keys.outcome(ONCE) is None
    assert len(list(recorder.select_notifications(0, 10))) == 1


def test_a_key_that_is_kept_lets_no_second_event_in(recorder: LogRecorder) -> None:
    recorder.insert_events([stored(uuid4())], once=KEPT)
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(uuid4())], once=replace(KEPT, outcome=b"another"))
    assert len(list(recorder.select_notifications(0, 10))) == 1


def test_the_same_key_for_another_request_is_told(
    recorder: LogRecorder, keys: IdempotencyKeys
) -> None:
    recorder.insert_events([stored(uuid4())], once=KEPT)
    with pytest.raises(KeyReusedError):
        keys.outcome(replace(ONCE, digest=hashlib.sha256(b"another").digest()))


@pytest.mark.parametrize("field", ["actor", "path", "key"])
def test_another_actor_path_or_key_is_another_request(
    recorder: LogRecorder, keys: IdempotencyKeys, field: str
) -> None:
    recorder.insert_events([stored(uuid4())], once=KEPT)
    other = replace(ONCE, **{field: "other"}, digest=b"another")
    assert keys.outcome(other) is None
    recorder.insert_events([stored(uuid4())], once=Kept(request=other, outcome=b"other"))
    assert (keys.outcome(other), keys.outcome(ONCE)) == (b"other", KEPT.outcome)


def test_a_key_is_forgotten_after_24_hours_and_may_be_used_again(
    recorder: LogRecorder, keys: IdempotencyKeys, conn: Connection[TupleRow], schema: str
) -> None:
    recorder.insert_events([stored(uuid4())], once=KEPT)
    let_pass(conn, schema, "23 hours 59 minutes")
    assert keys.outcome(ONCE) == KEPT.outcome
    let_pass(conn, schema, "24 hours 1 second")
    another = Kept(request=replace(ONCE, digest=b"another"), outcome=b"new")
    assert keys.outcome(ONCE) is None
    assert keys.outcome(another.request) is None
    recorder.insert_events([stored(uuid4())], once=another)
    assert keys.outcome(another.request) == b"new"


def test_only_expired_keys_are_swept(
    recorder: LogRecorder, keys: IdempotencyKeys, conn: Connection[TupleRow], schema: str
) -> None:
    recorder.insert_events([stored(uuid4())], once=KEPT)
    let_pass(conn, schema, "25 hours")
    young = replace(ONCE, key="k2")
    recorder.insert_events([stored(uuid4())], once=Kept(request=young, outcome=b"young"))
    assert keys.expire() == 1
    assert keys.expire() == 0
    assert keys.outcome(young) == b"young"


@pytest.mark.parametrize("first_commits", [True, False])
def test_a_second_caller_in_flight_waits_for_the_first(
    database_url: str,
    recorder: LogRecorder,
    keys: IdempotencyKeys,
    *,
    first_commits: bool,
) -> None:
    append = recorder.database.call(APPEND_ONCE)
    event = (uuids([uuid4()]), int8s([1]), texts(["t"]), byteas([b""]))
    second = Kept(request=ONCE, outcome=b"of the second")
    with psycopg.connect(database_url) as first, ThreadPoolExecutor(1) as pool:
        first.execute("BEGIN")
        append.rows(first, KEPT.columns + event)
        started = threading.Event()

        def append_too() -> None:
            started.set()
            recorder.insert_events([stored(uuid4())], once=second)

        waiting = pool.submit(append_too)
        assert started.wait(5)
        time.sleep(0.3)
        assert not waiting.done()
        if first_commits:
            first.commit()
            with pytest.raises(IntegrityError):
                waiting.result(5)
            assert keys.outcome(ONCE) == KEPT.outcome
        else:
            first.rollback()
            waiting.result(5)
            assert keys.outcome(ONCE) == second.outcome
