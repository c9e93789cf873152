"""One projector leads and the next stands by: real processes, one killed as by a crash."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from projections.status import status
from tests.processes import until
from tests.projections.conftest import House, Process
from tests.projections.history import happen
from tests.store.given import BY, person

pytestmark = pytest.mark.fault


def caught_up(house: House) -> bool:
    return {one.lag.events for one in status(house.conn, house.schema)} == {0}


def test_a_second_projector_stands_by_and_takes_over_when_the_first_is_killed(
    house: House, start: Callable[[], Process]
) -> None:
    first = start()
    until(lambda: first.said("projector leads"))
    second = start()
    until(lambda: second.said("projector stands by"))
    happen(house.lending, 3)
    until(lambda: caught_up(house))
    assert not second.said("projector leads")

    first.child.send_signal(signal.SIGKILL)
    first.child.wait(5)
    happen(house.lending, 3)
    assert until(lambda: second.said("projector leads")) < 5
    until(lambda: caught_up(house))
    assert house.differences() == []


def test_a_projector_feeds_the_index_of_facts_as_well(
    house: House, start: Callable[[], Process]
) -> None:
    happen(house.lending, 3)
    start()
    count = "SELECT count(*), max(position) FROM {s}."
    until(lambda: house.sql(count + "facts") == house.sql(count + "events"))
    reached = house.sql("SELECT position FROM {s}.fact_index")
    assert reached == [(house.log.head().last,)]


def test_a_projector_ends_at_sigterm_and_lets_the_next_one_lead(
    house: House, start: Callable[[], Process]
) -> None:
    first = start()
    until(lambda: first.said("projector leads"))
    first.child.send_signal(signal.SIGTERM)
    assert first.child.wait(5) == 0
    second = start()
    until(lambda: second.said("projector leads"))


def test_a_projector_whose_connections_are_killed_leads_again(
    house: House, start: Callable[[], Process]
) -> None:
    leader = start()
    until(lambda: leader.said("projector leads"))
    happen(house.lending, 1)
    until(lambda: caught_up(house))  # so both connections are there
    with other_backends_ended(house) as ended:
        assert ended >= 2
    happen(house.lending, 2)
    until(lambda: caught_up(house))
    assert leader.said("projector waits for postgres")
    assert house.differences() == []


@pytest.mark.slow
def test_a_projector_waits_while_somebody_holds_the_log(
    house: House, start: Callable[[], Process]
) -> None:
    leader = start()
    until(lambda: leader.said("projector leads"))
    with psycopg.connect(house.url) as conn:
        conn.execute(f"LOCK TABLE {house.schema}.events IN ACCESS EXCLUSIVE MODE".encode())
        until(lambda: leader.said("projector waits for postgres"))
    happen(house.lending, 1)
    until(lambda: caught_up(house))


def test_a_projector_waits_where_its_server_takes_no_writes(
    house: House, start: Callable[[], Process]
) -> None:
    """As one that was the primary and is a standby now does."""
    happen(house.lending, 1)
    house.url = make_conninfo(house.url, options="-cdefault_transaction_read_only=on")
    refused = start()
    until(lambda: refused.said("cannot execute UPDATE in a read-only transaction"))
    until(lambda: refused.said("projector waits for postgres"))


def test_a_leader_that_was_frozen_and_lost_its_lock_meanwhile_stands_by(
    house: House, start: Callable[[], Process]
) -> None:
    first = start()
    until(lambda: first.said("projector leads"))
    happen(house.lending, 1)
    until(lambda: caught_up(house))
    first.child.send_signal(signal.SIGSTOP)
    with other_backends_ended(house):
        second = start()
    until(lambda: second.said("projector leads"))
    happen(house.lending, 1)
    until(lambda: caught_up(house))
    first.child.send_signal(signal.SIGCONT)
    until(lambda: first.said("projector stands by"))
    happen(house.lending, 1)
    until(lambda: caught_up(house))
    assert house.differences() == []


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CREDIT_TEST_MARKS", str(tmp_path))
    return tmp_path


def overtaken(house: House, start: Callable[..., Process], marks: Path) -> Process:
    """One that has lost its lock unnoticed, and what it has read was fed meanwhile, and more."""
    first = start("tests.projections.oblivious")
    until(lambda: first.said("projector leads"))
    house.lending.register(person(), BY)
    until((marks / "has read").exists)
    second = start()
    until(lambda: second.said("projector leads"))
    happen(house.lending, 1)
    until(lambda: caught_up(house))
    (marks / "may write").touch()
    return first


def test_a_leader_that_lost_its_lock_unnoticed_writes_nothing(
    house: House, start: Callable[..., Process], marks: Path
) -> None:
    first = overtaken(house, start, marks)
    until(lambda: first.said("projection moved by another"))
    happen(house.lending, 1)  # and now both lead
    until(lambda: caught_up(house))
    assert [one.problem for one in status(house.conn, house.schema)] == [None] * 3
    assert house.differences() == []


def test_without_the_fence_a_leader_that_lost_its_lock_unnoticed_poisons_a_projection(
    house: House, start: Callable[..., Process], marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the position that it moves back lets the other one feed facts once more."""
    monkeypatch.setenv("CREDIT_TEST_UNFENCED", "1")
    overtaken(house, start, marks)
    until(lambda: any(one.problem for one in status(house.conn, house.schema)))
    assert not caught_up(house)


def killed_half_way(house: House, start: Callable[..., Process], marks: Path) -> None:
    """A leader killed after it moved a position and before it wrote the rows; the next has led."""
    house.lending.register(person(), BY)
    first = start("tests.projections.halting")
    until((marks / "has halted").exists)
    first.child.send_signal(signal.SIGKILL)
    first.child.wait(5)
    start()
    until(lambda: caught_up(house))


def test_a_projector_killed_within_a_batch_has_moved_nothing(
    house: House, start: Callable[..., Process], marks: Path
) -> None:
    killed_half_way(house, start, marks)
    assert house.differences() == []


def test_a_position_moved_apart_from_the_rows_would_lose_them(
    house: House, start: Callable[..., Process], marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    monkeypatch.setenv("CREDIT_TEST_TORN", "1")
    killed_half_way(house, start, marks)
    (lost,) = house.differences()
    assert (lost.projection, lost.stored) == ("customers", None)


@contextmanager
def other_backends_ended(house: House) -> Iterator[int]:
    """All but the test's own: the leader's lock connection and its reader."""
    with psycopg.connect(house.url, autocommit=True) as conn:
        mine = (conn.info.backend_pid, house.conn.info.backend_pid)
        ended = conn.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> ALL(%s)",
            (list(mine),),
        ).fetchone()
    yield ended[0] if ended else 0
