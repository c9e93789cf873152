"""The report of an ingestion as a workbook: what became of the rows, and every finding."""

from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from io import BytesIO
from typing import Final

from msgspec import structs
from openpyxl import Workbook
from openpyxl.cell import Cell, WriteOnlyCell
from openpyxl.styles import Font
from openpyxl.worksheet._write_only import WriteOnlyWorksheet

from credit_es.domain.cells import Finding
from credit_es.domain.values import Counts
from credit_es.store.ingestions import QueuedIngestion

HEADINGS: Final = ("Workbook", "Sheet", "Row", "Column", "Code", "Message")
WIDTHS: Final = (12, 16, 8, 22, 34, 90)
Row = tuple[str | int | date | Decimal | None, ...]

BOLD: Final = Font(bold=True)


def report_xlsx(ingestion: QueuedIngestion, findings: Iterable[Finding]) -> bytes:
    """The bytes of an .xlsx with a sheet of counts and one of findings.

    Text from the workbooks stays text: a cell that begins with ``=`` is no formula here.
    """
    book = Workbook(write_only=True)
    write_sheet(book.create_sheet("Summary"), _summary(ingestion), (26, 18, 18))
    rows = ((f.workbook, f.sheet, f.row, f.column or "", f.code, f.message) for f in findings)
    write_sheet(book.create_sheet("Findings"), _headed(HEADINGS, rows), WIDTHS)
    content = BytesIO()
    book.save(content)
    return content.getvalue()


def _summary(ingestion: QueuedIngestion) -> Iterator[Row]:
    job = ingestion.job
    yield "Ingestion", str(job.ingestion_id)
    yield "Status", ingestion.status
    yield "Requested", job.requested_at.isoformat(timespec="seconds")
    if ingestion.finished_at:
        yield "Finished", ingestion.finished_at.isoformat(timespec="seconds")
    yield "Recorded", "nothing: this was a check" if job.check_only else "yes"
    if job.restate:
        yield "Restated", "what the workbooks say anew"
    if ingestion.problem:
        yield "Problem", ingestion.problem
    yield "Customers", job.customers.name
    yield "", job.customers.sha256
    yield "Loans", job.loans.name
    yield "", job.loans.sha256
    if ingestion.report:
        customers, loans = ingestion.report.customers, ingestion.report.loans
        yield ()
        yield "Rows", "customers", "loans"
        for name in structs.fields(Counts):
            yield name.name, getattr(customers, name.name), getattr(loans, name.name)


def _headed(headings: tuple[str, ...], rows: Iterable[Row]) -> Iterator[Row]:
    yield headings
    yield from rows


def write_sheet(sheet: WriteOnlyWorksheet, rows: Iterable[Row], widths: tuple[int, ...]) -> None:
    """Write a whole sheet, the first row bold; text stays text: ``=`` begins no formula.

    Raises the ``OSError`` of a temporary folder that does not take it, and leaves nothing there.
    """
    for column, width in zip("ABCDEFGHI", widths, strict=False):
        sheet.column_dimensions[column].width = width  # type: ignore[attr-defined]
    sheet.freeze_panes = "A2"
    try:
        for number, row in enumerate(rows):
            sheet.append(_cells(sheet, row, bold=number == 0))
        sheet.close()
    except BaseException:
        # What openpyxl would leave until the process ends keeps a full disk full.
        if (writer := sheet._writer) is not None:  # type: ignore[attr-defined]
            writer.cleanup()
        raise


def _cells(sheet: WriteOnlyWorksheet, row: Row, *, bold: bool) -> list[Cell]:
    cells = []
    for value in row:
        cell = WriteOnlyCell(sheet, value)  # type: ignore[arg-type] # it takes decimals, too
        if isinstance(value, str):
            cell.data_type = "s"
        if bold:
            cell.font = BOLD
        cells.append(cell)
    return cells
