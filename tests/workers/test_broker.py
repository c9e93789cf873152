"""Redis as the wake-up: nothing waits long for it, and nothing is lost without it."""

import os
import signal
import time
from uuid import uuid4

import pytest

from tests.servers import RunningServer
from workers import broker as broker_module
from workers.broker import Broker


@pytest.fixture
def broker(redis_url: str, schema: str) -> Broker:
    return Broker(redis_url, schema)


def waiting(broker: Broker) -> int:
    """How many messages wait in the schema's queue."""
    keys = broker.client.keys(f"{broker.dramatiq.namespace}:*.msgs")
    return sum(int(broker.client.hlen(key)) for key in keys)


def test_a_wake_up_waits_in_the_queue_of_its_own_schema(broker: Broker, redis_url: str) -> None:
    other = Broker(redis_url, "another")
    assert broker.answers()
    assert broker.enqueue(uuid4())
    assert broker.enqueue(uuid4())
    assert (waiting(broker), waiting(other)) == (2, 0)


def test_workers_are_counted_while_they_give_a_sign_of_life(
    broker: Broker, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert broker.workers_alive() == 0
    broker.say_alive("one")
    broker.say_alive("one")
    broker.say_alive("two")
    assert broker.workers_alive() == 2
    assert Broker(redis_url, "another").workers_alive() == 0
    broker.say_gone("two")
    assert broker.workers_alive() == 1
    monkeypatch.setattr(broker_module, "ALIVE_S", 0.0)
    time.sleep(0.01)
    assert broker.workers_alive() == 0


@pytest.mark.fault
def test_without_redis_nothing_fails_or_waits_long(private_redis: RunningServer) -> None:
    private_redis.stop()
    began = time.monotonic()
    broker = Broker(private_redis.url, "credit")
    assert not broker.enqueue(uuid4())
    assert not broker.answers()
    assert broker.workers_alive() == 0
    assert time.monotonic() - began < 5
    private_redis.start()
    assert broker.enqueue(uuid4())
    assert broker.answers()


@pytest.mark.fault
@pytest.mark.slow
def test_a_redis_that_does_not_answer_is_given_up_in_time(
    private_redis: RunningServer,
) -> None:
    broker = Broker(private_redis.url, "credit")
    assert broker.enqueue(uuid4())
    os.kill(private_redis.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert not broker.enqueue(uuid4())
        assert time.monotonic() - began < 5
    finally:
        os.kill(private_redis.pid, signal.SIGCONT)
