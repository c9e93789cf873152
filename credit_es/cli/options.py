"""Options that several commands take, and how their texts are read."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from credit_es.cli.context import CommandError, ExitCode

Cluster = Annotated[
    str | None,
    typer.Option(metavar="URL", help="A Dask scheduler, tcp://..., that asks --shards."),
]
Shards = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="A Parquet export to ask, in place of the log."),
]

Ordered = TypeVar("Ordered", date, datetime, Decimal)


def day(text: str) -> date:
    """Read a day, for typer to call; what is none is refused with how to write one."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise CommandError(
            f"{text!r} is no day: write it as 2026-01-31.", ExitCode.USAGE
        ) from error


def instant_of(text: str | None) -> datetime | None:
    """An instant with its time zone, UTC where the text has none; a ``CommandError`` says how."""
    if text is None:
        return None
    try:
        given = datetime.fromisoformat(text)
        return given.astimezone(UTC) if given.tzinfo else given.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise CommandError(
            f"{text!r} is no instant: write it as 2026-01-31T09:30:00Z.", ExitCode.USAGE
        ) from error


def check_range(begins: str, first: Ordered | None, ends: str, last: Ordered | None) -> None:
    """Refuse a range, given by two options of these names, that nothing can lie in."""
    if first is not None and last is not None and first > last:
        raise CommandError(
            f"{begins} {first} comes after {ends} {last}: exchange the two, or leave one out.",
            ExitCode.USAGE,
        )


def check_shards(cluster: str | None, shards: Path | None) -> None:
    """Refuse a cluster that is given nothing to read."""
    if cluster and not shards:
        raise CommandError(
            "A cluster reads an export: give --shards DIR, written by "
            "`credit-es audit export DIR --format parquet`.",
            ExitCode.USAGE,
        )
