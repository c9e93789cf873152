"""``credit-es audit history``: every fact about a customer, a loan or an application."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from credit_es.cli import context, output
from credit_es.cli.context import CommandError, ExitCode

if TYPE_CHECKING:
    from credit_es.audit.history import Source, ToldFact

Subject = Literal["customer", "loan", "application"]
HEADINGS: Final = ("position", "what", "occurred", "recorded (UTC)", "actor", "source")
SHORT: Final = ("position", "what", "occurred", "recorded (UTC)", "from")
WHOLE_ID: Final = 12
CUT_ID: Final = 8
"""Letters of a longer one that people see; --json and --csv have all of it."""


def history(
    subject: Annotated[Subject, typer.Argument(help="What the history is of.")],
    name: Annotated[str, typer.Argument(metavar="ID", help="Such as 10000001.")],
    *,
    as_json: output.AsJson = False,
    as_csv: output.AsCsv = False,
) -> None:
    """Every fact in order: where, what, when it was true, when we learned it, from whom."""
    settings = context.settings()
    from credit_es.audit.history import UnknownSubjectError, whole_history  # noqa: PLC0415
    from credit_es.cli.logs import open_logs  # noqa: PLC0415

    # Of the primary, where there is a replica, too: a late history would not say what it lacks.
    with open_logs(settings) as logs:
        try:
            facts = whole_history(logs.primary, subject, name)
        except UnknownSubjectError as error:
            raise CommandError(f"Not found: {error}.", ExitCode.NOT_FOUND) from error
        show(facts, facts, as_json=as_json, as_csv=as_csv)


def show(document: object, facts: "Iterable[ToldFact]", *, as_json: bool, as_csv: bool) -> None:
    """Print facts, or the ``document`` that they are of; people see ids cut short."""
    headings, rows = (HEADINGS, map(_row, facts)) if as_csv else (SHORT, map(_short_row, facts))
    output.show(document, headings, rows, as_json=as_json, as_csv=as_csv)


def _row(fact: "ToldFact") -> tuple[output.Cell, ...]:
    place = ", ".join(_places(fact.source, str))
    return (fact.position, fact.what, fact.occurred_on, fact.recorded_at, fact.actor, place)


def _short_row(fact: "ToldFact") -> tuple[output.Cell, ...]:
    whence = "\n".join([fact.actor, *_places(fact.source, _cut)])
    return (fact.position, fact.what, fact.occurred_on, fact.recorded_at, whence)


def _places(source: "Source", told: Callable[[str], str]) -> Iterator[str]:
    if source.ingestion_id:
        yield f"ingestion {told(source.ingestion_id)}"
    else:
        yield f"request {told(source.request_id)}"
    if source.sheet:
        yield f"{source.sheet} row {source.row}"


def _cut(name: str) -> str:
    return name if len(name) <= WHOLE_ID else f"{name[:CUT_ID]}…"
