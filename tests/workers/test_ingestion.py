"""Ingestion by the worker: nothing lost, invented or told twice; a bad workbook leaves nothing."""

import json
import os
import re
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
import structlog
from typer.testing import CliRunner

from credit_es.cli.main import app
from credit_es.domain.events import (
    CustomerImported,
    IngestionFailed,
    IngestionFinished,
    IngestionRequested,
    LoanImported,
    LoansImported,
)
from credit_es.domain.rows import CustomerRow
from credit_es.domain.values import Counts
from credit_es.store import ingestions
from credit_es.store.ingestions import Report
from tests.api.client import environment_of
from tests.store.given import BY, asks
from tests.workers import hostile
from tests.workers.conftest import House, kinds, report_of
from tests.workers.workbooks import customer, lender, loan
from workers.archive import WorkbookError
from workers.ingestion import MOST_ATTEMPTS
from workers.workbook import Sheet

pytestmark = pytest.mark.slow

NOTHING = hostile.loans()


def test_a_job_goes_from_queued_over_running_to_its_report(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion_id = house.request(*lender(3))
    queued = house.found(ingestion_id)
    assert (queued.status, queued.attempts, queued.finished_at) == ("queued", 0, None)
    seen = []

    def looks(record: Callable[..., object]) -> Callable[..., object]:
        def looking(*args: object, **more: object) -> object:
            seen.append(house.found(ingestion_id))
            return record(*args, **more)

        return looking

    lending = house.worker._lending
    monkeypatch.setattr(lending, "record_many", looks(lending.record_many))
    monkeypatch.setattr(lending, "record", looks(lending.record))
    house.worker.ingest(str(ingestion_id))
    assert [(s.status, s.done, s.total, s.attempts) for s in seen] == [
        ("running", 0, 9, 1),
        ("running", 9, 9, 1),
    ]
    assert report_of(house.found(ingestion_id)) == Report(
        customers=Counts(read=3, recorded=3), loans=Counts(read=6, recorded=6)
    )


def test_a_job_that_is_done_is_not_done_again(house: House) -> None:
    ended = house.ingest(*lender(2))
    facts = house.facts()
    house.worker.ingest(str(ended.job.ingestion_id))
    assert house.found(ended.job.ingestion_id) == ended
    assert house.facts() == facts


def test_through_redis_a_started_worker_takes_it(house: House) -> None:
    with house.working():
        ingestion_id = house.request(*lender(2))
        assert house.broker.enqueue(ingestion_id)
        assert report_of(house.ended(ingestion_id)).customers.recorded == 2


def test_the_command_goes_by_its_account_s_number_where_that_has_no_name(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / "customers.xlsx", tmp_path / "loans.xlsx"]
    for path, content in zip(paths, lender(2), strict=True):
        path.write_bytes(content)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # as in a container run under any number
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    told = house.settings
    env = environment_of(told.database_url, told.schema, told.redis_url)
    with structlog.testing.capture_logs(), house.working():
        ran = CliRunner().invoke(app, ["ingest", "--json", *map(str, paths)], env=env)
    ended = house.found(UUID(json.loads(ran.stdout)["ingestion_id"]))
    assert (ended.status, ended.job.actor) == ("succeeded", f"cli/{os.getuid()}")


def test_a_check_reports_what_would_be_and_records_nothing(house: House) -> None:
    workbooks = lender(10)
    check = house.ingest(*workbooks, check_only=True)
    assert house.facts() == []
    ended = house.ingest(*workbooks)
    assert report_of(ended) == report_of(check)
    assert house.codes(ended) == house.codes(check)
    again = house.ingest(*workbooks, check_only=True)
    assert report_of(again).loans == Counts(read=20, unchanged=20)
    assert kinds(house.facts()).count(IngestionRequested) == 1


# Rows.


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (customer(2, Customer_ID=None), "BLANK"),
        (customer(2, Customer_ID=0), "OUT_OF_RANGE"),
        (customer(2, Customer_ID="two"), "NOT_A_NUMBER"),
        (customer(2, Monthly_Salary=-1), "OUT_OF_RANGE"),
        (customer(2, Monthly_Salary=1000.5), "NOT_WHOLE"),
        (customer(2, First_Name=None), "BLANK"),
    ],
)
def test_a_bad_customer_is_rejected_alone_and_gets_no_loan(
    house: House, bad: list[object], code: str
) -> None:
    customers = hostile.customers(customer(1), bad, customer(3))
    ended = house.ingest(customers, hostile.loans(loan(1, 11), loan(2, 12), loan(3, 13)))
    assert report_of(ended) == Report(
        customers=Counts(read=3, recorded=2, rejected=1),
        loans=Counts(read=3, recorded=2, rejected=1),
    )
    assert [(f.workbook, f.row, f.code) for f in house.findings(ended)][:1] == [
        ("customers", 3, code)
    ]
    assert house.codes(ended)["UNKNOWN_CUSTOMER"] == 1
    assert [f.customer_number for f in house.imported() if isinstance(f, CustomerImported)] == [
        1,
        3,
    ]


@pytest.mark.parametrize(
    ("bad", "column", "code"),
    [
        (loan(1, None), "Loan ID", "BLANK"),
        (loan(1, 2, Loan_Amount=-5), "Loan Amount", "OUT_OF_RANGE"),
        (loan(1, 2, Date_of_Approval="yesterday"), "Date of Approval", "NOT_A_DATE"),
        (loan(1, 2, End_Date=date(2020, 1, 1)), "End Date", "END_BEFORE_APPROVAL"),
        (loan(1, 2, Tenure=0), "Tenure", "OUT_OF_RANGE"),
        (loan(7, 2), "Customer ID", "UNKNOWN_CUSTOMER"),
    ],
)
def test_a_bad_loan_is_rejected_alone(
    house: House, bad: list[object], column: str, code: str
) -> None:
    ended = house.ingest(
        hostile.customers(customer(1)), hostile.loans(loan(1, 11), bad, loan(1, 13))
    )
    assert report_of(ended).loans == Counts(read=3, recorded=2, rejected=1)
    told = [f for f in house.findings(ended) if f.row == 3 and f.workbook == "loans"]
    assert [(f.column, f.code) for f in told] == [(column, code)]
    loans = [f.source_loan_id for f in house.imported() if isinstance(f, LoanImported)]
    assert loans == ["11", "13"]


def test_a_row_that_changed_is_a_conflict_with_the_stored_and_the_given_value(
    house: House,
) -> None:
    house.ingest(hostile.customers(customer(1)), hostile.loans(loan(1, 11)))
    before = house.imported()
    ended = house.ingest(
        hostile.customers(customer(1, Monthly_Salary=60000, Age=64)),
        hostile.loans(loan(1, 11, Interest_Rate=9), loan(1, 11)),
    )
    assert report_of(ended) == Report(
        customers=Counts(read=1, conflicting=1), loans=Counts(read=2, conflicting=1, unchanged=1)
    )
    told = [(f.row, f.column, f.code, f.message) for f in house.findings(ended)]
    assert [one for one in told if one[2].endswith("DIFFERS")] == [
        (2, "Age", "CUSTOMER_DIFFERS", "stored is 63, given is 64"),
        (2, "Monthly Salary", "CUSTOMER_DIFFERS", "stored is 50000.00, given is 60000.00"),
        (2, "Interest Rate", "LOAN_DIFFERS", "stored is 8.20, given is 9.00"),
    ]
    assert house.imported() == before


def test_a_copy_of_a_row_is_unchanged_and_another_content_a_conflict(house: House) -> None:
    ended = house.ingest(
        hostile.customers(customer(1), customer(1), customer(1, Age=50)),
        hostile.loans(loan(1, 11), loan(1, 11), loan(1, 11, Tenure=60)),
    )
    counts = Counts(read=3, recorded=1, unchanged=1, conflicting=1)
    assert report_of(ended) == Report(customers=counts, loans=counts)
    assert kinds(house.imported()) == [CustomerImported, LoansImported, LoanImported]


def test_what_was_imported_is_what_decisions_and_reads_then_know(house: House) -> None:
    house.ingest(hostile.customers(customer(1)), hostile.loans(loan(1, 11, Loan_Amount=1800000)))
    decision = house.lending.apply_for_loan(asks(1, "100.00"), BY).decision
    assert decision.verdict.scorecard.current_amount == Decimal("1800000.00")
    assert not decision.verdict.approved
    # And an ingestion after it finds the customer's stream moved, and all unchanged.
    again = house.ingest(
        hostile.customers(customer(1)), hostile.loans(loan(1, 11, Loan_Amount=1800000))
    )
    assert report_of(again).loans == Counts(read=1, unchanged=1)


# Workbooks that are none.

HOSTILE: dict[str, Callable[[], bytes]] = {
    "text": hostile.text_file,
    "truncated": hostile.truncated,
    "damaged": hostile.flipped_byte,
    "empty file": lambda: b"",
    "encrypted": lambda: hostile.ole_file("EncryptedPackage"),
    "encrypted member": hostile.encrypted_member,
    "old Excel": lambda: hostile.ole_file("Workbook"),
    "zip bomb": lambda: hostile.zip_bomb(zeros=300_000_000),
    "lying zip bomb": lambda: hostile.zip_bomb(zeros=64 << 20, declared=1000),
    "entity bomb": hostile.entity_bomb,
    "far cell": hostile.far_cell,
    "missing column": lambda: hostile.customers(headings=hostile.CUSTOMER_HEADINGS[:-1]),
    "no rows at all": lambda: hostile.workbook([]),
    "no headings": lambda: hostile.workbook([hostile.CUSTOMER]),
    "headings that Postgres cannot keep": lambda: hostile.sheet_bytes(
        hostile.row(1, ["Nobody_x0000_", *hostile.CUSTOMER_HEADINGS[1:]])
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_workbook_fails_with_a_sentence_and_leaves_no_other_event(
    house: House, name: str
) -> None:
    ended = house.ingest(HOSTILE[name](), hostile.loans(loan(1, 11)))
    assert_failed(house, ended.problem, "customers")


@pytest.mark.parametrize("name", ["text", "far cell", "lying zip bomb"])
def test_a_hostile_second_workbook_leaves_nothing_of_the_first(house: House, name: str) -> None:
    ended = house.ingest(hostile.customers(customer(1)), HOSTILE[name]())
    assert_failed(house, ended.problem, "loans")


def test_of_two_bad_workbooks_the_customers_fault_is_told(house: House) -> None:
    assert_failed(house, house.ingest(b"", b"no workbook").problem, "customers")


def test_a_workbook_that_needs_too_much_memory_fails_with_a_sentence(house: House) -> None:
    ended = house.ingest(hostile.huge_shared_string(copies=60_000), NOTHING)
    assert_failed(house, ended.problem, "customers")


def assert_failed(house: House, problem: str | None, workbook: str) -> None:
    assert problem is not None
    assert re.fullmatch(rf"The {workbook} workbook [^\n]+[^.\s]\.", problem)
    facts = house.facts()
    assert kinds(facts) == [IngestionRequested, IngestionFailed]
    assert isinstance(facts[1], IngestionFailed)
    assert facts[1].problem == problem


def test_a_check_of_a_hostile_workbook_fails_and_leaves_no_event_at_all(house: House) -> None:
    ended = house.ingest(hostile.text_file(), NOTHING, check_only=True)
    assert ended.status == "failed"
    assert house.facts() == []


def test_a_heading_that_cannot_be_printed_is_told_so_that_it_can_be_kept(house: House) -> None:
    headings = list(hostile.CUSTOMER_HEADINGS)
    headings[3] = "A_x0000_g_x0001_e\ufffe"
    rows = (hostile.row(1, headings), hostile.row(2, customer(1, Age=200)))
    ended = house.ingest(hostile.sheet_bytes(*rows), NOTHING)
    (finding,) = house.findings(ended)
    assert (finding.code, finding.column) == ("OUT_OF_RANGE", "A?g?e?")


# Once more, twice at once, too often.


def test_two_workers_at_one_job_end_as_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestions, "LEASE_S", -1.0)  # each takes it from the other at once
    other = House(house.settings)
    ready = threading.Barrier(2)
    ingestion_id = house.request(*lender(120))

    def ingest(one: House) -> None:
        ready.wait(10)
        one.worker.ingest(str(ingestion_id))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ingest, (house, other)))
    other.close()
    ended = house.found(ingestion_id)
    assert ended.attempts == 2
    assert report_of(ended) == Report(
        customers=Counts(read=120, recorded=120), loans=Counts(read=240, recorded=240)
    )
    assert Counter(kinds(house.facts())) == {
        IngestionRequested: 1,
        CustomerImported: 120,
        LoansImported: 120,
        LoanImported: 240,
        IngestionFinished: 1,
    }
    assert house.codes(ended)["LOAN_ID_SHARED"] == 12


def test_who_reads_for_so_long_that_another_has_taken_the_job_does_not_fail_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion_id = house.request(*lender(1))
    monkeypatch.setattr(ingestions, "LEASE_S", -1.0)

    def too_long(_content: bytes) -> Sheet[CustomerRow]:
        assert house.importing.ingestions.take(ingestion_id) is not None
        raise WorkbookError("customers", "took more than 60 seconds to read")

    with monkeypatch.context() as patch:
        patch.setattr("workers.ingestion.read_customers", too_long)
        house.worker.ingest(str(ingestion_id))
    assert house.found(ingestion_id).status == "running"
    assert kinds(house.facts()) == [IngestionRequested]
    house.worker.ingest(str(ingestion_id))
    assert report_of(house.found(ingestion_id)).customers.recorded == 1


def test_a_job_that_a_worker_is_at_is_not_taken_by_another(house: House) -> None:
    ingestion_id = house.request(*lender(1))
    assert house.importing.ingestions.take(ingestion_id) is not None
    house.worker.ingest(str(ingestion_id))
    assert house.found(ingestion_id).status == "running"
    assert kinds(house.facts()) == [IngestionRequested]


def test_a_job_that_has_ended_is_neither_given_back_nor_taken_again(house: House) -> None:
    ended = house.ingest(*lender(1))
    ingestions, ingestion_id = house.importing.ingestions, ended.job.ingestion_id
    ingestions.release(ingestion_id)  # by a worker that was told to stop at the very end
    ingestions.progress(ingestion_id, done=0, total=9)
    assert house.found(ingestion_id) == ended
    assert ingestions.take(ingestion_id) is None


def test_a_job_that_breaks_off_is_given_back_and_given_up_after_many_times(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion_id = house.request(*lender(1))

    def break_off(*_args: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("workers.ingestion.read_customers", break_off)
        for attempt in range(1, MOST_ATTEMPTS + 1):
            with pytest.raises(ZeroDivisionError):
                house.worker.ingest(str(ingestion_id))
            found = house.found(ingestion_id)
            assert (found.status, found.attempts) == ("queued", attempt)
    with structlog.testing.capture_logs() as logs:
        house.worker.ingest(str(ingestion_id))
    ended = house.found(ingestion_id)
    assert ended.status == "failed"
    assert ended.problem is not None
    assert ended.problem.startswith(f"It broke off {MOST_ATTEMPTS} times")
    assert kinds(house.facts()) == [IngestionRequested, IngestionFailed]
    assert {"event": "ingestion given up", "log_level": "error", "attempts": 9} in [
        {k: v for k, v in line.items() if k in {"event", "log_level", "attempts"}} for line in logs
    ]
