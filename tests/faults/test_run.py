"""``credit-es run`` as a person has it: a whole service, in a state folder of its own."""

import os
import re
import signal
import socket
import subprocess
import time
from typing import Final

import pytest

from tests.api.client import PERSON, send
from tests.faults.service import RUN, Service
from tests.processes import LISTED, until

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(not LISTED, reason="only Linux lists processes with their environment"),
]

OURS: Final = {"run", "guardian", "api", "projector", "worker"}


def _titles(service: Service) -> set[str]:
    return {p.title.removeprefix("credit-es ") for p in service.processes()}


def test_a_service_runs_stops_and_runs_again_with_its_data(new_service: Service) -> None:
    service = new_service
    service.start()
    until(lambda: _titles(service) >= OURS)  # the API answers before the others are up
    applied = re.findall(r"applied \d+", service.said())
    assert applied
    number = send(service.port, "POST", "/register", PERSON).json["customer_id"]
    since = time.monotonic()
    assert service.signal(signal.SIGINT) == 0
    assert time.monotonic() - since < 10
    assert service.processes() == []
    assert "credit-es has stopped" in service.said()

    service.environ["CREDIT_SAMPLE_DATA"] = "1"  # which are for a first start only
    service.start()
    assert "applied" not in service.said()  # the schema of the first run is still there
    assert send(service.port, "GET", f"/customers/{number}").status == 200
    until(lambda: "worker started" in service.said())
    assert "sample workbooks" not in service.said()
    assert send(service.port, "GET", "/ingestions").json["ingestions"] == []
    assert service.signal(signal.SIGTERM) == 0
    assert service.processes() == []


def test_who_registers_at_once_does_not_keep_the_samples_out(new_service: Service) -> None:
    service = new_service
    service.environ["CREDIT_SAMPLE_DATA"] = "1"
    service.start()
    assert send(service.port, "POST", "/register", PERSON).status == 201
    until(lambda: send(service.port, "GET", "/customers/5000001").status == 200)


def test_ctrl_c_before_there_is_a_database_stops_it_and_the_next_start_makes_one(
    new_service: Service,
) -> None:
    with (new_service.folder / "early").open("w+b") as output:
        early = subprocess.Popen(
            [*RUN, "run"],
            env=new_service.environ,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        until((new_service.folder / "state/postgres.new/global/pg_control").exists)
        os.killpg(early.pid, signal.SIGINT)  # as a terminal does it
        assert early.wait(15) == 0
        output.seek(0)
        assert output.read() == b"credit-es has stopped.\n"
    assert new_service.processes() == []
    new_service.start()


def test_what_is_killed_comes_back_and_nothing_outlives_a_killed_supervisor(
    service: Service,
) -> None:
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
    service.signal(signal.SIGKILL)
    until(lambda: not service.processes(), timeout_s=10)


def test_a_command_finds_the_service_of_its_checkout_and_a_second_run_says_where_it_is(
    service: Service,
) -> None:
    alone = service.command("migrate")
    assert alone.returncode == 1
    assert "no service of this checkout is running" in alone.stderr
    service.start()
    assert service.command("migrate").returncode == 0
    assert service.child is not None
    second = service.command("run")
    assert second.returncode == 1
    assert f"running already: http://127.0.0.1:{service.port}" in second.stderr
    assert f"kill {service.child.pid}" in second.stderr
    assert service.lives()
    service.signal(signal.SIGINT)
    assert service.command("migrate").returncode == 1


def test_a_taken_port_is_told_before_anything_starts(new_service: Service) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", new_service.port))
        other.listen()
        refused = new_service.command("run")
    assert refused.returncode == 1
    assert f"Port {new_service.port} is taken" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (new_service.folder / "state/postgres").exists()


@pytest.mark.parametrize(
    ("command", "url", "told"),
    [
        ("run", "postgresql://someone:secret@127.0.0.1:1/credit", "DATABASE_URL cannot be reached"),
        ("run", "mysql://someone:secret@127.0.0.1/credit", "DATABASE_URL cannot be read"),
        ("api", "mysql://someone:secret@127.0.0.1/credit", "DATABASE_URL cannot be read"),
    ],
)
def test_a_database_that_is_none_is_told_without_its_password(
    new_service: Service, command: str, url: str, told: str
) -> None:
    refused = new_service.command(command, DATABASE_URL=url)
    assert refused.returncode == 1
    assert told in refused.stderr
    assert "secret" not in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("variable", ["DATABASE_DIRECT_URL", "DATABASE_READ_URL"])
def test_another_url_that_cannot_be_read_is_named_before_anything_starts(
    new_service: Service, variable: str
) -> None:
    refused = new_service.command("run", **{variable: "mysql://someone:secret@127.0.0.1/credit"})
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"credit-es: {variable} cannot be read: write postgresql://")
    assert "secret" not in refused.stderr
    assert not (new_service.folder / "state/postgres").exists()


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PORT", "eighty"), ("CREDIT_TIMEZONE", "Mars"), ("CREDIT_SCHEMA", "a-b")],
)
def test_a_bad_setting_is_named(new_service: Service, variable: str, value: str) -> None:
    refused = new_service.command("run", **{variable: value})
    assert refused.returncode == 1
    assert f"{variable} is {value!r}" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_is_told(new_service: Service) -> None:
    disk = new_service.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m,mode=755", "tmpfs", disk], check=True)
    try:
        refused = new_service.command("run", CREDIT_STATE=str(disk / "state"))
    finally:
        subprocess.run(["umount", disk], check=True)
    assert refused.returncode == 1
    assert "The disk is full" in refused.stderr
    assert "CREDIT_STATE" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="as another user the account is one's own")
def test_a_folder_closed_to_the_servers_account_is_told(new_service: Service) -> None:
    closed = new_service.folder / "closed"
    closed.mkdir(mode=0o700)
    refused = new_service.command("run", CREDIT_STATE=str(closed / "state"))
    assert refused.returncode == 1
    assert f"{closed} is closed to the account" in refused.stderr
    assert closed.stat().st_mode & 0o777 == 0o700  # not ours to open
