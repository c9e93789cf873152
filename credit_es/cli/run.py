"""``credit-es run``: everything on one machine, in the foreground, with nothing installed."""

import errno
import http.client
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from credit_es.cli.context import CHECKOUT, CommandError, check_urls, entitle, log_as
from credit_es.cli.processes import apply_migrations
from credit_es.home import (
    EmbeddedError,
    Home,
    Running,
    check_space,
    forget_record,
    hold,
    home_of,
    running,
    write_record,
)
from credit_es.settings import Settings, read_settings

if TYPE_CHECKING:
    from credit_es.cli.supervisor import Process, Supervisor
    from credit_es.embedded import Server

# Longer than the guardian takes to end what a killed supervisor left.
LOCK_PATIENCE_S: Final = 12.0
# Stages of a stop: what serves others ends last.
SERVERS: Final = 1
SERVICES: Final = 2
SERVER_PATIENCE_S: Final = 20.0
LATER: Final = "postgresql://"
"""In the place of the URL that an embedded Postgres will have."""
WELCOME: Final = """
credit-es is running.
  API    {url}
  Docs   {url}/docs
  Try    curl -s {url}/register -H 'Content-Type: application/json' \\
           -d '{{"first_name": "Asha", "last_name": "Rao", "age": 34, "monthly_income": 50000, \
"phone_number": 9876543210}}'
  State  {state} (data, and the logs of Postgres and Redis)
  Stop   Ctrl-C, or kill {pid}
"""


def run() -> None:
    """Start all of it here: servers, migrations, API, projector and worker; Ctrl-C stops it."""
    entitle("run")
    log_as("run")
    told = read_settings({**os.environ, "DATABASE_URL": os.environ.get("DATABASE_URL") or LATER})
    check_urls(told)
    home = home_of(CHECKOUT, os.environ)
    if hold(home, patience_s=LOCK_PATIENCE_S) is None:
        raise CommandError(_already_running())
    _refuse_taken_port(told.host, told.port)
    _refuse_silent_database(os.environ)
    _supervise(home, told)


def _supervise(home: Home, told: Settings) -> None:
    from credit_es.cli.supervisor import Supervisor, SupervisorError  # noqa: PLC0415

    def full_disk() -> str | None:
        try:
            check_space(home)
        except EmbeddedError as error:
            return str(error)
        return None

    supervisor = Supervisor(diagnose=full_disk)
    try:
        _start(supervisor, home, told)
        supervisor.watch()
    except SupervisorError as error:
        raise CommandError(str(error)) from error
    finally:
        supervisor.stop()
        forget_record(home)
    typer.echo("credit-es has stopped.")


def _start(supervisor: "Supervisor", home: Home, told: Settings) -> None:
    """Start everything in the order in which one needs the other."""
    from credit_es.store.migrations import is_unused  # noqa: PLC0415 - not for `--help`

    environ = dict(os.environ)
    for variable, server in _embedded_servers(home, environ).items():
        supervisor.start(_server_process(server))
        environ[variable] = server.url
    url = f"http://{_reachable(told.host)}:{told.port}"
    record = Running(
        pid=os.getpid(),
        api_url=url,
        database_url=environ["DATABASE_URL"],
        redis_url=environ["REDIS_URL"],
    )
    write_record(home, record)
    # Asked before anybody can record: who registers at once does not keep the samples out.
    wants_samples = False
    if not supervisor.asked_to_stop():
        migrated = read_settings(environ)
        apply_migrations(migrated)
        wants_samples = told.sample_data and is_unused(
            migrated.database_direct_url, migrated.schema
        )
    # Nothing that is read waits for the other two, so the API need not, either.
    supervisor.start(_own_process("api", environ, port=told.port, host=told.host))
    supervisor.start(_own_process("projector", environ))
    supervisor.start(_own_process("worker", environ))
    if supervisor.asked_to_stop():
        return
    typer.echo(WELCOME.format(url=url, state=home.path, pid=os.getpid()))
    if wants_samples:
        _ingest_sample(supervisor, environ)


def _ingest_sample(supervisor: "Supervisor", environ: Mapping[str, str]) -> None:
    """The sample is a courtesy: the service runs on without it."""
    from credit_es.cli.supervisor import SupervisorError  # noqa: PLC0415

    try:
        supervisor.once(_own_process("ingest-sample", environ))
    except SupervisorError as error:
        typer.echo(f"The sample workbooks are not ingested: {error}", err=True)


def _embedded_servers(home: Home, environ: Mapping[str, str]) -> "dict[str, Server]":
    """The servers to start here, by the variable whose absence asks for them."""
    from credit_es import embedded  # noqa: PLC0415

    makers = {"DATABASE_URL": embedded.postgres, "REDIS_URL": embedded.valkey}
    return {name: make(home) for name, make in makers.items() if not environ.get(name)}


def _server_process(server: "Server") -> "Process":
    from credit_es.cli.supervisor import Process  # noqa: PLC0415

    return Process(
        name=server.name,
        argv=server.argv,
        env=server.env,
        cwd=server.cwd,
        account=server.account,
        stage=SERVERS,
        stop=server.stop,
        patience_s=SERVER_PATIENCE_S,
        log=server.log,
        ready=server.answers,
    )


def _own_process(
    command: str, environ: Mapping[str, str], *, host: str = "", port: int = 0
) -> "Process":
    """One of our own commands; it is ready when it serves ``port``, if it is to serve one."""
    from credit_es.cli.supervisor import Process  # noqa: PLC0415

    return Process(
        name=command,
        # -P: nothing in the current folder may pass for one of our modules.
        argv=[sys.executable, "-P", "-m", "credit_es.cli.main", command],
        env=environ,
        cwd=Path.cwd(),
        stage=SERVICES,
        ready=lambda: not port or _lives(host, port),
    )


def _already_running() -> str:
    service = running(CHECKOUT)
    if service is None:
        return "Another `credit-es run` of this checkout is just starting or stopping."
    return (
        f"credit-es of this checkout is running already: {service.api_url} (process "
        f"{service.pid}). Stop it with Ctrl-C in its terminal or `kill {service.pid}`; to run a "
        "second one, set CREDIT_STATE to another folder and PORT to another port."
    )


def _refuse_taken_port(host: str, port: int) -> None:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            advice = (
                f"Port {port} is taken by another program: stop that one, or choose another port, "
                f"as in `PORT={port % 65535 + 1} make run`."
            )
        elif error.errno in {errno.EACCES, errno.EPERM}:
            advice = f"This account may not open port {port}: set PORT to one above 1023."
        else:
            advice = (
                f"HOST is {host!r}, which is no address of this machine ({error.strerror}): "
                "use 127.0.0.1, or 0.0.0.0 for all of them."
            )
        raise CommandError(advice) from error


def _refuse_silent_database(environ: Mapping[str, str]) -> None:
    from credit_es.embedded import postgres_problem, redis_problem  # noqa: PLC0415

    url, redis_url = environ.get("DATABASE_URL"), environ.get("REDIS_URL")
    if url and (problem := postgres_problem(url)):
        raise CommandError(
            f"DATABASE_URL cannot be reached ({problem}): start that server or correct the URL; "
            "without DATABASE_URL an embedded Postgres is started."
        )
    if redis_url and (problem := redis_problem(redis_url)):
        typer.echo(
            f"REDIS_URL cannot be reached ({problem}): workbooks wait until it can.", err=True
        )


def _lives(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(_reachable(host).strip("[]"), port, timeout=2)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _reachable(host: str) -> str:
    """An address that a client on this machine can use, as it stands in a URL."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- not bound to
    return f"[{host}]" if ":" in host else host
