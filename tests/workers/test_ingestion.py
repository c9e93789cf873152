"""Ingestion through the real worker and a real Redis: nothing lost, invented or told twice."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from credit_es.application import By, Lending
from credit_es.domain.events import (
    CustomerImported,
    IngestionFailed,
    IngestionRequested,
    LoanImported,
    Terms,
)
from credit_es.domain.policy import judge
from credit_es.importing import Importing
from credit_es.store.ingestions import QueuedIngestion, Upload
from credit_es.store.mapper import DECODER
from tests.servers import RunningServer
from tests.store.given import settings
from tests.workers import hostile
from workers import ingestion as worker_module
from workers.broker import Broker
from workers.ingestion import IngestionWorker
from workers.workbook import read_customers, read_loans

ROOT: Final = Path(__file__).parents[2]
REAL: Final = ROOT.parent / "shared/data"
BY: Final = By(actor="tester", correlation_id="a-test")
PINNED_DAY: Final = date(2026, 11, 23)
CUSTOMER: Final = (1, "Aaron", "Garcia", 63, 9629317944, 50000, 4500000)

needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real workbooks are not here")


class House:
    """One schema, its application, and a worker that is woken up through Redis."""

    def __init__(self, database_url: str, schema: str, redis_url: str) -> None:
        self.settings = settings(database_url, schema, redis_url=redis_url)
        self.lending = Lending(self.settings)
        self.importing = Importing(self.lending)
        self.worker = IngestionWorker(self.settings)

    def request(self, customers: bytes, loans: bytes, *, check_only: bool = False) -> UUID:
        uploads = (
            Upload(name="c.xlsx", content=customers),
            Upload(name="l.xlsx", content=loans),
        )
        return self.importing.request(*uploads, check_only=check_only, by=BY)

    def ingest(
        self, customers: bytes, loans: bytes, *, check_only: bool = False
    ) -> QueuedIngestion:
        ingestion_id = self.request(customers, loans, check_only=check_only)
        assert Broker(self.settings.redis_url, self.settings.schema).enqueue(ingestion_id)
        return self.ended(ingestion_id)

    def ended(self, ingestion_id: UUID) -> QueuedIngestion:
        deadline = time.monotonic() + 60
        while True:
            found = self.importing.ingestions.find(ingestion_id)
            assert found is not None
            if found.finished_at:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.02)

    def codes(self, ended: QueuedIngestion) -> Counter[str]:
        findings = self.importing.ingestions.findings(
            ended.job.ingestion_id, after=0, limit=100_000
        )
        return Counter(finding.code for finding in findings)

    def facts(self) -> list[object]:
        return [DECODER.decode(e.state).fact for b in self.lending.reader.tail(0) for e in b]


@pytest.fixture
def house(database_url: str, schema: str, redis_url: str) -> Iterator[House]:
    one = House(database_url, schema, redis_url)
    one.worker.start()
    yield one
    one.worker.stop()
    one.lending.close()


def real(name: str) -> bytes:
    return (REAL / name).read_bytes()


@needs_real
def test_the_real_workbooks_lose_nothing_and_a_rerun_records_nothing(house: House) -> None:
    sample = ROOT / "data"
    beside = house.ingest(
        (sample / "customer_data.xlsx").read_bytes(), (sample / "loan_data.xlsx").read_bytes()
    )
    ended = house.ingest(real("customer_data.xlsx"), real("loan_data.xlsx"))
    for one in (beside, ended):
        assert one.report is not None
        assert one.report.customers.conflicting == one.report.loans.conflicting == 0
        assert one.report.customers.rejected == one.report.loans.rejected == 0
    assert ended.report is not None
    assert (ended.report.customers.recorded, ended.report.customers.blank) == (300, 3)
    assert ended.report.loans.recorded == 782
    assert house.codes(ended)["LOAN_ID_SHARED"] == 29

    ours = str(ended.job.ingestion_id)
    facts = house.facts()
    loans = {
        f.source.row: f
        for f in facts
        if isinstance(f, LoanImported) and f.source.ingestion_id == ours
    }
    customers = {
        f.source.row: f
        for f in facts
        if isinstance(f, CustomerImported) and f.source.ingestion_id == ours
    }
    read = read_loans(real("loan_data.xlsx"), as_of=ended.job.requested_on).rows
    assert len({loan.loan_number for loan in loans.values()}) == len(read) == 782
    for row in read:
        fact = loans[row.row]
        assert (fact.customer_number, fact.source_loan_id) == (
            row.customer_number,
            row.source_loan_id,
        )
        assert (fact.amount, fact.annual_rate, fact.tenure_months) == (
            row.amount,
            row.annual_rate,
            row.tenure_months,
        )
        assert (fact.installment, fact.emis_on_time) == (row.monthly_payment, row.emis_on_time)
        assert (fact.occurred_on, fact.ends_on) == (row.approved_on, row.ends_on)
    for who in read_customers(real("customer_data.xlsx")).rows:
        assert customers[who.row].monthly_income == who.monthly_income
        assert customers[who.row].phone_number == who.phone_number

    again = house.ingest(real("customer_data.xlsx"), real("loan_data.xlsx"))
    assert again.report is not None
    assert (again.report.customers.unchanged, again.report.loans.unchanged) == (300, 782)
    assert len(house.facts()) == len(facts) + 2  # requested and finished


@needs_real
def test_the_real_customers_divide_over_the_slabs_as_pinned(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    house.ingest(real("customer_data.xlsx"), real("loan_data.xlsx"))
    asked = Terms(amount=Decimal("10000.00"), annual_rate=Decimal("8.00"), tenure_months=24)
    slabs: Counter[str] = Counter()
    granted: Counter[tuple[bool, str]] = Counter()
    for number in range(1, 301):
        who, loans = house.lending.load(number)
        verdict = judge(house.lending.policy, who, loans, asked, PINNED_DAY)
        points = verdict.scorecard.score
        slabs[
            next(
                (name for name, above in ((">50", 50), (">30", 30), (">10", 10)) if points > above),
                "<=10",
            )
        ] += 1
        granted[verdict.approved, str(verdict.annual_rate)] += 1
    with capsys.disabled():
        print(f"\nslabs on {PINNED_DAY}: {dict(slabs)}, decisions: {dict(granted)}")  # noqa: T201
    assert slabs == {">50": 266, ">30": 27, "<=10": 7}
    assert granted == {
        (True, "8.00"): 252,
        (True, "12.00"): 27,
        (False, "8.00"): 14,
        (False, "16.00"): 7,
    }


def test_a_check_reports_and_records_nothing(house: House) -> None:
    ended = house.ingest(hostile.customers(CUSTOMER), hostile.loans(), check_only=True)
    assert ended.report is not None
    assert ended.report.customers.recorded == 1
    assert house.facts() == []


def test_a_changed_row_is_a_conflict_with_both_values(house: House) -> None:
    house.ingest(hostile.customers(CUSTOMER), hostile.loans())
    changed = (*CUSTOMER[:5], 60000, CUSTOMER[6])
    ended = house.ingest(hostile.customers(changed, CUSTOMER), hostile.loans())
    assert ended.report is not None
    assert (ended.report.customers.conflicting, ended.report.customers.unchanged) == (1, 1)
    (finding,) = house.importing.ingestions.findings(ended.job.ingestion_id, after=0, limit=9)
    assert "50000.00" in finding.message
    assert "60000.00" in finding.message


@pytest.mark.parametrize(
    "content",
    [
        hostile.text_file,
        hostile.truncated,
        hostile.encrypted_member,
        hostile.far_cell,
        lambda: hostile.ole_file("EncryptedPackage"),
        lambda: hostile.zip_bomb(zeros=300_000_000),
        lambda: hostile.customers(headings=["Customer ID"]),
    ],
    ids=["text", "truncated", "encrypted member", "far cell", "ole", "bomb", "missing columns"],
)
def test_a_hostile_workbook_fails_and_leaves_no_event_but_that_fact(
    house: House, content: Callable[[], bytes]
) -> None:
    ended = house.ingest(content(), hostile.loans())
    assert ended.status == "failed"
    assert ended.problem is not None
    assert [type(fact) for fact in house.facts()] == [IngestionRequested, IngestionFailed]


def test_what_was_asked_while_redis_was_down_is_done_when_it_is_back(
    database_url: str, schema: str, private_redis: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "OVERDUE_S", 0.0)
    house = House(database_url, schema, private_redis.url)
    private_redis.stop()
    ingestion_id = house.request(hostile.customers(CUSTOMER), hostile.loans())
    assert not Broker(house.settings.redis_url, schema).enqueue(ingestion_id)
    private_redis.start()
    house.worker.start()
    house.worker.sweep()
    assert house.ended(ingestion_id).status == "succeeded"
    house.worker.stop()
    house.lending.close()
