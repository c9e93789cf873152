"""Fixtures of the read tables' tests: a log, its tables, who feeds, reads and rebuilds them."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
import structlog
from psycopg import Connection
from psycopg.rows import TupleRow

from credit_es.application import Lending
from credit_es.store.log import Log
from projections.projector import Projector
from projections.reading import ReadModel
from projections.rebuild import Rebuilder, rebuilder
from projections.tables import PROJECTIONS
from projections.verify import Difference, verify
from tests.store.given import settings


class House:
    """One prepared schema and everything that works on its read tables."""

    def __init__(self, database_url: str, schema: str, conn: Connection[TupleRow]) -> None:
        self.url = database_url
        self.schema = schema
        self.conn = conn
        self.lending = Lending(settings(database_url, schema), pool_size=8)
        self.log: Log = self.lending.reader
        self.reads = ReadModel(self.lending.database)
        self.projector = Projector(conn, self.log, schema)

    @contextmanager
    def rebuilder(self) -> Iterator[Rebuilder]:
        with rebuilder(self.url, self.schema) as one:
            yield one

    def project(self) -> int:
        """Let the projector do all there is to do; returns the batches it took."""
        steps = 0
        while self.projector.step():
            steps += 1
            assert steps < 10_000
        return steps

    def differences(self) -> list[Difference]:
        return [d for p in PROJECTIONS for d in verify(self.conn, self.log, self.schema, p)]

    def sql(self, statement: str, *values: object) -> list[TupleRow]:
        """Do what nobody may do to a real schema."""
        cursor = self.conn.execute(statement.format(s=self.schema).encode(), values)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Tracebacks of poison are told in colour and with every value, which takes its time."""
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
def house(database_url: str, schema: str) -> Iterator[House]:
    with rebuilder(database_url, schema) as one:
        one.prepare()
    with psycopg.connect(database_url, autocommit=True) as conn:
        whole = House(database_url, schema, conn)
        yield whole
        whole.lending.close()
