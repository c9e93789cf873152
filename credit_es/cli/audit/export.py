"""``credit-es audit export`` and ``import-check``: the log as files, and a check of such files."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from credit_es.cli import context, options, output
from credit_es.cli.context import CommandError, ExitCode

if TYPE_CHECKING:
    from credit_es.audit.importcheck import Deviation

Format = Literal["jsonl", "csv", "parquet"]
FILES: Final = ("file", "facts", "sha256")
DEVIATIONS: Final = ("file", "position", "what", "field", "exported", "logged")
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
        str | None, typer.Option("--from", metavar="INSTANT", help="Recorded then or later.")
    ] = None,
    recorded_to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="INSTANT", help="Recorded before then: 2026-01-31T15:00:00+05:30."
        ),
    ] = None,
    shards: Annotated[
        int, typer.Option(min=1, max=1000, help="Parquet files, cut by customer.")
    ] = 8,
    as_json: output.AsJson = False,
    as_csv: output.AsCsv = False,
) -> None:
    """Write the log, or a selection of it, with a manifest."""
    output.refuse_two_forms(as_json=as_json, as_csv=as_csv)
    settings = context.settings()
    from credit_es.audit.export import Selection  # noqa: PLC0415
    from credit_es.audit.export import export as write  # noqa: PLC0415
    from credit_es.cli.logs import open_logs  # noqa: PLC0415

    selection = Selection(
        customer=customer,
        kinds=tuple(_topic(each) for each in kind or ()),
        recorded_from=options.instant_of(recorded_from),
        recorded_to=options.instant_of(recorded_to),
    )
    options.check_range("--from", selection.recorded_from, "--to", selection.recorded_to)
    # On the replica, where there is one: it is work, and the manifest says how far it was read.
    with open_logs(settings) as logs, context.progress_bar("exporting") as progress:
        manifest = write(
            logs.whole, folder, how, selection=selection, shards=shards, progress=progress
        )
    rows = ((file.name, file.facts, file.sha256) for file in manifest.files)
    some = f", of positions {manifest.first_position} to {manifest.last_position}"
    told = f"{manifest.facts} facts are in {folder}{some if manifest.facts else ''}."
    output.show(
        manifest, FILES, rows, as_json=as_json, as_csv=as_csv, people=lambda: typer.echo(told)
    )


def import_check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `export` has written.")],
    *,
    as_json: output.AsJson = False,
    as_csv: output.AsCsv = False,
) -> None:
    """Read an export back and compare it with its manifest and with the log; 3 if it differs."""
    settings = context.settings()
    from credit_es.audit.importcheck import import_check as compare  # noqa: PLC0415
    from credit_es.cli.logs import open_logs  # noqa: PLC0415

    # On the primary, where there is a replica, too: a late one would lack what was exported.
    with open_logs(settings) as logs, context.progress_bar("comparing") as progress:
        found = list(compare(logs.primary, folder, progress))
    output.show(
        {"same": not found, "deviations": found},
        DEVIATIONS,
        _rows(found),
        as_json=as_json,
        as_csv=as_csv,
        people=lambda: _print(found),
    )
    if found:
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)


def _rows(found: "list[Deviation]") -> Iterator[tuple[output.Cell, ...]]:
    """A row for each figure that differs, and for whatever else is wrong."""
    for one in found:
        place = (one.file, one.position, one.what)
        exported, logged = one.exported or {}, one.logged or {}
        for name in exported:
            yield (*place, name, _in_a_cell(exported[name]), _in_a_cell(logged[name]))
        if not exported:
            yield (*place, None, None, None)


def _in_a_cell(value: object) -> str | None:
    return None if value is None else str(value)


def _print(found: "list[Deviation]") -> None:
    for one in found[:SHOWN]:
        place = one.file or (f"position {one.position}" if one.position else "the export")
        detail = f" in {', '.join(one.exported)}" if one.exported else ""
        typer.echo(f"{place}: {one.what}{detail}")
    if found:
        typer.echo(f"{len(found)} deviations: --json and --csv have all of them, with both sides.")
    else:
        typer.echo("The export is what the log says.")


def _topic(kind: str) -> str:
    from credit_es.audit.search import UnknownKindError, topic_of  # noqa: PLC0415

    try:
        return topic_of(kind)
    except UnknownKindError as error:
        raise CommandError(str(error), ExitCode.USAGE) from error
