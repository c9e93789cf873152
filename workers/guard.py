"""The parent's side of the parsing of a workbook: a child process, its limits, its end in words.

A plain subprocess, not ``multiprocessing``: a Dramatiq worker is a process with threads and must be
neither forked nor refused children. The child gets the workbook through a pipe, and neither the
database's address nor anything else it could misuse.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from math import ceil
from pathlib import Path
from typing import IO, Final

from msgspec import Struct

from credit_es.domain.cells import WorkbookKind
from workers.archive import WorkbookError
from workers.wire import End, Head, Message, Problem, Rows, receive

_MIB: Final = 1 << 20
_ROOT: Final = Path(__file__).resolve().parent.parent
_OUT_OF_MEMORY_EXITS: Final = {70, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS}
_SECRETS: Final = ("DATABASE", "REDIS", "PG", "CREDIT_")
_LONGEST_TRACE: Final = 4_000


class Limits(Struct, frozen=True, kw_only=True):
    """What one workbook may take: its bytes inflated, the child's address space, its time."""

    archive_bytes: int = 200_000_000
    memory_bytes: int = 1_536 * _MIB
    time_s: float = 60


class ChildError(Exception):
    """What the child said or how it ended, for the operator; never shown to a user."""


def parse_in_child(
    content: bytes, workbook: WorkbookKind, limits: Limits
) -> Generator[Head | Rows | End]:
    """Parse a workbook elsewhere; the messages end with ``End`` or a ``WorkbookError``.

    The child is gone when the iterator is closed, however that comes about.
    """
    command = [sys.executable, "-P", "-m", "workers.sheet", workbook, str(limits.memory_bytes)]
    command += [str(ceil(limits.time_s)), str(os.getpid())]
    with (
        tempfile.TemporaryFile() as stderr,
        subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=_environment(),
        ) as child,
    ):
        timed_out = threading.Event()
        timer = threading.Timer(limits.time_s, _stop, (child, timed_out))
        timer.daemon = True
        timer.start()
        try:
            yield from _messages(child, content, workbook)
        except (EOFError, ValueError) as error:
            child.kill()
            child.wait()
            reason = _reason(child.returncode, limits, timed_out=timed_out.is_set())
            raise WorkbookError(workbook, reason) from _child_error(child, stderr, error)
        finally:
            timer.cancel()
            child.kill()


def _messages(
    child: "subprocess.Popen[bytes]", content: bytes, workbook: WorkbookKind
) -> Generator[Head | Rows | End]:
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        with child.stdin:
            child.stdin.write(content)
    except BrokenPipeError:
        # It died of the workbook: how, its exit code tells below.
        pass
    while True:
        message: Message | None = receive(child.stdout)
        if message is None:
            raise EOFError
        if isinstance(message, Problem):
            raise WorkbookError(workbook, message.predicate) from ChildError(message.detail)
        yield message
        if isinstance(message, End):
            return


def _stop(child: "subprocess.Popen[bytes]", timed_out: threading.Event) -> None:
    timed_out.set()
    child.kill()


def _reason(exit_code: int, limits: Limits, *, timed_out: bool) -> str:
    if timed_out or exit_code == -signal.SIGXCPU:
        return (
            f"took more than {limits.time_s:g} seconds to read; remove what is not needed, "
            "or split it"
        )
    if exit_code in _OUT_OF_MEMORY_EXITS:
        return (
            f"needs more than {limits.memory_bytes // _MIB} MiB of memory to read, as one with a "
            "cell far from all others does; delete the empty columns and rows behind the last "
            "ones, or copy the rows to a new workbook"
        )
    return "could not be read; open it in Excel, save it and upload it again"


def _child_error(
    child: "subprocess.Popen[bytes]", stderr: IO[bytes], cause: Exception
) -> ChildError:
    stderr.seek(0)
    trace = stderr.read(_LONGEST_TRACE).decode(errors="replace")
    error = ChildError(f"exit code {child.returncode}: {trace}")
    error.__cause__ = cause
    return error


def _environment() -> dict[str, str]:
    kept = {name: it for name, it in os.environ.items() if not name.startswith(_SECRETS)}
    paths = (str(_ROOT), kept.get("PYTHONPATH", ""))
    kept["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return kept
