"""How many rows a second come from two workbooks to where a GET shows them, against Django?

Ours: POST /ingestions, until the job is finished, the read tables hold the whole log and GET
/view-loan shows the last loan; worker, projector and API are the real processes, and the peak
memory of each is told. The peer: ``bulk_create`` of the same rows in one process, read by the same
reader; once with every row taken at its word, once with each row checked by a serializer, and once
as most such services are written, checked and read by openpyxl.

The second table asks how an import disturbs the others: GET /view-loan and POST /create-loan, each
on one connection at 25 requests a second, idle and while the same import runs.

``python -m benchmarks.bench_import [CUSTOMERS LOANS]``
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Final

import msgspec
import psycopg
from psycopg.sql import SQL

from benchmarks.harness import ROUNDS, asked, in_turns, postgres, say, table
from benchmarks.services import (
    Service,
    await_ingestion,
    await_projector,
    ingest,
    load_peer,
    ours,
)
from data.generate import generate
from projections import loans as loans_table
from projections.tables import view_of
from tests.api.client import PERSON, Server
from tests.servers import RunningServer

CUSTOMERS, LOANS = map(int, sys.argv[1:3]) if sys.argv[2:] else (20_000, 100_000)
ROWS: Final = CUSTOMERS + LOANS
BORROWERS: Final = 200
IDLE_S: Final = 10.0
EVERY_S: Final = 1 / 25
WATCH_S: Final = 0.1
LAST_LOAN: Final = SQL("SELECT max(number) FROM {} WHERE source_loan_id IS NOT NULL").format(
    view_of(loans_table.LOANS, "credit")
)
PEERS: Final = {
    "Django": (),
    "Django, rows checked": ("--checked",),
    "Django, rows checked, by openpyxl": ("--checked", "--openpyxl"),
}
TERMS: Final = {"loan_amount": 5_000, "interest_rate": 12, "tenure": 12}


class Peaks:
    """The most memory that each process and its children had, in MiB, while this watches."""

    def __init__(self, roots: Mapping[str, int]) -> None:
        self.mib: dict[str, float] = dict.fromkeys(roots, 0.0)
        self._roots = roots

    def look(self) -> None:
        """Take the highest of each family; the kernel keeps a process's own peak."""
        for name, root in self._roots.items():
            self.mib[name] = max([self.mib[name], *map(_peak_mib, _family(root))])


@contextmanager
def watched(look: Callable[[], None]) -> Iterator[None]:
    """Look again and again, in a thread of its own."""
    stop = Event()

    def watch() -> None:
        while not stop.wait(WATCH_S):
            look()

    thread = Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _family(root: int) -> Iterator[int]:
    yield root
    for task in Path(f"/proc/{root}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # the thread has ended
            continue
        for child in children:
            yield from _family(int(child))


def _peak_mib(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has ended
        return 0.0
    found = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0].split()[1]) / 1024 if found else 0.0


def imported(service: Service, server: RunningServer, books: Sequence[bytes]) -> float:
    """Import two workbooks; the seconds until all of them can be read."""
    started = time.monotonic()
    location = ingest(service, *books)
    await_ingestion(service, location)
    await_projector(server)
    seconds = time.monotonic() - started
    with psycopg.connect(server.url) as conn:
        (last,) = conn.execute(LAST_LOAN).fetchone() or (0,)
    assert service.api.send("GET", f"/view-loan/{last}").status == HTTPStatus.OK
    counts = service.api.send("GET", location).json["counts"]
    assert sum(counts[of]["recorded"] for of in ("customers", "loans")) == ROWS, counts
    return seconds


class Client:
    """Sends one kind of request again and again on one connection, at a fixed rate."""

    def __init__(self, server: Server, requests: Sequence[tuple[str, str, bytes]]) -> None:
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        self._requests = requests
        self._sent = 0

    def p50_ms(self, until: Event) -> float:
        """Send until told; the median time of an answer."""
        times = []
        due = time.monotonic()
        while not until.is_set():
            started = time.monotonic()
            self._send()
            times.append(time.monotonic() - started)
            due = max(due + EVERY_S, time.monotonic())
            until.wait(due - time.monotonic())
        return 1000 * median(times)

    def _send(self) -> None:
        method, path, body = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        self._connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        answer.read()
        assert answer.status < HTTPStatus.MULTIPLE_CHOICES, answer.status


def clients(server: Server) -> dict[str, Client]:
    """One client for each kind of request, on customers of their own with a loan each."""
    views, applications = [], []
    for _ in range(BORROWERS):
        number = server.send("POST", "/register", PERSON).json["customer_id"]
        application = {"customer_id": number, **TERMS}
        loan = server.send("POST", "/create-loan", application).json["loan_id"]
        views.append(("GET", f"/view-loan/{loan}", b""))
        applications.append(("POST", "/create-loan", msgspec.json.encode(application)))
    return {
        "GET /view-loan": Client(server, views),
        "POST /create-loan": Client(server, applications),
    }


def asked_while(asking: Mapping[str, Client], work: Callable[[], object]) -> dict[str, float]:
    """Let the clients ask while ``work`` is done; the p50 of each in ms."""
    over = Event()
    medians: dict[str, float] = {}

    def ask(name: str) -> None:
        medians[name] = asking[name].p50_ms(over)

    threads = [Thread(target=ask, args=(name,)) for name in asking]
    for thread in threads:
        thread.start()
    try:
        work()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert medians.keys() == asking.keys(), "a client failed"
    return medians


def main() -> None:
    """Speed and memory in turns with the peer, then what others feel of it."""
    memory: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        books = generate(CUSTOMERS, LOANS)
        paths = [Path(folder, name) for name in ("customers.xlsx", "loans.xlsx")]
        for path, content in zip(paths, books, strict=True):
            path.write_bytes(content)

        def peer(name: str) -> float:
            with postgres() as server:
                loaded = load_peer(server, paths, *PEERS[name])
            memory[name] = max(memory.get(name, 0.0), loaded.peak_mib)
            return ROWS / loaded.seconds

        def credit_es() -> float:
            with postgres() as server, ours(server) as service:
                peaks = Peaks(service.pids)
                with watched(peaks.look):
                    seconds = imported(service, server, books)
            for name, mib in peaks.mib.items():
                memory[name] = max(memory.get(name, 0.0), mib)
            return ROWS / seconds

        rates = in_turns({name: partial(peer, name) for name in PEERS} | {"credit-es": credit_es})
        felt = []
        for _ in range(ROUNDS):
            with postgres() as server, ours(server) as service:
                asking = clients(service.api)
                await_projector(server)
                idle = asked_while(asking, lambda: time.sleep(IDLE_S))
                busy = asked_while(
                    asking,
                    lambda: imported(service, server, books),
                )
                felt.append((idle, busy))
                say(f"  idle {idle}, importing {busy}")

    ours_is = {name: rates["credit-es"] / rate for name, rate in rates.items()}
    of_rates = {
        "Django": asked(ours_is["Django"], at_least=3),
        "credit-es": asked(rates["credit-es"], at_least=10_000),
    }
    table(
        f"Workbook to readable state, {CUSTOMERS:,} customers and {LOANS:,} loans",
        ("", "rows/s", "credit-es is", "asked"),
        [
            (name, f"{rate:,.0f}", f"{ours_is[name]:.2f} x", of_rates.get(name, ""))
            for name, rate in rates.items()
        ],
    )
    table(
        "Peak memory of each process of that import",
        ("process, the largest of its family", "MiB", "asked"),
        [(name, f"{mib:.0f}", asked(mib, at_most=600)) for name, mib in memory.items()],
    )
    table(
        "p50 while that import runs",
        ("", "idle, ms", "importing, ms", "ratio", "asked"),
        [
            (name, idle_ms, busy_ms, busy_ms / idle_ms, asked(busy_ms / idle_ms, at_most=2))
            for name in felt[0][0]
            for idle_ms, busy_ms in [
                (median(idle[name] for idle, _ in felt), median(busy[name] for _, busy in felt))
            ]
        ],
    )


if __name__ == "__main__":
    main()
