"""The ``credit-es`` command.

Exit codes: 0 ok, 1 failure, 2 usage, 3 verification failed, 4 not found. What a person can mend is
one sentence on stderr; only a fault of ours is a traceback.
"""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from credit_es.cli import audit, explain, ingest, processes, projections, run
from credit_es.cli.context import CommandError, ExitCode
from credit_es.home import EmbeddedError
from credit_es.settings import SettingsError

app = typer.Typer(
    help="An event-sourced credit service: it decides loans, and can say why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# A module a command; each imports what it needs inside its functions, so that `--help` is quick.
app.command()(run.run)
app.command()(processes.api)
app.command()(processes.projector)
app.command()(processes.worker)
app.command()(processes.migrate)
app.command()(processes.database_url)
app.command(hidden=True)(processes.ingest_sample)
app.command()(ingest.ingest)
app.command()(explain.explain)
app.add_typer(audit.app, name="audit")
app.add_typer(projections.app, name="projections")


def _version(wanted: bool) -> None:  # noqa: FBT001 -- typer passes it so
    if wanted:
        typer.echo(f"credit-es {version('credit-es')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[  # noqa: FBT002 -- a flag to typer
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """An event-sourced credit service: it decides loans, and can say why."""


def main() -> None:
    """Run the command line."""
    try:
        app()
    except CommandError as error:
        _fail(error, error.code)
    except (EmbeddedError, SettingsError) as error:
        _fail(error, ExitCode.FAILURE)
    except Exception as error:
        if not _is_for_people(error):
            raise
        _fail(error, ExitCode.FAILURE)


def _is_for_people(error: Exception) -> bool:
    """Whether it is something to be mended outside of our code, and says what."""
    from credit_es.audit.dossiers import BrokenDossierError  # noqa: PLC0415
    from credit_es.domain.policy import PolicyError  # noqa: PLC0415
    from credit_es.store.database import StoreUnavailableError  # noqa: PLC0415
    from credit_es.store.mapper import UndigestedError  # noqa: PLC0415
    from credit_es.store.migrations import MigrationError  # noqa: PLC0415
    from projections.spread import LostError  # noqa: PLC0415

    mendable = PolicyError | StoreUnavailableError | MigrationError | LostError
    return isinstance(error, mendable | UndigestedError | BrokenDossierError)


def _fail(error: Exception, code: ExitCode) -> None:
    typer.echo(f"credit-es: {error}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
