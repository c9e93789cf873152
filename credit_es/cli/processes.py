"""The processes of the service, one command each; and what is done once, before them."""

import gc
from typing import Annotated, Final

import typer

from credit_es.cli import context
from credit_es.settings import Settings

GARBAGE_AFTER: Final = 50_000
"""Objects made before Python looks for cycles among them."""


def api() -> None:
    """Serve the REST API until stopped."""
    settings = _begin("api")
    from api.gunicorn_conf import serve  # noqa: PLC0415

    serve(settings)


def projector() -> None:
    """Keep the read tables up with the log until stopped."""
    settings = _begin("projector")
    from projections.projector import run  # noqa: PLC0415

    run(settings)


def worker() -> None:
    """Ingest workbooks as they come until stopped."""
    settings = _begin("worker")
    from workers.ingestion import serve  # noqa: PLC0415

    serve(settings)


def migrate(
    *,
    citus: Annotated[
        bool, typer.Option("--citus", help="And distribute the schema, on a Citus coordinator.")
    ] = False,
) -> None:
    """Bring the database's schema, and its read tables, up to this release."""
    settings = _begin("migrate")
    if citus:
        _on_citus(settings)
    else:
        apply_migrations(settings)


def apply_migrations(settings: Settings) -> None:
    """Do it, and say what was done; raises ``CommandError`` when the server refuses."""
    import psycopg  # noqa: PLC0415

    from credit_es.store import migrations  # noqa: PLC0415
    from projections.rebuild import RebuildError, rebuilder  # noqa: PLC0415

    url, schema = settings.database_direct_url, settings.schema
    try:
        for name in migrations.migrate(url, schema):
            typer.echo(f"applied {name}")
        with rebuilder(url, schema) as tables:
            for name in tables.prepare():
                typer.echo(f"built the read table {name}")
    except (migrations.MigrationError, RebuildError, psycopg.Error) as error:
        from credit_es.cli.faults import direct_unreachable  # noqa: PLC0415 - pyarrow is 40 MiB

        gone = isinstance(error, psycopg.OperationalError) and direct_unreachable(settings)
        reason = f"The database cannot be migrated: {' '.join(str(error).split())}"
        raise context.CommandError(gone or reason) from error


def _on_citus(settings: Settings) -> None:
    import psycopg  # noqa: PLC0415

    from credit_es.store.citus import distribute, require_citus  # noqa: PLC0415

    url = settings.database_direct_url
    try:
        require_citus(url)
        apply_migrations(settings)
        distribute(url, settings.schema, lambda where, text: typer.echo(f"{where}: {text};"))
    except psycopg.Error as error:
        raise context.CommandError(f"Citus refused: {' '.join(str(error).split())}") from error


def database_url() -> None:
    """Print the URL of the database that commands use: for pg_dump, psql and their like."""
    typer.echo(context.settings().database_url)


def ingest_sample() -> None:
    """Give the sample workbooks to the worker."""
    settings = _begin("ingest-sample")
    from credit_es.cli import ingest  # noqa: PLC0415

    ingest.ingest_sample(settings)
    typer.echo("The sample workbooks of data/ are being ingested: see /ingestions.")


def _begin(name: str) -> Settings:
    context.entitle(name)
    context.log_as(name)
    # Facts and rows hold no cycles, and to look for some is a good part of an import.
    gc.set_threshold(GARBAGE_AFTER)
    return context.settings()
