"""``credit-es audit portfolio-report``: the portfolio as a workbook."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from credit_es.cli import context, options, output
from credit_es.cli.audit import asof
from credit_es.cli.context import CommandError, ExitCode


def portfolio_report(
    file: Annotated[Path, typer.Argument(metavar="FILE.xlsx", help="The workbook to write.")],
    *,
    on: Annotated[
        date | None,
        typer.Option(parser=options.day, metavar="DAY", help="Today by default."),
    ] = None,
    as_json: output.AsJson = False,
    as_csv: output.AsCsv = False,
) -> None:
    """Write the portfolio by year, slab and status as a workbook with charts."""
    output.refuse_two_forms(as_json=as_json, as_csv=as_csv)
    if file.suffix != ".xlsx":
        raise CommandError("Give the name of an .xlsx.", ExitCode.USAGE)
    with asof.past() as questions, context.progress_bar("folding the log") as progress:
        from workers.portfolio import portfolio_xlsx  # noqa: PLC0415

        day = on or questions.today()
        found = questions.portfolio(on=day, progress=progress).as_known_now
        assert found is not None
        content = portfolio_xlsx(found)
    file.write_bytes(content)
    row: dict[str, output.Cell] = {
        "file": str(file),
        "on": day,
        "position": found.position,
        "loans": found.total.loans,
    }
    told = f"{file} has {found.total.loans} loans as of {day}."
    output.show(
        row,
        [*row],
        [[*row.values()]],
        as_json=as_json,
        as_csv=as_csv,
        people=lambda: typer.echo(told),
    )
