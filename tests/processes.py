"""What runs on this machine, as Linux tells it, and waiting for it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

LISTED: Final = Path("/proc/self/environ").exists()


class Seen(NamedTuple):
    """One process that runs; ``title`` is what ``ps`` shows."""

    pid: int
    title: str
    parent: int


def processes_with(text: str) -> list[Seen]:
    """All that have ``text`` in their environment, their command line or their folder's path."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            about = (folder / "environ").read_bytes().decode(errors="replace")
            state, parent, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            where = str((folder / "cwd").readlink())
        except OSError:  # it has ended, or is a zombie
            continue
        if state != "Z" and any(text in told for told in (title, about, where)):
            found.append(Seen(int(folder.name), title, int(parent)))
    return found


def until(holds: Callable[[], bool], *, timeout_s: float = 60) -> float:
    """Wait until something holds; returns how long that took, in seconds."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() < began + timeout_s
        time.sleep(0.02)
    return time.monotonic() - began
