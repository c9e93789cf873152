"""Snapshots: a long stream is decided on from its last snapshot, and never wrongly."""

from collections.abc import Iterator

import pytest
import structlog
from psycopg import Connection
from psycopg.rows import TupleRow

from credit_es.application import Lending, fold_customer
from credit_es.domain import customer
from credit_es.domain.customer import Customer
from credit_es.store.mapper import customer_stream
from credit_es.store.snapshots import EVERY, Aggregates
from tests.store.given import BY, asks, person, settings

TOO_MUCH = "999999999.00"
RENAMED = "state = convert_to(replace(convert_from(state, 'UTF8'), 'Asha', 'X'), 'UTF8')"


@pytest.fixture
def lending(database_url: str, schema: str) -> Iterator[Lending]:
    one = Lending(settings(database_url, schema))
    yield one
    one.close()


@pytest.fixture
def number(lending: Lending) -> int:
    """A customer with a loan, and with refusals enough for one snapshot."""
    known = lending.register(person(), BY).customer_number
    lending.apply_for_loan(asks(known, "1000.00"), BY)
    refuse(lending, known, EVERY)
    return known


def refuse(lending: Lending, number: int, times: int) -> None:
    for _ in range(times):
        lending.apply_for_loan(asks(number, TOO_MUCH), BY)


def kept(conn: Connection[TupleRow], schema: str) -> list[TupleRow]:
    return conn.execute(f"SELECT version, definition FROM {schema}.snapshots").fetchall()


def falsify(conn: Connection[TupleRow], schema: str, assignment: str) -> None:
    assert conn.execute(f"UPDATE {schema}.snapshots SET {assignment}").rowcount == 1


def test_the_state_is_the_fold_of_the_whole_stream_at_every_length(
    lending: Lending, number: int, conn: Connection[TupleRow], schema: str
) -> None:
    seen = set()
    for _ in range(EVERY + 3):
        refuse(lending, number, 1)
        who, loans = lending.load(number)
        assert who == fold_customer(lending.reader.stream(customer_stream(number)))
        assert [loan.number for loan in loans] == list(who.loans)
        seen |= {version for version, _ in kept(conn, schema)}
    assert len(seen) == 2


def test_the_events_before_a_snapshot_are_not_read_again(
    lending: Lending, number: int, conn: Connection[TupleRow], schema: str
) -> None:
    falsify(conn, schema, RENAMED)
    who, _ = lending.load(number)
    assert who.first_name == "X"
    assert who.version == EVERY + 2


def test_a_snapshot_of_another_definition_is_not_used_but_replaced(
    lending: Lending, number: int, conn: Connection[TupleRow], schema: str
) -> None:
    falsify(conn, schema, RENAMED)
    stream, raised = customer_stream(number), customer.DEFINITION + 1
    newer = Aggregates(lending.database, Customer, customer.evolve, raised)
    assert newer.load([stream]) == [fold_customer(lending.reader.stream(stream))]
    assert kept(conn, schema) == [(EVERY + 2, raised)]


def test_an_older_state_never_takes_the_place_of_a_newer(
    lending: Lending, number: int, conn: Connection[TupleRow], schema: str
) -> None:
    def evolve(state: Customer | None, fact: object) -> Customer:
        # Another process is quicker, while this one folds.
        if state is not None and state.version == 3:
            falsify(conn, schema, f"version = 1000000, definition = {customer.DEFINITION}")
        return customer.evolve(state, fact)  # type: ignore[arg-type]

    stream = customer_stream(number)
    falsify(conn, schema, "definition = 0")
    Aggregates(lending.database, Customer, evolve, customer.DEFINITION).load([stream])
    assert kept(conn, schema) == [(1000000, customer.DEFINITION)]


@pytest.mark.parametrize("state", ["bad", '{"number": 1}', "\\xff"])
def test_a_snapshot_that_cannot_be_read_is_replaced(
    lending: Lending, number: int, conn: Connection[TupleRow], schema: str, state: str
) -> None:
    before = lending.load(number)
    falsify(conn, schema, f"state = '{state}'")
    with structlog.testing.capture_logs() as logged:
        assert lending.load(number) == before
    assert [line["event"] for line in logged] == ["snapshot unreadable"]
    assert kept(conn, schema) == [(EVERY + 2, customer.DEFINITION)]
    with structlog.testing.capture_logs() as logged:
        lending.apply_for_loan(asks(number, "1000.00"), BY)
    assert logged == []


def test_without_any_snapshot_nothing_is_lost_but_time(
    lending: Lending, number: int, conn: Connection[TupleRow], schema: str
) -> None:
    before = lending.load(number)
    conn.execute(f"DELETE FROM {schema}.snapshots")
    assert lending.load(number) == before
