"""Ingestion under fire: workers killed half-way, Redis and Postgres away; the end is the same."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
import structlog
from msgspec.structs import replace
from psycopg import Connection
from psycopg.rows import TupleRow

from credit_es import importing
from credit_es.domain.events import CustomerImported, LoanImported
from credit_es.domain.histories import History, Ingestion
from credit_es.domain.importing import Import, Known, decide_import
from credit_es.domain.rows import LoanRow
from credit_es.store import ingestions
from credit_es.store.mapper import customer_stream, topic
from credit_es.store.migrations import migrate
from tests.faults.holds import appends_held, appends_waiting
from tests.processes import until
from tests.servers import RunningServer
from tests.store.given import settings
from tests.workers.conftest import House, report_of
from tests.workers.workbooks import lender
from workers import ingestion as worker_module

pytestmark = pytest.mark.fault

ROOT = Path(__file__).parents[2]
NumberFor = Callable[[LoanRow], int]
CUSTOMERS = 400
HELD = 200
"""A customer of the second of four batches, whose stream a test holds."""


@pytest.fixture
def house(database_url: str, schema: str, redis_url: str) -> Iterator[House]:
    one = House(settings(database_url, schema, redis_url=redis_url))
    yield one
    one.close()


@contextmanager
def another_house(database_url: str, redis_url: str) -> Iterator[House]:
    name = f"test_{secrets.token_hex(6)}"
    migrate(database_url, name)
    one = House(settings(database_url, name, redis_url=redis_url))
    try:
        yield one
    finally:
        one.close()
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute(f"DROP SCHEMA {name} CASCADE".encode())


@contextmanager
def command_process(house: House, log: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real ``credit-es``; killed afterwards, if it still runs."""
    environ = {
        **os.environ,
        "DATABASE_URL": house.settings.database_url,
        "REDIS_URL": house.settings.redis_url,
        "CREDIT_SCHEMA": house.settings.schema,
    }
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "credit_es.cli.main", *words],
            cwd=ROOT,
            env=environ,
            stdout=output,
            stderr=output,
        )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def worker_process(house: House, log: Path) -> AbstractContextManager[subprocess.Popen[bytes]]:
    return command_process(house, log, "worker")


@contextmanager
def stream_held(house: House, customer_number: int) -> Iterator[None]:
    """Somebody appends to the customer's stream, and takes their time: an import waits there."""
    with closing(psycopg.connect(house.settings.database_url)) as conn:
        insert = f"INSERT INTO {house.settings.schema}.events VALUES (NULL, %s, 1, 't', '')"
        conn.execute(insert.encode(), (customer_stream(customer_number),))
        yield


@contextmanager
def plain(house: House) -> Iterator[Connection[TupleRow]]:
    with psycopg.connect(house.settings.database_url, autocommit=True) as conn:
        yield conn


def an_append_waits(house: House) -> bool:
    return appends_waiting(house.settings.database_url, house.settings.schema) > 0


def let_time_pass(house: House, ingestion_id: UUID) -> None:
    """As if the worker had given no sign of life for an hour."""
    statement = (
        f"UPDATE {house.settings.schema}.ingestions SET seen_at = now() - interval '1 hour',"
        " enqueued_at = now() - interval '1 hour' WHERE ingestion_id = %s"
    )
    with plain(house) as conn:
        conn.execute(statement.encode(), (ingestion_id,))


def end_state(house: House, ingestion_id: UUID) -> dict[str, Any]:
    """Facts, report and findings, whatever id the job and whatever fresh number a loan got."""

    def plainly(value: object) -> str:
        text = msgspec.json.encode(value, order="sorted").decode()
        text = text.replace(str(ingestion_id), "the-ingestion")
        return re.sub(r"\b100\d{5}\b", "a-fresh-number", text)

    ended = house.found(ingestion_id)
    return {
        "status": ended.status,
        "report": ended.report,
        "facts": sorted(map(plainly, house.facts())),
        "findings": [plainly(finding) for finding in house.findings(ended)],
    }


def recorded_so_far(house: House) -> int:
    """What is committed: whoever dies in an append holds readers of the log back for a moment."""
    statement = f"SELECT count(*) FROM {house.settings.schema}.events WHERE topic = %s"
    with psycopg.connect(house.settings.database_url) as conn:
        row = conn.execute(statement.encode(), (topic(CustomerImported),)).fetchone()
    assert row is not None
    return int(row[0])


def is_half_way(house: House) -> bool:
    """An append waits, and another batch, which is appended meanwhile, is recorded."""
    return an_append_waits(house) and recorded_so_far(house) > 0


def test_a_job_whose_worker_was_killed_half_way_ends_as_an_undisturbed_one(
    house: House, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    workbooks = lender(CUSTOMERS)
    with another_house(database_url, redis_url) as undisturbed:
        control = end_state(undisturbed, undisturbed.ingest(*workbooks).job.ingestion_id)

    ingestion_id = house.request(*workbooks)
    assert house.broker.enqueue(ingestion_id)
    with stream_held(house, HELD), worker_process(house, tmp_path / "first.log") as first:
        until(lambda: is_half_way(house))
        first.send_signal(signal.SIGKILL)
        first.wait(5)
    assert 0 < recorded_so_far(house) < CUSTOMERS
    # Without a sweep nobody would ever take it up.
    let_time_pass(house, ingestion_id)
    with house.working():
        time.sleep(1)
    assert house.found(ingestion_id).status == "running"
    with worker_process(house, tmp_path / "second.log"):
        ended = house.ended(ingestion_id)
    assert ended.attempts == 2
    assert end_state(house, ingestion_id) == control


@pytest.mark.slow
def test_without_a_look_at_the_log_a_job_taken_up_again_doubles_what_was_recorded(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: it is what the log holds already that keeps a job from recording it twice."""
    ingestion_id = house.request(*lender(CUSTOMERS))
    assert house.broker.enqueue(ingestion_id)
    with stream_held(house, HELD), worker_process(house, tmp_path / "first.log") as first:
        until(lambda: is_half_way(house))
        first.kill()
        first.wait(5)
    recorded = recorded_so_far(house)
    assert 0 < recorded < CUSTOMERS

    def forgetful(
        ingestion: Ingestion, history: History, known: Known | None, number_for: NumberFor
    ) -> Import:
        known = known and replace(known, loans={})
        return decide_import(ingestion, history, known, number_for)

    monkeypatch.setattr(importing, "decide_import", forgetful)
    let_time_pass(house, ingestion_id)
    house.worker.ingest(str(ingestion_id))
    opened = sum(isinstance(fact, LoanImported) for fact in house.facts())
    assert opened == 2 * (CUSTOMERS + recorded)


def test_ctrl_c_ends_a_request_that_waits_for_others_appends(house: House, tmp_path: Path) -> None:
    workbooks = (str(ROOT / "data" / f"{name}_data.xlsx") for name in ("customer", "loan"))
    with (
        appends_held(house.settings.database_url, house.settings.schema),
        command_process(house, tmp_path / "ingest.log", "ingest", *workbooks) as request,
    ):
        until(lambda: an_append_waits(house))
        began = time.monotonic()
        request.send_signal(signal.SIGINT)
        request.wait(15)
        assert time.monotonic() - began < 3  # less than the server's own five seconds


def test_a_worker_that_is_stopped_gives_its_job_back_and_the_next_one_ends_it(
    house: House, tmp_path: Path
) -> None:
    ingestion_id = house.request(*lender(CUSTOMERS))
    assert house.broker.enqueue(ingestion_id)
    with stream_held(house, HELD), worker_process(house, tmp_path / "first.log") as first:
        until(lambda: an_append_waits(house))
        began = time.monotonic()
        first.send_signal(signal.SIGTERM)
        # At once, and not when whoever holds the stream lets go or is given up, after 5 s.
        until(lambda: house.found(ingestion_id).status == "queued", timeout_s=3)
        first.wait(15)
        assert time.monotonic() - began < 10
    assert first.returncode == 0
    told = (tmp_path / "first.log").read_text()
    assert '"ingestion broken off"' in told
    assert "Traceback" not in told
    let_time_pass(house, ingestion_id)
    with worker_process(house, tmp_path / "second.log"):
        report = report_of(house.ended(ingestion_id))
    assert (report.customers.recorded, report.loans.recorded) == (CUSTOMERS, 2 * CUSTOMERS)


@contextmanager
def sweeping(house: House) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=house.worker.sweep_until, args=(stop,))
    with house.working():
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(20)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps every tenth of a second, of what waits for two."""
    monkeypatch.setattr(worker_module, "SWEEP_S", 0.1)
    monkeypatch.setattr(worker_module, "OVERDUE_S", 0.2)


@pytest.mark.usefixtures("impatient")
def test_a_job_that_takes_longer_than_its_lease_stays_its_workers(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestions, "LEASE_S", 0.8)
    ingestion_id = house.request(*lender(CUSTOMERS))
    with sweeping(house):
        with stream_held(house, HELD):
            assert house.broker.enqueue(ingestion_id)
            until(lambda: an_append_waits(house))
            time.sleep(2.5)
        assert report_of(house.ended(ingestion_id)).customers.recorded == CUSTOMERS
    assert house.found(ingestion_id).attempts == 1


@pytest.mark.usefixtures("impatient")
def test_sweeps_go_on_when_somebody_has_held_the_queue_for_long(house: House) -> None:
    ingestion_id = house.request(*lender(2))  # which nobody enqueues but a sweep
    with psycopg.connect(house.settings.database_url) as conn:
        queue = f"LOCK TABLE {house.settings.schema}.ingestions IN ACCESS EXCLUSIVE MODE"
        conn.execute(queue.encode())
        with structlog.testing.capture_logs() as logs, sweeping(house):
            until(lambda: any(line["event"] == "sweep waits" for line in logs), timeout_s=20)
            conn.rollback()
            assert report_of(house.ended(ingestion_id)).customers.recorded == 2


@pytest.mark.usefixtures("impatient")
def test_what_was_asked_while_redis_was_down_is_done_when_it_is_back(
    database_url: str, schema: str, private_redis: RunningServer
) -> None:
    house = House(settings(database_url, schema, redis_url=private_redis.url))
    with sweeping(house):
        before = house.request(*lender(2))
        assert house.broker.enqueue(before)
        house.ended(before)
        private_redis.stop()
        began = time.monotonic()
        ingestion_id = house.request(*lender(4))
        assert not house.broker.enqueue(ingestion_id)
        assert time.monotonic() - began < 5
        time.sleep(1)
        assert house.found(ingestion_id).status == "queued"
        private_redis.start()
        assert report_of(house.ended(ingestion_id, within_s=30)).customers.recorded == 2
    house.close()


@pytest.mark.usefixtures("impatient")
def test_a_worker_that_starts_without_redis_works_when_it_is_there(
    database_url: str, schema: str, private_redis: RunningServer
) -> None:
    private_redis.stop()
    house = House(settings(database_url, schema, redis_url=private_redis.url))
    ingestion_id = house.request(*lender(2))
    with sweeping(house):
        time.sleep(0.5)
        private_redis.start()
        assert report_of(house.ended(ingestion_id, within_s=30)).customers.recorded == 2
    house.close()


def killed_and_empty(server: RunningServer) -> None:
    """Redis killed with -9; of what it had been told nothing was written yet."""
    server.kill()
    shutil.rmtree(server.folder / "appendonlydir")
    server.start()


@pytest.mark.usefixtures("impatient")
def test_a_message_that_a_killed_redis_lost_is_sent_again(
    database_url: str, schema: str, private_redis: RunningServer
) -> None:
    house = House(settings(database_url, schema, redis_url=private_redis.url))
    ingestion_id = house.request(*lender(2))
    assert house.broker.enqueue(ingestion_id)
    killed_and_empty(private_redis)
    with sweeping(house):
        assert report_of(house.ended(ingestion_id, within_s=30)).customers.recorded == 2
    house.close()


def test_a_message_that_a_killed_redis_lost_stays_lost_without_the_sweep(
    database_url: str, schema: str, private_redis: RunningServer
) -> None:
    """The control: it is the sweep that brings it back."""
    house = House(settings(database_url, schema, redis_url=private_redis.url))
    ingestion_id = house.request(*lender(2))
    assert house.broker.enqueue(ingestion_id)
    killed_and_empty(private_redis)
    with house.working():
        time.sleep(3)
        assert house.found(ingestion_id).status == "queued"
    house.close()


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_a_job_under_which_postgres_was_killed_ends_when_it_is_back(
    private_postgres: RunningServer, redis_url: str
) -> None:
    schema = f"test_{secrets.token_hex(6)}"
    migrate(private_postgres.url, schema)
    house = House(settings(private_postgres.url, schema, redis_url=redis_url))
    with sweeping(house):
        ingestion_id = house.request(*lender(CUSTOMERS))
        with stream_held(house, HELD):
            assert house.broker.enqueue(ingestion_id)
            until(lambda: an_append_waits(house))
            private_postgres.kill()
        time.sleep(1)
        private_postgres.start()
        until(lambda: recorded_so_far(house) < CUSTOMERS)
        let_time_pass(house, ingestion_id)
        report = report_of(house.ended(ingestion_id))
    assert (report.customers.recorded, report.loans.recorded) == (CUSTOMERS, 2 * CUSTOMERS)
    house.close()
