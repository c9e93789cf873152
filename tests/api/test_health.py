"""Liveness asks nobody; readiness says what is missing, or only degraded."""

import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from api.app import connect
from credit_es.store.migrations import FOLDER
from projections.projector import LEAD
from projections.tables import PROJECTIONS, leader_of
from tests.api.client import Api, settings_of
from workers.broker import Broker


@pytest.fixture
def worker(redis_url: str, tables: str) -> Iterator[Broker]:
    """The sign of life of a worker."""
    broker = Broker(redis_url, tables)
    broker.say_alive("test")
    yield broker
    broker.say_gone("test")


@pytest.fixture
def leader(database_url: str, tables: str) -> Iterator[None]:
    """The locks of a projector that leads."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        for projection in PROJECTIONS:
            assert conn.execute(LEAD, (leader_of(projection, tables),)).fetchone() == (True,)
        yield


@pytest.mark.parametrize("slash", ["", "/"])
def test_alive_is_200(api: Api, slash: str) -> None:
    answered = api.get(f"/health/live{slash}")
    assert (answered.status_code, answered.json) == (200, {"status": "alive"})


@pytest.mark.usefixtures("worker", "leader")
@pytest.mark.parametrize("slash", ["", "/"])
def test_ready_with_everything_there_degrades_nothing(api: Api, slash: str) -> None:
    answered = api.get(f"/health/ready{slash}")
    assert answered.status_code == 200
    assert (answered.json["status"], answered.json["degraded"]) == ("ready", [])
    states = answered.json["projections"]
    assert [state["projection"] for state in states] == ["customers", "loans", "applications"]
    assert states[0]["lag"] == {"events": 0, "seconds": 0.0}


@pytest.mark.usefixtures("leader")
def test_without_a_worker_it_is_degraded(api: Api) -> None:
    answered = api.get("/health/ready")
    assert (answered.status_code, answered.json["degraded"]) == (200, ["worker"])


@pytest.mark.usefixtures("worker")
def test_without_a_leading_projector_it_is_degraded(api: Api) -> None:
    answered = api.get("/health/ready")
    assert (answered.status_code, answered.json["degraded"]) == (200, ["projector"])


@pytest.mark.usefixtures("worker", "leader")
def test_with_a_projector_far_behind_it_is_degraded(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.register()
    assert api.get("/health/ready").json["degraded"] == []
    monkeypatch.setattr("api.resources.health.LATE_S", 0.0)
    time.sleep(0.01)
    assert api.get("/health/ready").json["degraded"] == ["projector"]


@pytest.mark.usefixtures("worker", "leader")
def test_with_a_poisoned_projection_it_is_degraded(
    api: Api,
    database_url: str,
    schema: str,
    project: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project()
    with psycopg.connect(database_url, autocommit=True) as conn:
        statement = "UPDATE {}.read_tables SET problem = 'position 7' WHERE projection = 'loans'"
        conn.execute(sql.SQL(statement).format(sql.Identifier(schema)))
    # The table that stands still falls behind, and its projector is well.
    api.apply(api.register())
    project()
    monkeypatch.setattr("api.resources.health.LATE_S", 0.0)
    time.sleep(0.01)
    answered = api.get("/health/ready")
    assert (answered.status_code, answered.json["degraded"]) == (200, ["poison"])
    assert answered.json["projections"][1]["lag"]["events"] > 0
    problems = {state["projection"]: state["problem"] for state in answered.json["projections"]}
    assert problems == {"customers": None, "loans": "position 7", "applications": None}


@pytest.mark.usefixtures("leader")
def test_without_redis_it_is_degraded(database_url: str, tables: str) -> None:
    settings = settings_of(database_url, tables, "unix:///nowhere/redis.sock")
    services = connect(settings, pool_size=1)
    answered = Api(services).get("/health/ready")
    services.lending.close()
    assert (answered.status_code, answered.json["degraded"]) == (200, ["redis"])


def test_a_schema_that_is_not_migrated_is_503_and_names_what_it_lacks(
    database_url: str, redis_url: str
) -> None:
    services = connect(settings_of(database_url, "test_nowhere", redis_url), pool_size=1)
    answered = Api(services).get("/health/ready")
    services.lending.close()
    assert answered.status_code == 503
    first = min(path.name for path in FOLDER.glob("*.sql"))
    assert first in answered.json["detail"]
    assert "credit-es migrate" in answered.json["detail"]
    assert int(answered.headers["Retry-After"]) >= 1


def test_a_read_table_that_is_not_built_is_503_and_named(
    database_url: str, schema: str, redis_url: str
) -> None:
    services = connect(settings_of(database_url, schema, redis_url), pool_size=1)
    answered = Api(services).get("/health/ready")
    services.lending.close()
    assert answered.status_code == 503
    assert "customers" in answered.json["detail"]
