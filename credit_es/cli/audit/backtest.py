"""``credit-es audit backtest``: what another policy would have decided."""

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from credit_es.cli import context, options, output
from credit_es.cli.context import CommandError, ExitCode
from credit_es.settings import read_timezone

if TYPE_CHECKING:
    from credit_es.audit.backtest import Question, Tallies
    from credit_es.audit.backtested import Summary

HEADINGS: Final = (
    "by",
    "what",
    "cases",
    "amount",
    "rate before, %",
    "rate after, %",
    "dearer",
    "cheaper",
    "granted",
    "on time since, %",
)
FEW: Final = ("what", "cases", "amount", "rate before, %", "rate after, %", "on time since, %")
"""Of these, those that people see: a terminal has eighty columns."""


def backtest(
    policy: Annotated[str, typer.Argument(help="A shipped policy, or a TOML file.")],
    *,
    against: Annotated[
        str | None, typer.Option(help="Another policy; without it, what was decided.")
    ] = None,
    first: Annotated[
        date | None,
        typer.Option("--from", parser=options.day, metavar="DAY", help="Decided then or later."),
    ] = None,
    last: Annotated[
        date | None,
        typer.Option("--to", parser=options.day, metavar="DAY", help="Decided then or before."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it, as .svg or .png.")] = None,
    cluster: options.Cluster = None,
    shards: options.Shards = None,
    as_json: output.AsJson = False,
    as_csv: output.AsCsv = False,
) -> None:
    """Judge every application and every imported loan by another policy; records nothing."""
    from credit_es.audit.backtest import Question  # noqa: PLC0415
    from credit_es.audit.backtested import plot as draw  # noqa: PLC0415
    from credit_es.audit.backtested import summarized  # noqa: PLC0415
    from credit_es.domain.policy import load_policy  # noqa: PLC0415

    if plot and plot.suffix not in {".svg", ".png"}:
        raise CommandError("--plot takes the name of an .svg or a .png.", ExitCode.USAGE)
    options.check_range("--from", first, "--to", last)
    options.check_shards(cluster, shards)
    question = Question(
        policy=load_policy(policy),
        against=load_policy(against) if against else None,
        first=first,
        last=last,
        today=datetime.now(read_timezone()).date(),
    )
    tallies = _tallies(question, cluster, shards)
    summary = summarized(tallies, question)
    if plot:
        draw(tallies, summary, plot)
    output.show(
        summary,
        HEADINGS,
        _rows(summary),
        as_json=as_json,
        as_csv=as_csv,
        people=lambda: _print(summary),
    )


def _tallies(question: "Question", cluster: str | None, shards: Path | None) -> "Tallies":
    from credit_es.audit.backtest import backtest_log  # noqa: PLC0415
    from credit_es.audit.cluster import backtest_shards  # noqa: PLC0415

    with context.progress_bar("judging") as progress:
        if shards:
            return backtest_shards(cluster, shards, question, progress)
        return backtest_log(context.settings(), question, progress)


def _print(summary: "Summary") -> None:
    typer.echo(
        f"Policy {summary.policy} against {summary.against}: of {summary.cases} cases "
        f"{summary.changed} come out otherwise."
    )
    output.table(HEADINGS, _rows(summary), only=FEW, by="by")


def _rows(summary: "Summary") -> list[tuple[output.Cell, ...]]:
    groups = (
        ("outcome", summary.changes),
        ("reason", summary.by_reason),
        ("slab", summary.by_slab),
    )
    return [
        (
            by,
            line.what,
            line.cases,
            line.amount,
            line.rate_before,
            line.rate_after,
            line.dearer,
            line.cheaper,
            line.granted,
            line.on_time_share,
        )
        for by, lines in groups
        for line in lines
    ]
