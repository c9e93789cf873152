"""A release that defines a read table anew, rolled out beside the one that runs, and taken back."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal

import pytest
from msgspec.structs import replace

from projections.applications import APPLICATIONS
from projections.customers import CUSTOMERS
from projections.loans import LOANS
from projections.status import is_led
from tests.processes import until
from tests.projections.conftest import ROOT, House, Process
from tests.projections.history import assert_reads_are_right, folded, happen
from tests.projections.next_release import NEXT_LOANS

NEXT = "tests.projections.next_release"
NEXT_TABLE = NEXT_LOANS.shown_as
LATER = replace(NEXT_LOANS, definition=NEXT_LOANS.definition + 1)


def next_release(house: House, *argv: str) -> str:
    environ = {**os.environ, "DATABASE_URL": house.url, "CREDIT_SCHEMA": house.schema}
    environ.pop("DATABASE_DIRECT_URL", None)
    done = subprocess.run(
        [sys.executable, "-m", NEXT, *argv],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def position(house: House, table: str) -> int:
    name, definition = table.split("_d")
    ((reached,),) = house.sql(
        "SELECT position FROM {s}.read_tables WHERE projection = %s AND definition = %s AND live",
        name,
        int(definition),
    )
    return int(reached)


def reached(house: House, *tables: str) -> Callable[[], bool]:
    head = house.log.head().last
    return lambda: all(position(house, table) == head for table in tables)


def assert_both_read_right(house: House) -> None:
    assert_reads_are_right(house.reads, house.log)
    loans = folded(house.log)[1]
    said = next_release(house, "owed", *map(str, loans)).split()
    assert dict(zip(map(int, said[::2]), map(Decimal, said[1::2]), strict=True)) == {
        number: one.installment * one.tenure_months for number, one in loans.items()
    }


@pytest.mark.fault
@pytest.mark.slow
def test_two_releases_side_by_side_each_feed_their_own_table_and_read_right(
    house: House, start: Callable[..., Process]
) -> None:
    happen(house.lending, 1)
    old = start()
    until(lambda: old.said("projector leads"))
    assert next_release(house, "migrate").splitlines() == ["built the read table loans"]
    happen(house.lending, 1)
    assert_both_read_right(house)

    # The new projector leads where the old code has no table; each feeds its own.
    new = start(NEXT)
    until(lambda: new.said("projector leads", NEXT_TABLE))
    assert new.said("projector stands by", CUSTOMERS.shown_as)
    happen(house.lending, 1)
    until(reached(house, CUSTOMERS.shown_as, LOANS.shown_as, NEXT_TABLE))
    assert house.sql("SELECT count(*) FROM {s}.{loans}") == [(18,)]
    assert house.sql(f"SELECT count(*) FROM {{s}}.{NEXT_TABLE}") == [(18,)]
    assert_both_read_right(house)

    # The old one ends: the new one takes over what both read, and the old table stays where it is.
    old.child.send_signal(signal.SIGTERM)
    assert old.child.wait(10) == 0
    until(lambda: new.said("projector leads", CUSTOMERS.shown_as))
    left = position(house, LOANS.shown_as)
    happen(house.lending, 1)
    until(reached(house, CUSTOMERS.shown_as, NEXT_TABLE))
    assert position(house, LOANS.shown_as) == left
    assert not is_led(house.conn, house.schema)  # which the old code's health check would tell
    assert_both_read_right(house)

    # Taken back: the old code finds its table as it left it, and goes on.
    with house.rebuilder() as builder:
        assert builder.prepare() == []
    old = start()
    until(reached(house, LOANS.shown_as))
    assert is_led(house.conn, house.schema)
    assert house.differences() == []
    assert_both_read_right(house)


def test_the_table_of_the_definition_before_is_kept_and_older_ones_go(house: House) -> None:
    happen(house.lending, 1)
    with house.rebuilder() as builder:
        builder.rebuild(LOANS)  # so this definition has two tables
        assert builder.prepare([CUSTOMERS, NEXT_LOANS]) == ["loans"]
        assert shown(house) == [
            APPLICATIONS.shown_as,
            CUSTOMERS.shown_as,
            LOANS.shown_as,
            NEXT_TABLE,
        ]
        assert builder.prepare([CUSTOMERS, LATER]) == ["loans"]
        assert shown(house) == [
            APPLICATIONS.shown_as,
            CUSTOMERS.shown_as,
            NEXT_TABLE,
            LATER.shown_as,
        ]
        kept = "SELECT version FROM {s}.read_tables WHERE projection = 'loans' ORDER BY version"
        assert house.sql(kept) == [(3,), (4,)]
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = '{s}' AND tablename ~ '^loans'"
        assert sorted(house.sql(tables)) == [("loans_v3",), ("loans_v4",)]

        # Code of two definitions ago, started again, builds its own and takes nothing from others.
        assert builder.prepare() == ["loans"]
    assert shown(house) == [
        APPLICATIONS.shown_as,
        CUSTOMERS.shown_as,
        LOANS.shown_as,
        NEXT_TABLE,
        LATER.shown_as,
    ]
    assert_reads_are_right(house.reads, house.log)


def shown(house: House) -> list[str]:
    views = "SELECT viewname FROM pg_views WHERE schemaname = '{s}' ORDER BY viewname"
    return [name for (name,) in house.sql(views)]
