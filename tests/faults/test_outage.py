"""Postgres away, killed and back: calls are bounded, what was acknowledged is kept, none doubled.

The application goes on by itself: no restart of ours is needed.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from credit_es.application import Lending
from credit_es.domain.events import CustomerRegistered
from credit_es.store.database import StoreUnavailableError
from credit_es.store.mapper import DECODER
from credit_es.store.migrations import migrate
from projections.reading import ReadModel
from projections.rebuild import rebuilder
from tests.faults.background import in_turns
from tests.servers import RunningServer
from tests.store.given import BY, person, settings

pytestmark = pytest.mark.fault

SCHEMA = "credit"
MOST_S = 5.0


@pytest.fixture
def lending(private_postgres: RunningServer) -> Iterator[Lending]:
    migrate(private_postgres.url, SCHEMA)
    with rebuilder(private_postgres.url, SCHEMA) as one:
        one.prepare()
    lending = Lending(settings(private_postgres.url, SCHEMA), pool_size=6)
    yield lending
    lending.close()


def registered_in_the_log(lending: Lending) -> Counter[str]:
    """How often each first name was registered."""
    facts = (DECODER.decode(e.state).fact for batch in lending.reader.tail(0) for e in batch)
    return Counter(fact.first_name for fact in facts if isinstance(fact, CustomerRegistered))


class Caller:
    """Registers one customer after the other, each with a name of their own."""

    def __init__(self, lending: Lending, name: str) -> None:
        self._lending = lending
        self._name = name
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self.longest_s = 0.0

    def turn(self, number: int) -> None:
        name = f"{self._name}-{number}"
        began = time.monotonic()
        try:
            self._lending.register(person(first_name=name), BY)
            self.acknowledged.append(name)
        except StoreUnavailableError:
            self.refused.append(name)
        self.longest_s = max(self.longest_s, time.monotonic() - began)


@contextmanager
def calling(lending: Lending, count: int) -> Iterator[list[Caller]]:
    callers = [Caller(lending, f"caller-{n}") for n in range(count)]
    with in_turns(*(caller.turn for caller in callers)):
        yield callers


def more(callers: list[Caller], *, within_s: float = 20) -> None:
    """Wait until every caller was answered once more."""
    before = [len(caller.acknowledged) for caller in callers]
    deadline = time.monotonic() + within_s
    while any(len(c.acknowledged) <= was for c, was in zip(callers, before, strict=True)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
def test_a_server_restarted_under_load_loses_and_doubles_nothing(
    lending: Lending, private_postgres: RunningServer, how: str
) -> None:
    with calling(lending, 4) as callers:
        for _ in range(2):
            more(callers)
            if how == "kill":
                private_postgres.kill()
            else:
                private_postgres.stop(how)
            time.sleep(0.5)
            private_postgres.start()
        more(callers)
    assert max(caller.longest_s for caller in callers) < MOST_S
    found = registered_in_the_log(lending)
    acknowledged = {name for caller in callers for name in caller.acknowledged}
    refused = {name for caller in callers for name in caller.refused}
    assert acknowledged <= set(found) <= acknowledged | refused
    assert set(found.values()) == {1}


def test_while_the_server_is_away_every_call_is_refused_in_time_and_then_answered(
    lending: Lending, private_postgres: RunningServer
) -> None:
    number = lending.register(person(), BY).customer_number
    reads = ReadModel(lending.database)
    before = reads.customer(number)
    private_postgres.stop()
    calls: list[Callable[[], object]] = [
        lambda: lending.register(person(), BY),
        lambda: lending.load(number),
        lambda: reads.customer(number),
        lambda: reads.by_phone(1, after=0, limit=1),
        lending.reader.head,
    ]

    def refused_after(call: Callable[[], object]) -> float:
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            call()
        return time.monotonic() - began

    with ThreadPoolExecutor(len(calls)) as pool:
        assert max(pool.map(refused_after, calls)) < MOST_S
    private_postgres.start()
    deadline = time.monotonic() + 10
    while True:
        try:
            assert reads.customer(number) == before
        except StoreUnavailableError:
            assert time.monotonic() < deadline
        else:
            break
    assert lending.register(person(), BY).customer_number > number
