"""The report as a workbook: counts, every finding, and text that stays text."""

import io
import zipfile
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace
from openpyxl import load_workbook

from credit_es.domain.cells import Finding
from credit_es.domain.values import Counts, Workbook
from credit_es.store.ingestions import Job, QueuedIngestion, Report
from tests.workers import hostile
from tests.workers.conftest import House
from tests.workers.workbooks import customer, loan
from workers.report import HEADINGS, report_xlsx

AT = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
ENDED = QueuedIngestion(
    job=Job(
        ingestion_id=UUID(int=7),
        customers=Workbook(name="customers.xlsx", sha256="c" * 64),
        loans=Workbook(name="loans.xlsx", sha256="d" * 64),
        check_only=False,
        actor="tester",
        correlation_id="a-test",
        requested_at=AT,
        requested_on=date(2026, 11, 23),
    ),
    status="succeeded",
    done=9,
    total=9,
    report=Report(
        customers=Counts(read=5, recorded=1, unchanged=2, conflicting=1, rejected=1, blank=3),
        loans=Counts(read=4, recorded=4),
    ),
    problem=None,
    finished_at=AT,
    attempts=1,
)


def finding(message: str, *, row: int = 2, column: str | None = "Age") -> Finding:
    return Finding(
        workbook="customers", sheet="Sheet1", row=row, column=column, code="CODE", message=message
    )


def sheet_of(content: bytes, name: str) -> list[tuple[Any, ...]]:
    book = load_workbook(io.BytesIO(content))
    assert book.sheetnames == ["Summary", "Findings"]
    return [tuple(cell.value for cell in row) for row in book[name].iter_rows()]


def test_the_summary_says_what_became_of_the_rows() -> None:
    summary = sheet_of(report_xlsx(ENDED, []), "Summary")
    assert [row for row in summary if any(value is not None for value in row)] == [
        ("Ingestion", str(UUID(int=7)), None),
        ("Status", "succeeded", None),
        ("Requested", "2026-11-23T12:00:00+00:00", None),
        ("Finished", "2026-11-23T12:00:00+00:00", None),
        ("Recorded", "yes", None),
        ("Customers", "customers.xlsx", None),
        (None, "c" * 64, None),
        ("Loans", "loans.xlsx", None),
        (None, "d" * 64, None),
        ("Rows", "customers", "loans"),
        ("read", 5, 4),
        ("recorded", 1, 4),
        ("unchanged", 2, 0),
        ("conflicting", 1, 0),
        ("rejected", 1, 0),
        ("blank", 3, 0),
    ]


def test_a_failed_one_says_its_problem_and_a_check_that_nothing_was_recorded() -> None:
    failed = replace(ENDED, status="failed", report=None, problem="The loans workbook is empty.")
    assert ("Problem", "The loans workbook is empty.") in sheet_of(
        report_xlsx(failed, []), "Summary"
    )
    check = replace(ENDED, job=replace(ENDED.job, check_only=True))
    assert ("Recorded", "nothing: this was a check", None) in sheet_of(
        report_xlsx(check, []), "Summary"
    )


def test_every_finding_has_its_row() -> None:
    many = [finding(f"message {n}", row=n, column=None if n % 2 else "Age") for n in range(500)]
    rows = sheet_of(report_xlsx(ENDED, many), "Findings")
    assert rows[0] == HEADINGS
    assert rows[1:] == [
        (f.workbook, f.sheet, f.row, f.column or "", f.code, f.message)
        if f.column
        else (f.workbook, f.sheet, f.row, None, f.code, f.message)
        for f in many
    ]


DANGEROUS = ["=1+1", '=HYPERLINK("http://x","y")', "+1", "-1", "@SUM(1)", "\t=1", "1", "#DIV/0!"]


@pytest.mark.parametrize("text", DANGEROUS)
def test_text_stays_text_wherever_it_stands(text: str) -> None:
    job = replace(ENDED.job, customers=Workbook(name=text, sha256="c" * 64))
    content = report_xlsx(
        replace(ENDED, job=job), [replace(finding(text, column=text), sheet=text)]
    )
    book = load_workbook(io.BytesIO(content))
    cells = [book["Findings"][place] for place in ("B2", "D2", "F2")] + [book["Summary"]["B6"]]
    assert [(cell.value, cell.data_type) for cell in cells] == [(text, "s")] * 4
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sheets = [name for name in archive.namelist() if name.startswith("xl/worksheets/")]
        assert not any(b"<f" in archive.read(name) for name in sheets)


def test_the_report_of_a_real_ingestion_has_what_its_rows_say(house: House) -> None:
    written = loan(1, "=cmd|' /C calc'!A0", Date_of_Approval="2024-03-09", End_Date="2034-03-09")
    ended = house.ingest(
        hostile.customers(customer(1, First_Name="@Aaron"), customer(2, Customer_ID="-two")),
        hostile.sheet_bytes(hostile.row(1, hostile.LOAN_HEADINGS), hostile.row(2, written)),
    )
    findings = house.findings(ended)
    assert len(findings) >= 2
    rows = sheet_of(report_xlsx(ended, findings), "Findings")
    assert rows[1:] == [(f.workbook, f.sheet, f.row, f.column, f.code, f.message) for f in findings]
    assert any("=cmd|" in f.message for f in findings)
