"""``credit-es audit search``: facts by who, what, when, about whom, how much and why."""

from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final

import typer

from credit_es.cli import context, options, output
from credit_es.cli.audit import history
from credit_es.cli.context import CommandError, ExitCode

LARGEST: Final = 15
"""Power of ten of an amount that is asked for; the largest in the log are far below."""
Day = date | None


def search(
    *,
    actor: Annotated[str | None, typer.Option(help="Who recorded it.")] = None,
    kind: Annotated[str | None, typer.Option(help="Such as LoanDeclined.")] = None,
    customer: Annotated[int | None, typer.Option(help="About whom.")] = None,
    reason: Annotated[
        str | None, typer.Option(help="Such as OVER_LIMIT, or the words of a reversal.")
    ] = None,
    amount_from: Annotated[str | None, typer.Option(help="At least so much.")] = None,
    amount_to: Annotated[str | None, typer.Option(help="At most so much.")] = None,
    occurred_from: Annotated[
        Day, typer.Option(parser=options.day, metavar="DAY", help="True since then.")
    ] = None,
    occurred_to: Annotated[
        Day, typer.Option(parser=options.day, metavar="DAY", help="Or until then.")
    ] = None,
    recorded_from: Annotated[
        str | None, typer.Option(metavar="INSTANT", help="Recorded then or later.")
    ] = None,
    recorded_to: Annotated[
        str | None,
        typer.Option(metavar="INSTANT", help="Recorded before then: 2026-01-31T15:00:00+05:30."),
    ] = None,
    before: Annotated[int | None, typer.Option(help="Below this position: a next page.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Of facts.")] = 50,
    as_json: output.AsJson = False,
    as_csv: output.AsCsv = False,
) -> None:
    """Facts for which all that is given holds, the latest first."""
    settings = context.settings()
    from credit_es.audit.search import UnknownKindError, find, topic_of  # noqa: PLC0415
    from credit_es.cli.logs import open_logs  # noqa: PLC0415
    from projections.facts import Wanted  # noqa: PLC0415

    try:
        topic = topic_of(kind) if kind else None
    except UnknownKindError as error:
        raise CommandError(str(error), ExitCode.USAGE) from error
    wanted = Wanted(
        actor=actor,
        topic=topic,
        customer_number=customer,
        reason=reason,
        amount_from=_amount(amount_from),
        amount_to=_amount(amount_to),
        occurred_from=occurred_from,
        occurred_to=occurred_to,
        recorded_from=options.instant_of(recorded_from),
        recorded_to=options.instant_of(recorded_to),
    )
    options.check_range("--amount-from", wanted.amount_from, "--amount-to", wanted.amount_to)
    options.check_range("--occurred-from", occurred_from, "--occurred-to", occurred_to)
    options.check_range(
        "--recorded-from", wanted.recorded_from, "--recorded-to", wanted.recorded_to
    )
    with open_logs(settings) as logs:
        page = find(logs.whole, logs.primary, wanted, before=before, limit=limit)
    history.show(page, page.facts, as_json=as_json, as_csv=as_csv)
    if as_json or as_csv:
        return
    if page.before:
        typer.echo(f"There are more: --before {page.before}", err=True)
    if page.lag.events:
        typer.echo(f"The index is {page.lag.events} facts behind the log.", err=True)


def _amount(given: str | None) -> Decimal | None:
    if given is None:
        return None
    try:
        amount = Decimal(given)
        if amount.is_finite() and amount.adjusted() <= LARGEST:
            return amount
    except InvalidOperation:
        pass
    raise CommandError(f"{given!r} is no amount: write it as 1000.50.", ExitCode.USAGE)
