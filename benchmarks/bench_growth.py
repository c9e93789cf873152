"""Does anything cost more because the history is longer?

One tenant of each size lies in the same server, with three loans a customer: every other customer
registered here and was granted them, the others came with a workbook. The facts are built by the
domain and the mapper, copied into the log by two processes, and the read tables rebuilt by the real
command. Then the tenants take turns at answering a real client over gunicorn, about customers
picked at random, so that a busy machine is as busy for each of them. ``/health/live`` asks nobody:
what it loses from the first size to the last is the machine's own noise.

Sizes are the arguments: ``python -m benchmarks.bench_growth 10000 100000 1000000``. The server's
memory is the environment's: ``SHARED_BUFFERS=2GB python -m benchmarks.bench_growth``.
"""

# ruff: noqa: S608 - statements put together from constants
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from random import Random
from typing import Any, Final

import psycopg

from benchmarks.harness import asked, postgres, say, table
from benchmarks.history import FIRST, copy_history, customer_of, loans_of, phone_of
from credit_es.domain.values import Counts
from credit_es.store.database import SESSION, Database
from credit_es.store.ingestions import Report
from credit_es.store.log import Log
from credit_es.store.mapper import ENCODER
from credit_es.store.numbers import Numbers
from credit_es.store.recorder import LogRecorder
from data.generate import generate
from projections.projector import Projector
from tests.api.client import ROOT, Form, environment_of, form, prepare, serving
from tests.servers import running_redis

SIZES: Final = [int(argument) for argument in sys.argv[1:]] or [10_000, 100_000, 1_000_000]
ROUNDS: Final = 5
REQUESTS: Final = 200
SLICE: Final = 1_000
"""Customers that the projector meets anew in each round."""
AT_MOST: Final = 1.25
SHARED_BUFFERS: Final = os.environ.get("SHARED_BUFFERS", "128MB")
"""The server's own default; docs/scaling.md says how much which lender needs."""
BOOKS: Final = generate(40, 100)
UPLOAD: Final = form(customers=BOOKS[0], loans=BOOKS[1])
REPORT: Final = Report(customers=Counts(read=40, recorded=40), loans=Counts(read=100, recorded=100))


class Tenant:
    """One size: a schema, what is known of it, and an API that serves it."""

    def __init__(self, url: str, redis_url: str, size: int) -> None:
        self.url = url
        self.size = size
        self.schema = f"growth_{size}"
        self.environment = environment_of(url, self.schema, redis_url)
        self.figures: dict[str, list[float]] = {}
        self._random = Random(size)  # noqa: S311 - the same customers in every run
        self._next = size

    def grow(self) -> None:
        """Bring the history to its size, and the read tables to the history."""
        prepare(self.url, self.schema)
        started = time.monotonic()
        copy_history(self.url, self.schema, range(self.size))
        database = Database(self.url, schema=self.schema, pool_size=1)
        numbers = Numbers(database, FIRST)
        numbers.pass_by("customer", 2 * FIRST)
        numbers.pass_by("loan", 2 * FIRST)
        database.close()
        self._ingestions(max(1, self.size // 100))
        self.events = self.ask("SELECT count(*) FROM {s}.events")
        seconds = time.monotonic() - started
        say(f"  {self.size:,} customers: {self.events:,} events copied in {seconds:.0f} s")
        ran = subprocess.run(
            [sys.executable, "-m", "credit_es.cli.main", "projections", "rebuild", "--json"],
            cwd=ROOT,
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            check=True,
        )
        for rebuilt in json.loads(ran.stdout)["rebuilt"]:
            rate = self.events / rebuilt["seconds"]
            self.note(f"rebuild of {rebuilt['projection']}, events/s", rate)
            say(f"  {rebuilt['projection']} rebuilt in {rebuilt['seconds']:.0f} s")
        with psycopg.connect(self.url, autocommit=True) as conn:
            tables = conn.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = %s", (self.schema,)
            ).fetchall()
            for (name,) in tables:
                conn.execute(f"VACUUM (ANALYZE) {self.schema}.{name}".encode())
            conn.execute("CHECKPOINT")
        self._measure_disk()

    def ask(self, question: str) -> int:
        """One number from the tenant's schema."""
        with psycopg.connect(self.url) as conn:
            row = conn.execute(question.replace("{s}", self.schema).encode()).fetchone()
        assert row is not None
        return int(row[0])

    def note(self, what: str, figure: float) -> None:
        """Keep one measured figure."""
        self.figures.setdefault(what, []).append(figure)

    def project_a_slice(self, customers: int) -> float:
        """How many events/s of customers that it has never met does the projector feed?"""
        copy_history(self.url, self.schema, range(self._next, self._next + customers))
        self._next += customers
        return self.catch_up()

    def catch_up(self) -> float:
        """Feed what was recorded lately, as a projector beside it would have; in events/s."""
        database = Database(self.url, schema=self.schema, pool_size=1)
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(SESSION)
            projector = Projector(conn, Log(LogRecorder(database)), self.schema)
            started, events = time.monotonic(), 0
            while batch := projector.step():
                events += batch
            seconds = time.monotonic() - started
        database.close()
        return events / seconds

    def serve(self, stack: ExitStack) -> None:
        """Start its API, until the stack is left."""
        server = stack.enter_context(serving(self.environment))
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
        stack.callback(self._connection.close)
        self._ingestion_ids = self._known_ingestions()

    def connect(self) -> None:
        """Connect anew: gunicorn does not keep a connection that is idle for long."""
        self._connection.close()
        self._connection.connect()

    def call(self, what: str) -> float:
        """The milliseconds that one request took."""
        method, path, body = CALLS[what](self)
        headers, raw = {"Content-Type": "application/json"}, None
        if isinstance(body, Form):
            headers, raw = {"Content-Type": body.headers["content_type"]}, body.raw
        elif body:
            raw = json.dumps(body).encode()
        started = time.perf_counter()
        self._connection.request(method, path, raw, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        taken = 1000 * (time.perf_counter() - started)
        assert answer.status in {200, 201, 202}, (path, answer.status, content)
        return taken

    def customer(self) -> int:
        """Anybody."""
        return customer_of(self._random.randrange(self.size))

    def applicant(self) -> int:
        """Anybody who registered here."""
        return customer_of(self._random.randrange(0, self.size, 2))

    def ingestion(self) -> str:
        """Any ingestion."""
        return self._random.choice(self._ingestion_ids)

    def loan(self) -> int:
        """Any loan."""
        return self._random.choice(loans_of(self.customer()))

    def _ingestions(self, count: int) -> None:
        with psycopg.connect(self.url) as conn:
            for statement in (
                "INSERT INTO {s}.workbooks VALUES ('sha', '')",
                "INSERT INTO {s}.ingestions (ingestion_id, customers_name, customers_sha256,"
                " loans_name, loans_sha256, check_only, actor, correlation_id, requested_at,"
                " requested_on, status, enqueued_at, finished_at, counts)"
                " SELECT gen_random_uuid(), 'c.xlsx', 'sha', 'l.xlsx', 'sha', false, 'bench', 'c',"
                " now() - n * interval '1 minute', current_date, 'succeeded', now(), now(),"
                f" decode('{ENCODER.encode(REPORT).hex()}', 'hex')"
                f" FROM generate_series(1, {count}) n",
            ):
                conn.execute(statement.replace("{s}", self.schema).encode())

    def _known_ingestions(self) -> list[str]:
        with psycopg.connect(self.url) as conn:
            rows = conn.execute(
                f"SELECT ingestion_id::text FROM {self.schema}.ingestions".encode()
            ).fetchall()
        return [name for (name,) in rows]

    def _measure_disk(self) -> None:
        sizes = {
            "an event, table": "pg_table_size('{s}.events')",
            "an event, indexes": "pg_indexes_size('{s}.events')",
        }
        for what, size in sizes.items():
            self.note(f"disk: bytes {what}", self.ask(f"SELECT {size}") / self.events)
        for name in ("customers", "loans"):
            version = self.ask(
                "SELECT version FROM {s}.read_tables"
                f" WHERE live AND projection = '{name}' ORDER BY definition DESC LIMIT 1"
            )
            held = self.ask(f"SELECT pg_total_relation_size('{{s}}.{name}_v{version}')")
            rows = self.ask(f"SELECT count(*) FROM {{s}}.{name}_v{version}")
            self.note(f"disk: bytes a row of {name}, indexes too", held / rows)


Request = tuple[str, str, dict[str, Any] | Form | None]


def terms(customer: int) -> dict[str, Any]:
    """An application for a small loan."""
    return {"customer_id": customer, "loan_amount": 100, "interest_rate": 14, "tenure": 12}


def person() -> dict[str, Any]:
    """Somebody new."""
    return {
        "first_name": "Ada",
        "last_name": "Byron",
        "age": 36,
        "monthly_income": 100_000,
        "phone_number": 9_876_543_210,
    }


CALLS: Final[dict[str, Callable[[Tenant], Request]]] = {
    "GET /health/live": lambda _: ("GET", "/health/live", None),
    "GET /health/ready": lambda _: ("GET", "/health/ready", None),
    "GET /view-loan/{}": lambda t: ("GET", f"/view-loan/{t.loan()}", None),
    "GET /view-loans/{}": lambda t: ("GET", f"/view-loans/{t.customer()}?status=all", None),
    "GET /customers/{}": lambda t: ("GET", f"/customers/{t.customer()}", None),
    "GET /customers?phone_number=": lambda t: (
        "GET",
        f"/customers?phone_number={phone_of(t.customer())}",
        None,
    ),
    "GET /customers/{}/decisions": lambda t: (
        "GET",
        f"/customers/{t.applicant()}/decisions",
        None,
    ),
    "GET /decisions/{}": lambda t: ("GET", f"/decisions/{t.applicant()}-2", None),
    "GET /ingestions": lambda _: ("GET", "/ingestions", None),
    "GET /ingestions/{}": lambda t: ("GET", f"/ingestions/{t.ingestion()}", None),
    "GET /ingestions/{}/report.xlsx": lambda t: (
        "GET",
        f"/ingestions/{t.ingestion()}/report.xlsx",
        None,
    ),
    "POST /ingestions": lambda _: ("POST", "/ingestions", UPLOAD),
    "POST /check-eligibility": lambda t: ("POST", "/check-eligibility", terms(t.customer())),
    "POST /register": lambda _: ("POST", "/register", person()),
    "POST /create-loan": lambda t: ("POST", "/create-loan", terms(t.customer())),
}


@contextmanager
def tenants(url: str, redis_url: str) -> Iterator[list[Tenant]]:
    """Every size, grown and served."""
    grown = [Tenant(url, redis_url, size) for size in SIZES]
    for tenant in grown:
        tenant.grow()
    with ExitStack() as stack:
        for tenant in grown:
            tenant.serve(stack)
        yield grown


def measure(grown: Sequence[Tenant]) -> None:
    """Let the tenants take turns, request by request; the first round only warms up."""
    for number in range(ROUNDS + 1):
        for what in CALLS:
            for tenant in grown:
                tenant.connect()
            turns = [[tenant.call(what) for tenant in grown] for _ in range(REQUESTS)]
            for tenant, taken in zip(grown, zip(*turns, strict=True), strict=True):
                if number:
                    tenant.note(f"{what}, p50 in ms", statistics.median(taken))
        for tenant in grown:
            tenant.catch_up()
            rate = tenant.project_a_slice(SLICE)
            if number:
                tenant.note("projector, events/s", rate)
        say(f"  round {number} of {ROUNDS}")


def main() -> None:
    """Grow, measure, and say what grew."""
    with postgres() as server, running_redis() as redis:
        server.sql(
            "ALTER SYSTEM SET max_wal_size = '4GB'",
            f"ALTER SYSTEM SET shared_buffers = '{SHARED_BUFFERS}'",
        )
        server.stop()
        server.start()
        with tenants(server.url, redis.url) as grown:
            measure(grown)
    rows = []
    for what in grown[0].figures:
        medians = [statistics.median(tenant.figures[what]) for tenant in grown]
        ratio = medians[-1] / medians[0]
        if what.endswith("events/s"):
            ratio = 1 / ratio
        rows.append((what, *medians, ratio, asked(ratio, at_most=AT_MOST)))
    headings = ("what", *(f"{size:,} customers" for size in SIZES), "last / first", "asked")
    table(f"Cost with a history that grows, shared_buffers {SHARED_BUFFERS}", headings, rows)


if __name__ == "__main__":
    main()
