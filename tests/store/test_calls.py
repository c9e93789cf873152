"""A call gives what a cursor would, prepares once a connection, and tells a lost server apart."""

import gc
import resource
import weakref
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from credit_es.store.arrays import INT8
from credit_es.store.calls import Call
from tests.processes import LISTED
from tests.servers import RunningServer

ID = UUID("9c3b2f0e-5f0a-5d59-8d7c-3c8d6a3f1b11")
KINDS = Call(
    b"SELECT $1::uuid, $2::int8, 12.50::numeric, date '2024-02-29', 'Pr\xc3\xbcfung'::text,"
    b" '{3,4}'::int8[], '{a,NULL}'::text[]::bytea[], true, NULL::int8"
)
PREPARED = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'credit%'"
DIVIDE = Call(b"SELECT 1 / $1::int8")


@pytest.mark.parametrize("threshold", [5, None], ids=["prepared", "behind a pooler"])
def test_rows_come_as_a_cursor_would_give_them(
    conn: Connection[TupleRow], threshold: int | None
) -> None:
    conn.prepare_threshold = threshold
    for _ in range(2):
        (row,) = KINDS.rows(conn, (ID.bytes, INT8.pack(-7)))
        kinds = (ID, -7, Decimal("12.50"), date(2024, 2, 29), "Prüfung")
        assert row == (*kinds, [3, 4], [b"a", None], True, None)
        assert str(row[2]) == "12.50"
    (found,) = conn.execute(PREPARED, prepare=False).fetchone() or (None,)
    assert found == (0 if threshold is None else 1)


def test_no_row_is_no_row(conn: Connection[TupleRow]) -> None:
    assert Call(b"SELECT 1 WHERE false").rows(conn, ()) == []


def test_two_calls_of_one_connection_do_not_mix(conn: Connection[TupleRow]) -> None:
    one, other = Call(b"SELECT 1::int8"), Call(b"SELECT 2::int8")
    found = [call.rows(conn, ()) for call in (one, other, one, other)]
    assert found == [[(1,)], [(2,)]] * 2


@pytest.mark.parametrize("threshold", [5, None], ids=["prepared", "behind a pooler"])
def test_what_the_server_refuses_is_its_error_and_the_connection_goes_on(
    conn: Connection[TupleRow], threshold: int | None
) -> None:
    conn.prepare_threshold = threshold
    with pytest.raises(psycopg.errors.UndefinedTable):
        Call(b"SELECT * FROM no_such_table").rows(conn, ())
    with pytest.raises(psycopg.errors.DivisionByZero):
        DIVIDE.rows(conn, (INT8.pack(0),))
    assert DIVIDE.rows(conn, (INT8.pack(1),)) == [(1,)]


def test_inside_a_transaction_it_is_rolled_back_with_it(conn: Connection[TupleRow]) -> None:
    conn.execute("CREATE TEMP TABLE kept (number int8)")
    keep = Call(b"INSERT INTO kept VALUES ($1::int8) RETURNING number")
    with conn.transaction(force_rollback=True):
        assert keep.rows(conn, (INT8.pack(1),)) == [(1,)]
    assert keep.rows(conn, (INT8.pack(2),)) == [(2,)]
    assert conn.execute("SELECT number FROM kept").fetchall() == [(2,)]


def test_statements_that_somebody_let_go_of_are_prepared_again(conn: Connection[TupleRow]) -> None:
    one, fresh = Call(b"SELECT 1::int8"), Call(b"SELECT 2::int8")
    assert one.rows(conn, ()) == [(1,)]
    conn.execute("DEALLOCATE ALL")
    assert one.rows(conn, ()) == [(1,)]
    # psycopg does the same, at its next statement, behind a transaction that was rolled back.
    conn.execute("SELECT 3", prepare=True)
    with conn.transaction(force_rollback=True):
        pass
    with conn.transaction():
        conn.execute("SELECT 3")
        assert one.rows(conn, ()) == [(1,)]
        assert fresh.rows(conn, ()) == [(2,)]
    assert one.rows(conn, ()) == [(1,)]


@pytest.mark.skipif(not LISTED, reason="needs Linux's /proc")
def test_a_connection_keeps_nothing_of_a_large_result(conn: Connection[TupleRow]) -> None:
    first, *others = (Call(b"SELECT repeat('x', 32000000)::bytea") for _ in range(4))
    first.rows(conn, ())  # libpq itself keeps the room that one result took
    before = resident_mib()
    for call in others:
        call.rows(conn, ())
    assert resident_mib() - before < 32


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def test_a_connection_that_is_gone_is_forgotten(database_url: str) -> None:
    """A pool makes new ones for as long as a process lives."""
    conn = psycopg.connect(database_url, autocommit=True)
    assert DIVIDE.rows(conn, (INT8.pack(1),)) == [(1,)]
    gone = weakref.ref(conn)
    conn.close()
    del conn
    gc.collect()
    assert gone() is None


def end_backend(server: RunningServer, conn: Connection[TupleRow]) -> None:
    with psycopg.connect(server.url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (conn.info.backend_pid,))


def crash(server: RunningServer, _: Connection[TupleRow]) -> None:
    server.stop("immediate")


@pytest.mark.slow
@pytest.mark.parametrize("lose", [end_backend, crash])
def test_a_lost_server_is_an_outage_and_the_connection_is_closed(
    private_postgres: RunningServer, lose: Callable[[RunningServer, Connection[TupleRow]], None]
) -> None:
    with psycopg.connect(private_postgres.url, autocommit=True) as conn:
        DIVIDE.rows(conn, (INT8.pack(1),))
        lose(private_postgres, conn)
        with pytest.raises(psycopg.OperationalError):
            DIVIDE.rows(conn, (INT8.pack(1),))
        assert conn.closed
        with pytest.raises(psycopg.OperationalError):
            DIVIDE.rows(conn, (INT8.pack(1),))
