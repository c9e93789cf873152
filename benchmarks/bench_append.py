"""How many appends a second do 8 writers get, against the library's stock recorder?

Each writer is a process that appends one event to a new stream at a time, durably. The second table
simulates a disk whose flush takes 1 ms (``commit_delay``): the stock recorder flushes under its
table lock, so nobody shares a flush.
"""

import sys
import time
from typing import Any, Final
from uuid import uuid4

import psycopg
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from benchmarks.harness import asked, in_turns, postgres, table, writers
from credit_es.store.database import Database
from credit_es.store.recorder import LogRecorder

WRITERS: Final = 8
SECONDS: Final = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
STATE: Final = b"x" * 400


def stock(url: str) -> PostgresApplicationRecorder:
    """The library's recorder as it comes."""
    given = conninfo_to_dict(url)
    datastore = PostgresDatastore(
        str(given["dbname"]),
        str(given["host"]),
        str(given.get("port", 5432)),
        str(given["user"]),
        "",
    )
    return PostgresApplicationRecorder(datastore, events_table_name="stock_events")


def ours(url: str) -> LogRecorder:
    """This project's."""
    return LogRecorder(Database(url, schema="credit", pool_size=1))


def write(number: int, ready: Any, go: Any, url: str, kind: str, seconds: float) -> int:
    """Append for some seconds; returns how often."""
    del number
    recorder = ours(url) if kind == "credit-es" else stock(url)
    recorder.insert_events([StoredEvent(uuid4(), 1, "bench.Warm", STATE)])
    ready.release()
    go.wait()
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        recorder.insert_events([StoredEvent(uuid4(), 1, "bench.Event", STATE)])
        count += 1
    recorder.datastore.close()
    return count


def rate(url: str, kind: str) -> float:
    """Appends a second over all writers."""
    count, seconds = writers(write, WRITERS, url, kind, SECONDS)
    return count / seconds


def main() -> None:
    """Measure with the disk as it is, and with a slow flush."""
    rows = []
    with postgres() as server:
        recorder = stock(server.url)
        recorder.create_table()
        recorder.datastore.close()
        for flush, delay in (("as it is", 0), ("1 ms", 1000)):
            with psycopg.connect(server.url, autocommit=True) as conn:
                conn.execute(f"ALTER SYSTEM SET commit_delay = {delay}")
                conn.execute("ALTER SYSTEM SET commit_siblings = 0")
                conn.execute("SELECT pg_reload_conf()")
            got = in_turns(
                {
                    "stock": lambda: rate(server.url, "stock"),
                    "credit-es": lambda: rate(server.url, "credit-es"),
                }
            )
            ratio = got["credit-es"] / got["stock"]
            rows.append((flush, got["stock"], got["credit-es"], ratio, asked(ratio, at_least=2.5)))
    headings = ("flush", "stock, appends/s", "credit-es, appends/s", "ratio", "asked")
    table(f"Appends by {WRITERS} writer processes", headings, rows)


if __name__ == "__main__":
    main()
