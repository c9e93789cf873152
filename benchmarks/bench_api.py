"""How many requests a second does each endpoint answer, against a Django REST framework service?

wrk asks at 16 connections; each side has two gunicorn workers of the same number of threads, the
same workbooks loaded, and the same durable Postgres, in turns. Ours runs with its projector.
Before anything is measured both must give the same answers, and no measured answer may be an error.

``python -m benchmarks.bench_api [SECONDS CUSTOMERS]``: of one run of wrk; three loans a customer.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import psycopg
from psycopg.sql import SQL, Composed

from benchmarks.harness import ROUNDS, asked, postgres, say, table
from benchmarks.services import (
    Asked,
    await_ingestion,
    await_projector,
    ingest,
    load_peer,
    ours,
    peer,
    peer_url,
    wrk,
    wrk_program,
)
from data.generate import generate
from projections import customers as customers_table
from projections import loans as loans_table
from projections.projection import Projection
from projections.tables import view_of
from tests.api.client import PERSON, Server
from tests.servers import RunningServer

SECONDS, CUSTOMERS = (float(sys.argv[1]), int(sys.argv[2])) if sys.argv[2:] else (6.0, 10_000)
LOANS: Final = 3 * CUSTOMERS
WARM_S: Final = 2.0
SAMPLE: Final = 50
TERMS: Final = '"loan_amount": 25000, "interest_rate": 12.5, "tenure": 12'
SIDES: Final = ("DRF", "credit-es")
AT_LEAST: Final = {
    "GET /view-loan": 3,
    "GET /view-loans": 3,
    "POST /check-eligibility": 2.5,
    "POST /register": 1.5,
    "POST /create-loan": 2,
}


def questions(customers: Sequence[int], loans: Sequence[int]) -> dict[str, list[str]]:
    """Requests for each endpoint, as ``wrk.lua`` takes them."""
    person = str(PERSON).replace("'", '"')
    return {
        "GET /view-loan": [f"GET /view-loan/{number}" for number in loans],
        "GET /view-loans": [f"GET /view-loans/{number}" for number in customers],
        "POST /check-eligibility": [
            f'POST /check-eligibility {{"customer_id": {number}, {TERMS}}}' for number in customers
        ],
        "POST /register": [f"POST /register {person}"],
        "POST /create-loan": [
            f'POST /create-loan {{"customer_id": {number}, {TERMS}}}' for number in customers
        ],
    }


def every_number(projection: Projection[Any]) -> Composed:
    """All numbers in a read table of ours."""
    return SQL("SELECT number FROM {}").format(view_of(projection, "credit"))


def numbers(url: str, query: bytes | Composed) -> list[int]:
    """The first column of a query, in an order of no meaning."""
    with psycopg.connect(url) as conn:
        found = [row[0] for row in conn.execute(query)]
    Random(1).shuffle(found)  # noqa: S311 - a sample, no secret
    return found


def compare(one: Server, other: Server, customers: Sequence[int]) -> None:
    """Both sides must know the same and decide the same."""
    for number in customers:
        body = f'{{"customer_id": {number}, {TERMS}}}'.encode()
        answers = [
            server.send("POST", "/check-eligibility", body, Content_Type="application/json").json
            for server in (one, other)
        ]
        assert answers[0] == answers[1], answers
        path = f"/view-loans/{number}?status=all"
        shown = [_known(server.send("GET", path).json) for server in (one, other)]
        assert shown[0] == shown[1], shown


def _known(loans: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Loans without their numbers: two that share one in the workbook get new ones."""
    return sorted(
        [str(value) for name, value in loan.items() if "loan_id" not in name] for loan in loans
    )


def measure(
    postgres: RunningServer,
    servers: Mapping[str, Server],
    requests: Mapping[str, list[str]],
    at_least: float,
) -> tuple[object, ...]:
    """Ask one endpoint of both sides in turns; a row of the table, without its name."""
    for side in SIDES:
        wrk(servers[side], requests[side], WARM_S)
    runs: dict[str, list[Asked]] = {side: [] for side in SIDES}
    for _ in range(ROUNDS):
        for side in SIDES:
            await_projector(postgres)
            runs[side].append(wrk(servers[side], requests[side], SECONDS))
            say(f"  {side}: {runs[side][-1].rate:,.0f} requests/s")
    rates = [median(run.rate for run in runs[side]) for side in SIDES]
    times = [
        f"{median(run.p50_ms for run in runs[side]):.1f} / "
        f"{median(run.p99_ms for run in runs[side]):.1f}"
        for side in SIDES
    ]
    ratio = rates[1] / rates[0]
    return *(f"{rate:,.0f}" for rate in rates), *times, ratio, asked(ratio, at_least=at_least)


def main() -> None:
    """Load both, then ask both."""
    wrk_program()
    with postgres() as server, tempfile.TemporaryDirectory() as folder:
        books = [Path(folder, name) for name in ("customers.xlsx", "loans.xlsx")]
        for path, content in zip(books, generate(CUSTOMERS, LOANS), strict=True):
            path.write_bytes(content)
        load_peer(server, books)
        with ours(server) as service, peer(server) as drf:
            await_ingestion(service, ingest(service, *(path.read_bytes() for path in books)))
            await_projector(server)
            customers = numbers(server.url, every_number(customers_table.CUSTOMERS))
            compare(drf, service.api, customers[:SAMPLE])
            loans = (
                numbers(peer_url(server), b"SELECT id FROM peers_loan"),
                numbers(server.url, every_number(loans_table.LOANS)),
            )
            servers = dict(zip(SIDES, (drf, service.api), strict=True))
            asked = {side: questions(customers, of) for side, of in zip(SIDES, loans, strict=True)}
            rows = []
            for endpoint in asked[SIDES[0]]:
                say(endpoint)
                requests = {side: asked[side][endpoint] for side in SIDES}
                rows.append((endpoint, *measure(server, servers, requests, AT_LEAST[endpoint])))
    table(
        f"Requests at 16 connections, {CUSTOMERS:,} customers with 3 loans each",
        (
            "endpoint",
            *(f"{side}, requests/s" for side in SIDES),
            *(f"{side}, p50 / p99 ms" for side in SIDES),
            "ratio",
            "asked",
        ),
        rows,
    )


if __name__ == "__main__":
    main()
