"""Our service and its peer, each with all its processes as in production, and wrk to ask them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Final

import msgspec
import psycopg
from msgspec import Struct
from psycopg.conninfo import make_conninfo

from credit_es.cli.supervisor import launch
from credit_es.settings import read_settings
from tests.api.client import ROOT, Server, environment_of, form, prepare, serving
from tests.servers import RunningServer, running_redis

THREADS: Final = read_settings({"DATABASE_URL": "-"}).api_threads
WORKERS: Final = 2
CONNECTIONS: Final = 16
SCHEMA: Final = "credit"
PEER: Final = "peer"
PATIENCE_S: Final = 600
POLL_S: Final = 0.05
CAUGHT_UP: Final = (
    f"SELECT (SELECT coalesce(max(position), 0) FROM {SCHEMA}.events)"  # noqa: S608
    f" <= (SELECT min(position) FROM {SCHEMA}.read_tables WHERE live)"
)


class Service(Struct, frozen=True, kw_only=True):
    """A running service: where it answers, and the processes it consists of, servers included."""

    api: Server
    pids: Mapping[str, int]


@contextmanager
def ours(postgres: RunningServer) -> Iterator[Service]:
    """Our API of two workers, a projector, a worker and a Redis."""
    with running_redis() as redis:
        environment = environment_of(
            postgres.url,
            SCHEMA,
            redis.url,
            CREDIT_UPLOAD_LIMIT_MIB="32",
            CREDIT_API_WORKERS=str(WORKERS),
        )
        prepare(postgres.url, SCHEMA)
        command = [sys.executable, "-P", "-m", "credit_es.cli.main"]
        with (
            _running([*command, "projector"], environment) as projector,
            _running([*command, "worker"], environment) as worker,
            serving(environment) as api,
        ):
            pids = {
                "postgres": postgres.pid,
                "redis": redis.pid,
                "api": api.process.pid,
                "projector": projector.pid,
                "worker": worker.pid,
            }
            yield Service(api=api, pids=pids)


def ingest(service: Service, customers: bytes, loans: bytes) -> str:
    """Hand two workbooks in; returns where the ingestion can be followed."""
    upload = form(customers=customers, loans=loans)
    accepted = service.api.send("POST", "/ingestions", upload.raw, **upload.headers)
    assert accepted.status == HTTPStatus.ACCEPTED, accepted.content
    return accepted.headers["location"]


def await_ingestion(service: Service, location: str) -> None:
    """Wait until it is finished."""
    give_up = time.monotonic() + PATIENCE_S
    while (found := service.api.send("GET", location).json)["finished_at"] is None:
        assert time.monotonic() < give_up, "the ingestion does not end"
        time.sleep(POLL_S)
    assert found["status"] == "succeeded", found


def await_projector(postgres: RunningServer) -> None:
    """Wait until the read tables hold the whole log."""
    give_up = time.monotonic() + PATIENCE_S
    with psycopg.connect(postgres.url, autocommit=True) as conn:
        while (conn.execute(CAUGHT_UP).fetchone() or (False,))[0] is not True:
            assert time.monotonic() < give_up, "the projector does not catch up"
            time.sleep(POLL_S)


class Loaded(Struct, frozen=True, kw_only=True):
    """What the peer's import of two workbooks took."""

    seconds: float
    peak_mib: float


def load_peer(postgres: RunningServer, books: Sequence[Path], *options: str) -> Loaded:
    """Make the peer's database anew and load it; ``benchmarks.peers.load`` has the options."""
    with psycopg.connect(postgres.url, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {PEER}")
        conn.execute(f"CREATE DATABASE {PEER}")
    command = [sys.executable, "-m", "benchmarks.peers.load", *map(str, books), *options]
    done = subprocess.run(  # noqa: S603 - our own module
        command,
        env=_peer_environment(postgres),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=Loaded)


@contextmanager
def peer(postgres: RunningServer) -> Iterator[Server]:
    """The Django REST framework service, its database loaded before."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {"workers": WORKERS, "threads": THREADS, "worker-class": "gthread", "keep-alive": 15}
    command = [sys.executable, "-m", "gunicorn", "benchmarks.peers.wsgi", "--no-control-socket"]
    command += [f"--{name}={value}" for name, value in options.items()]
    command += [f"--bind=127.0.0.1:{port}", "--log-level=warning"]
    with tempfile.TemporaryFile() as log, _running(command, _peer_environment(postgres)) as process:
        server = Server(process, port, log)
        give_up = time.monotonic() + 30
        while not _answers(server):
            assert process.poll() is None, "the peer did not start"
            assert time.monotonic() < give_up, "the peer does not answer"
            time.sleep(POLL_S)
        yield server


def peer_url(postgres: RunningServer) -> str:
    """The peer's database, in the same server."""
    return make_conninfo(postgres.url, dbname=PEER)


class Asked(Struct, frozen=True, kw_only=True):
    """One run of wrk: requests a second, and how long an answer took."""

    rate: float
    p50_ms: float
    p99_ms: float


class _Summary(Struct, frozen=True, kw_only=True):
    requests: int
    us: int
    refused: int
    broken: int
    p50_us: int
    p99_us: int


def wrk(server: Server, requests: Sequence[str], seconds: float) -> Asked:
    """Ask at 16 connections, as fast as answers come; every answer must be a good one."""
    program = wrk_program()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(requests) + "\n")
        file.flush()
        url, script = f"http://127.0.0.1:{server.port}", str(Path(__file__).with_name("wrk.lua"))
        how = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "--timeout=10s", "-s", script]
        done = subprocess.run(  # noqa: S603 - our own arguments
            [program, *how, url, "--", file.name], stdout=subprocess.PIPE, check=True
        )
    summary = msgspec.json.decode(done.stdout.splitlines()[-1], type=_Summary)
    assert summary.refused == 0, f"{summary.refused} of {summary.requests} requests were refused"
    assert summary.broken == 0, f"{summary.broken} connections broke"
    return Asked(
        rate=summary.requests / summary.us * 1e6,
        p50_ms=summary.p50_us / 1000,
        p99_ms=summary.p99_us / 1000,
    )


def wrk_program() -> str:
    """Where wrk is; ends the bench where it is not installed."""
    return shutil.which("wrk") or sys.exit("wrk is missing: on Debian, apt-get install wrk")


def _answers(server: Server) -> bool:
    try:
        return server.send("GET", "/view-loan/0").status == HTTPStatus.NOT_FOUND
    except OSError:
        return False


def _peer_environment(postgres: RunningServer) -> dict[str, str]:
    return {
        **os.environ,
        "PEER_DATABASE_URL": peer_url(postgres),
        "DJANGO_SETTINGS_MODULE": "benchmarks.peers.settings",
    }


@contextmanager
def _running(
    argv: Sequence[str], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone afterwards, even if this one is killed."""
    with tempfile.TemporaryFile() as output:
        process = launch(
            argv,
            env={**os.environ, **environment},
            cwd=ROOT,
            account=None,
            stop=signal.SIGTERM,
            output=output,
        )
        try:
            yield process
            assert process.poll() is None, f"{argv} ended with {process.returncode}"
        finally:
            process.terminate()
            process.wait(30)
