"""The processes of `make run`: started in order, restarted, stopped, never left behind.

Each process leads a session of its own, so that Ctrl-C reaches the supervisor alone and a stop can
be sent to everything that the process started. When the supervisor itself is killed with -9, two
things end its processes: Linux signals them (PDEATHSIG), and the guardian, a fork that holds the
other end of a pipe, reads end-of-file, stops what is still there and kills what does not stop.
Only the guardian covers macOS, and the children of children; only PDEATHSIG covers a guardian that
was killed, too.
"""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import IO, Final, Never

import structlog
from msgspec import Struct

from credit_es.cli.context import entitle

PR_SET_PDEATHSIG: Final = 1
LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
POLL_S: Final = 0.03
READY_LIMIT_S: Final = 60.0
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
GUARDIAN_PATIENCE_S: Final = 6.0
# One that ran this long before it ended is started again as if it had never failed.
STEADY_S: Final = 30.0

log = structlog.get_logger("credit-es")


class SupervisorError(Exception):
    """A process did not come up, or not to its end; the message says which."""


class Process(Struct, frozen=True, kw_only=True):
    """One supervised process.

    ``ready`` is asked at the first start, before the next process is started. Processes of one
    ``stage`` are stopped together, higher stages first, and killed after ``patience_s``. What it
    writes goes to ``log`` or, without one, where our own lines go.
    """

    name: str
    argv: list[str]
    env: Mapping[str, str]
    cwd: Path
    stage: int
    stop: signal.Signals = signal.SIGTERM
    patience_s: float = 5.0
    log: Path | None = None
    account: pwd.struct_passwd | None = None
    ready: Callable[[], bool] = lambda: True


class _Slot:
    """Where a process stands: running, or due to be started again."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.child: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.pause_s = FIRST_PAUSE_S
        self.due = 0.0


class Supervisor:
    """Runs ``processes`` until a signal asks it to stop.

    ``diagnose`` is called whenever one ended by itself, and may say why in a sentence.
    """

    def __init__(self, diagnose: Callable[[], str | None]) -> None:
        self._slots: list[_Slot] = []
        self._diagnose = diagnose
        self._guardian = _fork_guardian()
        self._stopping = False
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)

    def start(self, process: Process) -> None:
        """Start ``process`` and wait until it is ready; raises ``SupervisorError``."""
        if self.asked_to_stop():
            return
        slot = _Slot(process)
        self._slots.append(slot)
        child = self._launch(slot)
        while not self.asked_to_stop() and not process.ready():
            if child.poll() is not None or time.monotonic() - slot.started > READY_LIMIT_S:
                raise SupervisorError(self._why(process, "did not come up"))
            time.sleep(POLL_S)

    def once(self, process: Process) -> None:
        """Run ``process`` to its end; raises ``SupervisorError`` when it fails."""
        if self.asked_to_stop():
            return
        slot = _Slot(process)
        child = self._launch(slot)
        while not self.asked_to_stop() and child.poll() is None:
            time.sleep(POLL_S)
        self._end([slot])
        if child.returncode and not self.asked_to_stop():
            raise SupervisorError(self._why(process, "failed"))

    def asked_to_stop(self) -> bool:
        """Whether a signal asked for the end."""
        return self._stopping

    def watch(self) -> None:
        """Start again what ends, after a pause that doubles, until asked to stop."""
        while not self.asked_to_stop():
            for slot in self._slots:
                if slot.child and slot.child.poll() is not None:
                    self._bury(slot)
                elif not slot.child and time.monotonic() > slot.due:
                    self._launch(slot)
            time.sleep(3 * POLL_S)

    def stop(self) -> None:
        """End everything, stage by stage; servers end after those that use them."""
        stages = {slot.process.stage for slot in self._slots}
        for stage in sorted(stages, reverse=True):
            self._end([slot for slot in self._slots if slot.process.stage == stage])

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        if number == signal.SIGHUP:  # the terminal is gone: writing to it would fail from now on
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)

    def _why(self, process: Process, what: str) -> str:
        where = f"its log says why: {process.log}" if process.log else "its lines above say why"
        return self._diagnose() or f"{process.name} {what}; {where}."

    def _launch(self, slot: _Slot) -> subprocess.Popen[bytes]:
        process = slot.process
        with process.log.open("ab") if process.log else nullcontext() as output:
            child = launch(
                process.argv,
                env=process.env,
                cwd=process.cwd,
                account=process.account,
                stop=process.stop,
                output=output,
            )
        self._tell_guardian(f"+{child.pid} {process.stop.value}")
        slot.child = child
        slot.started = time.monotonic()
        return child

    def _bury(self, slot: _Slot) -> None:
        """Note that a process ended by itself, and when to start it again."""
        assert slot.child is not None
        self._forget(slot.child.pid)
        if time.monotonic() - slot.started > STEADY_S:
            slot.pause_s = FIRST_PAUSE_S
        slot.due = time.monotonic() + slot.pause_s
        log.warning(
            "process ended",
            name=slot.process.name,
            code=slot.child.returncode,
            restart_in_s=slot.pause_s,
            why=self._diagnose(),
        )
        slot.pause_s = min(2 * slot.pause_s, LONGEST_PAUSE_S)
        slot.child = None

    def _end(self, slots: Sequence[_Slot]) -> None:
        """Stop some processes together; what outlives its patience is killed."""
        for slot in slots:
            if slot.child and slot.child.poll() is None:
                slot.child.send_signal(slot.process.stop)
        since = time.monotonic()
        for slot in slots:
            if slot.child is None:
                continue
            left_s = slot.process.patience_s - (time.monotonic() - since)
            try:
                slot.child.wait(max(0.0, left_s))
            except subprocess.TimeoutExpired:
                log.warning("killed, as it did not stop", name=slot.process.name)
                slot.child.kill()
                slot.child.wait()
            self._forget(slot.child.pid)
            slot.child = None

    def _forget(self, pid: int) -> None:
        """A leader is gone: so must be what it started, and the guardian need not know of it."""
        _signal_group(pid, signal.SIGKILL)
        self._tell_guardian(f"-{pid} 0")

    def _tell_guardian(self, line: str) -> None:
        try:
            os.write(self._guardian, f"{line}\n".encode())
        except BrokenPipeError:  # somebody killed it: the next one hears of all that runs
            os.close(self._guardian)
            self._guardian = _fork_guardian()
            for slot in self._slots:
                if slot.child:
                    os.write(
                        self._guardian, f"+{slot.child.pid} {slot.process.stop.value}\n".encode()
                    )


def launch(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    account: pwd.struct_passwd | None,
    stop: signal.Signals,
    output: IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own; on Linux it is sent ``stop`` if this one dies."""

    def die_with_parent() -> None:
        # After the change of account, which would clear it; before the exec, which keeps it.
        if LIBC:
            LIBC.prctl(PR_SET_PDEATHSIG, stop.value, 0, 0, 0)

    return subprocess.Popen(  # noqa: S603 -- our own commands
        argv,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 -- no thread is running yet
    )


def _fork_guardian() -> int:
    """Fork the guardian; the answer is the pipe on which it is told what runs."""
    reading, writing = os.pipe()
    if not os.fork():
        os.close(writing)
        _guard(reading)
    os.close(reading)
    return writing


def _guard(reading: int) -> Never:
    """Hear of processes until the supervisor is gone, however it went, then end what is left.

    A line is ``+pid signal`` for one that started and ``-pid 0`` for one that ended. The lock of
    the state folder was inherited with the fork, so it stays taken until this is done.
    """
    os.setsid()
    entitle("guardian")
    for ignored in STOP_SIGNALS:
        signal.signal(ignored, signal.SIG_IGN)
    live: dict[int, int] = {}
    with os.fdopen(reading) as lines:
        for line in lines:
            pid, number = int(line[1:].split()[0]), int(line.split()[1])
            if line.startswith("+"):
                live[pid] = number
            else:
                live.pop(pid, None)
    for pid, number in live.items():
        _signal_group(pid, number, leader_only=True)
    end = time.monotonic() + GUARDIAN_PATIENCE_S
    while live and time.monotonic() < end:
        for pid in [pid for pid in live if not _runs(pid)]:
            _signal_group(pid, signal.SIGKILL)
            del live[pid]
        time.sleep(POLL_S)
    for pid in live:
        _signal_group(pid, signal.SIGKILL)
    os._exit(0)


def _runs(pid: int) -> bool:
    """Whether a process is there and has not ended: who adopted it may reap it late, or never."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # it is gone, or this is no Linux
        return _signal_group(pid, 0, leader_only=True)
    return state != "Z"


def _signal_group(pid: int, number: int, *, leader_only: bool = False) -> bool:
    """Signal a process or all of its group; False when there is nothing left to signal."""
    try:
        (os.kill if leader_only else os.killpg)(pid, number)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        return False
    return True
