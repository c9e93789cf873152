"""Fixtures of the API's tests, on a real Postgres and a real Redis. No projector runs in any."""

import secrets
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from api.app import Services, connect
from credit_es.store.database import Database
from credit_es.store.log import Log
from credit_es.store.recorder import LogRecorder
from projections.projector import Projector
from projections.rebuild import rebuilder
from tests.api.client import Api, Server, environment_of, prepare, serving, settings_of


@pytest.fixture
def tables(database_url: str, schema: str) -> str:
    """The test's schema, with read tables that nobody feeds yet."""
    with rebuilder(database_url, schema) as one:
        one.prepare()
    return schema


@pytest.fixture
def services(database_url: str, tables: str, redis_url: str) -> Iterator[Services]:
    """What the routes call, on the test's schema."""
    one = connect(settings_of(database_url, tables, redis_url), pool_size=4)
    yield one
    one.lending.close()


@pytest.fixture
def api(services: Services) -> Api:
    """The application in this process; no projector runs."""
    return Api(services)


@pytest.fixture(scope="module")
def shared(postgres_url: str, redis_url: str) -> Iterator[Api]:
    """The application on a schema that the tests of one module share, where none minds another."""
    name = f"test_{secrets.token_hex(6)}"
    prepare(postgres_url, name)
    services = connect(settings_of(postgres_url, name, redis_url), pool_size=4)
    yield Api(services)
    services.lending.close()
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def shared_server(shared: Api, postgres_url: str, redis_url: str) -> Iterator[Server]:
    """The same schema behind gunicorn."""
    schema = shared.services.lending.database.schema
    with serving(environment_of(postgres_url, schema, redis_url)) as one:
        yield one


@pytest.fixture
def server(database_url: str, tables: str, redis_url: str) -> Iterator[Server]:
    """The application in gunicorn's processes; no projector runs."""
    with serving(environment_of(database_url, tables, redis_url)) as one:
        yield one


@pytest.fixture
def project(database_url: str, tables: str) -> Callable[[], None]:
    """Brings the read tables up to the log, as the projector does."""

    def bring_up() -> None:
        database = Database(database_url, schema=tables, pool_size=1)
        with psycopg.connect(database_url, autocommit=True) as conn:
            projector = Projector(conn, Log(LogRecorder(database)), tables)
            while projector.step():
                pass
        database.close()

    return bring_up
