"""``credit-es audit as-of`` and ``diff``: what was true on a day, and what was believed then."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from credit_es.cli import context, options, output
from credit_es.cli.audit import portfolio
from credit_es.cli.context import CommandError, ExitCode

if TYPE_CHECKING:
    from credit_es.audit.portfolio import Portfolio
    from credit_es.audit.then import Past, Then

Day = Annotated[date, typer.Argument(parser=options.day, metavar="DAY", help="A day: 2026-01-31.")]
Number = Annotated[int, typer.Argument(metavar="ID", min=1, help="Such as 10000001.")]
KnownAt = Annotated[
    str | None,
    typer.Option(metavar="INSTANT", help="And as known then: 2026-01-31T09:30:00Z, or UTC."),
]
CHANGED: Final = ("field", "before", "after")


def as_of(
    day: Day,
    subject: Annotated[
        Literal["customer", "loan", "portfolio"], typer.Argument(help="What was it like?")
    ],
    number: Annotated[
        int | None, typer.Argument(metavar="[ID]", min=1, help="Of the customer or loan.")
    ] = None,
    *,
    known_at: KnownAt = None,
    as_json: output.AsJson = False,
    as_csv: output.AsCsv = False,
) -> None:
    """What was true on a day as known now, and beside it what was known at an instant."""
    if (number is None) != (subject == "portfolio"):
        raise CommandError(
            "Give the ID of a customer or a loan, and none with `portfolio`.", ExitCode.USAGE
        )
    instant = options.instant_of(known_at)
    with past() as questions:
        found: Then[Any]
        headings: tuple[str, ...]
        cells: Iterator[list[output.Cell]]
        if number is None:
            with context.progress_bar("folding the log") as progress:
                found = questions.portfolio(on=day, known_at=instant, progress=progress)
            if not (as_json or as_csv):
                _print_portfolios(found)
                return
            headings = portfolio.HEADINGS
            cells = (row for known, one in _portfolios(found) for row in portfolio.rows(known, one))
        else:
            ask = questions.customer if subject == "customer" else questions.loan
            found = ask(number, on=day, known_at=instant)
            headings, cells = _side_by_side(found)
    output.show(found, headings, cells, as_json=as_json, as_csv=as_csv)


def diff(
    before: Day,
    after: Day,
    subject: Annotated[Literal["customer", "loan"], typer.Argument(help="What changed?")],
    number: Number,
    *,
    as_json: output.AsJson = False,
    as_csv: output.AsCsv = False,
) -> None:
    """What changed between two days, field by field, as known now."""
    with past() as questions:
        changes = questions.changes(subject, number, before, after)
    rows = ((each.field, each.before, each.after) for each in changes)
    nothing = f"Between {before} and {after} nothing changed."
    output.show(
        changes,
        CHANGED,
        rows,
        as_json=as_json,
        as_csv=as_csv,
        people=None if changes else lambda: typer.echo(nothing),
    )


@contextmanager
def past() -> "Iterator[Past]":
    """Whom to ask; refusals become those of a command."""
    settings = context.settings()
    from credit_es.audit.then import Past  # noqa: PLC0415
    from credit_es.cli.logs import open_logs  # noqa: PLC0415
    from credit_es.domain.errors import (  # noqa: PLC0415
        NotAllowedError,
        UnknownCustomerError,
        UnknownLoanError,
    )
    from credit_es.domain.policy import load_policy  # noqa: PLC0415

    policy = load_policy(settings.policy)
    with open_logs(settings) as logs:
        try:
            yield Past(logs.primary, policy, settings.today, whole=logs.whole)
        except NotAllowedError as error:
            raise CommandError(f"Not answered: {error}.", ExitCode.USAGE) from error
        except (UnknownCustomerError, UnknownLoanError) as error:
            raise CommandError(f"Not found: {error}.", ExitCode.NOT_FOUND) from error


def _side_by_side(found: "Then[Any]") -> tuple[tuple[str, ...], Iterator[list[output.Cell]]]:
    from credit_es.audit.then import fields  # noqa: PLC0415

    now, then = fields(found.as_known_now), fields(found.as_known_at)
    headings = (f"on {found.on}", "as known now")
    if found.known_at is None:
        return headings, ([name, value] for name, value in now.items())
    return (*headings, f"as known at {_utc(found.known_at)}"), (
        [name, now.get(name), then.get(name)] for name in now | then
    )


def _portfolios(found: "Then[Portfolio]") -> Iterator[tuple[str, "Portfolio"]]:
    """Each answer with the instant of what was known."""
    if found.as_known_now:
        yield "now", found.as_known_now
    if found.as_known_at and found.known_at:
        yield f"at {_utc(found.known_at)}", found.as_known_at


def _print_portfolios(found: "Then[Portfolio]") -> None:
    for known, one in _portfolios(found):
        typer.echo(f"On {found.on}, as known {known}; read to position {one.position}:")
        portfolio.table(known, one)


def _utc(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
