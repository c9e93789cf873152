"""Verification: the log folded again, and what of a table it does not give."""

import time
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow
from typer.testing import CliRunner

from credit_es.cli.context import CommandError, ExitCode
from credit_es.cli.main import app
from projections.loans import LOANS
from projections.tables import TableOf
from projections.verify import Difference, verify
from tests.api.client import environment_of
from tests.projections.conftest import House
from tests.projections.history import happen

pytestmark = pytest.mark.slow


@pytest.fixture
def projected(house: House) -> House:
    happen(house.lending, 2)
    house.project()
    assert house.differences() == []
    return house


def test_a_row_that_was_tampered_with_is_shown_field_by_field(projected: House) -> None:
    (number, amount), *_ = projected.sql("SELECT number, amount FROM {s}.{loans} ORDER BY number")
    projected.sql("UPDATE {s}.loans_v1 SET amount = amount + 0.01 WHERE number = %s", number)
    assert projected.differences() == [
        Difference(
            projection="loans",
            number=number,
            stored={"amount": amount + Decimal("0.01")},
            folded={"amount": amount},
        )
    ]


def test_the_command_says_both_sides_of_a_row_in_plain_words_and_exits_3(projected: House) -> None:
    projected.sql("UPDATE {s}.loans_v1 SET amount = 1 WHERE number = 10000001")
    projected.sql("DELETE FROM {s}.customers_v1 WHERE number = 10000002")
    ran = CliRunner().invoke(
        app,
        ["projections", "verify"],
        env=environment_of(projected.url, projected.schema, "redis://nowhere"),
    )
    customer, loan = ran.stdout.splitlines()
    assert customer.startswith('customers 10000002: the table says nothing, the log says {"number"')
    assert loan.startswith('loans 10000001: the table says {"amount":"1"}, the log says {"am')
    assert isinstance(ran.exception, CommandError)
    assert ran.exception.code == ExitCode.VERIFICATION_FAILED
    assert str(ran.exception).startswith("Rows that are not what the log says: 2.")


def test_a_row_that_is_missing_is_shown(projected: House) -> None:
    whole = projected.reads.customer(10_000_001)[0]
    projected.sql("DELETE FROM {s}.customers_v1 WHERE number = 10000001")
    (difference,) = projected.differences()
    assert (difference.number, difference.stored) == (10_000_001, None)
    assert difference.folded is not None
    assert difference.folded["loans"] == whole.loans
    assert difference.folded["first_name"] == "Asha"


def test_a_row_too_many_is_shown(projected: House) -> None:
    projected.sql(
        "CREATE TEMP TABLE one AS SELECT * FROM {s}.loans_v1 LIMIT 1;"
        " UPDATE one SET stream_id = gen_random_uuid(), number = 77;"
        " INSERT INTO {s}.loans_v1 TABLE one"
    )
    (difference,) = projected.differences()
    assert (difference.projection, difference.number) == ("loans", 77)
    assert difference.folded is None
    assert difference.stored is not None
    assert difference.stored["number"] == 77


def test_a_table_that_is_behind_is_verified_as_far_as_it_is(projected: House) -> None:
    happen(projected.lending, 1)
    assert projected.differences() == []
    projected.sql("UPDATE {s}.read_tables SET position = %s", projected.log.head().last)
    assert len(projected.differences()) == 8  # two customers and six loans that it claims to hold


def test_a_change_while_it_is_verified_is_no_difference(projected: House) -> None:
    happened = False

    def meanwhile(_reached: int, _head: int) -> None:
        nonlocal happened
        if not happened:
            happened = True
            happen(projected.lending, 1)
            projected.project()

    with psycopg.connect(projected.url, autocommit=True) as conn:
        found = list(verify(conn, projected.log, projected.schema, LOANS, meanwhile))
    assert happened
    assert found == []


def test_a_batch_that_is_fed_after_the_position_was_read_is_no_difference(
    projected: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Overtaken(TableOf):
        def sorted_rows(self, conn: Connection[TupleRow]) -> Any:
            happen(projected.lending, 1)
            projected.project()
            return super().sorted_rows(conn)

    monkeypatch.setattr("projections.verify.TableOf", Overtaken)
    with psycopg.connect(projected.url, autocommit=True) as conn:
        assert list(verify(conn, projected.log, projected.schema, LOANS)) == []


def test_a_fold_longer_than_an_idle_transaction_may_be_is_no_fault(house: House) -> None:
    happen(house.lending, 2)
    house.project()
    with psycopg.connect(house.url, autocommit=True) as conn:
        conn.execute("SET idle_in_transaction_session_timeout = '100ms'")

        def dawdle(_reached: int, _position: int) -> None:
            time.sleep(0.3)

        assert list(verify(conn, house.log, house.schema, LOANS, dawdle)) == []
