"""Real Postgres and Redis servers for the tests, each on a socket in a folder of its own."""

import atexit
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from credit_es import embedded
from credit_es.cli.supervisor import launch
from credit_es.home import Home, home_of, own_folder

PGBOUNCER: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
POOLED: Final = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = 3
{more}
"""


class RunningServer:
    """One server that a test may stop, kill and start again; its data stay."""

    def __init__(self, server: embedded.Server) -> None:
        self.url = server.url
        self.home = server.log.parent
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
                stop=self._server.stop,
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

    @property
    def folder(self) -> Path:
        """Where it runs; of Redis where its data are."""
        return self._server.cwd

    def sql(self, *statements: str) -> None:
        """Have a Postgres do something, each statement in autocommit."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            for statement in statements:
                conn.execute(statement.encode())

    def back_up(self, data: Path) -> None:
        """Make ``data`` the folder of a standby of this Postgres."""
        server = self._server
        own_folder(data, owner=server.account)
        subprocess.run(
            [
                str(Path(server.argv[0]).with_name("pg_basebackup")),
                f"--dbname={server.url}&application_name=standby",
                f"--pgdata={data}",
                "--checkpoint=fast",
                "--no-sync",
                "--write-recovery-conf",
            ],
            cwd=server.cwd,
            env=server.env,
            user=server.account.pw_uid if server.account else None,
            group=server.account.pw_gid if server.account else None,
            extra_groups=[] if server.account else None,
            check=True,
        )

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


@cache
def _started_once() -> Path:
    """A state folder in which everything was made once in this process, for others to copy."""
    folder = temporary_home()
    home = folder.__enter__()
    atexit.register(folder.__exit__, None, None, None)
    embedded.postgres(home)
    embedded.valkey(home)
    return home.path


def furnish(home: Home, *, data: bool = True) -> None:
    """Spare a first start its initdb and, for root, its copies of the binaries."""
    made = _started_once()
    if (made / "software").exists():
        (home.path / "software").symlink_to(made / "software")
    if data:
        subprocess.run(["cp", "-a", made / "postgres", home.path], check=True)


@contextmanager
def running_postgres(*, durable: bool) -> Iterator[RunningServer]:
    """A Postgres that is gone afterwards."""
    with temporary_home() as home:
        furnish(home)
        yield from _running(embedded.postgres(home, durable=durable))


@contextmanager
def running_standby(primary: RunningServer, *, durable: bool) -> Iterator[RunningServer]:
    """A standby named ``standby`` that follows ``primary``, gone afterwards."""
    with temporary_home() as home:
        furnish(home, data=False)
        primary.back_up(home.path / "postgres")
        yield from _running(embedded.postgres(home, durable=durable))


def either(first: RunningServer, second: RunningServer) -> str:
    """A URL that names both Postgres servers, in this order."""
    hosts = (conninfo_to_dict(one.url)["host"] for one in (first, second))
    return f"postgresql://credit@/postgres?host={quote(','.join(map(str, hosts)), safe='')}"


@contextmanager
def running_redis() -> Iterator[RunningServer]:
    """A Redis that is gone afterwards."""
    with temporary_home() as home:
        furnish(home, data=False)
        yield from _running(embedded.valkey(home))


@contextmanager
def running_pgbouncer(postgres_url: str) -> Iterator[RunningServer]:
    """A PgBouncer in transaction mode: three connections for all clients, nothing prepared."""
    assert PGBOUNCER
    told = subprocess.run([PGBOUNCER, "--version"], check=True, capture_output=True, text=True)
    version = re.search(r"PgBouncer (\d+)[.](\d+)", told.stdout)
    assert version
    prepares = tuple(map(int, version.groups())) >= (1, 21)
    to = {"port": 5432, **conninfo_to_dict(postgres_url)}
    with temporary_home() as home:
        folder = own_folder(home.path, owner=home.account)
        settings = folder / "pgbouncer.ini"
        more = "max_prepared_statements = 0" if prepares else ""
        settings.write_text(POOLED.format(**to, folder=folder, more=more))
        url = f"postgresql://credit@/postgres?host={quote(str(folder), safe='')}&port=6432"
        server = embedded.Server(
            name="pgbouncer",
            argv=[PGBOUNCER, str(settings)],
            url=url,
            stop=signal.SIGQUIT,  # at once, in every release
            log=folder / "pgbouncer.log",
            account=home.account,
            cwd=folder,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            answers=lambda: embedded.postgres_problem(url) is None,
        )
        yield from _running(server)


def _running(server: embedded.Server) -> Iterator[RunningServer]:
    one = RunningServer(server)
    try:
        one.start()
        yield one
    finally:
        one.stop_if_running()
