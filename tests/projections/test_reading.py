"""A read never lies, however late the projector is: row plus tail is the fold of the stream."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from credit_es.domain.errors import UnknownApplicationError, UnknownCustomerError, UnknownLoanError
from credit_es.domain.policy import ReferRules
from credit_es.domain.repaying import Repay
from credit_es.domain.review import Application
from credit_es.reviewing import Reviewing
from credit_es.servicing import Servicing
from credit_es.store import arrays
from credit_es.store.mapper import customer_stream
from projections import projector, status
from projections.applications import APPLICATIONS
from projections.customers import CUSTOMERS
from projections.loans import LOANS
from projections.reading import ApplicationPage, CustomerPage
from projections.status import Lag
from projections.tables import LiveTable, live_table
from tests.projections.conftest import House
from tests.projections.history import assert_reads_are_right, happen, import_one, numbers_of
from tests.store.given import ASHA, BY, asks, person

pytestmark = pytest.mark.slow


def test_with_no_projector_at_all(house: House) -> None:
    happen(house.lending, 3)
    assert house.sql("SELECT count(*) FROM {s}.{customers}") == [(0,)]
    assert_reads_are_right(house.reads, house.log)


def test_at_every_step_of_a_projector_that_is_late(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector, "BATCH", 5)
    happen(house.lending, 3)
    steps = 0
    while house.projector.step():
        steps += 1
        assert_reads_are_right(house.reads, house.log)
    assert steps == len([b for b in house.log.tail(0, limit=5)]) > 8


def test_with_one_table_ahead_of_the_other(house: House) -> None:
    happen(house.lending, 2)
    for ahead in ("customers", "loans"):
        house.sql("UPDATE {s}.read_tables SET problem = 'held back' WHERE projection <> %s", ahead)
        house.project()
        assert_reads_are_right(house.reads, house.log)
        happen(house.lending, 1)
        house.sql("UPDATE {s}.read_tables SET problem = NULL")
    assert_reads_are_right(house.reads, house.log)


def test_after_the_projector_and_with_what_comes_next(house: House) -> None:
    numbers = happen(house.lending, 2)
    house.project()
    assert house.differences() == []
    assert_reads_are_right(house.reads, house.log)
    for number in numbers:  # a tail behind every row
        house.lending.apply_for_loan(asks(number, "77.00"), BY)
    import_one(house.lending, 3)  # and a stream without one
    assert_reads_are_right(house.reads, house.log)


def test_what_loans_have_behind_their_rows_is_folded_onto_them(house: House) -> None:
    numbers = happen(house.lending)
    house.project()
    servicing, today = Servicing(house.lending), house.lending.today()
    for loan in (loan for number in numbers for loan in house.reads.customer(number)[1]):
        paid = Repay(loan_number=loan.number, amount=Decimal("1.00"), paid_on=today)
        servicing.repay(paid, BY)
        assert_reads_are_right(house.reads, house.log)


def test_loans_that_are_projected_take_no_second_statement(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    happen(house.lending)
    house.project()
    monkeypatch.delattr(house.reads, "_loans_by_number")
    assert_reads_are_right(house.reads, house.log)


def test_during_a_rebuild_after_it_and_after_going_back(house: House) -> None:
    happen(house.lending, 2)
    house.project()
    looked = 0

    def look(_reached: int, _head: int) -> None:
        nonlocal looked
        looked += 1
        if looked > 6:
            return  # the rebuild catches up with what happens; it must be let
        happen(house.lending, 1)
        assert_reads_are_right(house.reads, house.log)

    with house.rebuilder() as builder:
        for projection in (CUSTOMERS, LOANS):
            builder.rebuild(projection, look)
            assert_reads_are_right(house.reads, house.log)
        happen(house.lending, 1)
        house.project()
        for projection in (CUSTOMERS, LOANS):
            builder.rollback(projection)
            assert_reads_are_right(house.reads, house.log)
    assert looked >= 2
    house.project()
    assert house.differences() == []
    assert_reads_are_right(house.reads, house.log)


def test_an_application_is_read_as_its_stream_says_however_late_the_table_is(
    house: House,
) -> None:
    rules = ReferRules(expires_after_days=1, thin_file=True)
    house.lending.policy = replace(house.lending.policy, refer=rules)
    number = house.lending.register(ASHA, BY).customer_number
    waiting = [house.lending.apply_for_loan(asks(number), BY).decision_id for _ in range(3)]
    reviewing = Reviewing(house.lending)
    decide = {waiting[0]: reviewing.approve, waiting[1]: reviewing.decline}
    other = replace(BY, actor="another")

    def read() -> list[Application]:
        return [house.reads.application(one) for one in waiting]

    for one in waiting[:2]:
        never = read()
        house.project()
        assert read() == never
        decide[one](one, "so", other)
    late = read()
    assert [one.version for one in late] == [2, 2, 1]
    house.project()
    with house.rebuilder() as builder:
        builder.rebuild(APPLICATIONS)
    assert house.differences() == []
    assert read() == late
    page = house.reads.applications(
        None, today=house.lending.today(), after=(date.min, ""), limit=2
    )
    assert page == ApplicationPage(applications=late[:2], lag=Lag(events=0, seconds=0.0))


def test_who_and_what_is_not_there_is_unknown(house: House) -> None:
    happen(house.lending)
    for _ in range(2):
        with pytest.raises(UnknownCustomerError) as nobody:
            house.reads.customer(42)
        assert nobody.value.customer_number == 42
        with pytest.raises(UnknownLoanError) as nothing:
            house.reads.loan(42)
        assert nothing.value.loan_number == 42
        with pytest.raises(UnknownApplicationError):
            house.reads.application("42-2")
        house.project()


def test_customers_are_found_by_phone_in_pages_as_far_as_they_are_projected(house: House) -> None:
    shared = [house.lending.register(ASHA, BY).customer_number for _ in range(5)]
    house.lending.register(person(phone_number=1234567), BY)
    unprojected = house.reads.by_phone(ASHA.phone_number, after=0, limit=10)
    assert unprojected.customers == []
    assert unprojected.lag.events == 6
    assert unprojected.lag.seconds >= 0
    house.project()
    first = house.reads.by_phone(ASHA.phone_number, after=0, limit=3)
    rest = house.reads.by_phone(ASHA.phone_number, after=shared[2], limit=3)
    assert numbers_of(first.customers) == shared[:3]
    assert rest == CustomerPage(
        customers=[house.reads.customer(number)[0] for number in shared[3:]],
        lag=Lag(events=0, seconds=0.0),
    )
    assert house.reads.by_phone(1, after=0, limit=3).customers == []


def test_a_list_has_at_least_what_its_lag_says_that_it_has(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late whoever asks how far its table is gets the answer."""
    number = house.lending.register(ASHA, BY).customer_number

    def late(*asked: Any) -> LiveTable | None:
        house.project()
        return live_table(*asked)

    monkeypatch.setattr("projections.reading.live_table", late)
    page = house.reads.by_phone(ASHA.phone_number, after=0, limit=9)
    assert (numbers_of(page.customers), page.lag.events) == ([number], 0)


def test_rows_hold_every_field_as_it_was(house: House) -> None:
    """Decimals, dates, tuples and what is unknown come back from the table as they went in."""
    number = import_one(house.lending, 7)
    late = house.reads.customer(number)
    house.project()
    # With the row alone: the events are hidden from this read.
    house.sql("CREATE TABLE {s}.aside AS SELECT * FROM {s}.events")
    house.sql("DELETE FROM {s}.events")
    assert house.reads.customer(number) == late
    who, loans = late
    assert (who.age, who.phone_number, who.loans) == (None, None, (72, 71))
    assert replace(loans[0], number=0) != replace(loans[1], number=0)


def test_reads_go_on_when_the_connections_of_the_pool_were_killed(house: House) -> None:
    number, _ = happen(house.lending)
    house.project()
    loan = house.reads.customer(number)[1][0].number
    reads: list[Callable[[], object]] = [
        lambda: house.reads.customer(number),
        lambda: house.reads.loan(loan),
        lambda: house.reads.by_phone(ASHA.phone_number, after=0, limit=1),
    ]
    for read in reads:
        before = read()
        house.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'credit-es'"
        )
        assert read() == before


def test_a_long_tail_of_a_customer_comes_once_and_not_with_every_loan(house: House) -> None:
    number = house.lending.register(ASHA, BY).customer_number
    for _ in range(30):
        house.lending.apply_for_loan(asks(number, "1000.00"), BY)
    house.project()
    house.sql("UPDATE {s}.read_tables SET position = 0 WHERE projection = 'customers'")
    house.sql("DELETE FROM {s}.customers_v1")
    (tail,) = house.sql(
        "SELECT sum(length(state)) FROM {s}.events WHERE stream_id = %s", customer_stream(number)
    )[0]
    with house.lending.database.connection() as conn:
        values = (arrays.INT8.pack(number), customer_stream(number).bytes)
        rows = house.reads._customer_and_loans.rows(conn, values)
    assert (
        sum(len(state) for row in rows for cell in row if _is_tail(cell) for state in cell) == tail
    )
    assert_reads_are_right(house.reads, house.log)


def _is_tail(cell: object) -> bool:
    return isinstance(cell, list) and all(isinstance(state, bytes) for state in cell)


def test_the_lag_is_counted_up_to_a_limit_however_far_behind_a_table_is(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "COUNT_TO", 4)
    happen(house.lending)
    assert status.lag(house.conn, house.schema, 0).events == 4
    assert status.lag(house.conn, house.schema, house.log.head().last - 3).events == 3
