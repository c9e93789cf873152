"""A whole service of real processes behind a real PgBouncer in transaction mode."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from tests.api.client import PERSON, ROOT, environment_of, form, prepare, serving
from tests.processes import until
from tests.projections.conftest import House
from tests.servers import PGBOUNCER, running_pgbouncer
from tests.workers.workbooks import lender

pytestmark = [
    pytest.mark.fault,
    pytest.mark.slow,
    pytest.mark.skipif(PGBOUNCER is None, reason="needs Debian's package `pgbouncer`"),
]


@pytest.fixture
def pooled_url(postgres_url: str) -> Iterator[str]:
    with running_pgbouncer(postgres_url) as server:
        yield server.url


@contextmanager
def running(command: str, environment: dict[str, str]) -> Iterator[None]:
    """A ``credit-es`` process that goes on until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "credit_es.cli.main", command],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def users_of(pooled_url: str) -> int:
    """How many connections its users hold, by its own console, which takes simple queries alone."""
    with psycopg.connect(pooled_url, dbname="pgbouncer", autocommit=True) as console:
        shown = console.pgconn.exec_(b"SHOW CLIENTS")
    names = [shown.fname(column) for column in range(shown.nfields)]
    database = names.index(b"database")
    return sum(shown.get_value(row, database) != b"pgbouncer" for row in range(shown.ntuples))


def test_everything_works_through_a_pooler(
    pooled_url: str, database_url: str, schema: str, redis_url: str
) -> None:
    prepare(database_url, schema)
    direct = {"DATABASE_DIRECT_URL": database_url}
    environment = environment_of(pooled_url, schema, redis_url, **direct)
    with ExitStack() as stack:
        for command in ("projector", "worker"):
            stack.enter_context(running(command, environment))
        send = stack.enter_context(serving(environment)).send
        until(lambda: send("GET", "/health/ready").json.get("degraded") == [])

        keyed = {"Idempotency_Key": "once"}
        registered = send("POST", "/register", PERSON, **keyed)
        assert registered.status == 201
        customer = registered.json["customer_id"]
        for _ in range(20):  # by both workers, on whichever connection is free
            again = send("POST", "/register", PERSON, **keyed)
            assert (again.status, again.content) == (201, registered.content)
            asked = {"customer_id": customer, "loan_amount": 1000, "interest_rate": 12}
            loan = send("POST", "/create-loan", asked | {"tenure": 12})
            assert loan.status == 201
            shown = send("GET", f"/view-loan/{loan.json['loan_id']}").json
            assert shown["customer"]["id"] == customer
        assert len(send("GET", f"/view-loans/{customer}").json) == 20

        customers, loans = lender(5)
        upload = form(customers=customers, loans=loans)
        location = send("POST", "/ingestions", upload.raw, **upload.headers).headers["location"]
        until(lambda: bool(send("GET", location).json["finished_at"]))
        ended = send("GET", location).json
        assert ended["status"] == "succeeded"
        assert send("GET", f"{location}/report.xlsx").content[:2] == b"PK"
        phone = PERSON["phone_number"]

        def listed() -> bool:
            found = send("GET", f"/customers?phone_number={phone}").json
            return customer in [one["customer_id"] for one in found["customers"]]

        until(listed)
        assert send("GET", "/health/ready").json["degraded"] == []
        assert users_of(pooled_url) >= 3  # each worker of the API, and the worker

    with psycopg.connect(database_url, autocommit=True) as conn:
        house = House(database_url, schema, conn)
        assert house.differences() == []
        house.lending.close()
