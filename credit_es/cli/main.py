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
        from credit_es.cli.faults import in_a_sentence  # noqa: PLC0415

        sentence = in_a_sentence(error)
        if sentence is None:
            raise
        _fail(sentence, ExitCode.FAILURE)


def _fail(problem: object, code: ExitCode) -> None:
    typer.echo(f"credit-es: {problem}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
