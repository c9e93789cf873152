"""Each check sees the damage that it is there for, in a copy of a log that was well."""

import json
import secrets
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow
from typer.testing import CliRunner

from credit_es.application import Lending
from credit_es.audit.cluster import verify_shards
from credit_es.audit.export import ExportError, Selection, export
from credit_es.audit.verify import Verified, verify
from credit_es.cli.context import CommandError, ExitCode
from credit_es.cli.main import app
from credit_es.domain.events import Event
from credit_es.domain.repaying import Repay
from credit_es.servicing import Servicing
from credit_es.store.mapper import ENCODER, Entry, customer_stream, loan_stream, stream_of, topic
from credit_es.store.migrations import migrate
from projections.projector import Projector
from projections.rebuild import rebuilder
from tests.api.client import environment_of
from tests.domain.facts import imported_customer, imported_loan, loans_imported, money
from tests.store.given import BY, asks, person, settings

FIRST = 10_000_001
WHO = f"'{customer_stream(FIRST)}'"
GRANTED = f"'{loan_stream(FIRST)}'"
IMPORTED = f"'{loan_stream(1)}'"
PAYMENTS = 60


def said(old: str, new: str, where: str) -> str:
    """Write over what facts say, in place."""
    return (
        "UPDATE {s}.events SET state = convert_to(replace(convert_from(state, 'UTF8'),"
        f" '{old}', '{new}'), 'UTF8') WHERE {where}"
    )


class Book:
    """A log with its tables, well kept, that a test may damage: everything is rolled back."""

    def __init__(self, url: str, schema: str) -> None:
        self.url = url
        self.schema = schema
        self.lending = Lending(settings(url, schema), pool_size=3)

    def keep(self) -> None:
        """Grant, import, repay, reverse; bring the tables up."""
        one, servicing = self.lending, Servicing(self.lending)
        one.record([(1, imported_customer()), (2, loans_imported(1, 2))], BY)
        one.record([(1, imported_loan(1)), (1, imported_loan(2))], BY)
        who = one.register(person(monthly_income=90_000), BY).customer_number
        for amount in ("50000.00", "9000000.00"):
            one.apply_for_loan(asks(who, amount), BY)
        paid = Repay(loan_number=FIRST, amount=money("100"), paid_on=one.today())
        last = [servicing.repay(paid, BY) for _ in range(PAYMENTS)][-1]
        servicing.reverse(FIRST, last.repayment_id, "typed twice", BY)
        servicing.loan(FIRST)  # which makes a snapshot
        with psycopg.connect(self.url, autocommit=True) as conn:
            projector = Projector(conn, one.reader, self.schema)
            while projector.step():
                pass

    def sql(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(statement.replace("{s}", self.schema).encode())


@pytest.fixture(scope="module")
def kept(postgres_url: str) -> Iterator[Book]:
    """The log, never damaged."""
    name = f"test_{secrets.token_hex(6)}"
    migrate(postgres_url, name)
    with rebuilder(postgres_url, name) as one:
        one.prepare()
    book = Book(postgres_url, name)
    with closing(book.lending):
        book.keep()
        yield book


@pytest.fixture
def book(kept: Book) -> Iterator[Book]:
    """A copy of it: what a test does to its tables is undone."""
    tables = ("events", "snapshots", "customers_v1", "loans_v1")
    kept.sql("".join(f"CREATE TABLE {{s}}.kept_{t} AS TABLE {{s}}.{t};" for t in tables))
    yield kept
    kept.sql(
        "ALTER TABLE {s}.events DISABLE TRIGGER ALL;"
        + "".join(
            f"DELETE FROM {{s}}.{t}; INSERT INTO {{s}}.{t} TABLE {{s}}.kept_{t};"
            f"DROP TABLE {{s}}.kept_{t};"
            for t in tables
        )
        + "ALTER TABLE {s}.events ENABLE ALWAYS TRIGGER events_floor;"
        "ALTER TABLE {s}.events ENABLE ALWAYS TRIGGER events_number;"
    )


@pytest.fixture(autouse=True)
def quiet_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody writes while these logs are exported: they are whole to their end."""
    monkeypatch.setattr("credit_es.audit.cluster.IN_FLIGHT", 0)


def found(of: Verified) -> set[tuple[str, str]]:
    return {(fault.check, fault.subject) for fault in of.faults}


def test_a_log_that_is_well_has_no_fault(kept: Book, tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    one = verify(kept.lending.reader, lambda *at: progress.append(at))
    assert (one.faults, one.complete) == ([], True)
    assert one.facts == PAYMENTS + 11
    assert progress[-1][0] == progress[-1][1]
    export(kept.lending.reader, tmp_path, "parquet", selection=Selection(), shards=3)
    assert verify_shards(None, tmp_path, lambda _n, _of: None) == one


DAMAGE = {
    "a hole": (
        f"DELETE FROM {{s}}.events WHERE stream_id = {GRANTED} AND version = 7",
        ("versions", f"loan {FIRST}"),
    ),
    "an order": (
        f"UPDATE {{s}}.events SET position = -1 WHERE stream_id = {GRANTED} AND version = 7;"
        " UPDATE {s}.events SET position = position - 1"
        f" WHERE stream_id = {GRANTED} AND version = 8;"
        " UPDATE {s}.events SET position = (SELECT position + 1 FROM {s}.events"
        f" WHERE stream_id = {GRANTED} AND version = 8) WHERE position = -1",
        ("positions", f"loan {FIRST}"),
    ),
    "no JSON": (
        f"UPDATE {{s}}.events SET state = '{{{{' WHERE stream_id = {IMPORTED}",
        ("unreadable", f"stream {loan_stream(1)}"),
    ),
    "no JSON before a snapshot": (
        f"UPDATE {{s}}.events SET state = '{{{{' WHERE stream_id = {GRANTED} AND version = 9",
        ("unreadable", f"stream {loan_stream(FIRST)}"),
    ),
    "a reversal before a snapshot": (
        f"UPDATE {{s}}.events SET topic = 'credit.RepaymentReversed', state = (SELECT state"
        f" FROM {{s}}.events WHERE stream_id = {GRANTED} AND topic = 'credit.RepaymentReversed')"
        f" WHERE stream_id = {GRANTED} AND version = 9",
        ("fold", f"loan {FIRST}"),
    ),
    "another kind": (
        f"UPDATE {{s}}.events SET topic = 'credit.LoanOpened' WHERE stream_id = {IMPORTED}",
        ("kind", "loan 1"),
    ),
    "another stream": (
        said('"loan_number":1,', '"loan_number":2,', f"stream_id = {IMPORTED}"),
        ("stream", "loan 2"),
    ),
    "an older clock": (
        said(
            '"recorded_at":"20',
            '"recorded_at":"19',
            f"stream_id = {GRANTED} AND version = 9",
        ),
        ("recorded", f"loan {FIRST}"),
    ),
    "negative money": (
        said('"100.00"', '"-100.00"', f"stream_id = {GRANTED} AND version = 9"),
        ("money", f"loan {FIRST}"),
    ),
    **{
        f"{amount} as {value}": (
            said(f'"{amount}"', f'"{value}"', f"stream_id = {GRANTED} AND version = {version}"),
            ("money", f"loan {FIRST}"),
        )
        for amount, version in (("50000.00", 1), ("100.00", 9))
        for value in ("NaN", "Infinity", "sNaN")
    },
    "a debt of no number": (
        said('"current_debt":null', '"current_debt":"NaN"', "topic = 'credit.CustomerImported'"),
        ("money", "customer 7"),
    ),
    "a text that the database cannot hold": (
        said('"actor":"', r'"actor":"\\\u0000', f"stream_id = {IMPORTED}"),
        ("unreadable", f"stream {loan_stream(1)}"),
    ),
    "more than is owed": (
        said('"100.00"', '"99999.00"', f"stream_id = {GRANTED} AND version = 9"),
        ("money", f"loan {FIRST}"),
    ),
    "a reversal of nothing": (
        said('"repayment":61', '"repayment":99', f"stream_id = {GRANTED}"),
        ("fold", f"loan {FIRST}"),
    ),
    "a loan that nobody approved": (
        f"DELETE FROM {{s}}.events WHERE stream_id = {WHO} AND version = 2",
        ("pairs", f"loan {FIRST}"),
    ),
    "an approval without a loan": (
        f"DELETE FROM {{s}}.events WHERE stream_id = {GRANTED}",
        ("pairs", f"loan {FIRST}"),
    ),
    "an imported loan of nobody": (
        said('"loan_number":1,', '"loan_number":9,', "topic = 'credit.LoansImported'"),
        ("pairs", "loan 1"),
    ),
    "a loan named that is not": (
        said('"loan_number":1,', '"loan_number":9,', "topic = 'credit.LoansImported'"),
        ("pairs", "loan 9"),
    ),
    "another customer's loan": (
        said(f'"customer_number":{FIRST}', '"customer_number":7', f"stream_id = {GRANTED}"),
        ("pairs", f"loan {FIRST}"),
    ),
    "another amount than approved": (
        said('"50000.00"', '"50001.00"', f"stream_id = {GRANTED} AND version = 1"),
        ("pairs", f"loan {FIRST}"),
    ),
    "a reversal that the customer's stream lacks": (
        f"DELETE FROM {{s}}.events WHERE stream_id = {WHO} AND topic = 'credit.LoanBurdenRaised'",
        ("pairs", f"reversal of {FIRST}-61"),
    ),
    "a policy that says something else": (
        said("burden_percent", "burden_per_cent", "topic = 'credit.PolicyAdopted'"),
        ("policy", "stream"),
    ),
    "a policy that is gone": (
        "DELETE FROM {s}.events WHERE topic = 'credit.PolicyAdopted'",
        ("policy", "policy"),
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_to_the_log_is_named(book: Book, kind: str, tmp_path: Path) -> None:
    statement, (check, subject) = DAMAGE[kind]
    book.sql(statement)
    seen = verify(book.lending.reader)
    assert any(c == check and s.startswith(subject) for c, s in found(seen)), seen.faults
    if not kind.startswith("no JSON"):  # which no export can be made of
        export(book.lending.reader, tmp_path, "parquet", selection=Selection(), shards=3)
        of_export = found(verify_shards(None, tmp_path, lambda _n, _of: None))
        assert of_export == {each for each in found(seen) if each[0] not in {"table", "snapshot"}}


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE {s}.loans_v1 SET amount = 1 WHERE number = 1", ("table", "loans 1")),
        ("DELETE FROM {s}.customers_v1 WHERE number = 7", ("table", "customers 7")),
        ("UPDATE {s}.snapshots SET state = '{}'", ("snapshot", f"loans stream {GRANTED[1:-1]}")),
        (
            "UPDATE {s}.snapshots SET state = convert_to(replace(convert_from(state, 'UTF8'),"
            " '\"50000.00\"', '\"40000.00\"'), 'UTF8')",
            ("snapshot", f"loans stream {GRANTED[1:-1]}"),
        ),
        ("UPDATE {s}.snapshots SET version = 99", ("snapshot", f"loans stream {GRANTED[1:-1]}")),
    ],
)
def test_what_is_derived_is_held_against_the_log(
    book: Book, statement: str, fault: tuple[str, str]
) -> None:
    book.sql(statement)
    assert found(verify(book.lending.reader)) == {fault}


def test_a_snapshot_of_another_definition_is_not_used_and_no_fault(book: Book) -> None:
    book.sql("UPDATE {s}.snapshots SET definition = definition + 1, state = '{}'")
    assert verify(book.lending.reader).faults == []


def test_half_a_transaction_before_the_head_is_no_fault(
    book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (psycopg.connect(book.url) for _ in range(2))
    with closing(one), closing(other):
        append(one, book.schema, 3, loans_imported(5))
        append(other, book.schema, 1, imported_loan(6))  # its floor is below the other half
        append(one, book.schema, 1, imported_loan(5))
        one.commit()
        last = book.lending.reader.head()
        assert last.safe < last.last
        assert verify(book.lending.reader).faults == []
        export(book.lending.reader, tmp_path, "parquet", selection=Selection(), shards=1)
    assert found(verify_shards(None, tmp_path, lambda _n, _of: None)) == {("pairs", "loan 5")}
    monkeypatch.setattr("credit_es.audit.cluster.IN_FLIGHT", 10)
    assert verify_shards(None, tmp_path, lambda _n, _of: None).faults == []


def append(conn: Connection[TupleRow], schema: str, version: int, fact: Event) -> None:
    entry = Entry(fact=fact, recorded_at=datetime.now(UTC), actor="a", correlation_id="c")
    values = ([stream_of(fact)], [version], [topic(fact)], [ENCODER.encode(entry)])
    conn.execute(f"SELECT {schema}.append(%s, %s::int8[], %s, %s)".encode(), values)


def test_faults_are_listed_up_to_a_thousand(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credit_es.audit.verify.MOST", 3)
    book.sql(said('"100.00"', '"-1.00"', f"stream_id = {GRANTED}"))
    seen = verify(book.lending.reader)
    assert (len(seen.faults), seen.complete) == (3, False)


def test_the_command_exits_3_and_names_what_is_wrong(book: Book, tmp_path: Path) -> None:
    env = environment_of(book.url, book.schema, "")

    def run(*arguments: str) -> tuple[str, BaseException | None]:
        ran = CliRunner().invoke(app, ["audit", "verify", *arguments], env=env)
        return ran.stdout, ran.exception

    stdout, failed = run()
    assert failed is None
    assert stdout.endswith("all is well.\n")
    book.sql("UPDATE {s}.loans_v1 SET amount = 1 WHERE number = 1")
    stdout, failed = run("--json")
    assert isinstance(failed, CommandError)
    assert failed.code is ExitCode.VERIFICATION_FAILED
    assert [one["subject"] for one in json.loads(stdout)["faults"]] == ["loans 1"]
    stdout, failed = run()
    assert stdout.startswith('table: loans 1: the table says {"amount":"1"},')
    stdout, failed = run("--cluster", "tcp://127.0.0.1:1")
    assert isinstance(failed, CommandError)
    assert failed.code is ExitCode.USAGE
    only = Selection(customer=7)
    export(book.lending.reader, tmp_path, "parquet", selection=only, shards=1)
    with pytest.raises(ExportError, match="export the whole log"):
        verify_shards(None, tmp_path, lambda _n, _of: None)
