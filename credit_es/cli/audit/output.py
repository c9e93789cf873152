"""One result in three forms: a table for people, one JSON document, or CSV.

A text that a spreadsheet would take for a formula gets an apostrophe before it; numbers stay
numbers.
"""

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import Annotated, Final

import typer

from credit_es.audit.cells import harmless
from credit_es.cli import context
from credit_es.cli.context import CommandError, ExitCode

ROWS_A_TABLE: Final = 1000
"""A table is laid out as a whole: more rows than that are several."""

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
) -> None:
    """Print a result: ``document`` for machines, ``rows`` for people and spreadsheets.

    A document that is an iterator is written as an array, one after the other.
    """
    if as_json and as_csv:
        raise CommandError("Give --json or --csv, not both.", ExitCode.USAGE)
    if as_json and isinstance(document, Iterator):
        context.print_json_array(document)
    elif as_json:
        context.print_json(document)
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(headings)
        writer.writerows([_harmless(cell) for cell in row] for row in rows)
    else:
        _table(headings, rows)


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


def _table(headings: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console, waiting = Console(), iter(rows)
    page = list(islice(waiting, ROWS_A_TABLE))
    while True:
        table = Table()
        for heading in headings:
            table.add_column(heading, overflow="fold")
        for row in page:
            table.add_row(*(Text(_for_people(cell)) for cell in row))
        console.print(table)
        page = list(islice(waiting, ROWS_A_TABLE))
        if not page:
            return


def _for_people(cell: Cell) -> str:
    return f"{cell:%Y-%m-%d %H:%M:%S}" if isinstance(cell, datetime) else _text(cell)
