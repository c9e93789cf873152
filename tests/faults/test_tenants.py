"""Two tenants, a schema each in one database and on one Redis: neither notices the other.

One of them has a stalled writer, which appended and sits idle: its own tail waits, and that is the
control. All that the other one does beside it goes on as if it were alone.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from api.app import connect
from credit_es.cli.projections import status as status_command
from credit_es.store import migrations
from credit_es.store.migrations import lacking, migrate
from projections import projector, rebuild
from projections.projector import LEAD
from projections.status import Floor, is_led, lowest_floor, status
from projections.tables import PROJECTIONS, leader_of
from tests.api.client import PERSON, Api, prepare
from tests.projections.conftest import House as ReadHouse
from tests.store.given import settings
from tests.workers.conftest import House as WorkHouse
from tests.workers.conftest import report_of
from tests.workers.workbooks import lender

pytestmark = pytest.mark.fault


class Tenant:
    """All that one lender runs: the API, a projector, a worker."""

    def __init__(self, url: str, schema: str, redis_url: str, conn: Connection[TupleRow]) -> None:
        self.schema = schema
        self.conn = conn
        self.services = connect(settings(url, schema, redis_url=redis_url), pool_size=2)
        self.api = Api(self.services)
        self.reads = ReadHouse(url, schema, conn)
        self.work = WorkHouse(settings(url, schema, redis_url=redis_url))

    def close(self) -> None:
        self.work.close()
        self.reads.lending.close()
        self.services.lending.close()

    def live(self) -> tuple[int, int]:
        """Register, apply, ingest, look: through the API and the worker, as every day."""
        customer = self.api.register()
        loan: int = self.api.apply(customer).json["loan_id"]
        ended = self.work.ingest(*lender(2))
        assert report_of(ended).customers.recorded + report_of(ended).customers.unchanged == 2
        assert self.api.get(f"/view-loan/{loan}").json["customer"]["id"] == customer
        assert [each["loan_id"] for each in self.api.get(f"/view-loans/{customer}").json] == [loan]
        assert self.api.get("/health/ready").status_code == 200
        return customer, loan

    def behind(self) -> set[int]:
        """How many events each read table lacks."""
        return {one.lag.events for one in status(self.conn, self.schema)}

    def floor(self) -> Floor | None:
        return lowest_floor(self.conn, self.schema)


@pytest.fixture
def tenant(database_url: str, redis_url: str) -> Iterator[Callable[[], Tenant]]:
    """Makes tenants, which are gone afterwards."""
    made: list[Tenant] = []

    def one() -> Tenant:
        schema = f"test_{secrets.token_hex(6)}"
        prepare(database_url, schema)
        conn = psycopg.connect(database_url, autocommit=True)
        made.append(Tenant(database_url, schema, redis_url, conn))
        return made[-1]

    yield one
    for each in made:
        each.close()
        each.conn.execute("SET lock_timeout = '5s'")
        each.conn.execute(f"DROP SCHEMA {each.schema} CASCADE".encode())
        each.conn.close()


@pytest.fixture
def stalled(tenant: Callable[[], Tenant]) -> Tenant:
    return tenant()


@pytest.fixture
def other(tenant: Callable[[], Tenant]) -> Tenant:
    return tenant()


@contextmanager
def stalled_writer(database_url: str, one: Tenant) -> Iterator[Connection[TupleRow]]:
    """Somebody who has appended and neither commits nor goes away."""
    with psycopg.connect(database_url) as conn:
        insert = f"INSERT INTO {one.schema}.events VALUES (NULL, %s, 1, 'test.Happened', '')"
        conn.execute(insert.encode(), (uuid4(),))
        yield conn
        conn.rollback()


def test_a_stalled_writer_holds_the_tail_of_its_own_tenant_and_nothing_else(
    database_url: str,
    stalled: Tenant,
    other: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with stalled_writer(database_url, stalled) as writer:
        stalled.live()
        other.live()

        assert stalled.reads.project() == 0  # the control: the stall is real
        assert min(stalled.behind()) > 0
        floor = stalled.floor()
        assert floor is not None
        assert (floor.pid, floor.state) == (writer.info.backend_pid, "idle in transaction")
        assert (floor.seconds or 0) > 0

        with stalled.reads.rebuilder() as builder:
            for projection in PROJECTIONS:
                assert builder.rebuild(projection).rows == 0
        stalled.live()

        assert other.floor() is None
        assert other.reads.project() > 0
        assert other.behind() == {0}
        with other.reads.rebuilder() as builder:
            rebuilt = {one.name: builder.rebuild(one).rows for one in PROJECTIONS}
        assert rebuilt["customers"] > 0 < rebuilt["loans"]
        assert migrate(database_url, other.schema) == []
        assert lacking(other.conn, other.schema) == []
        assert other.reads.differences() == []
        other.live()
        other.reads.project()
        assert other.behind() == {0}

        monkeypatch.setenv("DATABASE_URL", database_url)
        monkeypatch.setenv("CREDIT_SCHEMA", stalled.schema)
        status_command(as_json=False)
        assert f"waits for process {floor.pid}, idle in transaction," in capsys.readouterr().out
        monkeypatch.setenv("CREDIT_SCHEMA", other.schema)
        status_command(as_json=False)
        assert "waits for process" not in capsys.readouterr().out

    assert stalled.floor() is None
    stalled.reads.project()
    assert stalled.behind() == {0}
    assert stalled.reads.differences() == []


def test_the_lowest_floor_is_named_not_the_oldest_transaction(
    database_url: str, stalled: Tenant
) -> None:
    with psycopg.connect(database_url) as older:
        older.execute("SELECT now()")
        with stalled_writer(database_url, stalled) as lowest:
            stalled.api.register()
            insert = f"INSERT INTO {stalled.schema}.events VALUES (NULL, %s, 1, 't', '')"
            older.execute(insert.encode(), (uuid4(),))
            floor = stalled.floor()
            assert floor is not None
            assert floor.pid == lowest.info.backend_pid
        floor = stalled.floor()
        assert floor is not None
        assert floor.pid == older.info.backend_pid
        older.rollback()


def test_a_lock_in_another_database_is_no_floor_here(database_url: str, stalled: Tenant) -> None:
    """Numbers of relations are given database by database: another one's may be the same."""
    name = f"test_{secrets.token_hex(6)}"
    (oid,) = stalled.conn.execute(
        f"SELECT '{stalled.schema}.log_position'::regclass::oid::int".encode()
    ).fetchone() or (0,)
    stalled.conn.execute(f"CREATE DATABASE {name}".encode())
    try:
        with psycopg.connect(database_url, dbname=name) as conn:
            conn.execute("SELECT pg_advisory_xact_lock_shared(%s, 0)", (oid,))
            assert stalled.floor() is None
            stalled.api.register()
            assert stalled.reads.project() == 1
    finally:
        stalled.conn.execute(f"DROP DATABASE {name}".encode())


def test_a_lock_of_one_long_key_is_no_floor(database_url: str, stalled: Tenant) -> None:
    """Such as a leader's: half of its key may happen to be the number of the log's sequence."""
    key = f"('{stalled.schema}.log_position'::regclass::oid::bigint << 32)"
    with psycopg.connect(database_url) as conn:
        conn.execute(f"SELECT pg_advisory_xact_lock_shared{key}".encode())
        assert stalled.floor() is None
        stalled.api.register()
        assert stalled.reads.project() == 1


def test_a_leader_in_another_database_leads_nothing_here(
    database_url: str, stalled: Tenant
) -> None:
    """Two deployments whose schemas have the same name take the same lock, each in its database."""
    name = f"test_{secrets.token_hex(6)}"
    stalled.conn.execute(f"CREATE DATABASE {name}".encode())
    leaders = [leader_of(projection, stalled.schema) for projection in PROJECTIONS]
    try:
        with psycopg.connect(database_url, dbname=name) as conn:
            for leader in leaders:
                conn.execute(LEAD, (leader,))
            assert not is_led(stalled.conn, stalled.schema)
        for leader in leaders:
            stalled.conn.execute(LEAD, (leader,))
        assert is_led(stalled.conn, stalled.schema)
    finally:
        stalled.conn.execute(f"DROP DATABASE {name}".encode())


def test_tenants_number_and_remember_requests_apart(stalled: Tenant, other: Tenant) -> None:
    key = {"Idempotency-Key": "the-same-key"}
    first = [one.api.post("/register", PERSON, **key).json for one in (stalled, other)]
    assert first[0] == first[1]
    assert first[0]["customer_id"] == 10_000_001
    again = other.api.post("/register", PERSON, **key).json
    assert again == first[1]
    changed = PERSON | {"age": 37}
    assert other.api.post("/register", changed, **key).status_code == 422  # the control
    assert stalled.api.register() == 10_000_002
    assert stalled.api.register() == 10_000_003
    assert other.api.register() == 10_000_002
    for one, customers in ((stalled, 3), (other, 2)):
        assert sum(len(batch) for batch in one.reads.log.tail(0)) == customers


@pytest.mark.parametrize("lock", [projector.LEAD, migrations.LOCK, rebuild.LOCK])
def test_a_lock_of_one_tenant_is_not_the_others(
    database_url: str, stalled: Tenant, other: Tenant, lock: str
) -> None:
    try_it = lock.replace("SELECT pg_advisory_lock(", "SELECT pg_try_advisory_lock(")
    with psycopg.connect(database_url, autocommit=True) as conn:
        assert stalled.conn.execute(try_it.encode(), (stalled.schema,)).fetchone() == (True,)
        assert conn.execute(try_it.encode(), (stalled.schema,)).fetchone() == (False,)  # control
        assert conn.execute(try_it.encode(), (other.schema,)).fetchone() == (True,)
    stalled.conn.execute("SELECT pg_advisory_unlock_all()")


def test_a_wake_up_of_one_tenant_reaches_no_worker_of_the_other(
    stalled: Tenant, other: Tenant
) -> None:
    waiting = stalled.work.request(*lender(2))
    assert stalled.work.broker.enqueue(waiting)
    with other.work.working():
        theirs = other.work.request(*lender(2))
        assert other.work.broker.enqueue(theirs)
        other.work.ended(theirs)
        other.work.worker.sweep()
        assert other.work.broker.workers_alive() == 1
        assert stalled.work.broker.workers_alive() == 0
    assert stalled.work.found(waiting).status == "queued"
    with stalled.work.working():  # the control: it waits there for its own
        report_of(stalled.work.ended(waiting))


def test_a_job_of_one_tenant_is_none_of_the_others(stalled: Tenant, other: Tenant) -> None:
    waiting = stalled.work.request(*lender(2))
    assert other.work.importing.ingestions.take(waiting) is None
    assert other.work.importing.ingestions.overdue(-1) == []
    assert stalled.work.importing.ingestions.overdue(-1) == [waiting]
    assert stalled.work.importing.ingestions.take(waiting) is not None
