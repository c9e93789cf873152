"""The portfolio on a day, for people, machines and spreadsheets."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import typer

from credit_es.cli import output

if TYPE_CHECKING:
    from credit_es.audit.portfolio import Line, Portfolio

HEADINGS: Final = (
    "known",
    "by",
    "what",
    "loans",
    "amount",
    "outstanding",
    "balance unknown",
    "written off",
    "due",
    "on time",
    "on time, %",
)


FEW: Final = ("what", "loans", "amount", "outstanding", "written off", "on time, %")
"""Of these, those that people see: a terminal has eighty columns."""


def table(known: str, found: "Portfolio") -> None:
    """Print a portfolio for people."""
    output.table(HEADINGS, rows(known, found), only=FEW, by="by")
    if unknown := found.total.balance_unknown:
        typer.echo(f"Imported loans whose balance is not known, and not in outstanding: {unknown}.")


def rows(known: str, found: "Portfolio") -> Iterator[list[output.Cell]]:
    """The lines of a portfolio, under ``HEADINGS``."""
    groups = (
        ("", [found.total]),
        ("status", found.by_status),
        ("year", found.by_year),
        ("slab", found.by_slab),
    )
    for by, lines in groups:
        yield from ([known, by, *_cells(line)] for line in lines)
    yield [known, "", "all customers", found.customers, *[None] * 7]


def _cells(line: "Line") -> list[output.Cell]:
    return [
        line.what,
        line.loans,
        line.amount,
        line.outstanding,
        line.balance_unknown,
        line.written_off,
        line.installments_due,
        line.installments_on_time,
        line.on_time_share,
    ]
