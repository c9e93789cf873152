"""Postgres stopped at once, under load, three times: what the API has acknowledged stays true."""

import time

import pytest

from credit_es.application import Lending
from credit_es.domain.errors import UnknownCustomerError
from tests.api.client import PERSON, environment_of, prepare, serving
from tests.faults.callers import calling
from tests.servers import RunningServer
from tests.store.given import settings

pytestmark = pytest.mark.fault

SCHEMA = "credit"


@pytest.fixture
def url(private_postgres: RunningServer) -> str:
    prepare(private_postgres.url, SCHEMA)
    return private_postgres.url


def test_what_was_acknowledged_before_postgres_was_stopped_is_true_and_none_is_doubled(
    private_postgres: RunningServer, url: str, redis_url: str
) -> None:
    with serving(environment_of(url, SCHEMA, redis_url)) as server:
        # So many that not all of them happen to be reading, which is not told, when it is stopped.
        with calling(server.port, borrowers=6) as callers:
            for away_s in (6, 0, 0):  # longer than any call waits, and short enough to sit it out
                callers.more()
                private_postgres.stop("immediate")
                time.sleep(away_s)
                private_postgres.start()
            callers.more()
        assert any(one.times > 1 for caller in callers.all for one in caller.told)
        lending = Lending(settings(url, SCHEMA))
        callers.assert_all_is_true(lending)
        lending.close()


def test_without_a_flush_at_each_commit_what_was_acknowledged_is_lost(
    private_postgres: RunningServer, url: str, redis_url: str
) -> None:
    """The control: a commit that is answered before it is on the disk does not survive."""
    private_postgres.sql("ALTER SYSTEM SET wal_writer_delay = '10s'", "SELECT pg_reload_conf()")
    careless = f"{url}&options=-csynchronous_commit%3Doff"
    with serving(environment_of(careless, SCHEMA, redis_url)) as server:
        told = [server.send("POST", "/register", PERSON) for _ in range(5)]
        assert {answer.status for answer in told} == {201}
        private_postgres.stop("immediate")
        private_postgres.start()
    lending = Lending(settings(url, SCHEMA))
    with pytest.raises(UnknownCustomerError):
        lending.load(told[-1].json["customer_id"])
    lending.close()
