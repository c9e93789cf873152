"""The supervisor under fire: real processes, killed by pid; whatever happens, none is left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from credit_es.cli.supervisor import GUARDIAN_PATIENCE_S, LIBC
from tests.processes import LISTED, Seen, processes_with, until

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(not LISTED, reason="only Linux lists processes with their environment"),
]

PR_SET_CHILD_SUBREAPER: Final = 36

# A stage of servers that take long to die, one of services that start a child of their own.
SCRIPT = """
import os, sys
from pathlib import Path
from credit_es.cli import supervisor
from credit_es.cli.context import entitle
from credit_es.cli.supervisor import Process, Supervisor

entitle('supervisor')
if os.environ.get("CREDIT_TEST_DEAF"):
    supervisor.LIBC = None

def process(name, code, stage, **more):
    argv = [sys.executable, "-c", code]
    return Process(name=name, argv=argv, env=os.environ, cwd=Path.cwd(), stage=stage, **more)

marks = Path(os.environ["CREDIT_TEST_MARKS"])
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
FAMILY = (
    "import os, signal, subprocess, sys, time;"
    "signal.signal(signal.SIGTERM, lambda *_: os._exit(0));"
    f"subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]);"
    "open(os.environ['CREDIT_TEST_MARKS'] + '/family', 'a').write(f'{os.getpid()}\\\\n');"
    "time.sleep(600)"
)
ready = (marks / "family").exists
one = Supervisor(diagnose=lambda: None)
try:
    one.start(process("server", "import time; time.sleep(600)", 1))
    one.start(process("family", FAMILY, 2, ready=ready))
    (marks / "up").touch()
    one.watch()
finally:
    one.stop()
"""


@pytest.fixture
def marks(tmp_path: Path) -> Iterator[Path]:
    """A folder whose path stands in the environment of everything that a test starts."""
    yield tmp_path
    for process in family(tmp_path):
        os.kill(process.pid, signal.SIGKILL)


def family(marks: Path) -> list[Seen]:
    return processes_with(f"CREDIT_TEST_MARKS={marks}")


def until_alone(marks: Path, *, timeout_s: float) -> list[Seen]:
    """Wait until nothing of the family is left; answers what is."""
    end = time.monotonic() + timeout_s
    while (left := family(marks)) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def started(marks: Path, **more: str) -> subprocess.Popen[bytes]:
    """The supervisor of ``SCRIPT``, once everything runs."""
    environ = {**os.environ, "CREDIT_TEST_MARKS": str(marks), **more}
    supervisor = subprocess.Popen([sys.executable, "-c", SCRIPT], env=environ)
    until((marks / "up").exists)
    assert len(family(marks)) == 5  # supervisor, guardian, server, family and its child
    return supervisor


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_within_seconds(marks: Path, number: signal.Signals) -> None:
    supervisor = started(marks)
    supervisor.send_signal(number)
    assert supervisor.wait(5) == 0
    assert until_alone(marks, timeout_s=1) == []


def test_nothing_outlives_a_killed_supervisor(marks: Path) -> None:
    supervisor = started(marks)
    supervisor.kill()
    supervisor.wait(5)
    assert until_alone(marks, timeout_s=8) == []


@pytest.mark.skipif(LIBC is None, reason="only Linux lets us adopt orphans")
def test_the_guardian_does_not_wait_for_what_ended_and_is_not_reaped(marks: Path) -> None:
    assert LIBC
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    orphans: set[int] = set()
    try:
        supervisor = started(marks)
        orphans = {process.pid for process in family(marks)} - {supervisor.pid}
        supervisor.kill()
        supervisor.wait(5)
        assert until_alone(marks, timeout_s=GUARDIAN_PATIENCE_S / 2) == []
    finally:
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        for pid in orphans:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("told", "left"),
    [
        # Linux still signals what the supervisor itself has started, but not their children.
        ({}, 1),
        ({"CREDIT_TEST_DEAF": "1"}, 3),
    ],
    ids=["guardian", "guardian-and-death-signal"],
)
def test_without_what_ends_them_processes_outlive_a_killed_supervisor(
    marks: Path, told: dict[str, str], left: int
) -> None:
    """The control: it is the guardian, and beside it PDEATHSIG, that ends what we started."""
    supervisor = started(marks, **told)
    for process in family(marks):
        if process.title == "credit-es guardian":
            os.kill(process.pid, signal.SIGKILL)
    supervisor.kill()
    supervisor.wait(5)
    assert len(until_alone(marks, timeout_s=2)) == left


def test_what_ends_is_started_again_without_what_it_had_started(marks: Path) -> None:
    supervisor = started(marks)
    first = int((marks / "family").read_text())
    os.kill(first, signal.SIGKILL)
    until(lambda: len((marks / "family").read_text().split()) == 2)
    assert len(family(marks)) == 5
    supervisor.terminate()
    assert supervisor.wait(5) == 0
    assert until_alone(marks, timeout_s=1) == []


def test_a_killed_guardian_is_replaced_at_the_next_start(marks: Path) -> None:
    supervisor = started(marks)
    for process in family(marks):
        if process.title == "credit-es guardian":
            os.kill(process.pid, signal.SIGKILL)
    os.kill(int((marks / "family").read_text()), signal.SIGKILL)
    until(lambda: len((marks / "family").read_text().split()) == 2)
    supervisor.kill()
    supervisor.wait(5)
    assert until_alone(marks, timeout_s=8) == []
