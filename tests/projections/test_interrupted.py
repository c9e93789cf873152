"""A rebuild interrupted anywhere leaves a table serving, and the next one cleans up."""

from collections.abc import Callable

import pytest

from projections.loans import LOANS
from projections.rebuild import Rebuilder
from projections.tables import TableOf, live_table
from tests.projections.conftest import House
from tests.projections.history import assert_reads_are_right, happen

pytestmark = pytest.mark.slow


class Interrupted(BaseException):
    """As a signal would be."""


def at_progress(_patch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    def stop(_reached: int, _head: int) -> None:
        raise Interrupted

    return stop


def at(target: type, name: str) -> Callable[[pytest.MonkeyPatch], Callable[[int, int], None]]:
    def plan(patch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
        def stop(*_args: object, **_more: object) -> None:
            raise Interrupted

        patch.setattr(target, name, stop)
        return lambda _reached, _head: None

    return plan


@pytest.mark.parametrize("where", ["show", "fill"])
def test_going_back_never_shows_a_table_that_never_served(
    house: House, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    happen(house.lending, 1)
    with house.rebuilder() as builder:
        builder.rebuild(LOANS)
    with monkeypatch.context() as patch:
        at(TableOf, where)(patch)
        with pytest.raises(Interrupted), house.rebuilder() as builder:
            builder.rebuild(LOANS)
    live_now = live_table(house.conn, LOANS, house.schema)
    assert live_now is not None
    assert live_now.version == 2
    assert "loans_v3" in house.tables()
    with house.rebuilder() as builder:
        assert builder.rollback(LOANS).version == 1
    assert_reads_are_right(house.reads, house.log)


@pytest.mark.parametrize(
    "plan",
    [
        at_progress,
        at(TableOf, "fill"),
        at(TableOf, "build_keys"),
        at(Rebuilder, "_catch_up"),
        at(TableOf, "show"),
        at(Rebuilder, "_swap"),
        at(Rebuilder, "_drop_all_but"),
    ],
    ids=[
        "folding",
        "filling",
        "keys",
        "catching up",
        "swapping",
        "before the swap",
        "after the swap",
    ],
)
def test_an_interrupted_rebuild_leaves_a_table_serving_and_the_next_one_cleans_up(
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    plan: Callable[[pytest.MonkeyPatch], Callable[[int, int], None]],
) -> None:
    happen(house.lending, 2)
    house.project()
    with monkeypatch.context() as patch:
        progress = plan(patch)
        with pytest.raises(Interrupted), house.rebuilder() as builder:
            builder.rebuild(LOANS, progress)
    happen(house.lending, 1)
    assert_reads_are_right(house.reads, house.log)
    house.project()
    assert house.differences() == []

    with house.rebuilder() as builder:
        rebuilt = builder.rebuild(LOANS)
    names = [name for name in house.tables() if name.startswith("loans")]
    assert len(names) == 2
    assert names[-1] == f"loans_v{rebuilt.version}"
    assert house.differences() == []
    assert_reads_are_right(house.reads, house.log)
    recorded = house.sql("SELECT version FROM {s}.read_tables WHERE projection = 'loans'")
    assert sorted(f"loans_v{version}" for (version,) in recorded) == sorted(names)
