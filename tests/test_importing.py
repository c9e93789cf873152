"""Importing rows into the log: one job once, twice, half-way, and beside live calls."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from credit_es import importing, lookup
from credit_es.application import By, ContendedError, Facts, Lending
from credit_es.domain import histories
from credit_es.domain.cells import Finding
from credit_es.domain.customer import decide_registration
from credit_es.domain.events import (
    CustomerImported,
    Event,
    IngestionFailed,
    IngestionFinished,
    IngestionRequested,
    LoanImported,
    LoansImported,
)
from credit_es.domain.histories import History, Ingestion
from credit_es.domain.importing import Import, Known, decide_import
from credit_es.domain.rows import CustomerRow, LoanRow
from credit_es.domain.values import Counts, ImportedLoan, Source
from credit_es.importing import Importing
from credit_es.store.database import StoreUnavailableError
from credit_es.store.idempotency import Once
from credit_es.store.ingestions import Job, QueuedIngestion, Report, Upload
from credit_es.store.mapper import DECODER, Entry
from credit_es.store.recorder import LogRecorder
from tests.store.given import ASHA, BY, asks, settings
from tests.test_application import assert_some_order_explains
from tests.workers.workbooks import customer_row, loan_row, sheet

CUSTOMERS = Upload(name="customers.xlsx", content=b"the customers")
LOANS = Upload(name="loans.xlsx", content=b"the loans")
FIRST = 10_000_001


class House:
    """The importing side of one schema."""

    def __init__(self, database_url: str, schema: str) -> None:
        self.lending = Lending(settings(database_url, schema), pool_size=6)
        self.importing = Importing(self.lending)

    def job(self, *, check_only: bool = False) -> Job:
        ingestion_id = self.importing.request(CUSTOMERS, LOANS, check_only=check_only, by=BY)
        return self.found(ingestion_id).job

    def found(self, ingestion_id: UUID) -> QueuedIngestion:
        found = self.importing.ingestions.find(ingestion_id)
        assert found is not None
        return found

    def run(self, job: Job, customers: Sequence[CustomerRow], loans: Sequence[LoanRow]) -> Report:
        return self.importing.run(job, sheet("customers", customers), sheet("loans", loans))

    def entries(self) -> list[Entry]:
        return [DECODER.decode(e.state) for b in self.lending.reader.tail(0) for e in b]

    def facts(self) -> list[Event]:
        return [entry.fact for entry in self.entries()]

    def queued(self) -> list[UUID]:
        latest = (datetime.max.replace(tzinfo=UTC), UUID(int=0))
        return [
            one.job.ingestion_id for one in self.importing.ingestions.page(before=latest, limit=9)
        ]

    def findings(self, job: Job) -> list[Finding]:
        return self.importing.ingestions.findings(job.ingestion_id, after=0, limit=10_000)


@pytest.fixture
def house(database_url: str, schema: str) -> Iterator[House]:
    one = House(database_url, schema)
    yield one
    one.lending.close()


def test_a_request_is_a_fact_a_job_and_two_workbooks_kept(house: House) -> None:
    job = house.job()
    assert house.facts() == [
        IngestionRequested(
            occurred_on=house.lending.today(),
            ingestion_id=str(job.ingestion_id),
            customers=CUSTOMERS.workbook,
            loans=LOANS.workbook,
        )
    ]
    ingestions = house.importing.ingestions
    assert house.found(job.ingestion_id) == QueuedIngestion(
        job=job,
        status="queued",
        done=0,
        total=0,
        report=None,
        problem=None,
        finished_at=None,
        attempts=0,
    )
    assert ingestions.content(job.customers) == CUSTOMERS.content
    assert ingestions.content(job.loans) == LOANS.content


def test_a_workbook_is_kept_without_being_compressed_again(house: House) -> None:
    database = house.lending.database
    kept = house.importing.ingestions.keep(Upload(name="easy.xlsx", content=bytes(100_000)))
    question = "SELECT pg_column_compression(content) FROM {schema}.workbooks WHERE sha256 = %s"
    with database.connection() as conn:
        assert conn.execute(database.sql(SQL(question)), (kept.sha256,)).fetchone() == (None,)


def test_the_same_request_sent_again_is_the_same_job(house: House) -> None:
    once = Once(actor="tester", path="/ingestions", key="k", digest=b"d")
    for check_only in (False, True):
        mine = Once(actor="tester", path="/ingestions", key=f"{check_only}", digest=once.digest)
        first, again = (
            house.importing.request(CUSTOMERS, LOANS, check_only=check_only, by=BY, once=mine)
            for _ in range(2)
        )
        assert first == again
    assert len(house.facts()) == 1
    assert len(house.queued()) == 2


def lose_the_next_answer(patch: pytest.MonkeyPatch) -> None:
    """The next append commits, and its connection goes away before it says so."""
    insert = LogRecorder._insert

    def lossy(self: LogRecorder, conn: Connection[TupleRow], *what: Any) -> list[int]:
        patch.undo()
        insert(self, conn, *what)
        conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        raise AssertionError("the server outlived its end")

    patch.setattr(LogRecorder, "_insert", lossy)


@pytest.mark.parametrize("check_only", [False, True])
@pytest.mark.parametrize("with_key", [False, True])
def test_a_job_that_was_queued_without_an_answer_is_queued_once(
    house: House, monkeypatch: pytest.MonkeyPatch, *, with_key: bool, check_only: bool
) -> None:
    once = Once(actor="tester", path="/ingestions", key="k", digest=b"d") if with_key else None
    lose_the_next_answer(monkeypatch)
    queued = house.importing.request(CUSTOMERS, LOANS, check_only=check_only, by=BY, once=once)
    assert house.queued() == [queued]
    assert len(house.facts()) == (0 if check_only else 1)


@pytest.mark.parametrize("check_only", [False, True])
def test_a_job_that_was_closed_without_an_answer_ends_once(
    house: House, monkeypatch: pytest.MonkeyPatch, *, check_only: bool
) -> None:
    job = house.job(check_only=check_only)
    lose_the_next_answer(monkeypatch)
    report = house.run(job, [customer_row(1)], [loan_row(1, "LOAN_6", row=2)])
    closed = house.found(job.ingestion_id)
    assert (closed.status, closed.report) == ("succeeded", report)
    assert [f.code for f in house.findings(job)] == ["LOAN_ID_IS_TEXT"]
    finished = [fact for fact in house.facts() if isinstance(fact, IngestionFinished)]
    assert len(finished) == (0 if check_only else 1)


def test_a_check_that_is_closed_twice_has_the_findings_of_its_report(house: House) -> None:
    """By the worker that was taken for dead, after the one that took its job over."""
    job = house.job(check_only=True)
    house.run(job, [customer_row(1)], [loan_row(1, "LOAN_6", row=2)])
    last = house.run(job, [customer_row(1)], [loan_row(1, "6", row=2)])
    assert house.found(job.ingestion_id).report == last
    assert house.findings(job) == []


def test_rows_become_facts_with_their_source_and_the_job_is_closed(house: House) -> None:
    job = house.job()
    rows = [loan_row(1, "5", row=2), loan_row(1, "LOAN_6", row=3)]
    report = house.run(job, [customer_row(1, row=4)], rows)
    ours = str(job.ingestion_id)
    requested, customer, named, *loans, finished = house.facts()
    assert isinstance(requested, IngestionRequested)
    assert customer == CustomerImported(
        occurred_on=job.requested_on,
        customer_number=1,
        first_name="Aaron",
        last_name="Garcia",
        age=63,
        phone_number=9629317944,
        monthly_income=Decimal("50000.00"),
        approved_limit=Decimal("1800000.00"),
        current_debt=None,
        source=Source(ingestion_id=ours, sheet="Sheet1", row=4),
    )
    assert named == LoansImported(
        occurred_on=job.requested_on,
        customer_number=1,
        loans=(
            ImportedLoan(loan_number=5, source_loan_id="5"),
            ImportedLoan(loan_number=FIRST, source_loan_id="LOAN_6"),
        ),
        ingestion_id=ours,
    )
    assert loans == [
        LoanImported(
            occurred_on=row.approved_on,
            loan_number=number,
            customer_number=1,
            source_loan_id=row.source_loan_id,
            amount=row.amount,
            annual_rate=row.annual_rate,
            tenure_months=row.tenure_months,
            installment=row.monthly_payment,
            emis_on_time=row.emis_on_time,
            ends_on=row.ends_on,
            source=Source(ingestion_id=ours, sheet="Sheet1", row=row.row),
        )
        for row, number in zip(rows, (5, FIRST), strict=True)
    ]
    counts = {"customers": Counts(read=1, recorded=1), "loans": Counts(read=2, recorded=2)}
    assert report == Report(**counts)
    assert finished == IngestionFinished(occurred_on=job.requested_on, ingestion_id=ours, **counts)
    closed = house.found(job.ingestion_id)
    assert (closed.status, closed.report, closed.problem) == ("succeeded", report, None)
    assert {(e.actor, e.correlation_id) for e in house.entries()} == {(BY.actor, BY.correlation_id)}
    assert {e.causation_id for e in house.entries()[1:]} == {f"ingestion/{ours}"}


def test_many_customers_are_appended_in_batches_with_progress(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "FACTS_A_BATCH", 30)
    batches: list[int] = []
    record_many = house.lending.record_many

    def counting(groups: Sequence[Facts], by: By) -> list[int]:
        batches.append(sum(map(len, groups)))
        return record_many(groups, by)

    monkeypatch.setattr(house.lending, "record_many", counting)
    customers = [customer_row(n, row=n + 1) for n in range(1, 41)]
    loans = [loan_row(n, f"{n}", row=n + 1) for n in range(1, 41)]
    told: list[tuple[int, int]] = []
    job = house.job()
    report = house.importing.run(
        job,
        sheet("customers", customers),
        sheet("loans", loans),
        lambda done, total: told.append((done, total)),
    )
    assert report.customers.recorded == report.loans.recorded == 40
    assert batches == [30, 30, 30, 30]
    assert told == [(0, 80), (20, 80), (40, 80), (60, 80), (80, 80)]


def test_a_batch_is_of_500_to_1000_facts_so_that_live_calls_come_in_between() -> None:
    customers = [customer_row(n) for n in range(1, 1001)]
    loans = [loan_row(n, f"{n}-{nth}") for n in range(1, 1001) for nth in range(5)]
    of_all = histories.batches(histories.histories(customers, loans))
    # A fact for each row, and one that names the loans on their customer's stream.
    *whole, rest = [sum(2 + len(one.loans) for one in batch) for batch in of_all]
    assert all(500 <= facts <= 1000 for facts in whole)
    assert sum(whole) + rest == 7_000


def test_batches_are_appended_at_once_while_the_next_one_is_decided(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "FACTS_A_BATCH", 10)
    record_many, together = house.lending.record_many, threading.Barrier(importing.RECORDERS)

    def waiting(groups: Sequence[Facts], by: By) -> list[int]:
        together.wait(10)
        return record_many(groups, by)

    monkeypatch.setattr(house.lending, "record_many", waiting)
    customers = [customer_row(n, row=n) for n in range(1, 5 * importing.RECORDERS + 1)]
    report = house.run(house.job(), customers, [])
    assert report.customers == Counts(read=len(customers), recorded=len(customers))


def test_what_goes_wrong_in_deciding_ends_the_run_and_what_is_recorded_stays(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "FACTS_A_BATCH", 10)

    def failing(
        ingestion: Ingestion,
        history: History,
        known: Known | None,
        number_for: Callable[[LoanRow], int],
    ) -> Import:
        if history.customer_number == 11:
            raise StoreUnavailableError("the third batch")
        return decide_import(ingestion, history, known, number_for)

    job = house.job()
    customers = [customer_row(n, row=n) for n in range(1, 21)]
    with monkeypatch.context() as patch:
        patch.setattr(importing, "decide_import", failing)
        with pytest.raises(StoreUnavailableError, match="the third batch"):
            house.run(job, customers, [])
    assert sum(isinstance(fact, CustomerImported) for fact in house.facts()) == 10
    assert house.run(job, customers, []).customers == Counts(read=20, recorded=20)


def test_what_a_sheet_found_and_what_the_import_finds_are_told_in_order_of_the_rows(
    house: House,
) -> None:
    def finding(row: int, code: str) -> Finding:
        return Finding(
            workbook="loans", sheet="Sheet1", row=row, column=None, code=code, message="m"
        )

    job = house.job()
    house.importing.run(
        job,
        sheet("customers", [customer_row(1)]),
        sheet(
            "loans",
            [loan_row(1, "5", row=3), loan_row(2, "6", row=5)],
            findings=[finding(2, "A"), finding(7, "C")],
            rejected=2,
            blank=1,
        ),
    )
    assert [(f.row, f.code) for f in house.findings(job)] == [
        (2, "A"),
        (5, "UNKNOWN_CUSTOMER"),
        (7, "C"),
    ]
    report = house.found(job.ingestion_id).report
    assert report is not None
    assert report.loans == Counts(read=4, recorded=1, rejected=3, blank=1)


def test_a_check_reports_the_same_and_records_nothing(house: House) -> None:
    rows = ([customer_row(1)], [loan_row(1, "5", row=2), loan_row(1, "LOAN_6", row=3)])
    check = house.job(check_only=True)
    would = house.run(check, *rows)
    assert house.facts() == []
    assert house.lending.reader.head().last == 0
    assert house.found(check.ingestion_id).status == "succeeded"
    numbers = f"SELECT count(*) FROM {house.lending.database.schema}.numbers"
    rows_of_numbers = house.lending.database.run(lambda c: c.execute(numbers.encode()).fetchone())
    assert rows_of_numbers == (0,)
    real = house.job()
    assert house.run(real, *rows) == would
    # The same findings, save for the number that only a real import takes.
    told, tells = (house.findings(job) for job in (check, real))
    assert [(f.row, f.code, f.column) for f in told] == [(f.row, f.code, f.column) for f in tells]
    assert [f.code for f in told] == ["LOAN_ID_IS_TEXT"]


def test_a_rerun_in_any_order_records_nothing(house: House) -> None:
    customers = [customer_row(n, row=n + 1) for n in (1, 2, 3)]
    shared = [loan_row(n, "7", row=n + 1) for n in (2, 1, 3)]
    text = [loan_row(n, f"L{n}", row=n + 5) for n in (1, 2, 3)]
    house.run(house.job(), customers, [*shared, *text])
    before = [f for f in house.facts() if not isinstance(f, IngestionRequested | IngestionFinished)]
    numbers = {f.source.row: f.loan_number for f in before if isinstance(f, LoanImported)}
    assert numbers[3] == 7  # the first in workbook order keeps it
    for loans in ([*shared, *text], [*reversed(text), *reversed(shared)]):
        report = house.run(house.job(), customers[::-1], loans)
        assert report == Report(
            customers=Counts(read=3, unchanged=3), loans=Counts(read=6, unchanged=6)
        )
    assert [
        f for f in house.facts() if not isinstance(f, IngestionRequested | IngestionFinished)
    ] == before


def test_a_failed_job_is_a_fact_with_its_problem(house: House) -> None:
    job, check = house.job(), house.job(check_only=True)
    for one in (job, check):
        house.importing.fail(one, "The customers workbook is empty.")
        found = house.found(one.ingestion_id)
        assert (found.status, found.problem) == ("failed", "The customers workbook is empty.")
        assert found.report is None
    assert house.facts()[1:] == [
        IngestionFailed(
            occurred_on=job.requested_on,
            ingestion_id=str(job.ingestion_id),
            problem="The customers workbook is empty.",
        )
    ]


# Twice, and half-way.


def some_rows(count: int) -> tuple[list[CustomerRow], list[LoanRow]]:
    """Every customer with two loans: one that shares its id with the next's, one with text."""
    customers = [customer_row(n, row=n + 1) for n in range(1, count + 1)]
    loans = [
        loan
        for n in range(1, count + 1)
        for loan in (
            loan_row(n, f"{(n + 1) // 2}", row=2 * n),
            loan_row(n, f"L{n}", row=2 * n + 1),
        )
    ]
    return customers, loans


def assert_named_once(facts: Sequence[Event]) -> None:
    """Every loan there is, is named by its customer's stream, once."""
    named = sorted(
        (f.customer_number, loan.loan_number, loan.source_loan_id)
        for f in facts
        if isinstance(f, LoansImported)
        for loan in f.loans
    )
    opened = sorted(
        (f.customer_number, f.loan_number, f.source_loan_id)
        for f in facts
        if isinstance(f, LoanImported)
    )
    assert named == opened
    assert len({number for _, number, _ in opened}) == len(opened)


def test_the_same_job_run_twice_at_once_ends_as_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "FACTS_A_BATCH", 20)
    job = house.job()
    rows = some_rows(60)
    ready = threading.Barrier(3)

    def run(_: int) -> Report:
        ready.wait(10)
        return house.run(job, *rows)

    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(run, range(3)))
    undisturbed = Report(
        customers=Counts(read=60, recorded=60), loans=Counts(read=120, recorded=120)
    )
    assert reports == [undisturbed] * 3
    facts = house.facts()
    assert sum(isinstance(f, CustomerImported) for f in facts) == 60
    assert sum(isinstance(f, LoanImported) for f in facts) == 120
    assert sum(isinstance(f, LoansImported) for f in facts) == 60
    assert sum(isinstance(f, IngestionFinished) for f in facts) == 1
    assert_named_once(facts)
    assert house.found(job.ingestion_id).report == undisturbed
    told = house.findings(job)
    assert len(told) == 60 + 30  # every id that is text, and the second of every shared one


def test_who_has_lost_a_race_looks_at_the_log_before_deciding_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each customer that another run was quicker with would be decided again alone."""
    monkeypatch.setattr(histories, "FACTS_A_BATCH", 10)
    customers = [customer_row(n, row=n) for n in range(1, 101)]
    job, twin = house.job(), house.job()
    overtaken(monkeypatch, house, lambda: house.run(twin, customers, []))
    alone = recorded_alone(monkeypatch, house, job)
    counts = house.run(job, customers, []).customers
    assert counts.recorded + counts.unchanged == 100
    decided_before = 5 * (importing.RECORDERS + 2)
    assert 5 < len(alone) <= decided_before + 1  # and the end of the job


@pytest.mark.parametrize("dies_at", [1, 3, 5])
def test_a_job_that_died_half_way_ends_as_if_it_had_not(
    house: House, database_url: str, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    monkeypatch.setattr(histories, "FACTS_A_BATCH", 20)
    rows = some_rows(30)
    job = house.job()
    record_many, calls = house.lending.record_many, 0

    def dying(groups: Sequence[Facts], by: By) -> list[int]:
        nonlocal calls
        calls += 1
        if calls == dies_at:
            raise KeyboardInterrupt
        return record_many(groups, by)

    with monkeypatch.context() as patch:
        patch.setattr(house.lending, "record_many", dying)
        with pytest.raises(KeyboardInterrupt):
            house.run(job, *rows)
    assert house.found(job.ingestion_id).finished_at is None
    next_process = House(database_url, house.lending.database.schema)
    try:
        report = next_process.run(job, *rows)
    finally:
        next_process.lending.close()
    assert report == Report(
        customers=Counts(read=30, recorded=30), loans=Counts(read=60, recorded=60)
    )
    assert_named_once(house.facts())
    assert len(house.findings(job)) == 30 + 15
    imported = [f for f in house.facts() if isinstance(f, LoanImported | CustomerImported)]
    given = [*(row.row for row in rows[0]), *(row.row for row in rows[1])]
    assert sorted(f.source.row for f in imported) == sorted(given)
    loans = [f for f in imported if isinstance(f, LoanImported)]
    kept = sorted(f.source.row for f in loans if f.loan_number < FIRST)
    assert kept == [row.row for row in rows[1] if row.row % 4 == 2]  # the first of each pair


# Beside live calls.


def test_an_import_and_applications_racing_for_one_customer_end_in_some_order(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "FACTS_A_BATCH", 5)
    house.run(house.job(), [customer_row(1)], [loan_row(1, "1")])
    stop = threading.Event()

    def apply() -> int:
        count = 0
        while not stop.is_set() or count < 3:
            house.lending.apply_for_loan(asks(1, "100.00"), BY)
            count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        applying = [pool.submit(apply) for _ in range(3)]
        try:
            for turn in range(2, 12):
                report = house.run(house.job(), [customer_row(1)], [loan_row(1, f"{turn}")])
                assert report.loans == Counts(read=1, recorded=1)
        finally:
            stop.set()
        applied = sum(done.result(20) for done in applying)
    assert len(assert_some_order_explains(house.lending, 1)) == applied >= 9
    who, _ = house.lending.load(1)
    assert set(range(1, 12)) <= set(who.loans)
    assert_named_once(house.facts())


def test_a_customer_whom_a_live_call_moved_is_decided_again_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.run(house.job(), [customer_row(n, row=n) for n in (1, 2, 3)], [])
    overtaken(monkeypatch, house, lambda: house.lending.apply_for_loan(asks(2, "100.00"), BY))
    job = house.job()
    alone = recorded_alone(monkeypatch, house, job)
    loans = [loan_row(n, f"{n}", row=n) for n in (1, 2, 3)]
    report = house.run(job, [], loans)
    kinds = [[type(fact) for fact in facts] for facts in alone]
    assert kinds == [[LoansImported, LoanImported], [IngestionFinished]]
    assert [f.customer_number for f in alone[0] if isinstance(f, LoansImported)] == [2]
    assert report.loans == Counts(read=3, recorded=3)
    assert_some_order_explains(house.lending, 2)
    assert_named_once(house.facts())


def test_a_customer_registered_under_a_workbooks_number_meanwhile_keeps_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Facts are compared, not versions: what stands there is not what the workbook says."""
    fact = decide_registration(ASHA, customer_number=2, today=house.lending.today())
    overtaken(monkeypatch, house, lambda: house.lending.record([(1, fact)], BY))
    customers = [customer_row(n, row=n) for n in (1, 2, 3)]
    loans = [loan_row(n, f"{n}", row=n) for n in (1, 2, 3)]
    report = house.run(house.job(), customers, loans)
    assert report.customers == Counts(read=3, recorded=2, conflicting=1)
    assert report.loans == Counts(read=3, recorded=2, rejected=1)
    assert house.lending.load(2)[1] == []


def test_a_number_given_away_that_the_log_was_not_asked_about_is_found_when_its_batch_loses(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "PROBED", 0)
    house.run(house.job(), [customer_row(1)], [loan_row(1, "5")])
    report = house.run(house.job(), [customer_row(2)], [loan_row(2, "5"), loan_row(2, "6", row=3)])
    assert report.loans.recorded == 2
    assert {loan.number for loan in house.lending.load(2)[1]} == {6, FIRST}
    assert [loan.number for loan in house.lending.load(1)[1]] == [5]


def test_a_check_says_which_numbers_are_given_away_though_it_never_loses(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "PROBED", 0)
    house.run(house.job(), [customer_row(1)], [loan_row(1, "5")])
    job = house.job(check_only=True)
    house.run(job, [customer_row(2)], [loan_row(2, "5")])
    assert [finding.code for finding in house.findings(job)] == ["LOAN_ID_SHARED"]


def test_a_number_that_the_log_has_given_away_is_not_wanted_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.run(house.job(), [customer_row(1)], [loan_row(1, "5")])
    job = house.job()
    alone = recorded_alone(monkeypatch, house, job)
    assert house.run(job, [customer_row(2)], [loan_row(2, "5")]).loans.recorded == 1
    assert [loan.number for loan in house.lending.load(2)[1]] == [FIRST]
    assert [[type(fact) for fact in facts] for facts in alone] == [[IngestionFinished]]


@pytest.mark.parametrize(
    ("probed", "customers"),
    [pytest.param(1, [2], id="by a loan"), pytest.param(0, [1, 2], id="by a customer")],
)
def test_a_log_that_knows_the_workbook_is_asked_about_every_number_before_one_is_lost(
    house: House, monkeypatch: pytest.MonkeyPatch, probed: int, customers: Sequence[int]
) -> None:
    monkeypatch.setattr(importing, "PROBED", probed)
    house.run(house.job(), [customer_row(1)], [loan_row(1, "5"), loan_row(1, "6", row=3)])
    job = house.job()
    alone = recorded_alone(monkeypatch, house, job)
    rows = [customer_row(number, row=number) for number in customers]
    report = house.run(job, rows, [loan_row(2, "5"), loan_row(2, "6", row=3)])
    assert report.loans.recorded == 2
    assert [[type(fact) for fact in facts] for facts in alone] == [[IngestionFinished]]


def test_a_log_that_knows_nobody_of_the_workbook_is_asked_about_few_numbers(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "PROBED", 2)
    asked: list[int] = []
    taken = lookup.Lookup.taken

    def watched(self: lookup.Lookup, loan_numbers: Iterable[int]) -> Set[int]:
        asked.extend(numbers := [*loan_numbers])
        return taken(self, numbers)

    monkeypatch.setattr(lookup.Lookup, "taken", watched)
    loans = [loan_row(1, f"{n}", row=n) for n in range(5, 10)]
    assert house.run(house.job(), [customer_row(1)], loans).loans.recorded == 5
    assert asked == [5, 6]


def test_a_number_that_another_import_takes_meanwhile_is_given_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = house.job()
    overtaken(monkeypatch, house, lambda: house.run(twin, [customer_row(1)], [loan_row(1, "5")]))
    report = house.run(house.job(), [customer_row(2)], [loan_row(2, "5")])
    assert report.loans == Counts(read=1, recorded=1)
    numbers = [[loan.number for loan in house.lending.load(n)[1]] for n in (1, 2)]
    assert numbers == [[5], [FIRST]]


def test_of_more_customers_than_one_query_asks_for_each_is_found(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "STREAMS_A_QUERY", 2)
    numbers = range(1, 6)
    house.run(house.job(), [customer_row(n, row=n) for n in numbers], [])
    house.run(house.job(), [], [loan_row(n, f"{n}", row=n) for n in numbers])
    kept = [[loan.number for loan in house.lending.load(n)[1]] for n in numbers]
    assert kept == [[n] for n in numbers]


def test_who_gets_no_loan_takes_no_number_from_who_does(house: House) -> None:
    registered = house.lending.register(ASHA, BY).customer_number
    loans = [loan_row(n, "5", row=n) for n in (99, registered, 1)]
    report = house.run(house.job(), [customer_row(1)], loans)
    assert report.loans == Counts(read=3, recorded=1, rejected=2)
    assert [loan.number for loan in house.lending.load(1)[1]] == [5]


def recorded_alone(
    monkeypatch: pytest.MonkeyPatch, house: House, job: Job
) -> list[Sequence[Event]]:
    """What a run of this job records one by one, and not among the facts of a batch."""
    alone: list[Sequence[Event]] = []
    record = house.lending.record

    def watched(facts: Facts, by: By, **more: object) -> None:
        if by.causation_id == f"ingestion/{job.ingestion_id}":
            alone.append([fact for _, fact in facts])
        record(facts, by, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(house.lending, "record", watched)
    return alone


def overtaken(monkeypatch: pytest.MonkeyPatch, house: House, by: Callable[[], object]) -> None:
    """Somebody else is quicker than the first batch of an import, once it is decided."""
    record_many, done = house.lending.record_many, False

    def slower(groups: Sequence[Facts], by_whom: By) -> list[int]:
        nonlocal done
        if not done:
            done = True
            by()
        return record_many(groups, by_whom)

    monkeypatch.setattr(house.lending, "record_many", slower)


def test_a_loan_is_nobodys_only_if_its_customer_is_unknown_when_its_batch_comes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No race is lost by a row that is refused: the log's start of the job must not decide it."""
    divided, beside = histories.batches, [customer_row(1), customer_row(2)]

    def later(all_histories: Iterable[History]) -> Iterator[list[History]]:
        monkeypatch.setattr("credit_es.importing.batches", divided)
        house.run(house.job(), beside, [])
        yield from divided(all_histories)

    job = house.job()
    monkeypatch.setattr("credit_es.importing.batches", later)
    loans = [loan_row(1, "A1"), loan_row(2, "A2", row=3), loan_row(3, "A3", row=4)]
    report = house.run(job, [], loans)
    assert report.loans == Counts(read=3, recorded=2, rejected=1)
    assert [(f.row, f.code) for f in house.findings(job) if f.code != "LOAN_ID_IS_TEXT"] == [
        (4, "UNKNOWN_CUSTOMER")
    ]


def test_an_import_that_loses_every_race_gives_up_and_may_be_run_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.run(house.job(), [customer_row(1)], [])
    monkeypatch.setattr(importing, "CONTEND_S", 0.2)
    record_many, record = house.lending.record_many, house.lending.record
    job = house.job()

    def losing_many(groups: Sequence[Facts], by: By) -> list[int]:
        house.lending.apply_for_loan(asks(1, "100.00"), BY)
        return record_many(groups, by)

    def losing(facts: Facts, by: By, **more: object) -> None:
        if isinstance(facts[0][1], LoansImported):
            house.lending.apply_for_loan(asks(1, "100.00"), BY)
        record(facts, by, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(house.lending, "record_many", losing_many)
        patch.setattr(house.lending, "record", losing)
        with pytest.raises(ContendedError):
            house.run(job, [], [loan_row(1, "1")])
    assert house.run(job, [], [loan_row(1, "1")]).loans == Counts(read=1, recorded=1)


def test_a_registered_customer_gets_no_loan_of_a_workbook(house: House) -> None:
    number = house.lending.register(ASHA, BY).customer_number
    job = house.job()
    report = house.run(job, [customer_row(number)], [loan_row(number, "5")])
    assert report == Report(
        customers=Counts(read=1, conflicting=1), loans=Counts(read=1, rejected=1)
    )
    assert [f.code for f in house.findings(job)] == ["CUSTOMER_IS_REGISTERED"] * 2
    assert house.lending.load(number)[1] == []


def test_an_import_moves_the_next_numbers_past_its_own(house: House) -> None:
    high = FIRST + 500
    house.run(house.job(), [customer_row(high)], [loan_row(high, f"{high + 7}")])
    assert house.lending.register(ASHA, BY).customer_number == high + 1
    decision = house.lending.apply_for_loan(asks(high, "100.00"), BY).decision
    assert decision.verdict.approved
    assert max(house.lending.load(high)[0].loans) == high + 8
