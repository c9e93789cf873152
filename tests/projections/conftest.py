"""Fixtures of the read tables' tests: a log, its tables, who feeds, reads and rebuilds them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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

ROOT = Path(__file__).parents[2]


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
        """Do what nobody may do to a real schema; ``{loans}`` is the view that this code reads."""
        named = {one.name: one.shown_as for one in PROJECTIONS}
        text = statement.format(s=self.schema, **named)
        cursor = self.conn.execute(text.encode(), values)
        return cursor.fetchall() if cursor.description else []

    def tables(self) -> list[str]:
        """The versioned tables that there are, known ones and what is left of others."""
        rows = self.sql(
            "SELECT tablename FROM pg_tables WHERE schemaname = '{s}'"
            " AND tablename ~ '_v[0-9]+$' ORDER BY tablename"
        )
        return [name for (name,) in rows]


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


class Process:
    """A ``credit-es projector`` of some release and what it has logged."""

    def __init__(self, house: House, log: Path, release: str) -> None:
        environ = {**os.environ, "DATABASE_URL": house.url, "CREDIT_SCHEMA": house.schema}
        environ.pop("DATABASE_DIRECT_URL", None)
        self._log = log
        with log.open("wb") as output:
            self.child = subprocess.Popen(
                [sys.executable, "-m", release, "projector"],
                cwd=ROOT,
                env=environ,
                stdout=output,
                stderr=output,
            )

    def said(self, what: str, table: str = "") -> bool:
        """Whether a line tells ``what``, of ``table`` among others where one is given."""
        lines = self._log.read_text().splitlines()
        assert self.child.poll() is None, lines
        return any(what in line and (not table or f'"{table}"' in line) for line in lines)


@pytest.fixture
def start(house: House, tmp_path: Path) -> Iterator[Callable[[], Process]]:
    started: list[Process] = []

    def one(release: str = "credit_es.cli.main") -> Process:
        started.append(Process(house, tmp_path / f"projector-{len(started)}.log", release))
        return started[-1]

    yield one
    for process in started:
        process.child.kill()
        process.child.wait()
