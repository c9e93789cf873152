"""What every command shares: exit codes, failures told in a sentence, settings, logs."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Final, Protocol

import msgspec
import setproctitle
import structlog
import typer
from structlog.typing import EventDict, Processor, WrappedLogger

from credit_es.home import running
from credit_es.settings import Settings, read_settings

# In an editable install the checkout, elsewhere the folder of the installed packages.
CHECKOUT: Final = Path(__file__).resolve().parents[2]


class ExitCode(IntEnum):
    """What a command answers to the shell."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    VERIFICATION_FAILED = 3
    NOT_FOUND = 4


class CommandError(Exception):
    """A command cannot go on; the message is for the person who gave it."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILURE) -> None:
        super().__init__(message)
        self.code = code


def environment() -> dict[str, str]:
    """Our environment; without a DATABASE_URL, that of the service running for this checkout."""
    environ = dict(os.environ)
    if not environ.get("DATABASE_URL") and (service := running(CHECKOUT, environ)):
        environ["DATABASE_URL"] = service.database_url
        environ["REDIS_URL"] = environ.get("REDIS_URL") or service.redis_url
    return environ


def settings() -> Settings:
    """The settings of a command; raises ``SettingsError``."""
    told = read_settings(environment())
    check_urls(told)
    return told


def check_urls(told: Settings) -> None:
    """Refuse a database's URL that cannot be read, and not only in each process that is forked."""
    from credit_es.store.database import connection_info  # noqa: PLC0415 - not for `--help`

    connection_info(told.database_url)
    connection_info(told.database_direct_url, variable="DATABASE_DIRECT_URL")
    connection_info(told.database_read_url, variable="DATABASE_READ_URL")


def print_json(document: object) -> None:
    """One JSON document on stdout, for machines."""
    typer.echo(msgspec.json.format(msgspec.json.encode(document)).decode())


def print_json_array(items: Iterable[object]) -> None:
    """One JSON array on stdout, an item in memory at a time."""
    before = "["
    for item in items:
        typer.echo(before + msgspec.json.encode(item).decode(), nl=False)
        before = ",\n "
    typer.echo("[]" if before == "[" else "]")


class Progress(Protocol):
    """Told how far it is and how far it goes, None where that is unknown; and what is done now."""

    def __call__(self, reached: int, whole: int | None, doing: str | None = None, /) -> None:
        """Show it."""
        ...


@contextmanager
def progress_bar(doing: str) -> Iterator[Progress]:
    """A progress bar on stderr, where that is a terminal; it is gone when all is done."""
    from rich import progress  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    console = Console(stderr=True)
    # Elsewhere nobody would see it move, and an empty line would stay.
    with progress.Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(doing, total=None)

        def show(reached: int, whole: int | None, doing: str | None = None, /) -> None:
            bar.update(task, completed=reached, total=whole, description=doing)

        yield show


def entitle(name: str) -> None:
    """Make this process, and what it forks, recognisable in ``ps``.

    Not on macOS, where it breaks a later fork; there the command line says nearly the same.
    SPT_NOENV: a title is not written over the environment that ``/proc`` shows.
    """
    os.environ["SPT_NOENV"] = "1"
    if sys.platform != "darwin":
        setproctitle.setproctitle(f"credit-es {name}")


def log_as(name: str) -> None:
    """Send log lines to stderr: for eyes on a terminal, JSON anywhere else."""

    def add_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {"process": name, **event}

    on_terminal = sys.stderr.isatty()
    # Tracebacks without local variables, which structlog's own would show: they hold names, phones
    # and whole bodies.
    traceback = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    render: Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if on_terminal
        else structlog.processors.JSONRenderer(_json)
    )
    explain: list[Processor] = (
        [] if on_terminal else [structlog.processors.ExceptionRenderer(traceback)]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_process,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *explain,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr)
        if on_terminal
        else structlog.BytesLoggerFactory(file=sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )


def _json(event: EventDict, **_: object) -> bytes:
    return _ENCODER.encode(event)


_ENCODER: Final = msgspec.json.Encoder(enc_hook=repr)
