"""``credit-es projections``: where the read tables stand; rebuild, roll back, retry, verify."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from msgspec import structs

from credit_es.cli import context, output
from credit_es.cli.context import CommandError, ExitCode

if TYPE_CHECKING:
    from projections.rebuild import Rebuilder, Rebuilt
    from projections.status import Floor
    from projections.verify import Difference

app = typer.Typer(no_args_is_help=True, help="The read tables: they are rebuilt from the log.")

FOLDING: Final = "folding the log"

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Name = Annotated[str, typer.Argument(help="customers, loans or applications.")]
NameOrAll = Annotated[
    str | None, typer.Argument(help="customers, loans or applications; all by default.")
]

Shards = Annotated[
    int | None,
    typer.Option(min=1, max=256, help="Processes that fold at once; by default one a core."),
]


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """How far each read table holds the log, and what holds the log's tail."""
    settings = context.settings()
    from credit_es.cli.logs import open_logs  # noqa: PLC0415
    from projections.status import lowest_floor  # noqa: PLC0415
    from projections.status import status as stand  # noqa: PLC0415

    with open_logs(settings) as logs, logs.primary.database.connection() as conn:
        stands = stand(conn, settings.schema)
        floor = lowest_floor(conn, settings.schema)
    if as_json:
        context.print_json({"projections": stands, "lowest_floor": floor})
        return
    rows = [
        (
            each.projection,
            each.position,
            each.lag.events,
            round(Decimal(each.lag.seconds), 1),
            f"d{each.definition}",
            f"v{each.version} of {', '.join(f'v{v}' for v in each.kept_versions)}",
        )
        for each in stands
    ]
    output.table(("projection", "position", "behind", "seconds", "definition", "version"), rows)
    for each in stands:
        if each.problem:
            typer.echo(
                f"{each.projection} has stopped at {each.problem}. Deploy code that digests this "
                "fact, then `credit-es projections retry`."
            )
    if floor:
        typer.echo(
            f"The log's tail waits for {_holder(floor)}: it has appended and not committed yet."
        )


@app.command()
def rebuild(name: NameOrAll = None, *, shards: Shards = None, as_json: AsJson = False) -> None:
    """Build a read table anew from the log; readers and writers go on."""
    with _rebuilder() as builder, context.progress_bar(FOLDING) as progress:
        rebuilt = [builder.rebuild(each, progress, shards=shards) for each in _named(name)]
    _say(rebuilt, as_json=as_json, word="holds")


@app.command()
def reindex() -> None:
    """Empty the index that `credit-es audit search` asks, and fill it again from the log."""
    settings = context.settings()
    from credit_es.cli.logs import open_logs  # noqa: PLC0415
    from projections.facts import FactIndex  # noqa: PLC0415

    # On the primary, where there is a replica, too: this writes.
    with (
        open_logs(settings) as logs,
        logs.primary.database.connection() as conn,
        context.progress_bar(FOLDING) as progress,
    ):
        reader = logs.primary
        index = FactIndex(conn, reader, settings.schema)
        index.empty()
        head = reader.head().safe
        while index.step():
            progress(min(index.reached(), head), head)
        count = index.count()
    typer.echo(f"The index holds {count} facts.")


@app.command()
def rollback(name: Name, *, as_json: AsJson = False) -> None:
    """Let readers see the table before the last rebuild again."""
    with _rebuilder() as builder:
        rebuilt = [builder.rollback(projection) for projection in _named(name)]
    _say(rebuilt, as_json=as_json, word="is shown again, at")


@app.command()
def retry(name: NameOrAll = None) -> None:
    """Let a poisoned projection try again where it stopped."""
    with _rebuilder() as builder:
        for projection in _named(name):
            poisoned = builder.retry(projection)
            typer.echo(f"{projection.name} {'goes on' if poisoned else 'is not poisoned'}")


@app.command()
def verify(name: NameOrAll = None, *, as_json: AsJson = False) -> None:
    """Fold the log again and compare with the read tables; exits 3 on a difference."""
    settings = context.settings()
    from credit_es.cli.logs import open_logs  # noqa: PLC0415
    from projections.verify import VerifyError  # noqa: PLC0415
    from projections.verify import verify as differences_of  # noqa: PLC0415

    differences: list[Difference] = []
    # On the replica, where there is one: folding all of the log is work.
    with (
        open_logs(settings) as logs,
        logs.whole.database.connection() as conn,
        context.progress_bar(FOLDING) as progress,
    ):
        try:
            for projection in _named(name):
                differences += differences_of(
                    conn, logs.whole, settings.schema, projection, progress
                )
        except VerifyError as error:
            raise CommandError(str(error)) from error
    if as_json:
        context.print_json({"differences": differences})
    for difference in () if as_json else differences:
        typer.echo(f"{difference.projection} {difference.number}: {difference.words()}")
    if differences:
        raise CommandError(
            f"Rows that are not what the log says: {len(differences)}. "
            "`credit-es projections rebuild` makes them so.",
            ExitCode.VERIFICATION_FAILED,
        )
    if not as_json:
        typer.echo("The read tables are what the log says.")


def _holder(floor: "Floor") -> str:
    if floor.pid is None:
        return "a prepared transaction of pg_prepared_xacts"
    if floor.seconds is None:
        return f"process {floor.pid} of another role (pg_read_all_stats sees more)"
    return f"process {floor.pid}, {floor.state}, for {floor.seconds:.1f} s"


@contextmanager
def _rebuilder() -> "Iterator[Rebuilder]":
    settings = context.settings()
    from credit_es.store.migrations import MigrationError  # noqa: PLC0415
    from projections.rebuild import RebuildError, rebuilder  # noqa: PLC0415

    try:
        with rebuilder(settings.database_direct_url, settings.schema) as builder:
            yield builder
    except (RebuildError, MigrationError) as error:
        raise CommandError(str(error)) from error


def _named(name: str | None) -> list[Any]:
    from projections.rebuild import RebuildError, named  # noqa: PLC0415
    from projections.tables import PROJECTIONS  # noqa: PLC0415

    try:
        return [named(name)] if name else list(PROJECTIONS)
    except RebuildError as error:
        raise CommandError(str(error), ExitCode.NOT_FOUND) from error


def _say(rebuilt: "list[Rebuilt]", *, as_json: bool, word: str) -> None:
    if as_json:
        context.print_json({"rebuilt": [structs.asdict(each) for each in rebuilt]})
        return
    for each in rebuilt:
        rows = f"{each.rows} rows, built in {each.seconds:.1f} s, " if each.seconds else ""
        typer.echo(f"{each.projection} v{each.version} {word} {rows}position {each.position}")
