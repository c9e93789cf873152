"""The projector: batches behind a fence, and a poisoned projection that stops alone."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
import structlog

from credit_es.store.log import Log
from credit_es.store.mapper import customer_stream, loan_stream
from credit_es.store.recorder import Tailed
from projections import projector
from projections.customers import CUSTOMERS
from projections.loans import LOANS
from projections.projection import PoisonError, Projection
from projections.projector import Projector
from projections.rebuild import RebuildError
from projections.status import Lag, ProjectionStatus, lowest_floor, status
from projections.tables import PROJECTIONS
from tests.domain.facts import received
from tests.projections.conftest import House
from tests.projections.history import assert_reads_are_right, happen
from tests.store.given import BY, asks

pytestmark = pytest.mark.slow


def stands(house: House) -> dict[str, ProjectionStatus]:
    return {one.projection: one for one in status(house.conn, house.schema)}


def head(house: House) -> int:
    return house.log.head().last


# The fence.


class MeanwhileLog(Log):
    """A log whose reader is overtaken between its reading and its writing."""

    def __init__(self, house: House) -> None:
        super().__init__(house.log.recorder)
        self._house = house

    def tail(
        self, after: int, *, upto: int | None = None, limit: int = 1000
    ) -> Iterator[list[Tailed]]:
        for batch in super().tail(after, upto=upto, limit=limit):
            self._house.project()
            yield batch


def test_a_leader_that_was_overtaken_unnoticed_writes_nothing(house: House) -> None:
    happen(house.lending, 2)
    with psycopg.connect(house.url, autocommit=True) as conn:
        overtaken = Projector(conn, MeanwhileLog(house), house.schema)
        with structlog.testing.capture_logs() as logs:
            assert overtaken.step() > 0
    fenced = [line["projection"] for line in logs if line["event"] == "projection moved by another"]
    assert fenced == ["customers", "loans", "applications"]
    assert [(s.position, s.problem) for s in stands(house).values()] == [(head(house), None)] * 3
    assert house.differences() == []


def test_a_leader_that_was_overtaken_by_less_than_its_batch_writes_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    happen(house.lending, 1)
    house.project()
    happen(house.lending, 2)
    with psycopg.connect(house.url, autocommit=True) as conn:
        overtaken = Projector(conn, MeanwhileLog(house), house.schema)
        monkeypatch.setattr(house.projector, "step", _steps(house, 1, 3))
        overtaken.step()
    assert [s.problem for s in stands(house).values()] == [None] * 3
    house.project()
    monkeypatch.undo()
    house.project()
    assert house.differences() == []


def _steps(house: House, *sizes: int) -> object:
    """The projector's step with small batches, as long as there are sizes."""
    step, left = house.projector.step, list(sizes)

    def small() -> int:
        if not left:
            return 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(projector, "BATCH", left.pop())
            return step()

    return small


def test_two_projectors_at_once_write_no_batch_twice_and_never_move_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector, "BATCH", 3)
    happen(house.lending, 12)
    house.sql("CREATE TABLE {s}.moves (projection text, was bigint, is_now bigint, n bigserial);")
    house.sql(
        "CREATE FUNCTION {s}.note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " INSERT INTO {s}.moves VALUES (NEW.projection, OLD.position, NEW.position);"
        " RETURN NEW; END$$;"
    )
    house.sql(
        "CREATE TRIGGER note BEFORE UPDATE ON {s}.read_tables FOR EACH ROW"
        " EXECUTE FUNCTION {s}.note()"
    )
    ready = threading.Barrier(3)

    def lead(_: int) -> None:
        with psycopg.connect(house.url, autocommit=True) as conn:
            one = Projector(conn, house.log, house.schema)
            ready.wait(10)
            while one.step():
                pass

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lead, range(3)))
    for name in ("customers", "loans"):
        moves = house.sql(
            "SELECT was, is_now FROM {s}.moves WHERE projection = %s ORDER BY n", name
        )
        assert all(was < now for was, now in moves)
        assert [was for was, _ in moves[1:]] == [now for _, now in moves[:-1]]
        assert moves[-1][1] == head(house)
    assert [s.problem for s in stands(house).values()] == [None] * 3
    assert house.differences() == []


def test_a_table_that_is_far_behind_holds_up_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    happen(house.lending, 6)
    house.project()
    house.sql("TRUNCATE {s}.loans_v1")
    house.sql("UPDATE {s}.read_tables SET position = 0 WHERE projection = 'loans'")
    happen(house.lending, 1)
    monkeypatch.setattr(projector, "BATCH", 20)
    house.projector.step()
    assert stands(house)["customers"].position == head(house)
    assert 0 < stands(house)["loans"].position < head(house)
    house.project()
    assert house.differences() == []


# Poison.


@contextmanager
def poisoned(house: House, loan_number: int, state: bytes) -> Iterator[None]:
    """Damage the fact of one loan; mended afterwards, which only a test may do."""
    stream = loan_stream(loan_number)
    ((whole,),) = house.sql("SELECT state FROM {s}.events WHERE stream_id = %s", stream)
    house.sql("UPDATE {s}.events SET state = %s WHERE stream_id = %s", state, stream)
    yield
    house.sql("UPDATE {s}.events SET state = %s WHERE stream_id = %s", whole, stream)


def position_of(house: House, loan_number: int) -> int:
    stream = loan_stream(loan_number)
    ((position,),) = house.sql("SELECT position FROM {s}.events WHERE stream_id = %s", stream)
    return int(position)


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"not JSON",
        b"{}",
        b'{"fact":{"type":"credit.LoanFlewAway"}}',
        b'{"actor":"\xff"}',
        pytest.param(b'{"deep":' + b"[" * 100_000, id="deep"),
    ],
)
def test_a_poisoned_projection_stops_alone_and_goes_on_when_mended(
    house: House, state: bytes
) -> None:
    before, *_ = happen(house.lending, 2)
    loan = house.reads.customer(before)[1][0].number
    house.project()
    ill, well = happen(house.lending, 1)
    bad = house.reads.customer(ill)[1][1].number
    later = house.reads.customer(well)[1]
    after = position_of(house, bad)
    with poisoned(house, bad, state):
        with structlog.testing.capture_logs() as logs:
            house.project()
        poison = [line for line in logs if line["event"] == "projection poisoned"]
        assert [(p["projection"], p["position"]) for p in poison] == [("loans", after)]

        # That projection stopped right before the fact, and says where; the other went on.
        stand = stands(house)
        assert stand["loans"].position == after - 1
        assert stand["loans"].problem is not None
        assert stand["loans"].problem.startswith(f"position {after}: loans cannot digest version 1")
        assert stand["loans"].lag.events == head(house) - after + 1
        assert stand["customers"].problem is None
        assert stand["customers"].lag == Lag(events=0, seconds=0.0)

        # The poisoned row is not answered; all others are, old ones and later ones.
        for read in (lambda: house.reads.loan(bad), lambda: house.reads.customer(ill)):
            with pytest.raises(PoisonError) as caught:
                read()
            told = caught.value
            assert (told.projection, told.stream_id, told.version) == ("loans", loan_stream(bad), 1)
        assert house.reads.loan(loan)[0].number == loan
        assert house.reads.customer(well)[1] == later
        happen(house.lending, 1)
        house.project()
        assert stands(house)["loans"].position == after - 1

        # Tried again without being mended it stops at the same place.
        with house.rebuilder() as builder:
            assert not builder.retry(CUSTOMERS)
            assert builder.retry(LOANS)
        house.project()
        assert stands(house)["loans"].position == after - 1
        assert stands(house)["loans"].problem is not None
    with house.rebuilder() as builder:
        assert builder.retry(LOANS)
    house.project()
    assert {s.problem for s in stands(house).values()} == {None}
    assert house.differences() == []
    assert_reads_are_right(house.reads, house.log)


def test_who_was_overtaken_at_a_fact_that_it_cannot_digest_stops_nobody(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever leads now has gone on, with code that digests it, before the stop is written."""
    number, _ = happen(house.lending, 1)
    bad = house.reads.customer(number)[1][0].number
    with ExitStack() as ill:
        ill.enter_context(poisoned(house, bad, b""))

        def meanwhile(*_: object, **__: object) -> None:
            ill.close()
            house.project()

        monkeypatch.setattr(projector.log, "exception", meanwhile)
        while house.projector.step():
            pass
    assert {s.problem for s in stands(house).values()} == {None}
    assert {s.position for s in stands(house).values()} == {head(house)}
    assert house.differences() == []


def test_a_fact_in_the_wrong_place_is_poison_too(house: House) -> None:
    number, _ = happen(house.lending, 1)
    stream = customer_stream(number)
    house.sql("UPDATE {s}.events SET version = 9 WHERE stream_id = %s AND version = 3", stream)
    house.project()
    problem = stands(house)["customers"].problem
    assert problem is not None
    assert f"cannot digest version 9 of stream {stream}" in problem


@pytest.mark.parametrize("fed_before", [False, True])
def test_a_fact_about_another_loan_than_its_stream_is_poison_however_it_is_met(
    house: House, *, fed_before: bool
) -> None:
    mine, other = (house.reads.customer(number)[1][0].number for number in happen(house.lending, 1))
    if fed_before:
        house.project()
    house.lending.record([(2, received("10", loan=other))], BY)
    streams = loan_stream(mine), loan_stream(other)
    house.sql("UPDATE {s}.events SET stream_id = %s WHERE stream_id = %s AND version = 2", *streams)
    house.project()
    problem = stands(house)["loans"].problem
    assert problem is not None
    assert f"cannot digest version 2 of stream {streams[0]}" in problem
    with house.rebuilder() as builder, pytest.raises(RebuildError, match="cannot digest version 2"):
        builder.rebuild(LOANS)
    with pytest.raises(PoisonError):
        house.reads.loan(mine)
    assert house.reads.loan(other)[0].version == 1


@pytest.mark.parametrize(
    ("projection", "stream"), [(CUSTOMERS, customer_stream), (LOANS, loan_stream)]
)
def test_a_first_fact_about_another_row_than_its_stream_is_poison_until_it_is_mended(
    house: House, projection: Projection[Any], stream: Callable[[int], UUID]
) -> None:
    happen(house.lending, 1)
    house.project()
    number, well = happen(house.lending, 1)
    if projection is LOANS:
        number = house.reads.customer(number)[1][0].number
    right, wrong = stream(number), stream(77)
    move = "UPDATE {s}.events SET stream_id = %s WHERE stream_id = %s RETURNING position"
    position = min(house.sql(move, wrong, right))[0]
    house.project()
    problem = f"position {position}: {projection.name} cannot digest version 1 of stream {wrong}"
    stand = stands(house)
    assert stand.pop(projection.name).problem == problem
    assert {(one.problem, one.position) for one in stand.values()} == {(None, head(house))}
    with house.rebuilder() as builder, pytest.raises(RebuildError, match=problem):
        builder.rebuild(projection)
    with pytest.raises(PoisonError):
        house.reads.customer(77) if projection is CUSTOMERS else house.reads.loan(77)
    assert house.reads.customer(well)[1]

    house.sql(move, right, wrong)
    with house.rebuilder() as builder:
        assert builder.retry(projection)
    house.project()
    assert {one.problem for one in stands(house).values()} == {None}
    assert house.differences() == []


@pytest.mark.parametrize("version", [1, 2])
def test_a_fact_that_nobody_knows_stops_whoever_it_may_concern(house: House, version: int) -> None:
    happen(house.lending, 1)
    house.sql(
        "INSERT INTO {s}.events VALUES (NULL, %s, %s, 'credit.FromTheFuture', '{{}}')",
        loan_stream(77),
        version,
    )
    house.project()
    assert {s.position for s in stands(house).values()} == {head(house) - 1}
    assert all(s.problem for s in stands(house).values())


# Where it stands.


def test_the_status_says_position_versions_and_lag(house: House) -> None:
    happen(house.lending, 1)
    house.project()
    reached = head(house)
    house.lending.apply_for_loan(asks(10_000_001), BY)
    house.sql(
        "UPDATE {s}.events SET state = convert_to(jsonb_set(convert_from(state, 'UTF8')::jsonb,"
        " '{{recorded_at}}', to_jsonb(now() - interval '90 seconds'))::text, 'UTF8')"
        " WHERE position > %s",
        reached,
    )
    shown = {f"{one.projection}_d{one.definition}" for one in stands(house).values()}
    assert shown == {one.shown_as for one in PROJECTIONS}
    for one in stands(house).values():
        assert (one.version, one.kept_versions) == (1, (1,))
        assert (one.position, one.lag.events, one.problem) == (reached, 2, None)
        assert 90 <= one.lag.seconds < 150
    house.project()
    assert [s.lag for s in stands(house).values()] == [Lag(events=0, seconds=0.0)] * 3


def test_the_status_names_who_holds_the_tail(house: House) -> None:
    assert lowest_floor(house.conn, house.schema) is None
    happen(house.lending, 1)
    house.project()
    reached = head(house)
    with psycopg.connect(house.url) as idle:
        insert = f"INSERT INTO {house.schema}.events VALUES (NULL, %s, 1, 't', '')"
        idle.execute(insert.encode(), (loan_stream(1),))
        happen(house.lending, 1)
        house.project()
        floor = lowest_floor(house.conn, house.schema)
        assert floor is not None
        assert (floor.pid, floor.state) == (idle.info.backend_pid, "idle in transaction")
        assert 0 < (floor.seconds or 0) < 60
        assert {s.position for s in stands(house).values()} == {reached}
        assert_reads_are_right_of_streams(house)
        idle.rollback()
    assert lowest_floor(house.conn, house.schema) is None
    house.project()
    assert {s.position for s in stands(house).values()} == {head(house)}


def assert_reads_are_right_of_streams(house: House) -> None:
    """A held tail holds projections, not answers."""
    for number in (10_000_001, 10_000_002):
        who, loans = house.lending.load(number)
        assert house.reads.customer(number) == (who, sorted(loans, key=lambda one: one.number))
