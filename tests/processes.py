"""What runs on this machine, as Linux tells it, and waiting for it."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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


def stopped(pid: int) -> None:
    """Stop a process where it stands; back when not one of its threads runs any more."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: all(_state(thread) in "tT" for thread in Path(f"/proc/{pid}/task").iterdir()))


def _state(thread: Path) -> str:
    return (thread / "stat").read_text().rpartition(")")[2].split()[0]


def children_of(pid: int, text: str) -> list[int]:
    """The children of a process that have ``text`` in their command line."""
    found = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [Path("/proc", child) for child in listed.read_text().split()]
            found += [int(c.name) for c in children if text.encode() in _command_line(c)]
        except OSError:  # one of them has ended
            continue
    return found


def _command_line(process: Path) -> bytes:
    return (process / "cmdline").read_bytes()


@contextmanager
def peaks_of(pids: Callable[[], Iterable[int]]) -> Iterator[dict[int, float]]:
    """The most memory that each of these processes has held so far, in MiB, by pid."""
    peaks: dict[int, float] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            for pid in pids():
                if (peak := peak_mib(pid)) is not None:
                    peaks[pid] = peak

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def peak_mib(pid: int) -> float | None:
    """The most memory that a process has held, in MiB; None where it has ended."""
    try:
        told = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    peak = re.search(r"VmHWM:\s+(\d+) kB", told)
    return int(peak[1]) / 1024 if peak else None
