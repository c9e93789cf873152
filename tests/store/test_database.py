"""The pool: it lives through lost connections, bounds outages and words them."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from credit_es.store.database import (
    BusyError,
    ConnectionLostError,
    Database,
    StoreUnavailableError,
    connection_info,
    transaction,
)
from credit_es.store.log import Log
from credit_es.store.recorder import LogRecorder
from tests.store.given import stored

PID = "SELECT pg_backend_pid()"


def pid(database: Database) -> int:
    row = database.run(lambda conn: conn.execute(PID.encode()).fetchone())
    assert row is not None
    return int(row[0])


def test_reading_goes_on_when_its_connection_was_killed(
    database: Database, conn: Connection[TupleRow]
) -> None:
    killed = pid(database)
    conn.execute("SELECT pg_terminate_backend(%s)", (killed,))
    assert pid(database) != killed


def test_reading_whose_connection_is_killed_under_it_is_done_again(database: Database) -> None:
    tries = 0

    def work(conn: Connection[TupleRow]) -> str:
        nonlocal tries
        tries += 1
        if tries < 3:
            conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return "done"

    assert database.run(work) == "done"
    assert tries == 3


def test_a_whole_pool_of_killed_connections_is_lived_through(
    database: Database, conn: Connection[TupleRow]
) -> None:
    def read(_: int) -> bool:
        row = database.run(lambda conn: conn.execute("SELECT 1 FROM pg_sleep(0.05)").fetchone())
        return row == (1,)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(8))) == [True] * 8
        ended = conn.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'credit-es' AND pid <> pg_backend_pid()"
        ).fetchone()
        assert ended is not None
        assert ended[0] >= 4
        assert list(pool.map(read, range(8))) == [True] * 8


@pytest.mark.slow
def test_a_connection_that_is_always_lost_is_given_up_in_time(database: Database) -> None:
    started = time.monotonic()
    with pytest.raises(ConnectionLostError):
        database.run(lambda conn: conn.execute("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert time.monotonic() - started < 5


def test_a_schema_that_is_not_migrated_says_what_to_do(database_url: str) -> None:
    database = Database(database_url, schema="nobody_made_this")
    try:
        recorder = LogRecorder(database)
        what = "schema nobody_made_this is not migrated: run `credit-es migrate`"
        for ask in (
            lambda: recorder.insert_events([]),
            lambda: recorder.select_notifications(1, 1),
            lambda: Log(recorder).head(),
        ):
            with pytest.raises(StoreUnavailableError, match=what):
                ask()
    finally:
        database.close()


@pytest.mark.slow
def test_a_server_that_is_not_there_is_unavailable_within_5_seconds(tmp_path: Path) -> None:
    database = Database(f"postgresql:///nothing?host={tmp_path}", schema="credit")
    started = time.monotonic()
    try:
        with pytest.raises(StoreUnavailableError):
            database.run(lambda conn: conn.execute("SELECT 1"))
        assert time.monotonic() - started < 5
    finally:
        database.close()


@pytest.mark.slow
def test_of_several_hosts_one_that_says_nothing_is_passed_over_in_time(
    database_url: str, schema: str
) -> None:
    """As a machine that hangs: it takes connections, or packets, and answers none."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = conninfo_to_dict(database_url)["host"]
        port = silent.getsockname()[1]
        either = make_conninfo(database_url, host=f"127.0.0.1,{host}", port=f"{port},5432")
        database = Database(either, schema=schema, pool_size=1)
        started = time.monotonic()
        try:
            with suppress(StoreUnavailableError):  # who asks first may be told to ask again
                pid(database)
            assert pid(database)
            assert time.monotonic() - started < 5
        finally:
            database.close()


def test_a_lock_that_nobody_lets_go_is_busy_not_lost(
    database: Database, conn: Connection[TupleRow], schema: str
) -> None:
    lock = SQL("LOCK TABLE {}.events").format(SQL(schema))

    def work(other: Connection[TupleRow]) -> None:
        with other.transaction():
            other.execute("SET LOCAL lock_timeout = '50ms'")
            other.execute(lock)

    with conn.transaction():
        conn.execute(lock)
        with pytest.raises(BusyError):
            database.run(work)


def test_a_name_is_sent_and_told_as_it_is_whatever_the_encoding_of_a_database_s_clients(
    database_url: str, schema: str
) -> None:
    database = Database(f"{database_url}&client_encoding=latin1", schema=schema)
    try:
        with database.connection() as conn:
            assert conn.execute("SELECT %s::text", ("Zoë 漢",)).fetchone() == ("Zoë 漢",)
    finally:
        database.close()


def test_what_a_url_says_reaches_the_server_and_wins_over_ours(
    database_url: str, schema: str
) -> None:
    info = connection_info(f"{database_url}&application_name=theirs&connect_timeout=7")
    assert "application_name=theirs" in info
    assert "connect_timeout=7" in info
    assert "application_name=credit-es" in connection_info(database_url)
    options = "options=-c%20statement_timeout%3D4321"
    database = Database(f"{database_url}&{options}", schema=schema)
    try:
        with database.connection() as conn:
            assert conn.execute("SHOW statement_timeout").fetchone() == ("4321ms",)
    finally:
        database.close()


def test_of_several_hosts_the_one_that_takes_writes_is_meant_unless_told_otherwise() -> None:
    several = "postgresql:///credit?host=one,two"
    assert "target_session_attrs=read-write" in connection_info(several)
    assert "target_session_attrs=any" in connection_info(f"{several}&target_session_attrs=any")
    assert "target_session_attrs" not in connection_info("postgresql://one/credit")


def test_a_machine_that_is_gone_without_a_word_is_found_out_by_tcp() -> None:
    info = conninfo_to_dict(connection_info("postgresql://one/credit?keepalives_idle=60"))
    assert info["tcp_user_timeout"] == "4000"
    assert info["keepalives_idle"] == "60"


def test_a_connection_that_turns_out_to_be_a_standbys_is_given_up(
    database_url: str, schema: str
) -> None:
    read_only = "options=-c%20default_transaction_read_only%3Don"
    database = Database(f"{database_url}&{read_only}", schema=schema, pool_size=1)
    try:
        before = pid(database)
        with pytest.raises(StoreUnavailableError, match="read-only"):
            LogRecorder(database).insert_events([stored(uuid4())])
        assert pid(database) != before
    finally:
        database.close()


@pytest.mark.parametrize(("given", "prepares"), [(None, True), (True, True), (False, False)])
def test_prepared_statements_are_used_unless_switched_off(
    database_url: str, schema: str, *, given: bool | None, prepares: bool
) -> None:
    database = Database(database_url, schema=schema, pool_size=1, prepared=given)
    try:
        LogRecorder(database).safe_position(0)
        with database.connection() as conn:
            found = conn.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
        assert found == (1 if prepares else 0,)
    finally:
        database.close()


def test_an_open_transaction_is_bounded_even_where_its_session_is_not(
    conn: Connection[TupleRow],
) -> None:
    def bounds() -> list[TupleRow]:
        return conn.execute(
            "SELECT setting FROM pg_settings"
            " WHERE name IN ('lock_timeout', 'idle_in_transaction_session_timeout') ORDER BY name"
        ).fetchall()

    with transaction(conn):
        assert bounds() == [("60000",), ("5000",)]
    assert bounds() == [("0",), ("0",)]


def test_an_append_waits_for_anothers_version_as_long_as_its_function_says(
    database_url: str, conn: Connection[TupleRow], schema: str
) -> None:
    append = f"SELECT {schema}.append(ARRAY[%s], ARRAY[1], ARRAY['t'], ARRAY['x'::bytea])".encode()
    stream = uuid4()
    with psycopg.connect(database_url) as other:
        other.execute(append, (stream,))
        function = f"{schema}.append(uuid[], int8[], text[], bytea[])"
        conn.execute(f"ALTER FUNCTION {function} SET lock_timeout = '50ms'".encode())
        with pytest.raises(psycopg.errors.LockNotAvailable):
            conn.execute(append, (stream,))
    assert conn.execute("SHOW lock_timeout").fetchone() == ("0",)
