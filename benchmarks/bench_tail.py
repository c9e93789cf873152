"""How many events does a tail reader miss, while writers append, copy and are killed?

Eight writer processes append one event at a time and copy hundreds, and every 250 ms one backend of
theirs or of the readers is ended by ``pg_terminate_backend``. Two readers follow the log in
processes of their own, alike but for one thing: the naive one trusts the highest position, ours
stops below the lowest floor. At the end what they read is compared with the table, position by
position. ``python -m benchmarks.bench_tail 100000`` for a quick trial.
"""

import random
import sys
import threading
import time
from array import array
from typing import Any, Final
from uuid import uuid4

import psycopg
from eventsourcing.persistence import StoredEvent

from benchmarks.harness import READY_S, SPAWN, postgres, say, table, writers
from credit_es.store.bulk import BulkAppend
from credit_es.store.database import Database
from credit_es.store.log import Log
from credit_es.store.recorder import LAST, LogRecorder

EVENTS: Final = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
WRITERS: Final = 8
KILL_EVERY_S: Final = 0.25
POLL_S: Final = 0.02
STATE: Final = b"x" * 100
KILL: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = 'credit-es' ORDER BY random() LIMIT 1"
)


class NaiveRecorder(LogRecorder):
    """The library's port without the floors: whatever is committed may be read."""

    def safe_position(self, after: int) -> int:
        """No floor."""
        del after
        return LAST


def write(number: int, ready: Any, go: Any, url: str, events: int) -> int:
    """Append and copy until so many events are acknowledged; returns how many that were."""
    chance = random.Random(number)  # noqa: S311 - a load, no secret
    database = Database(url, schema="credit", pool_size=1)
    recorder = LogRecorder(database)
    bulk = BulkAppend(database)

    def some(size: int) -> list[StoredEvent]:
        return [StoredEvent(uuid4(), 1, "bench.Event", STATE) for _ in range(size)]

    count = 0
    ready.release()
    go.wait()
    while count < events:
        for _ in range(chance.randint(1, 5)):
            count += len(recorder.insert_events(some(1)))
        size = chance.randint(500, 1000)
        lost = bulk.append([[event] for event in some(size)])
        assert lost == [], "a new stream was taken"
        count += size
    database.close()
    return count


def read(ready: Any, done: Any, answer: Any, url: str, recorder: type[LogRecorder]) -> None:
    """Follow the log until the writers are done and all of it is read; sends the positions."""
    database = Database(url, schema="credit", pool_size=1)
    log = Log(recorder(database))
    positions = array("q", [0])
    ready.release()
    last = False
    while not last:
        last = done.is_set()
        for batch in log.tail(positions[-1]):
            positions.extend(event.id for event in batch)
        time.sleep(POLL_S)
    answer.send_bytes(positions[1:].tobytes())
    database.close()


class Killer(threading.Thread):
    """Ends a backend every so often."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.killed = 0
        self._url = f"{url}&application_name=killer"
        self._done = threading.Event()

    def run(self) -> None:
        """Wait for the first event; then kill, wait, kill."""
        with psycopg.connect(self._url, autocommit=True) as conn:
            while conn.execute("SELECT FROM credit.events LIMIT 1").rowcount < 1:
                self._done.wait(KILL_EVERY_S)
            while not self._done.wait(KILL_EVERY_S):
                self.killed += conn.execute(KILL).rowcount

    def stop(self) -> None:
        """No more."""
        self._done.set()
        self.join()


def main() -> None:
    """One run, both readers."""
    kinds = {"credit-es": LogRecorder, "naive": NaiveRecorder}
    ready, done = SPAWN.Semaphore(0), SPAWN.Event()
    with postgres() as server:
        pipes, readers = {}, []
        for name, recorder in kinds.items():
            pipes[name], ours = SPAWN.Pipe(duplex=False)
            arguments = (ready, done, ours, server.url, recorder)
            readers.append(SPAWN.Process(target=read, daemon=True, args=arguments))
            readers[-1].start()
        for _ in readers:
            assert ready.acquire(timeout=READY_S), "a reader did not get ready"
        killer = Killer(server.url)
        killer.start()
        acknowledged, seconds = writers(write, WRITERS, server.url, EVENTS // WRITERS)
        killer.stop()
        done.set()
        seen = {name: array("q", pipe.recv_bytes()) for name, pipe in pipes.items()}
        for process in readers:
            process.join()
        with psycopg.connect(server.url) as conn:
            rows = conn.execute("SELECT position FROM credit.events").fetchall()
    log = {position for (position,) in rows}
    assert len(log) == acknowledged, "an acknowledged event is not in the log, or is there twice"
    say(f"{len(log):,} events, {acknowledged:,} acknowledged, in {seconds:.0f} s")
    figures = []
    for name, positions in seen.items():
        read_once = set(positions)
        assert len(read_once) == len(positions), f"{name} read an event twice"
        assert read_once <= log, f"{name} read an event that is not there"
        figures.append((name, len(log), killer.killed, len(log - read_once)))
    headings = ("reader", "events in the log", "backends ended", "events missed")
    table(f"A tail reader beside {WRITERS} writers", headings, figures)
    missed = {name: count for name, *_, count in figures}
    assert missed["credit-es"] == 0, "an event was missed"
    assert missed["naive"] > 0, "the naive reader missed nothing: this run proves nothing"


if __name__ == "__main__":
    main()
