"""The primary is lost and a synchronous standby promoted: nothing acknowledged is lost.

The application is told both servers in ``DATABASE_URL`` and goes on by itself. The control
acknowledges without the standby, and loses what it acknowledged.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

import psycopg
import pytest

from credit_es.application import Lending
from credit_es.domain.events import CustomerRegistered, LoanApproved
from credit_es.store.database import StoreUnavailableError
from credit_es.store.idempotency import Once
from credit_es.store.log import Log
from credit_es.store.mapper import DECODER
from projections.reading import ReadModel
from projections.status import status
from projections.tables import PROJECTIONS
from projections.verify import verify
from tests.api.client import PERSON, ROOT, Server, environment_of, prepare, serving
from tests.faults.background import in_turns
from tests.projections.history import assert_reads_are_right
from tests.servers import RunningServer, either, running_postgres, running_standby
from tests.store.given import BY, person, settings

pytestmark = [pytest.mark.fault, pytest.mark.slow]

SCHEMA: Final = "credit"
MOST_S: Final = 5.0
ASYNCHRONOUS: Final = (
    "ALTER SYSTEM RESET synchronous_standby_names",
    "SELECT pg_reload_conf()",
)
WAITING: Final = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


class Pair(NamedTuple):
    """Two servers, of which one waits for the other that follows it, and the URL of both."""

    primary: RunningServer
    standby: RunningServer
    url: str


@pytest.fixture
def pair() -> Iterator[Pair]:
    with running_postgres(durable=True) as primary:
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        primary.stop()  # a reload would come into force at some later moment
        primary.start()
        with running_standby(primary, durable=True) as standby:
            # The standby first: everybody must pass it over while it is one, migrate too.
            url = either(standby, primary)
            prepare(url, SCHEMA)
            yield Pair(primary, standby, url)


@pytest.fixture
def lending(pair: Pair) -> Iterator[Lending]:
    lending = Lending(settings(pair.url, SCHEMA), pool_size=4)
    yield lending
    lending.close()


def promote(standby: RunningServer) -> None:
    standby.sql(*ASYNCHRONOUS, "SELECT pg_promote()")  # it would wait for a standby of its own


def until(holds: Callable[[], bool], *, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Client:
    """Registers customers over HTTP and applies for a loan for each, one after the other."""

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._name = name
        self.registered: list[str] = []
        self.approved: list[int] = []
        self.refused: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.longest_s = 0.0

    def turn(self, number: int) -> None:
        name = f"{self._name}-{number}"
        customer = self._ask("/register", PERSON | {"first_name": name}, 201)
        if customer is None:
            self.refused.append(name)
            return
        self.registered.append(name)
        terms = {"loan_amount": 10_000, "interest_rate": 12, "tenure": 12}
        loan = self._ask("/create-loan", {"customer_id": customer["customer_id"]} | terms, 201)
        if loan is not None:
            self.approved.append(loan["loan_id"])

    def _ask(self, path: str, body: Mapping[str, object], expected: int) -> dict[str, int] | None:
        began = time.monotonic()
        answer = self._server.send("POST", path, body)
        self.longest_s = max(self.longest_s, time.monotonic() - began)
        self.statuses[answer.status] += 1
        return answer.json if answer.status == expected else None


@contextmanager
def asking(server: Server, count: int) -> Iterator[list[Client]]:
    clients = [Client(server, f"client-{n}") for n in range(count)]
    with in_turns(*(client.turn for client in clients)):
        yield clients


def more(clients: list[Client]) -> None:
    """Wait until every client was granted a loan once more."""
    before = [len(client.approved) for client in clients]
    until(lambda: all(len(c.approved) > was for c, was in zip(clients, before, strict=True)))


class Follower:
    """Reads the tail of the log, and keeps its position in memory only."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.seen: list[int] = []

    def turn(self, _number: int) -> None:
        with suppress(StoreUnavailableError):
            self.read_on()
        time.sleep(0.01)

    def read_on(self) -> None:
        for batch in self._log.tail(self.seen[-1] if self.seen else 0):
            self.seen += [event.id for event in batch]


@contextmanager
def projecting(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "credit_es.cli.main", "projector"],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def following(log: Log) -> Iterator[Follower]:
    follower = Follower(log)
    with in_turns(follower.turn):
        yield follower


def registered_in(log: Log) -> Counter[str]:
    """How often each first name was registered."""
    facts = (DECODER.decode(event.state).fact for batch in log.tail(0) for event in batch)
    return Counter(fact.first_name for fact in facts if isinstance(fact, CustomerRegistered))


def approved_in(log: Log) -> Counter[int]:
    """How often each loan was approved."""
    facts = (DECODER.decode(event.state).fact for batch in log.tail(0) for event in batch)
    return Counter(fact.loan_number for fact in facts if isinstance(fact, LoanApproved))


def test_a_fail_over_under_load_loses_nothing_and_everybody_goes_on(
    pair: Pair, lending: Lending, redis_url: str
) -> None:
    environment = environment_of(pair.url, SCHEMA, redis_url)
    with projecting(environment) as projector, serving(environment) as server:
        with following(lending.reader) as follower, asking(server, 4) as clients:
            more(clients)
            pair.primary.kill()
            promote(pair.standby)
            more(clients)
        assert projector.poll() is None
        with psycopg.connect(pair.standby.url, autocommit=True) as conn:
            until(lambda: {one.lag.events for one in status(conn, SCHEMA)} == {0})
            differences = [d for p in PROJECTIONS for d in verify(conn, lending.reader, SCHEMA, p)]
    assert differences == []
    follower.read_on()
    assert follower.seen == [event.id for batch in lending.reader.tail(0) for event in batch]
    statuses = sum((client.statuses for client in clients), Counter[int]())
    assert set(statuses) <= {201, 503}
    assert max(client.longest_s for client in clients) < MOST_S
    registered = registered_in(lending.reader)
    acknowledged = {name for client in clients for name in client.registered}
    refused = {name for client in clients for name in client.refused}
    assert acknowledged <= set(registered) <= acknowledged | refused
    assert set(registered.values()) == {1}
    approved = approved_in(lending.reader)
    assert {number for client in clients for number in client.approved} <= set(approved)
    assert set(approved.values()) == {1}
    assert_reads_are_right(ReadModel(lending.database), lending.reader)


def test_without_a_synchronous_standby_what_was_acknowledged_is_lost(
    pair: Pair, lending: Lending
) -> None:
    """The control: nobody waited for the standby."""
    lending.register(person(first_name="Early"), BY)
    pair.standby.stop()
    pair.primary.sql(*ASYNCHRONOUS)
    lending.register(person(first_name="Late"), BY)
    pair.primary.stop("immediate")
    pair.standby.start()
    promote(pair.standby)
    assert registered_in(lending.reader) == {"Early": 1}


def test_a_commit_that_the_standby_lacks_is_acknowledged_neither_at_once_nor_when_found_again(
    pair: Pair, lending: Lending
) -> None:
    """One whose wait is cut off stands in the log for everybody to see, and can still be lost."""
    lending.register(person(first_name="Early"), BY)
    pair.standby.stop()
    once = Once(actor="a", path="/register", key="k", digest=b"d")
    with ThreadPoolExecutor(2) as pool:
        try:
            with psycopg.connect(pair.primary.url, autocommit=True) as conn:
                first = pool.submit(lending.register, person(first_name="Late"), BY, once)
                (pid,) = waiting(conn, first)
                conn.execute("SELECT pg_terminate_backend(%s)", (pid,))
                until(lambda: registered_in(lending.reader) == {"Early": 1, "Late": 1})
                again = pool.submit(lending.register, person(first_name="Late"), BY, once)
                waiting(conn, first, again)
        finally:
            pair.primary.stop("immediate")  # a failed test would wait for the standby, too
        pair.standby.start()
        promote(pair.standby)
        kept = [call for call in (first, again) if was_kept(call)]
    acknowledged = {call.result().customer_number for call in kept}
    found = registered_in(lending.reader)
    assert found["Early"] == 1
    assert found["Late"] == len(acknowledged) <= 1


def waiting(conn: psycopg.Connection, *calls: "Future[CustomerRegistered]") -> list[int]:
    """The backends whose commits wait for the standby, as soon as each of ``calls`` has one."""
    found: list[int] = []

    def all_wait() -> bool:
        assert not any(call.done() for call in calls), "acknowledged without the standby"
        found[:] = [pid for (pid,) in conn.execute(WAITING)]
        return len(found) == len(calls)

    until(all_wait)
    return found


def was_kept(call: "Future[CustomerRegistered]") -> bool:
    return not isinstance(call.exception(20), StoreUnavailableError)
