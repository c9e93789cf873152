"""The portfolio as a workbook: its figures, its charts, and text that stays text."""

import io
import zipfile
from datetime import UTC, date, datetime
from typing import Any

from msgspec.structs import replace
from openpyxl import load_workbook

from credit_es.audit.portfolio import Line, Portfolio
from tests.domain.facts import money
from workers.portfolio import HEADINGS, portfolio_xlsx


def line(what: str, *, loans: int = 2, share: str | None = "75.00") -> Line:
    return Line(
        what=what,
        loans=loans,
        amount=money("20000"),
        outstanding=money("12345.67"),
        balance_unknown=1,
        written_off=money("0"),
        installments_due=4,
        installments_on_time=3,
        on_time_share=money(share) if share else None,
    )


FOUND = Portfolio(
    on=date(2024, 2, 29),
    known_at=datetime(2024, 3, 1, 9, 30, tzinfo=UTC),
    position=77,
    customers=2,
    total=line("all loans", loans=4),
    by_status=[line("closed"), line("current")],
    by_year=[line("2023", share=None), line("2024")],
    by_slab=[line('=HYPERLINK("http://evil")'), line("@SUM(1): score above 50")],
)


def rows(content: bytes, name: str) -> list[tuple[Any, ...]]:
    return [tuple(cell.value for cell in row) for row in load_workbook(io.BytesIO(content))[name]]


def test_each_way_to_divide_the_portfolio_has_its_sheet_and_its_charts() -> None:
    content = portfolio_xlsx(FOUND)
    book = load_workbook(io.BytesIO(content))
    assert book.sheetnames == ["Portfolio", "By year", "By slab", "By status"]
    assert rows(content, "By year") == [
        ("Year", *HEADINGS),
        ("2023", 2, 20000, 12345.67, 1, 0, 4, 3, None),
        ("2024", 2, 20000, 12345.67, 1, 0, 4, 3, 75),
    ]
    totals = dict(rows(content, "Portfolio"))
    assert totals["Portfolio on"] == datetime(2024, 2, 29)  # noqa: DTZ001 - Excel has no zones
    assert totals["As known at"] == "2024-03-01T09:30:00+00:00"
    assert (totals["Customers"], totals["Loans"], totals["On time, %"]) == (2, 4, 75)
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        charts = [name for name in parts.namelist() if name.startswith("xl/charts/")]
        text = b"".join(parts.read(name) for name in charts).decode()
    assert len(charts) == 6
    assert "'By slab'!$C$2:$C$3" in text
    assert "'By status'!$I$2:$I$3" in text


def test_text_that_begins_like_a_formula_is_text() -> None:
    book = load_workbook(io.BytesIO(portfolio_xlsx(FOUND)))
    cells = [row[0] for row in book["By slab"].iter_rows(min_row=2)]
    assert [(cell.value, cell.data_type) for cell in cells] == [
        ('=HYPERLINK("http://evil")', "s"),
        ("@SUM(1): score above 50", "s"),
    ]


def test_a_portfolio_of_no_loans_is_a_workbook_too() -> None:
    none = replace(FOUND, by_status=[], by_year=[], by_slab=[])
    assert rows(portfolio_xlsx(none), "By slab") == [("Slab", *HEADINGS)]
