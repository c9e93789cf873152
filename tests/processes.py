"""What runs on this machine, as Linux tells it: for tests that must leave nothing behind."""

from pathlib import Path
from typing import Final, NamedTuple

LISTED: Final = Path("/proc/self/environ").exists()


class Seen(NamedTuple):
    """One process that runs; ``title`` is what ``ps`` shows."""

    pid: int
    title: str


def processes_with(text: str) -> list[Seen]:
    """All that have ``text`` in their environment, their command line or their folder's path."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            about = (folder / "environ").read_bytes().decode(errors="replace")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            where = str((folder / "cwd").readlink())
        except OSError:  # it has ended, or is a zombie
            continue
        if state != "Z" and any(text in told for told in (title, about, where)):
            found.append(Seen(int(folder.name), title))
    return found
