"""Real Postgres and Redis servers for the tests, each on a socket in a folder of its own."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from credit_es import embedded
from credit_es.cli.supervisor import launch
from credit_es.home import Home, home_of


class RunningServer:
    """One server that a test may stop, kill and start again; its data stay."""

    def __init__(self, server: embedded.Server) -> None:
        self.url = server.url
        self._server = server
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert self._child is None
        with self._server.log.open("ab") as output:
            self._child = launch(
                self._server.argv,
                env=self._server.env,
                cwd=self._server.cwd,
                account=self._server.account,
                stop=signal.SIGQUIT,
                output=output,
            )
        deadline = time.monotonic() + 60
        while not self._server.answers():
            assert self._child.poll() is None, self._server.log.read_text()
            assert time.monotonic() < deadline, self._server.log.read_text()
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """The server's process; of Postgres the postmaster."""
        assert self._child is not None
        return self._child.pid

    def stop(self, mode: str = "fast") -> None:
        """Stop it as pg_ctl would: ``smart`` waits for clients, ``fast`` does not."""
        how = {"smart": signal.SIGTERM, "fast": self._server.stop, "immediate": signal.SIGQUIT}
        self._end(how[mode])

    def kill(self) -> None:
        """Kill it as a crash would."""
        self._end(signal.SIGKILL)

    def stop_if_running(self) -> None:
        """End it after the tests, whatever they did to it."""
        if self._child is not None:
            self._end(self._server.stop)

    def _end(self, number: signal.Signals) -> None:
        assert self._child is not None
        self._child.send_signal(number)
        try:
            self._child.wait(30)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
            raise
        finally:
            self._child = None


@contextmanager
def temporary_home() -> Iterator[Home]:
    """A state folder that the servers' account can walk to, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="credit-es-tests-"))
    folder.chmod(0o755)
    try:
        yield home_of(folder, {"CREDIT_STATE": str(folder / "state")})
    finally:
        shutil.rmtree(folder)


@contextmanager
def running_postgres(*, durable: bool) -> Iterator[RunningServer]:
    """A Postgres that is gone afterwards."""
    with temporary_home() as home:
        yield from _running(embedded.postgres(home, durable=durable))


@contextmanager
def running_redis() -> Iterator[RunningServer]:
    """A Redis that is gone afterwards."""
    with temporary_home() as home:
        yield from _running(embedded.valkey(home))


def _running(server: embedded.Server) -> Iterator[RunningServer]:
    one = RunningServer(server)
    try:
        one.start()
        yield one
    finally:
        one.stop_if_running()
