"""The portfolio on a day, beside the sums of all loans as the log and the domain say."""

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from msgspec.structs import asdict
from typer.testing import CliRunner

from credit_es.application import Lending
from credit_es.audit.asof import loan_as_of
from credit_es.audit.portfolio import Line, portfolio
from credit_es.audit.slabs import Card, Granted, slab_name
from credit_es.cli.main import app
from credit_es.domain.loan import Loan
from credit_es.domain.repaying import Repay
from credit_es.domain.standing import Status, outstanding_principal, status_of
from credit_es.domain.values import Basis
from credit_es.servicing import Servicing
from credit_es.store.mapper import Recorded, UndigestedError, loan_stream
from credit_es.store.migrations import migrate
from tests.api.client import environment_of
from tests.domain.facts import imported_customer, imported_loan, loans_imported, money
from tests.scenario import STANDARD
from tests.store.given import BY, asks, person, settings

IMPORTED = {
    1: imported_loan(1, on="2024-02-29", ends="2026-02-28", emis=20),
    2: imported_loan(2, on="2025-01-31", ends="2027-01-31", emis=24),
    3: imported_loan(3, on="2026-03-31", ends="2028-03-31"),
}


@pytest.fixture(scope="module")
def lending(postgres_url: str) -> Iterator[Lending]:
    """Imported loans, granted ones of two slabs, one prepaid, one written off, one paid twice."""
    one = Lending(settings(postgres_url, f"test_{secrets.token_hex(6)}"), pool_size=2)
    migrate(postgres_url, one.database.schema)
    one.record([(1, imported_customer()), (2, loans_imported(*IMPORTED))], BY)
    one.record([(1, loan) for loan in IMPORTED.values()], BY)
    servicing, today = Servicing(one), one.today()
    for _ in range(3):
        who = one.register(person(monthly_income=90_000), BY).customer_number
        for _ in range(2):
            one.apply_for_loan(asks(who, "50000.00"), BY)

    def repay(loan: int, amount: str, *, prepay: bool = False) -> str:
        command = Repay(loan_number=loan, amount=money(amount), paid_on=today, prepay=prepay)
        return servicing.repay(command, BY).repayment_id

    repay(10_000_001, "5000.00")
    repay(10_000_002, "50000.00", prepay=True)
    servicing.reverse(10_000_003, repay(10_000_003, "7000.00"), "typed twice", BY)
    repay(10_000_004, "20000.00", prepay=True)
    servicing.write_off(10_000_005, "gone", BY)
    repay(3, "500.00")
    yield one
    one.close()


def histories(lending: Lending) -> list[list[Recorded]]:
    numbers = [*IMPORTED, *range(10_000_001, 10_000_007)]
    return list(lending.reader.streams(map(loan_stream, numbers)).values())


def then(lending: Lending, on: date, known_at: datetime | None = None) -> list[Loan]:
    found = (loan_as_of(one, on=on, known_at=known_at) for one in histories(lending))
    return [one for one in found if one]


def by(lines: list[Line]) -> dict[str, tuple[int, Decimal]]:
    return {line.what: (line.loans, line.amount) for line in lines}


def sums(loans: list[tuple[str, Loan]]) -> dict[str, tuple[int, Decimal]]:
    names = sorted({name for name, _ in loans})
    of = {name: [loan.amount for each, loan in loans if each == name] for name in names}
    return {name: (len(amounts), sum(amounts, Decimal(0))) for name, amounts in of.items()}


DAYS = ["2024-02-28", "2024-02-29", "2025-01-31", "2026-02-27", "2026-02-28", "2026-03-31", ""]


@pytest.mark.parametrize("day", DAYS)
def test_every_loan_is_counted_once_in_each_way(lending: Lending, day: str) -> None:
    on = date.fromisoformat(day) if day else lending.today()
    found, loans = portfolio(lending.reader, on=on), then(lending, on)
    assert (found.total.loans, found.total.amount) == (
        len(loans),
        sum((one.amount for one in loans), Decimal(0)),
    )
    assert by(found.by_status) == sums([(status_of(one, on), one) for one in loans])
    assert by(found.by_year) == sums([(str(one.opened_on.year), one) for one in loans])
    assert sum(line.loans for line in found.by_slab) == len(loans)


def test_the_sums_are_those_of_the_loans(lending: Lending) -> None:
    on = lending.today()
    found = portfolio(lending.reader, on=on)
    lines = {line.what: line for line in (*found.by_status, *found.by_slab)}
    running = [
        one
        for one in then(lending, on)
        if status_of(one, on) in {Status.CURRENT, Status.OVERDUE} and one.emis_on_time is None
    ]
    assert found.total.outstanding == sum(outstanding_principal(one) or 0 for one in running)
    assert len(running) == 4
    assert lines["written_off"].written_off == money("50000")
    assert lines["written_off"].outstanding == 0
    assert found.total.balance_unknown == 1  # the others from the workbook are closed
    assert lines["imported"].loans == 3
    assert lines["imported"].on_time_share is not None
    assert {name for name in lines if name.startswith("standard")} == {
        "standard: score above 30",
        "standard: score above 50",
    }
    assert found.customers == 4
    assert found.position == lending.reader.head().safe


def test_what_was_known_is_counted_apart_from_what_is(lending: Lending) -> None:
    on = lending.today()
    nothing = portfolio(lending.reader, on=on, known_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert (nothing.customers, nothing.total.loans, nothing.by_year) == (0, 0, [])
    now = datetime.now(UTC) + timedelta(seconds=1)
    known = portfolio(lending.reader, on=on, known_at=now)
    as_of_now = portfolio(lending.reader, on=on)
    assert asdict(known) == asdict(as_of_now) | {"known_at": now}


def test_the_command_says_the_same(lending: Lending, postgres_url: str) -> None:
    env = environment_of(postgres_url, lending.database.schema, "", COLUMNS="200")
    on = lending.today().isoformat()
    ran = CliRunner().invoke(app, ["audit", "as-of", on, "portfolio", "--json"], env=env)
    assert ran.exception is None, ran.output
    told = json.loads(ran.stdout)
    assert told["as_known_now"]["total"]["loans"] == 9
    assert told["as_known_at"] is None
    seen = CliRunner().invoke(app, ["audit", "as-of", on, "portfolio"], env=env)
    assert "balance is not known, and not in outstanding: 1." in seen.stdout
    instant = "2020-01-01T00:00:00"
    table = CliRunner().invoke(
        app, ["audit", "as-of", on, "portfolio", "--known-at", instant, "--csv"], env=env
    )
    lines = table.stdout.splitlines()
    assert lines[0].startswith("known,by,what,loans,amount")
    assert lines[1].startswith("now,,all loans,9,")
    assert "at 2020-01-01T00:00:00Z,,all loans,0,0.00,0.00,0,0.00,0,0," in lines


def test_what_is_recorded_while_it_is_read_is_left_to_the_next(
    database_url: str, schema: str
) -> None:
    one = Lending(settings(database_url, schema), pool_size=2)

    def happen() -> None:
        one.apply_for_loan(asks(one.register(person(), BY).customer_number, "5000.00"), BY)

    def meanwhile(reached: int, _head: int) -> None:
        if reached <= before.position:
            happen()

    happen()
    on = one.today()
    before = portfolio(one.reader, on=on)
    assert portfolio(one.reader, on=on, progress=meanwhile) == before
    after = portfolio(one.reader, on=on)
    assert after.customers > before.customers == before.total.loans == 1
    assert after.customers == after.total.loans
    one.close()


def test_a_fact_that_cannot_be_read_is_named_and_not_passed_over(
    postgres_url: str, database_url: str, schema: str
) -> None:
    one = Lending(settings(database_url, schema), pool_size=2)
    one.record([(1, IMPORTED[1])], BY)
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute(f"UPDATE {schema}.events SET topic = 'credit.LoanForgiven'".encode())
        conn.execute(f"UPDATE {schema}.events SET state = '{{}}'".encode())
    with pytest.raises(UndigestedError, match=str(loan_stream(1))):
        portfolio(one.reader, on=one.today())
    one.close()


@pytest.mark.parametrize(
    ("score", "basis", "rate", "expected"),
    [
        ("50.01", Basis.COMPONENTS, "8", "score above 50"),
        ("50.00", Basis.THIN_FILE, "12", "score above 30"),
        ("50.00", Basis.COMPONENTS, "8", "score above 50"),  # 50.004: below, the rate would be 12
        ("50.00", Basis.COMPONENTS, "12", "score above 30"),
        ("10.00", Basis.COMPONENTS, "16", "below all slabs"),
        ("0.00", Basis.OVER_LIMIT, "16", "below all slabs"),
    ],
)
def test_a_slab_follows_from_what_a_decision_recorded(
    score: str, basis: Basis, rate: str, expected: str
) -> None:
    verdict = Granted(money(rate), "standard", STANDARD.hash, Card(money(score), basis))
    assert slab_name(STANDARD, verdict) == f"standard: {expected}"
    assert slab_name(None, verdict) == "standard: not known"
