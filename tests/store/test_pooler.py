"""Through a real PgBouncer in transaction mode: nothing missed, no wrong row, no error.

Eight clients share three connections to the server, so that every statement may meet another one's
leavings. The control forces prepared statements on, and gets errors or another client's rows.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import psycopg
import pytest
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from credit_es.application import Lending
from credit_es.domain.events import LoanApproved
from credit_es.store.bulk import BulkAppend
from credit_es.store.database import NEVER_IDLE, SESSION, BusyError, Database, is_pooled
from credit_es.store.idempotency import Once
from credit_es.store.log import Log
from credit_es.store.migrations import MigrationError, migrate
from credit_es.store.recorder import LogRecorder
from projections.reading import ReadModel
from projections.rebuild import rebuilder
from tests.servers import PGBOUNCER, running_pgbouncer
from tests.store.given import BY, asks, person, settings, stored

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="needs Debian's package `pgbouncer`")

CLIENTS = 8
FACTS = 3  # of one customer: registered, approved, opened


@pytest.fixture(scope="module")
def pooled_url(postgres_url: str) -> Iterator[str]:
    with running_pgbouncer(postgres_url) as server:
        yield server.url


@pytest.fixture
def pooled(pooled_url: str, schema: str) -> Iterator[Database]:
    database = Database(pooled_url, schema=schema, pool_size=1)
    yield database
    database.close()


class Race(NamedTuple):
    """What clients recorded, what the tail reader read, and what went wrong for any of them."""

    customers: list[int]
    copied: int
    positions: list[int]
    failures: list[BaseException]


class Client:
    """One of those that share the pooler; it looks at all that it is answered."""

    def __init__(self, url: str, schema: str, *, prepared: bool | None) -> None:
        given = settings(url, schema, prepared_statements=prepared)
        self._lending = Lending(given, pool_size=1)
        self._read = ReadModel(self._lending.database)
        self._bulk = BulkAppend(self._lending.database)
        self.numbers: list[int] = []
        self.copied = 0

    def work(self, *, until: float) -> None:
        try:
            while time.monotonic() < until:
                self._one_customer(name=uuid4().hex)
        finally:
            self._lending.close()

    def _one_customer(self, name: str) -> None:
        who = person(first_name=name, monthly_income=10**6)
        once = Once(actor="tester", path="/register", key=name, digest=name.encode())
        number = self._lending.register(who, BY, once).customer_number
        self.numbers.append(number)
        assert self._lending.register(who, BY, once).customer_number == number
        outcome = self._lending.apply_for_loan(asks(number), BY)
        assert isinstance(outcome.decision, LoanApproved)
        customer, loans = self._lending.load(number)
        assert (customer.number, customer.first_name) == (number, name)
        assert [loan.number for loan in loans] == [outcome.decision.loan_number]
        assert self._read.customer(number) == (customer, loans)
        assert self._bulk.append([[stored(uuid4())] for _ in range(20)]) == []
        self.copied += 20


class Reader:
    """Follows the log through the pooler."""

    def __init__(self, url: str, schema: str, *, prepared: bool | None) -> None:
        self._database = Database(url, schema=schema, pool_size=1, prepared=prepared)
        self._log = Log(LogRecorder(self._database))
        self.positions = [0]

    def read(self, *, until: Callable[[], bool]) -> None:
        try:
            last = False
            while not last:
                last = until()
                for batch in self._log.tail(self.positions[-1]):
                    self.positions += [event.id for event in batch]
                time.sleep(0.005)
        finally:
            self._database.close()


@pytest.fixture
def race(pooled_url: str, database_url: str, schema: str) -> Callable[..., Race]:
    with rebuilder(database_url, schema) as tables:
        tables.prepare()

    def run(*, prepared: bool | None) -> Race:
        clients = [Client(pooled_url, schema, prepared=prepared) for _ in range(CLIENTS)]
        reader = Reader(pooled_url, schema, prepared=prepared)
        until = time.monotonic() + 2
        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            working = [pool.submit(client.work, until=until) for client in clients]
            reading = pool.submit(reader.read, until=lambda: all(one.done() for one in working))
        return Race(
            customers=[number for client in clients for number in client.numbers],
            copied=sum(client.copied for client in clients),
            positions=reader.positions[1:],
            failures=[error for one in (*working, reading) if (error := one.exception())],
        )

    return run


@pytest.mark.slow
def test_eight_clients_share_a_pooler_and_nothing_is_missed_or_mixed_up(
    race: Callable[..., Race], conn: Connection[TupleRow], schema: str
) -> None:
    run = race(prepared=None)
    assert run.failures == []
    assert len(run.customers) == len(set(run.customers)) > CLIENTS
    positions = conn.execute(f"SELECT position FROM {schema}.events ORDER BY position".encode())
    assert run.positions == [position for (position,) in positions]
    assert len(run.positions) == 1 + FACTS * len(run.customers) + run.copied  # 1: the policy


@pytest.mark.slow
def test_prepared_statements_forced_on_meet_another_clients(race: Callable[..., Race]) -> None:
    run = race(prepared=True)
    assert run.failures != []


def test_a_pooler_gives_itself_away(pooled: Database, database: Database) -> None:
    with pooled.connection() as conn:
        assert is_pooled(conn)
        assert conn.prepare_threshold is None
    with database.connection() as conn:
        assert not is_pooled(conn)


def test_a_transaction_through_a_pooler_is_bounded_and_leaves_nothing_to_the_next_client(
    pooled: Database,
) -> None:
    show = "SELECT current_setting('idle_in_transaction_session_timeout')"
    seen: list[TupleRow | None] = []

    def beside(cursor: Cursor[TupleRow]) -> None:
        seen.append(cursor.execute(show.encode()).fetchone())

    LogRecorder(pooled).insert_events([stored(uuid4())], beside=beside)
    with pooled.connection() as conn:
        seen.append(conn.execute(show.encode()).fetchone())
    assert seen == [("1min",), ("0",)]


def test_the_settings_that_the_page_gives_a_role_are_those_of_our_own_connections(
    postgres_url: str, database: Database
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text("utf-8")
    written = re.search(r"<!-- run: role -->\n```sql\n(.*?)```", page, re.DOTALL)
    assert written
    names = re.findall(r"SET (\w+) =", written[1])
    assert {*names} == {*re.findall(r"SET (\w+) =", SESSION.removeprefix(NEVER_IDLE))}
    columns = ", ".join(f"current_setting('{name}')" for name in names)
    show = f"SELECT {columns}".encode()
    with database.connection() as conn:
        ours = conn.execute(show).fetchone()
        conn.execute(f"CREATE ROLE pooled LOGIN; {written[1].replace('credit', 'pooled')}".encode())
        try:
            with (
                running_pgbouncer(postgres_url.replace("//credit@", "//pooled@")) as server,
                psycopg.connect(server.url) as theirs,
            ):
                assert theirs.execute(show).fetchone() == ours
        finally:
            conn.execute("DROP ROLE pooled")


def test_an_append_through_a_pooler_does_not_wait_for_ever(
    pooled: Database, conn: Connection[TupleRow], schema: str
) -> None:
    stream = uuid4()
    function = f"{schema}.append(uuid[], int8[], text[], bytea[])"
    conn.execute(f"ALTER FUNCTION {function} SET lock_timeout = '50ms'".encode())
    with conn.transaction():
        conn.execute(f"INSERT INTO {schema}.events VALUES (1, %s, 1, 't', '')".encode(), (stream,))
        with pytest.raises(BusyError):
            LogRecorder(pooled).insert_events([stored(stream)])


def test_what_needs_a_session_refuses_a_pooler(pooled_url: str, schema: str) -> None:
    with pytest.raises(MigrationError, match="DATABASE_DIRECT_URL"):
        migrate(pooled_url, schema)
    with pytest.raises(MigrationError, match="DATABASE_DIRECT_URL"), rebuilder(pooled_url, schema):
        pass


@pytest.mark.slow
def test_a_projector_refuses_a_pooler_and_takes_the_direct_url(
    pooled_url: str, database_url: str, schema: str
) -> None:
    argv = [sys.executable, "-m", "credit_es.cli.main", "projector"]
    environ = {**os.environ, "DATABASE_URL": pooled_url, "CREDIT_SCHEMA": schema}
    environ.pop("DATABASE_DIRECT_URL", None)
    refused = subprocess.run(
        argv, env=environ, capture_output=True, text=True, timeout=30, check=False
    )
    assert refused.returncode == 1
    assert "set DATABASE_DIRECT_URL to the server itself" in refused.stderr
    environ["DATABASE_DIRECT_URL"] = database_url
    with subprocess.Popen(argv, env=environ, stderr=subprocess.PIPE, text=True) as projector:
        try:
            assert projector.stderr
            assert "projector leads" in projector.stderr.readline()
        finally:
            projector.kill()
