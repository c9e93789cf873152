"""How many events a second does a rebuild of the read tables fold?

Ours is the real command, ``credit-es projections rebuild``, of both tables over the whole log, with
one shard and with two. The peer is the library's own ``ProjectionRunner`` with a Postgres tracking
recorder, which folds one event a transaction: the same facts, mapper, folds and tables, a row read
and upserted for each event. It is given the first events of the same log, as many as the second
argument says, and extrapolated: its rate does not depend on how many follow.

Arguments: events (525,000), and those of them for the peer (20,000).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import psycopg
from eventsourcing.application import Application
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresTrackingRecorder
from eventsourcing.projection import Projection as StockProjection
from eventsourcing.projection import ProjectionRunner
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from benchmarks.harness import asked, in_turns, postgres, say, table
from benchmarks.history import copy_history
from credit_es.domain.events import LoanEvent
from credit_es.store.mapper import Recorded
from projections.customers import CUSTOMERS
from projections.loans import LOANS
from projections.projection import Projection
from projections.rebuild import rebuilder
from projections.tables import PROJECTIONS, TableOf
from tests.api.client import ROOT
from tests.processes import children_of, peaks_of

EVENTS: Final = int(sys.argv[1]) if len(sys.argv) > 1 else 525_000
STOCK_EVENTS: Final = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000  # noqa: PLR2004
EVENTS_A_CUSTOMER: Final = 6
SCHEMA: Final = "stock"
AT_LEAST: Final = 60
PATIENCE_S: Final = 600


class Stock(Application[UUID]):
    """The library's application on its own recorder; only the mapper is ours."""


class Tables(PostgresTrackingRecorder):
    """Both read tables, each event in a transaction of its own with the position."""

    def feed(self, projection: Projection[Any], event: Recorded, tracking: Tracking) -> None:
        """Read the row of the event's stream, fold, and write it."""
        select, upsert = STATEMENTS[projection.name]
        fact = event.entry.fact
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            key = getattr(fact, projection.told_as)
            found = cursor.execute(select, (key,), prepare=True).fetchone()
            row = projection.of(list(found.values())[1:]) if found else None
            row = projection.fold(row, fact)
            values = [event.originator_id, *projection.values(row)]
            cursor.execute(upsert, values, prepare=True)


class Feed(StockProjection[Tables]):
    """Each event to the table that it concerns."""

    name = "feed"

    def process_event(self, domain_event: Recorded, tracking: Tracking) -> None:
        """Fold one event."""
        is_loan = isinstance(domain_event.entry.fact, LoanEvent)
        self.view.feed(LOANS if is_loan else CUSTOMERS, domain_event, tracking)


def statements(projection: Projection[Any]) -> tuple[SQL, SQL]:
    """The peer's SELECT and upsert of one row."""
    names = [Identifier(name) for name in projection.columns]
    parts = {
        "table": Identifier(SCHEMA, f"{projection.name}_v1"),
        "key": Identifier(projection.key),
        "columns": SQL(", ").join(names),
        "values": SQL(", ").join(SQL("%s") for _ in names),
        "assigned": SQL(", ").join(SQL("{0} = excluded.{0}").format(n) for n in names[1:]),
    }
    select = SQL("SELECT {columns} FROM {table} WHERE {key} = %s").format(**parts)
    upsert = SQL(
        "INSERT INTO {table} ({columns}) VALUES ({values})"
        " ON CONFLICT ({key}) DO UPDATE SET {assigned}"
    ).format(**parts)
    return SQL(select.as_string(None)), SQL(upsert.as_string(None))


STATEMENTS: Final = {projection.name: statements(projection) for projection in PROJECTIONS}


def environment(url: str) -> dict[str, str]:
    """The library's settings, as it takes them."""
    given = conninfo_to_dict(url)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "MAPPER_TOPIC": "credit_es.store.mapper:EntryMapper",
        "POSTGRES_DBNAME": str(given["dbname"]),
        "POSTGRES_HOST": str(given["host"]),
        "POSTGRES_PORT": str(given.get("port", 5432)),
        "POSTGRES_USER": str(given["user"]),
        "POSTGRES_PASSWORD": "unused",
        "POSTGRES_SCHEMA": SCHEMA,
    }


def fill_stock(url: str) -> None:
    """Give the library's recorder the first events of our log.

    Not by its own inserts: psycopg sends those as a pipeline, which can wait for ever (3.3.9).
    """
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"CREATE SCHEMA {SCHEMA}".encode())
        stock = Stock(environment(url))
        recorder = stock.recorder
        assert isinstance(recorder, PostgresApplicationRecorder)
        conn.execute(
            SQL(
                "INSERT INTO {} (originator_id, originator_version, topic, state)"
                " SELECT stream_id, version, topic, state FROM credit.events"
                " ORDER BY position LIMIT %s"
            ).format(Identifier(SCHEMA, recorder.events_table_name)),
            (STOCK_EVENTS,),
        )
        stock.close()


def one_event_a_transaction(url: str) -> float:
    """The peer's events a second."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"DROP TABLE IF EXISTS {SCHEMA}.feed_tracking".encode())
        for projection in PROJECTIONS:
            one = TableOf(projection, SCHEMA, 1)
            one.create(conn)
            one.build_keys(conn)
    started = time.monotonic()
    with ProjectionRunner(
        application_class=Stock,
        projection_class=Feed,
        view_class=Tables,
        env=environment(url),
    ) as runner:
        runner.wait(STOCK_EVENTS, timeout=PATIENCE_S)
    return STOCK_EVENTS / (time.monotonic() - started)


class Ours:
    """The rebuild of both tables with some shards, and the memory that it took."""

    def __init__(self, url: str, events: int, shards: int) -> None:
        self._environment = os.environ | {"DATABASE_URL": url, "CREDIT_SCHEMA": "credit"}
        self._events = events
        self._shards = shards
        self.peak_mib = 0.0

    def rate(self) -> float:
        """Events of the log a second, for both tables."""
        argv = [sys.executable, "-m", "credit_es.cli.main", "projections", "rebuild", "--json"]
        with subprocess.Popen(  # noqa: S603 - our own command
            [*argv, "--shards", str(self._shards)],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
        ) as command:
            with peaks_of(lambda: self._processes(command.pid)) as peaks:
                said, _ = command.communicate()
            assert command.returncode == 0
        self.peak_mib = max(self.peak_mib, *peaks.values())
        seconds: float = sum(each["seconds"] for each in json.loads(said)["rebuilt"])
        return self._events / seconds

    def _processes(self, pid: int) -> Sequence[int]:
        """One shard is the command's own process."""
        return [pid] if self._shards == 1 else children_of(pid, "projections.spread")


def main() -> None:
    """Measure the peer, one shard and two in turns."""
    with postgres() as server:
        customers = -(-EVENTS // EVENTS_A_CUSTOMER)
        copy_history(server.url, "credit", range(customers))
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute("VACUUM (ANALYZE) credit.events")
            (events,) = conn.execute("SELECT count(*) FROM credit.events").fetchone() or (0,)
        with rebuilder(server.url, "credit") as tables:
            tables.prepare()
        fill_stock(server.url)
        say(f"  {events:,} events of {customers:,} customers are in the log")
        one, two = Ours(server.url, events, 1), Ours(server.url, events, 2)
        got = in_turns(
            {
                "a transaction an event": lambda: one_event_a_transaction(server.url),
                "one shard": one.rate,
                "two shards": two.rate,
            }
        )
    peer = got["a transaction an event"]
    table(
        f"Rebuild of both read tables from {events:,} events",
        ("", "events/s", "ratio", "seconds", "peak of a shard, MiB", "asked"),
        [
            ("the library's runner, extrapolated", peer, 1.0, events / peer, "", ""),
            *(
                (
                    name,
                    got[name],
                    got[name] / peer,
                    events / got[name],
                    ours.peak_mib,
                    asked(got[name] / peer, at_least=least),
                )
                for name, ours, least in (
                    ("one shard", one, AT_LEAST),
                    ("two shards", two, max(AT_LEAST, got["one shard"] / peer)),
                )
            ),
        ],
    )


if __name__ == "__main__":
    main()
