"""The portfolio on a day as a workbook: by year, by slab, by status, each with its charts."""

from collections.abc import Iterator
from io import BytesIO
from typing import Final

from openpyxl import Workbook
from openpyxl.chart import BarChart, LineChart, PieChart, Reference
from openpyxl.chart.label import DataLabelList
from openpyxl.worksheet._write_only import WriteOnlyWorksheet

from credit_es.audit.portfolio import Line, Portfolio
from workers.report import Row, write_sheet

HEADINGS: Final = (
    "Loans",
    "Amount",
    "Outstanding",
    "Balance unknown",
    "Written off",
    "Installments due",
    "On time",
    "On time, %",
)
WIDTHS: Final = (30, 10, 20, 20, 17, 18, 17, 12, 12)
AMOUNT: Final = 3
ON_TIME: Final = 9
"""Columns, counted from 1."""


def portfolio_xlsx(found: Portfolio) -> bytes:
    """The bytes of an .xlsx with a sheet of totals and one for each way to divide them."""
    book = Workbook(write_only=True)
    write_sheet(book.create_sheet("Portfolio"), _totals(found), (30, 20))
    groups = {"Year": found.by_year, "Slab": found.by_slab, "Status": found.by_status}
    for name, lines in groups.items():
        sheet = book.create_sheet(f"By {name.lower()}")
        if lines:
            amounts = _share(sheet, len(lines)) if name == "Status" else _bars(sheet, len(lines))
            amounts.title = f"Amount by {name.lower()}"
            on_time = LineChart() if name == "Year" else BarChart()
            _fill(on_time, sheet, ON_TIME, len(lines))
            on_time.title = f"Installments on time by {name.lower()}, %"
            on_time.legend = None
            on_time.y_axis.scaling.min, on_time.y_axis.scaling.max = 0, 100
            for place, chart in (("A", amounts), ("E", on_time)):
                sheet.add_chart(chart, f"{place}{len(lines) + 4}")
        write_sheet(sheet, _rows(name, lines), WIDTHS)
    content = BytesIO()
    book.save(content)
    return content.getvalue()


def _bars(sheet: WriteOnlyWorksheet, count: int) -> BarChart:
    bars = BarChart()
    _fill(bars, sheet, AMOUNT, count)
    bars.legend = None
    bars.y_axis.number_format = "#,##0"
    return bars


def _share(sheet: WriteOnlyWorksheet, count: int) -> PieChart:
    pie = PieChart()
    _fill(pie, sheet, AMOUNT, count)
    pie.dataLabels = DataLabelList(showPercent=True)
    return pie


def _fill(
    chart: BarChart | LineChart | PieChart, sheet: WriteOnlyWorksheet, column: int, count: int
) -> None:
    """Let a chart show a column of the lines below the headings, named by the first column."""
    values = Reference(sheet, min_col=column, min_row=1, max_row=count + 1)
    chart.add_data(values, titles_from_data=True)
    chart.set_categories(Reference(sheet, min_col=1, min_row=2, max_row=count + 1))
    if not isinstance(chart, PieChart):
        # Left unsaid, newer versions of Excel hide both axes.
        chart.x_axis.delete = chart.y_axis.delete = False


def _totals(found: Portfolio) -> Iterator[Row]:
    yield "Portfolio on", found.on
    yield "As known at", found.known_at.isoformat() if found.known_at else "now"
    yield "Log read to position", found.position
    yield "Customers", found.customers
    yield from zip((heading.capitalize() for heading in HEADINGS), _cells(found.total), strict=True)


def _rows(name: str, lines: list[Line]) -> Iterator[Row]:
    yield name, *HEADINGS
    yield from ((line.what, *_cells(line)) for line in lines)


def _cells(line: Line) -> Row:
    return (
        line.loans,
        line.amount,
        line.outstanding,
        line.balance_unknown,
        line.written_off,
        line.installments_due,
        line.installments_on_time,
        line.on_time_share,
    )
