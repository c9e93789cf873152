"""A whole service under load, whose processes are killed with -9 one after the other."""

import os
import signal
from collections.abc import Iterator

import psycopg
import pytest
import structlog

from credit_es.application import Lending
from credit_es.cli.context import CHECKOUT
from credit_es.home import running
from projections.status import status
from projections.tables import PROJECTIONS
from projections.verify import verify
from tests.faults.callers import calling
from tests.faults.service import Service
from tests.processes import LISTED, Seen, until
from tests.store.given import settings

pytestmark = [
    pytest.mark.fault,
    pytest.mark.slow,
    pytest.mark.skipif(not LISTED, reason="only Linux lists processes with their environment"),
]

VICTIMS = ["api", "api worker", "projector", "worker", "redis", "postgres"]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


def victims(service: Service, name: str) -> list[Seen]:
    """The processes of one name: those that the supervisor started, or the API's own workers."""
    assert service.child is not None
    all_of_it = service.processes()
    parents = {service.child.pid}
    if name == "api worker":
        parents = {api.pid for api in victims(service, "api")}
    titles = {"api worker": "credit-es api", "redis": "valkey-server", "postgres": "postgres -D"}
    title = titles.get(name, f"credit-es {name}")
    return [one for one in all_of_it if one.parent in parents and title in one.title]


def kill(service: Service, name: str) -> None:
    """Kill one, and wait until another one has taken its place."""
    until(lambda: bool(victims(service, name)))
    killed = victims(service, name)[0]
    os.kill(killed.pid, signal.SIGKILL)

    def replaced() -> bool:
        now = victims(service, name)
        return bool(now) and killed.pid not in {one.pid for one in now}

    until(replaced)


def let_time_pass(url: str) -> None:
    """As if what a killed worker was at had waited for an hour."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "UPDATE credit.ingestions SET seen_at = now() - interval '1 hour',"
            " enqueued_at = now() - interval '1 hour' WHERE finished_at IS NULL"
        )


def assert_read_tables_are_right(url: str, lending: Lending) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        until(lambda: {one.lag.events for one in status(conn, "credit")} == {0})
        assert [one.problem for one in status(conn, "credit")] == [None] * len(PROJECTIONS)
        for projection in PROJECTIONS:
            assert list(verify(conn, lending.reader, "credit", projection)) == []


def test_whatever_is_killed_what_was_acknowledged_is_true_and_none_is_doubled(
    service: Service,
) -> None:
    service.start()
    with calling(service.port, uploads=True) as callers:
        for name in VICTIMS:
            callers.more()
            kill(service, name)
        callers.more()
        service.signal(signal.SIGKILL)
        service.start()  # at once: it waits for what is left
        callers.more()
    assert any(one.times > 1 for caller in callers.all for one in caller.told)
    now = running(CHECKOUT, service.environ)
    assert now is not None
    let_time_pass(now.database_url)
    lending = Lending(settings(now.database_url, "credit"))
    callers.assert_all_is_ingested(lending)
    callers.assert_all_is_true(lending)
    assert_read_tables_are_right(now.database_url, lending)
    lending.close()
