"""A rebuild by processes: killed at any point, under writes, with no projector, and its memory."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import psycopg
import pytest

from projections.loans import LOANS
from projections.rebuild import RebuildError
from projections.shards import shards_of
from projections.status import status
from projections.streams import FIRST, LAST
from projections.tables import PROJECTIONS, TableOf
from tests.processes import LISTED, children_of, peaks_of, processes_with, stopped, until
from tests.projections.conftest import ROOT, House
from tests.projections.history import assert_reads_are_right, copy_in, happen, lending_of_years
from tests.projections.test_rebuild import live

WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"


@contextmanager
def events_locked(house: House) -> Iterator[None]:
    """No shard gets on: it waits in Postgres, and hears of nothing."""
    with psycopg.connect(house.url) as conn:
        conn.execute(f"LOCK TABLE {house.schema}.events IN ACCESS EXCLUSIVE MODE".encode())
        yield


class Rebuilding:
    """``credit-es projections rebuild loans`` of two shards, by some release."""

    def __init__(self, house: House, release: str = "credit_es.cli.main") -> None:
        self._house = house
        environ = {**os.environ, "DATABASE_URL": house.url, "CREDIT_SCHEMA": house.schema}
        environ.pop("DATABASE_DIRECT_URL", None)
        self.parent = subprocess.Popen(
            [sys.executable, "-m", release, "projections", "rebuild", "loans", "--shards=2"],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def shards(self) -> list[int]:
        return [
            seen.pid
            for seen in processes_with(self._house.schema)
            if "projections.spread" in seen.title
        ]

    def rows(self) -> int:
        if "loans_v2" not in self._house.tables():
            return 0
        return int(self._house.sql("SELECT count(*) FROM {s}.loans_v2")[0][0])

    def end(self) -> tuple[int, str]:
        """Wait until all of its processes have ended; the exit code and what was said."""
        self.parent.wait(30)
        until(lambda: processes_with(self._house.schema) == [], timeout_s=10)
        _, said = self.parent.communicate(timeout=30)
        return self.parent.returncode, said

    def kill(self) -> None:
        """End by pid whatever of it still runs."""
        for pid in self.shards():
            os.kill(pid, signal.SIGKILL)
        self.parent.kill()
        self.parent.communicate()


class HalfWay(Rebuilding):
    """One shard is done, one is stopped."""

    def __init__(self, house: House) -> None:
        with events_locked(house):
            super().__init__(house)
            until(lambda: bool(self.shards()), timeout_s=60)
            self.stopped = self.shards()[0]
            stopped(self.stopped)
        until(lambda: 0 < self.rows() < 18, timeout_s=60)


@pytest.fixture
def projected(house: House) -> House:
    happen(house.lending, 3)
    house.project()
    return house


@pytest.fixture
def half_way(projected: House) -> Iterator[HalfWay]:
    one = HalfWay(projected)
    yield one
    one.kill()


@contextmanager
def waiting(house: House, release: str = "credit_es.cli.main") -> Iterator[Rebuilding]:
    """Both shards wait in Postgres."""
    with events_locked(house):
        one = Rebuilding(house, release)
        try:
            events = f'%"{house.schema}".events WHERE%BETWEEN%'
            until(lambda: len(house.sql(WAITING, events)) == 2)
            yield one
        finally:
            one.kill()


def assert_the_old_table_serves_and_the_next_rebuild_cleans_up(
    house: House, *, left: bool = True
) -> None:
    live(house, 1)
    happen(house.lending, 1)
    assert_reads_are_right(house.reads, house.log)
    assert ("loans_v2" in house.tables()) == left  # half of it, which nobody reads
    with house.rebuilder() as builder:
        assert builder.rebuild(LOANS).version == 2
    assert house.tables() == ["applications_v1", "customers_v1", "loans_v1", "loans_v2"]
    house.project()
    assert house.differences() == []
    assert_reads_are_right(house.reads, house.log)


@pytest.mark.fault
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_rebuild_killed_half_way_leaves_no_process_and_the_old_table(
    projected: House, number: signal.Signals
) -> None:
    with waiting(projected) as rebuilding:
        rebuilding.parent.send_signal(number)
        assert rebuilding.end()[0] != 0
    assert_the_old_table_serves_and_the_next_rebuild_cleans_up(projected)


@pytest.mark.fault
def test_a_shard_that_did_not_follow_its_parent_would_stay(projected: House) -> None:
    """The control."""
    with waiting(projected, "tests.projections.orphaning") as rebuilding:
        orphans = set(rebuilding.shards())
        assert len(orphans) == 2
        rebuilding.parent.kill()
        rebuilding.parent.wait(5)
        with pytest.raises(AssertionError):
            until(lambda: set(rebuilding.shards()) != orphans, timeout_s=2)
    live(projected, 1)


@pytest.mark.fault
def test_a_shard_killed_half_way_ends_the_rebuild(house: House, half_way: HalfWay) -> None:
    os.kill(half_way.stopped, signal.SIGKILL)
    code, said = half_way.end()
    assert (code, said.strip()) == (1, "credit-es: A shard of the rebuild was ended from outside.")
    assert_the_old_table_serves_and_the_next_rebuild_cleans_up(house, left=False)


@pytest.mark.fault
def test_a_rebuild_that_lost_its_connection_and_so_its_lock_ends_its_shards(
    house: House, half_way: HalfWay
) -> None:
    (ended,) = house.sql(
        "SELECT count(pg_terminate_backend(l.pid)) FROM pg_locks l JOIN pg_database d"
        " ON d.oid = l.database AND d.datname = current_database()"
        " WHERE l.locktype = 'advisory' AND (l.classid::bigint << 32 | l.objid::bigint)"
        " = hashtextextended('credit-es/rebuild/' || %s, 0)",
        house.schema,
    )
    assert ended == (1,)
    until(lambda: half_way.shards() == [])  # the stopped one, too
    code, said = half_way.end()
    assert code == 1
    assert re.match(r"credit-es: .*connection", said.strip())
    assert_the_old_table_serves_and_the_next_rebuild_cleans_up(house)


def rebuild_loans(house: House) -> None:
    with house.rebuilder() as builder:
        builder.rebuild(LOANS, shards=2)


@pytest.mark.fault
def test_a_shard_that_lost_its_connection_ends_the_rebuild(house: House) -> None:
    happen(house.lending, 1)
    house.project()
    end_one = (
        "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND query LIKE %s LIMIT 1) one"
    )
    with psycopg.connect(house.url) as conn, ThreadPoolExecutor(1) as pool:
        # So that both shards wait for the events of their streams.
        conn.execute(f"LOCK TABLE {house.schema}.events IN ACCESS EXCLUSIVE MODE".encode())
        rebuilding = pool.submit(rebuild_loans, house)
        until(lambda: house.sql(end_one, f'%"{house.schema}".events WHERE%BETWEEN%') == [(1,)])
        with pytest.raises(RebuildError, match="shard of the rebuild failed: terminating conn"):
            rebuilding.result(30)
    live(house, 1)
    assert "loans_v2" not in house.tables()  # what had filled the disk would fill it still
    assert_reads_are_right(house.reads, house.log)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_no_stream_lies_between_two_shards_or_beyond_them(count: int) -> None:
    shards = shards_of(TableOf(LOANS, "credit", 1), url="", head=1, count=count)
    assert len(shards) == count
    assert (shards[0].first, shards[-1].last) == (FIRST, LAST)
    assert all(one.last.int + 1 == after.first.int for one, after in pairwise(shards))


@pytest.mark.slow
def test_shards_of_one_log_divide_all_of_its_streams(house: House) -> None:
    with psycopg.connect(house.url) as conn:
        copy_in(conn, house.schema, lending_of_years(40))
    with house.rebuilder() as builder:
        for count in (1, 3):
            rebuilt = [builder.rebuild(one, shards=count) for one in PROJECTIONS]
            assert [one.rows for one in rebuilt] == [40, 120, 0]
            assert house.differences() == []
    assert_reads_are_right(house.reads, house.log)


@pytest.mark.slow
def test_a_projector_that_is_far_behind_or_poisoned_does_not_stop_a_rebuild(house: House) -> None:
    happen(house.lending, 2)
    house.project()
    happen(house.lending, 2)  # which no projector has seen
    house.sql("UPDATE {s}.read_tables SET problem = 'position 7' WHERE projection = 'loans'")
    with house.rebuilder() as builder:
        for projection in PROJECTIONS:
            assert builder.rebuild(projection, shards=2).position == house.log.head().last
    assert [one.problem for one in status(house.conn, house.schema)] == [None] * 3
    assert house.differences() == []
    assert_reads_are_right(house.reads, house.log)


@pytest.mark.slow
@pytest.mark.skipif(not LISTED, reason="processes are read from /proc")
def test_a_shard_holds_no_more_of_a_long_log_than_of_a_short_one(house: House) -> None:
    peaks = []
    shards = partial(children_of, os.getpid(), "projections.spread")
    for customers in (300, 12_000):
        house.sql("TRUNCATE {s}.events")
        with psycopg.connect(house.url) as conn:
            copy_in(conn, house.schema, lending_of_years(customers))
        with house.rebuilder() as builder, peaks_of(shards) as seen:
            assert builder.rebuild(LOANS, shards=2).rows == 3 * customers
        assert len(seen) == 2
        peaks.append(max(seen.values()))
    # Half of 36,000 loans would take 12 MiB, were their rows held.
    assert peaks[1] - peaks[0] < 6, peaks
