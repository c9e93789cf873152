"""Fixtures of every room: real servers, one of each a test process, and a schema a test."""

import secrets
from collections.abc import Iterator
from importlib import import_module

import psycopg
import pytest
from psycopg import sql

from tests.servers import RunningServer, running_postgres, running_redis


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole files that take long come first, or one process would end alone with the last one."""
    long = {item.path for item in items if any(map(item.get_closest_marker, ("fault", "slow")))}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def postgres() -> Iterator[RunningServer]:
    """A Postgres shared by the tests of one process; it never flushes to the disk."""
    with running_postgres(durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: RunningServer) -> str:
    """Where it answers."""
    return postgres.url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis shared by the tests of one process."""
    with running_redis() as server:
        yield server.url


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """The database in which the test's own ``schema`` lies."""
    return postgres_url


@pytest.fixture
def schema(database_url: str) -> Iterator[str]:
    """A fresh schema with every migration applied, dropped after the test."""
    name = f"test_{secrets.token_hex(6)}"
    import_module("credit_es.store.migrations").migrate(database_url, name)
    yield name
    with psycopg.connect(database_url, autocommit=True) as connection:
        # A test that leaves a transaction open fails here instead of waiting for ever.
        connection.execute("SET lock_timeout = '5s'")
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


@pytest.fixture
def private_postgres() -> Iterator[RunningServer]:
    """A Postgres of the test's own, as durable as in earnest: to be stopped, killed, restarted."""
    with running_postgres(durable=True) as server:
        yield server


@pytest.fixture
def private_redis() -> Iterator[RunningServer]:
    """A Redis of the test's own: to be stopped, killed, restarted."""
    with running_redis() as server:
        yield server
