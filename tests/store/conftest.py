"""Fixtures of the store's tests: the log of the test's own schema, and a plain connection."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from credit_es.store.database import Database
from credit_es.store.log import Log
from credit_es.store.recorder import LogRecorder


@pytest.fixture
def database(database_url: str, schema: str) -> Iterator[Database]:
    one = Database(database_url, schema=schema)
    yield one
    one.close()


@pytest.fixture
def recorder(database: Database) -> LogRecorder:
    return LogRecorder(database)


@pytest.fixture
def log(recorder: LogRecorder) -> Log:
    return Log(recorder)


@pytest.fixture
def conn(database_url: str, schema: str) -> Iterator[Connection[TupleRow]]:
    """A connection in autocommit that has nothing to do with the pool's."""
    with psycopg.connect(database_url, autocommit=True) as one:
        yield one
