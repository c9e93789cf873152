"""``credit-es audit export`` and ``import-check``: the log as files, and a check of such files."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from credit_es.cli import context
from credit_es.cli.audit import output
from credit_es.cli.context import CommandError, ExitCode

if TYPE_CHECKING:
    from credit_es.store.log import Log

Format = Literal["jsonl", "csv", "parquet"]
SHOWN: Final = 20


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Made if it is missing.")],
    *,
    how: Annotated[Format, typer.Option("--format", help="Of the files.")] = "jsonl",
    customer: Annotated[int | None, typer.Option(help="Only facts of this customer.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only facts of this kind, such as LoanApproved.")
    ] = None,
    recorded_from: Annotated[
        datetime | None, typer.Option("--from", help="Recorded then or later, in UTC.")
    ] = None,
    recorded_to: Annotated[
        datetime | None, typer.Option("--to", help="Recorded before then, in UTC.")
    ] = None,
    shards: Annotated[
        int, typer.Option(min=1, max=1000, help="Parquet files, cut by customer.")
    ] = 8,
    as_json: output.AsJson = False,
) -> None:
    """Write the log, or a selection of it, with a manifest."""
    from credit_es.audit.export import Selection  # noqa: PLC0415
    from credit_es.audit.export import export as write  # noqa: PLC0415

    selection = Selection(
        customer=customer,
        kinds=tuple(_topic(each) for each in kind or ()),
        recorded_from=recorded_from and recorded_from.replace(tzinfo=UTC),
        recorded_to=recorded_to and recorded_to.replace(tzinfo=UTC),
    )
    with _log() as log, context.progress_bar("exporting") as progress:
        manifest = write(log, folder, how, selection=selection, shards=shards, progress=progress)
    if as_json:
        context.print_json(manifest)
        return
    first, last = manifest.first_position, manifest.last_position
    typer.echo(f"{manifest.facts} facts are in {folder}, of positions {first} to {last}.")


def import_check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `export` has written.")],
    *,
    as_json: output.AsJson = False,
) -> None:
    """Read an export back and compare it with its manifest and with the log; 3 if it differs."""
    from credit_es.audit.importcheck import import_check as compare  # noqa: PLC0415

    with _log() as log, context.progress_bar("comparing") as progress:
        found = list(compare(log, folder, progress))
    if as_json:
        context.print_json({"same": not found, "deviations": found})
    else:
        for one in found[:SHOWN]:
            place = one.file or (f"position {one.position}" if one.position else "the export")
            detail = f": exported {one.exported}, logged {one.logged}" if one.exported else ""
            typer.echo(f"{place}: {one.what}{detail}")
        more = f" {len(found) - SHOWN} more are in --json." if len(found) > SHOWN else ""
        typer.echo(
            f"{len(found)} deviations.{more}" if found else "The export is what the log says."
        )
    if found:
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)


def _topic(kind: str) -> str:
    from credit_es.audit.search import UnknownKindError, topic_of  # noqa: PLC0415

    try:
        return topic_of(kind)
    except UnknownKindError as error:
        raise CommandError(str(error), ExitCode.USAGE) from error


@contextmanager
def _log() -> Iterator["Log"]:
    settings = context.settings()
    from credit_es.application import Lending  # noqa: PLC0415

    log = Lending(settings, pool_size=1).reader
    with closing(log.database):
        yield log
