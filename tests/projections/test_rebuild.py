"""A rebuild: beside the table that serves, under writes, interrupted, and taken back."""

import threading
import time
from collections.abc import Callable

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from credit_es.store.mapper import loan_stream
from credit_es.store.recorder import LogRecorder
from projections.customers import CUSTOMERS
from projections.loans import LOANS
from projections.rebuild import RebuildError, named, rebuilder
from projections.status import status
from projections.tables import PROJECTIONS, live_table
from tests.projections.conftest import House
from tests.projections.history import assert_reads_are_right, copy_in, happen, imported
from tests.store.given import BY, asks

pytestmark = pytest.mark.slow


def live(house: House, version: int) -> None:
    for projection in PROJECTIONS:
        table = live_table(house.conn, projection, house.schema)
        assert table is not None
        assert table.version == version


def test_prepare_builds_what_lacks_and_only_that(house: House) -> None:
    assert house.tables() == ["applications_v1", "customers_v1", "loans_v1"]
    with house.rebuilder() as builder:
        assert builder.prepare() == []
        house.sql("DROP VIEW {s}.{loans}; DROP TABLE {s}.loans_v1;")
        house.sql("DELETE FROM {s}.read_tables WHERE projection = 'loans'")
        happen(house.lending, 1)
        assert builder.prepare() == ["loans"]
    house.project()
    assert house.differences() == []
    assert_reads_are_right(house.reads, house.log)


def test_a_rebuilt_table_is_a_fresh_fold_and_the_one_before_is_kept(house: House) -> None:
    happen(house.lending, 3)
    house.project()
    house.sql("UPDATE {s}.loans_v1 SET amount = 1")
    with house.rebuilder() as builder:
        rebuilt = builder.rebuild(LOANS)
    assert (rebuilt.projection, rebuilt.version) == ("loans", 2)
    assert (rebuilt.position, rebuilt.rows) == (house.log.head().last, 18)
    assert house.tables() == ["applications_v1", "customers_v1", "loans_v1", "loans_v2"]
    assert house.differences() == []
    assert_reads_are_right(house.reads, house.log)
    kept = {s.projection: s.kept_versions for s in status(house.conn, house.schema)}
    assert kept == {"customers": (1,), "loans": (1, 2), "applications": (1,)}


def test_of_many_rebuilds_the_last_two_tables_are_kept(house: House) -> None:
    happen(house.lending, 1)
    with house.rebuilder() as builder:
        for _ in range(3):
            builder.rebuild(CUSTOMERS)
    assert house.tables() == ["applications_v1", "customers_v3", "customers_v4", "loans_v1"]
    assert_reads_are_right(house.reads, house.log)


def test_going_back_shows_the_table_before_and_catches_it_up(house: House) -> None:
    happen(house.lending, 1)
    house.project()
    with house.rebuilder() as builder:
        for projection in PROJECTIONS:
            with pytest.raises(RebuildError, match="has no other table to go back to"):
                builder.rollback(projection)
            builder.rebuild(projection)
        happen(house.lending, 1)
        house.project()
        for projection in PROJECTIONS:
            assert builder.rollback(projection).version == 1
    live(house, 1)
    assert_reads_are_right(house.reads, house.log)
    house.project()
    assert house.differences() == []
    assert_reads_are_right(house.reads, house.log)


def test_the_table_that_served_is_kept_even_after_going_back(house: House) -> None:
    happen(house.lending, 1)
    house.project()
    with house.rebuilder() as builder:
        builder.rebuild(LOANS)
        builder.rollback(LOANS)  # from 2, with which nobody was content, to 1
        assert builder.rebuild(LOANS).version == 3
        assert builder.rollback(LOANS).version == 1


def test_a_projection_that_is_not_there_is_told_with_those_that_are() -> None:
    assert named("loans") is LOANS
    with pytest.raises(RebuildError, match="no projection 'lons': there are customers, loans"):
        named("lons")


@pytest.mark.parametrize("shards", [1, 2])
def test_a_rebuild_that_meets_poison_says_where_and_leaves_the_old_table_serving(
    house: House, shards: int
) -> None:
    number, _ = happen(house.lending, 1)
    loan = house.reads.customer(number)[1][0].number
    house.project()
    house.sql("UPDATE {s}.events SET state = 'bad' WHERE stream_id = %s", loan_stream(loan))
    ((position,),) = house.sql(
        "SELECT position FROM {s}.events WHERE stream_id = %s", loan_stream(loan)
    )
    told = f"^position {position}: loans cannot digest version 1 of stream {loan_stream(loan)}"
    with pytest.raises(RebuildError, match=told), house.rebuilder() as builder:
        builder.rebuild(LOANS, shards=shards)
    live(house, 1)
    assert "loans_v2" not in house.tables()
    assert house.reads.loan(loan)[0].number == loan  # the row holds what was folded before


def test_a_rebuild_passes_over_no_fact_that_nobody_knows(house: House) -> None:
    happen(house.lending, 1)
    ((position,),) = house.sql(
        "INSERT INTO {s}.events VALUES (NULL, gen_random_uuid(), 1, 'credit.LoanFlewAway', '{{}}')"
        " RETURNING position"
    )
    with house.rebuilder() as builder:
        for projection in PROJECTIONS:
            with pytest.raises(RebuildError, match=f"^position {position}: {projection.name} can"):
                builder.rebuild(projection)


def test_only_one_rebuilder_works_at_a_time(house: House) -> None:
    order: list[str] = []

    def second() -> None:
        # As docs/operating.md has the role of a service behind a pooler, if not for that long.
        with rebuilder(f"{house.url}&options=-clock_timeout%3D100ms", house.schema):
            order.append("second")

    with house.rebuilder():
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_a_swap_gives_way_to_a_reader_that_takes_its_time_and_to_those_behind_it(
    house: House,
) -> None:
    number, _ = happen(house.lending, 1)
    house.project()

    def read_slowly(conn: Connection[TupleRow]) -> int:
        statement = f"SELECT count(*), pg_sleep(3) FROM {house.schema}.{LOANS.shown_as}"
        (count, _) = conn.execute(statement.encode()).fetchone() or (0, None)
        return int(count)

    counts: list[int] = []
    slow = threading.Thread(target=lambda: counts.append(house.lending.database.run(read_slowly)))
    took: list[float] = []

    def read_on() -> None:
        while slow.is_alive():
            started = time.monotonic()
            house.reads.customer(number)
            took.append(time.monotonic() - started)

    others = threading.Thread(target=read_on)
    slow.start()
    time.sleep(0.1)
    others.start()
    with house.rebuilder() as builder:
        builder.rebuild(LOANS)
    slow.join(10)
    others.join(10)
    assert counts == [6]
    assert max(took) < 1.5  # who does not give way makes them wait for the slow one
    live_now = live_table(house.conn, LOANS, house.schema)
    assert live_now is not None
    assert live_now.version == 2


def test_what_came_while_a_table_was_built_is_in_it(house: House) -> None:
    happen(house.lending, 1)
    more = iter([1])

    def progress(_reached: int, _head: int) -> None:
        for _ in more:
            happen(house.lending, 1)

    with house.rebuilder() as builder:
        assert builder.rebuild(LOANS, progress).position == house.log.head().last
    assert house.differences() == []


def test_readers_and_writers_go_on_during_rebuilds_and_nothing_is_lost(house: House) -> None:
    numbers = happen(house.lending, 10)
    house.project()
    stop = threading.Event()
    errors: list[BaseException] = []
    done = {"reads": 0, "writes": 0, "copies": 0, "steps": 0}

    def until_stopped(what: str, work: Callable[[int], object]) -> threading.Thread:
        def loop() -> None:
            turn = 0
            while not stop.is_set():
                try:
                    work(turn)
                except BaseException as error:  # noqa: BLE001
                    errors.append(error)
                    return
                turn += 1
                done[what] += 1

        thread = threading.Thread(target=loop)
        thread.start()
        return thread

    def read(turn: int) -> None:
        who, loans = house.reads.customer(numbers[turn % len(numbers)])
        assert sorted(who.loans) == [one.number for one in loans]
        house.reads.loan(loans[0].number)

    def copy(turn: int) -> None:
        """Take positions, dawdle, and commit after others that took later ones."""
        with psycopg.connect(house.url) as conn:
            copy_in(conn, house.schema, imported(1_000 + turn, house.lending.today()))
            time.sleep(0.05)

    threads = [
        until_stopped("reads", read),
        until_stopped("reads", read),
        until_stopped(
            "writes",
            lambda turn: house.lending.apply_for_loan(asks(numbers[turn % len(numbers)]), BY),
        ),
        until_stopped("writes", lambda _: happen(house.lending, 1)),
        until_stopped("copies", copy),
        until_stopped("steps", lambda _: house.projector.step()),
    ]
    try:
        with rebuilder(house.url, house.schema) as builder:
            before = dict(done)
            for shards in (1, 1, 1, 2):
                for projection in PROJECTIONS:
                    builder.rebuild(projection, shards=shards)
    finally:
        time.sleep(0.2)
        stop.set()
        for thread in threads:
            thread.join(20)
    assert errors == []
    assert all(done[what] > before[what] for what in done)
    house.project()
    live(house, 5)
    assert house.differences() == []
    assert_reads_are_right(house.reads, house.log)


@pytest.mark.parametrize(
    "naive", [False, True], ids=["below the floors", "up to the last position"]
)
def test_what_commits_late_during_a_rebuild_is_not_lost(
    house: House, monkeypatch: pytest.MonkeyPatch, *, naive: bool
) -> None:
    """The control: a rebuild up to the last position that it sees passes what commits behind it."""
    happen(house.lending, 1)
    house.project()
    with psycopg.connect(house.url) as late:
        copy_in(late, house.schema, imported(1_000, house.lending.today()))
        happen(house.lending, 1)
        with monkeypatch.context() as patch, house.rebuilder() as builder:
            if naive:
                patch.setattr(LogRecorder, "safe_position", lambda one, _: highest(one))
            for projection in PROJECTIONS:
                builder.rebuild(projection)
    house.project()
    lost = {difference.number for difference in house.differences()}
    assert lost == ({1_000, *house.reads.customer(1_000)[0].loans} if naive else set())


def highest(recorder: LogRecorder) -> int:
    return recorder.max_notification_id() or 0


@pytest.mark.parametrize("allowed", ["idle_session_timeout", "statement_timeout"])
def test_a_rebuild_takes_its_time_whatever_a_request_is_allowed(house: House, allowed: str) -> None:
    happen(house.lending, 1)
    impatient = f"{house.url}&options=-c{allowed}%3D200ms"
    with rebuilder(impatient, house.schema) as builder:
        assert builder.rebuild(CUSTOMERS, lambda *_: time.sleep(0.5)).rows == 2
