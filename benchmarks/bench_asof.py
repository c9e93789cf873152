"""How fast is the whole portfolio as of a day, and what memory does it take?

Ours is what ``credit-es audit as-of DAY portfolio`` does, in a process of its own, beside the
one-shard rebuild of the read tables in the same run: both read the whole log, and neither's start
counts. The peer holds the same loans as Django
models under django-simple-history, and counts them as known at an instant through our own domain;
it keeps no second clock and no decision, and so answers a part of the question. Each loan has one
row of history there, which is the least.

Arguments: events (525,000).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import psycopg

from benchmarks.bench_rebuild import EVENTS_A_CUSTOMER, Ours
from benchmarks.harness import asked, in_turns, postgres, say, table
from benchmarks.history import TODAY, copy_history
from credit_es.application import Lending
from credit_es.audit.portfolio import portfolio
from credit_es.cli import context
from projections.rebuild import rebuilder
from tests.api.client import ROOT
from tests.processes import peaks_of

EVENTS: Final = int(sys.argv[1]) if len(sys.argv) > 1 else 525_000
PEER: Final = "benchmarks.peers.historic.portfolio"
LEAST_EVENTS: Final = 20_000
"""Of the smaller log, whose peak memory is compared."""


def ask() -> None:
    """Say the sums and the seconds that they took."""
    lending = Lending(context.settings(), pool_size=1)
    started = time.monotonic()
    found = portfolio(lending.reader, on=TODAY)
    seconds = time.monotonic() - started
    lending.close()
    context.print_json({"seconds": seconds, "total": found.total})


class Portfolio:
    """The question in a process, and the memory that it took."""

    def __init__(self, url: str, events: int) -> None:
        self._environment = os.environ | {"DATABASE_URL": url, "CREDIT_SCHEMA": "credit"}
        self._events = events
        self.peak_mib = 0.0
        self.total: dict[str, Any] = {}

    def rate(self) -> float:
        """Events of the log a second."""
        said, peak = run(["-c", "from benchmarks.bench_asof import ask; ask()"], self._environment)
        self.peak_mib = max(self.peak_mib, peak)
        told = json.loads(said)
        self.total = told["total"]
        seconds: float = told["seconds"]
        return self._events / seconds


class Historic:
    """The peer: the same loans, as of now; ``environment`` is what its processes need."""

    def __init__(self, url: str, events: int) -> None:
        settings = {"PEER_DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": f"{PEER[:-10]}.settings"}
        self.environment = os.environ | settings
        self._events = events
        self.peak_mib = 0.0
        self.answer: dict[str, Any] = {}
        run(["-m", PEER, "fill"], self.environment)

    def rate(self) -> float:
        """Events of our log whose loans it counts in a second, so that both rates compare."""
        now = datetime.now(UTC).isoformat()
        said, peak = run(["-m", PEER, "ask", now, TODAY.isoformat()], self.environment)
        self.answer = json.loads(said)
        self.peak_mib = max(self.peak_mib, peak)
        seconds: float = self.answer["seconds"]
        return self._events / seconds


def run(argv: Sequence[str], environment: dict[str, str]) -> tuple[bytes, float]:
    """What a process says, and its peak memory in MiB."""
    with subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, *argv], cwd=ROOT, env=environment, stdout=subprocess.PIPE
    ) as command:
        with peaks_of(lambda: [command.pid]) as peaks:
            said, _ = command.communicate()
        assert command.returncode == 0
    return said, max(peaks.values(), default=0.0)


def fill(url: str, customers: range) -> int:
    """Record the history of some more customers; returns how many events there are then."""
    copy_history(url, "credit", customers)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("VACUUM (ANALYZE) credit.events")
        (events,) = conn.execute("SELECT count(*) FROM credit.events").fetchone() or (0,)
    return int(events)


def main() -> None:
    """Measure a small log's memory, then all of them in turns on a large one."""
    with postgres() as server:
        few = LEAST_EVENTS // EVENTS_A_CUSTOMER
        small = Portfolio(server.url, fill(server.url, range(few)))
        small.rate()
        events = fill(server.url, range(few, -(-EVENTS // EVENTS_A_CUSTOMER)))
        with rebuilder(server.url, "credit") as tables:
            tables.prepare()
        say(f"  {events:,} events are in the log")
        ours, peer = Portfolio(server.url, events), Historic(server.url, events)
        one = Ours(server.url, events, 1)
        got = in_turns(
            {
                "rebuild, one shard": one.rate,
                "django-simple-history": peer.rate,
                "portfolio": ours.rate,
            }
        )
    assert peer.answer["loans"] == ours.total["loans"]
    assert float(peer.answer["amount"]) == float(ours.total["amount"])
    rebuild, rate = got["rebuild, one shard"], got["portfolio"]
    theirs = got["django-simple-history"]
    table(
        f"The portfolio as of a day: {ours.total['loans']:,} loans in {events:,} events",
        ("", "events/s", "ratio", "seconds", "peak, MiB", "asked"),
        [
            ("rebuild, one shard", rebuild, 1.0, events / rebuild, one.peak_mib, ""),
            (
                "django-simple-history, one clock, no slabs",
                theirs,
                theirs / rebuild,
                events / theirs,
                peer.peak_mib,
                "",
            ),
            (
                "as-of DAY portfolio",
                rate,
                rate / rebuild,
                events / rate,
                ours.peak_mib,
                asked(rate / rebuild, at_least=1.0),
            ),
            (f"the same of {LEAST_EVENTS:,} events", "", "", "", small.peak_mib, ""),
        ],
    )


if __name__ == "__main__":
    main()
