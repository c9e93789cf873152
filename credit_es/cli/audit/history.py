"""``credit-es audit history``: every fact about a customer, a loan or an application."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from credit_es.cli import context
from credit_es.cli.audit import output
from credit_es.cli.context import CommandError, ExitCode

if TYPE_CHECKING:
    from credit_es.audit.history import ToldFact

Subject = Literal["customer", "loan", "application"]
HEADINGS: Final = ("position", "what", "occurred", "recorded (UTC)", "actor", "source")


def history(
    subject: Annotated[Subject, typer.Argument(help="What the history is of.")],
    name: Annotated[str, typer.Argument(metavar="ID", help="Such as 10000001.")],
    *,
    as_json: output.AsJson = False,
    as_csv: output.AsCsv = False,
) -> None:
    """Every fact in order: where, what, when it was true, when we learned it, from whom."""
    settings = context.settings()
    from credit_es.application import Lending  # noqa: PLC0415
    from credit_es.audit.history import UnknownSubjectError, whole_history  # noqa: PLC0415

    # Of the primary, where there is a replica, too: a late history would not say what it lacks.
    log = Lending(settings, pool_size=1).reader
    with closing(log.database):
        try:
            facts = whole_history(log, subject, name)
        except UnknownSubjectError as error:
            raise CommandError(f"Not found: {error}.", ExitCode.NOT_FOUND) from error
        output.show(facts, HEADINGS, map(row, facts), as_json=as_json, as_csv=as_csv)


def row(fact: "ToldFact") -> tuple[output.Cell, ...]:
    """A fact's cells under ``HEADINGS``."""
    source = fact.source
    place = f"request {source.request_id}"
    if source.ingestion_id:
        place = f"ingestion {source.ingestion_id}"
    if source.sheet:
        place += f", {source.sheet} row {source.row}"
    return (fact.position, fact.what, fact.occurred_on, fact.recorded_at, fact.actor, place)
