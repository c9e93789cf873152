"""A whole `credit-es run` of a test's own."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Final

from tests.processes import Seen, processes_with, until

RUN: Final = [sys.executable, "-P", "-m", "credit_es.cli.main"]


class Service:
    """One `credit-es run`, its environment and what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self.environ = {
            **{name: value for name, value in os.environ.items() if "_URL" not in name},
            "CREDIT_STATE": str(folder / "state"),
            "CREDIT_SAMPLE_DATA": "0",
            "PORT": str(self.port),
        }
        self._output = folder / "output"
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it says that it runs."""
        self._output.write_bytes(b"")
        with self._output.open("ab") as output:
            self.child = subprocess.Popen(
                [*RUN, "run"], env=self.environ, stdout=output, stderr=output
            )
        until(lambda: "credit-es is running" in self.said() or self._ended(), timeout_s=60)
        assert not self._ended(), self.said()

    def command(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Give another command in the same environment."""
        return subprocess.run(
            [*RUN, *arguments],
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def said(self) -> str:
        """What it wrote to the terminal."""
        return self._output.read_text()

    def processes(self) -> list[Seen]:
        """All that runs of it."""
        return processes_with(str(self.folder))

    def signal(self, number: signal.Signals) -> int:
        """Signal the supervisor and wait for its end; answers its exit code."""
        assert self.child is not None
        self.child.send_signal(number)
        return self.child.wait(15)

    def lives(self) -> bool:
        """Whether its API answers."""
        try:
            url = f"http://127.0.0.1:{self.port}/health/live"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _ended(self) -> bool:
        return self.child is not None and self.child.poll() is not None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
