"""Appends held up in Postgres, so that a test can strike right then."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql


@contextmanager
def appends_held(database_url: str, schema: str) -> Iterator[None]:
    """Nobody can append meanwhile: who tries waits, for up to the five seconds of our sessions."""
    with psycopg.connect(database_url) as conn:
        lock = sql.SQL("LOCK TABLE {}.events IN SHARE MODE")
        conn.execute(lock.format(sql.Identifier(schema)))
        yield


def appends_waiting(database_url: str, schema: str) -> int:
    """How many of our own connections wait for a lock in this schema."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        row = conn.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND application_name = 'credit-es' AND query LIKE %s",
            (f"%{schema}%",),
        ).fetchone()
    assert row is not None
    return int(row[0])
