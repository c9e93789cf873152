"""One result in three forms: a table for people, one JSON document, or CSV.

A table fits a terminal of eighty columns: figures stand to the right in the width they need, texts
share the rest. In CSV a text that a spreadsheet would take for a formula gets an apostrophe before
it; numbers stay numbers.
"""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby, islice
from typing import TYPE_CHECKING, Annotated, Final

import typer

from credit_es.audit.cells import harmless
from credit_es.cli import context
from credit_es.cli.context import CommandError, ExitCode

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

ROWS_A_TABLE: Final = 1000
"""A table is laid out as a whole: more rows than that are several."""
NARROWEST: Final = 10
"""Letters in a line of a text's column: a date's, or a word's."""
EDGES: Final = 3
"""Between two columns."""

Cell = str | int | Decimal | date | datetime | bool | None
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="CSV on stdout, safe to open in Excel.")]


def show(
    document: object,
    headings: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    as_json: bool,
    as_csv: bool,
    people: Callable[[], None] | None = None,
) -> None:
    """Print a result: ``document`` for machines, ``rows`` for spreadsheets and people.

    ``people`` says it to people in another way than a table of these rows. A document that is an
    iterator is written as an array, one after the other.
    """
    refuse_two_forms(as_json=as_json, as_csv=as_csv)
    if as_json and isinstance(document, Iterator):
        context.print_json_array(document)
    elif as_json:
        context.print_json(document)
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(headings)
        writer.writerows([_harmless(cell) for cell in row] for row in rows)
    elif people:
        people()
    else:
        table(headings, rows)


def refuse_two_forms(*, as_json: bool, as_csv: bool) -> None:
    """For a command that does something before it shows what; ``show`` asks it, too."""
    if as_json and as_csv:
        raise CommandError("Give --json or --csv, not both.", ExitCode.USAGE)


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    only: Sequence[str] = (),
    by: str | None = None,
) -> None:
    """Print rows for people: ``only`` some columns, with a line where the cell ``by`` changes."""
    from rich.console import Console  # noqa: PLC0415

    shown = only or headings
    places = [headings.index(name) for name in shown]
    terminal, waiting = Console().width, iter(rows)
    page = list(islice(waiting, ROWS_A_TABLE))
    while True:
        laid_out, narrowest = _columns(shown, [[row[place] for place in places] for row in page])
        for _, section in groupby(page, lambda row: row[headings.index(by)] if by else None):
            for row in section:
                laid_out.add_row(*(_for_people(row[place]) for place in places))
            laid_out.add_section()
        # A terminal too narrow for the figures breaks lines: a figure is never cut.
        Console(highlight=False, width=max(terminal, narrowest)).print(laid_out)
        page = list(islice(waiting, ROWS_A_TABLE))
        if not page:
            return


def _columns(headings: Sequence[str], page: Sequence[Sequence[Cell]]) -> "tuple[Table, int]":
    """An empty table for these rows, and how wide it is at least."""
    from rich.table import Table  # noqa: PLC0415

    laid_out, narrowest = Table(show_edge=False, show_header=any(map(str.strip, headings))), 0
    for place, heading in enumerate(headings):
        cells = [row[place] for row in page if row[place] is not None]
        words = max(map(len, heading.split()), default=0)
        if cells and all(_is_figure(cell) for cell in cells):
            width = max(words, *(len(_text(cell)) for cell in cells))
            laid_out.add_column(heading, justify="right", width=width)
        elif cells and all(isinstance(cell, date) for cell in cells):
            width = max(words, NARROWEST)
            laid_out.add_column(heading, width=width)
        else:
            width = max(words, NARROWEST)
            laid_out.add_column(heading, overflow="fold")
        narrowest += width + EDGES
    return laid_out, narrowest


def _is_figure(cell: Cell) -> bool:
    return isinstance(cell, int | Decimal) and not isinstance(cell, bool)


def _harmless(cell: Cell) -> str:
    return harmless(cell) if isinstance(cell, str) else _text(cell)


def _text(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case datetime():
            return f"{cell:%Y-%m-%dT%H:%M:%S.%fZ}"
        case _:
            return str(cell)


def _for_people(cell: Cell) -> "Text":
    from rich.text import Text  # noqa: PLC0415

    return Text(f"{cell:%Y-%m-%d %H:%M:%S}" if isinstance(cell, datetime) else _text(cell))
