"""``credit-es run`` as a person has it: a whole service, in a state folder of its own."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.processes import LISTED, Seen, processes_with

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(not LISTED, reason="only Linux lists processes with their environment"),
]

RUN: Final = [sys.executable, "-P", "-m", "credit_es.cli.main"]
OURS: Final = {"run", "guardian", "api", "projector", "worker"}


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


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that is gone after the test, whatever the test did to it."""
    folder = Path(tempfile.mkdtemp(prefix="credit-es-tests-"))
    folder.chmod(0o755)
    one = Service(folder)
    yield one
    if one.child is not None:
        one.child.kill()
        one.child.wait()
    for process in one.processes():
        with suppress(ProcessLookupError):  # the guardian ends them, too
            os.kill(process.pid, signal.SIGKILL)
    until(lambda: not one.processes())
    shutil.rmtree(folder)


def until(holds: Callable[[], bool], *, timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _titles(service: Service) -> set[str]:
    return {p.title.removeprefix("credit-es ") for p in service.processes()}


def test_a_service_runs_stops_and_runs_again_with_its_data(service: Service) -> None:
    service.start()
    until(lambda: _titles(service) >= OURS)  # the API answers before the others are up
    applied = re.findall(r"applied \d+", service.said())
    assert applied
    since = time.monotonic()
    assert service.signal(signal.SIGINT) == 0
    assert time.monotonic() - since < 10
    assert service.processes() == []
    assert "credit-es has stopped" in service.said()

    service.start()
    assert "applied" not in service.said()  # the schema of the first run is still there
    assert service.signal(signal.SIGTERM) == 0
    assert service.processes() == []


def test_nothing_outlives_a_killed_supervisor_and_the_next_one_starts(service: Service) -> None:
    service.start()
    service.signal(signal.SIGKILL)
    service.start()  # at once: it waits for what is left
    until(lambda: _titles(service) >= OURS)
    service.signal(signal.SIGKILL)
    until(lambda: not service.processes(), timeout_s=10)


def test_what_is_killed_comes_back(service: Service) -> None:
    service.start()
    until(lambda: _titles(service) >= OURS)
    for name in ("api", "projector", "worker"):
        # The oldest of the name is the one that the supervisor started.
        first = min(p.pid for p in service.processes() if p.title == f"credit-es {name}")
        os.kill(first, signal.SIGKILL)
        until(
            lambda name=name, first=first: any(  # type: ignore[misc]
                p.pid != first and p.title == f"credit-es {name}" for p in service.processes()
            )
        )
    until(service.lives)
    assert service.signal(signal.SIGINT) == 0
    assert service.processes() == []


def test_a_second_run_says_that_one_runs_and_where(service: Service) -> None:
    service.start()
    assert service.child is not None
    second = service.command("run")
    assert second.returncode == 1
    assert f"running already: http://127.0.0.1:{service.port}" in second.stderr
    assert f"kill {service.child.pid}" in second.stderr
    assert service.lives()


def test_a_command_finds_the_service_of_its_checkout(service: Service) -> None:
    alone = service.command("migrate")
    assert alone.returncode == 1
    assert "no service of this checkout is running" in alone.stderr
    service.start()
    assert service.command("migrate").returncode == 0
    service.signal(signal.SIGINT)
    assert service.command("migrate").returncode == 1


def test_a_taken_port_is_told_before_anything_starts(service: Service) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", service.port))
        other.listen()
        refused = service.command("run")
    assert refused.returncode == 1
    assert f"Port {service.port} is taken" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (service.folder / "state/postgres").exists()


def test_an_unreachable_database_is_told_without_its_password(service: Service) -> None:
    url = f"postgresql://someone:secret@127.0.0.1:{service.port}/credit"
    refused = service.command("run", DATABASE_URL=url)
    assert refused.returncode == 1
    assert "DATABASE_URL cannot be reached" in refused.stderr
    assert "secret" not in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PORT", "eighty"), ("CREDIT_TIMEZONE", "Mars"), ("CREDIT_SCHEMA", "a-b")],
)
def test_a_bad_setting_is_named(service: Service, variable: str, value: str) -> None:
    refused = service.command("run", **{variable: value})
    assert refused.returncode == 1
    assert f"{variable} is {value!r}" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_is_told(service: Service) -> None:
    disk = service.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m,mode=755", "tmpfs", disk], check=True)
    try:
        refused = service.command("run", CREDIT_STATE=str(disk / "state"))
    finally:
        subprocess.run(["umount", disk], check=True)
    assert refused.returncode == 1
    assert "The disk is full" in refused.stderr
    assert "CREDIT_STATE" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="as another user the account is one's own")
def test_a_folder_closed_to_the_servers_account_is_told(service: Service) -> None:
    closed = service.folder / "closed"
    closed.mkdir(mode=0o700)
    refused = service.command("run", CREDIT_STATE=str(closed / "state"))
    assert refused.returncode == 1
    assert f"{closed} is closed to the account" in refused.stderr
    assert closed.stat().st_mode & 0o777 == 0o700  # not ours to open


def test_the_samples_are_for_a_first_start_only(service: Service) -> None:
    service.start()
    registered = {
        "first_name": "Asha",
        "last_name": "Rao",
        "age": 34,
        "monthly_income": 50000,
        "phone_number": 9876543210,
    }
    asked = urllib.request.Request(
        f"http://127.0.0.1:{service.port}/register",
        json.dumps(registered).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert answer.status == 201
    assert service.signal(signal.SIGINT) == 0

    service.environ["CREDIT_SAMPLE_DATA"] = "1"
    service.start()
    assert service.command("ingest-sample").returncode == 0
    with urllib.request.urlopen(
        f"http://127.0.0.1:{service.port}/ingestions", timeout=10
    ) as answer:
        assert json.load(answer)["ingestions"] == []
