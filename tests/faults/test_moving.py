"""The documents' commands, as written: a tenant moves to another server, a backup is restored."""

import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from credit_es.application import Lending
from credit_es.store.database import StoreUnavailableError
from projections.reading import ReadModel
from projections.status import status
from tests.api.client import prepare
from tests.projections.conftest import House
from tests.projections.history import happen
from tests.servers import RunningServer, running_postgres
from tests.store.given import BY, asks, person, settings

pytestmark = [pytest.mark.fault, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scaling.md").read_text("utf-8")
BACKUPS = (ROOT / "docs" / "operating.md").read_text("utf-8")
LOG = "SELECT position, stream_id, version, topic, state FROM credit.events ORDER BY position"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """Where the tenants come from; where they go is the server of all tests."""
    with running_postgres(durable=False) as one:
        with psycopg.connect(one.url, autocommit=True) as conn:
            conn.execute("ALTER SYSTEM SET wal_level = logical")
        one.stop()
        one.start()
        yield one


@pytest.fixture
def old(server: RunningServer) -> Iterator[str]:
    yield from database(server.url)


@pytest.fixture
def new(postgres_url: str) -> Iterator[str]:
    yield from database(postgres_url)


def database(url: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
        yield url.replace("/postgres?", f"/{name}?")
        conn.execute(f"DROP DATABASE {name} (FORCE)".encode())


def run(step: str, old: str, new: str, *, without: str = "") -> str:
    """Do what the page says at its mark, after the line that finds the tools."""
    tools = re.search(r"```sh\n(tools=.*\n)```", PAGE)
    assert tools
    given = conninfo_to_dict(old)
    return bash(
        tools[1] + block(PAGE, step).replace(without, ""),
        ROOT,
        OLD=old,
        NEW=new,
        OLD_FROM_NEW=f"host={given['host']} user={given['user']} dbname={given['dbname']}",
    )


def block(page: str, step: str) -> str:
    """The commands at a mark of a page."""
    found = re.search(rf"<!-- run: {step} -->\n```sh\n(.*?)```", page, re.DOTALL)
    assert found
    return found[1]


def bash(script: str, folder: Path, **environ: str) -> str:
    """What it printed; nothing of it may fail."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CREDIT_")}
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=plain | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def live(url: str, times: int = 2) -> int:
    """A day of the tenant: with a hole in the positions, and some of it projected."""
    with (
        closing(Lending(settings(url, "credit"), pool_size=2)) as lending,
        psycopg.connect(url, autocommit=True) as conn,
    ):
        numbers = happen(lending, times)
        with conn.transaction(force_rollback=True):
            conn.execute("INSERT INTO credit.events VALUES (NULL, gen_random_uuid(), 1, 't', '')")
        lending.apply_for_loan(asks(numbers[0]), BY)
        House(url, "credit", conn).project()
        lending.apply_for_loan(asks(numbers[0]), BY)
        return numbers[0]


def log_of(url: str) -> list[TupleRow]:
    with psycopg.connect(url) as conn:
        return conn.execute(LOG).fetchall()


def assert_goes_on(url: str, before: list[TupleRow], customer: int) -> None:
    """Everything is there, and what is recorded now comes after it."""
    assert log_of(url) == before
    with closing(Lending(settings(url, "credit"), pool_size=2)) as lending:
        assert len(ReadModel(lending.database).customer(customer)[1]) > 0
        registered = lending.register(person(), BY).customer_number
        assert registered > customer
        lending.apply_for_loan(asks(registered), BY)
    after = log_of(url)
    assert after[: len(before)] == before
    assert len(after) > len(before)
    with psycopg.connect(url, autocommit=True) as conn:
        house = House(url, "credit", conn)
        house.project()
        assert {one.lag.events for one in status(conn, "credit")} == {0}
        assert house.differences() == []
        house.lending.close()


def test_with_a_stop_of_minutes(old: str, new: str) -> None:
    prepare(old, "credit")
    customer = live(old)
    before = log_of(old)
    assert before[-1][0] > len(before)  # so that events numbered anew would show
    assert "The read tables are what the log says." in run("dump", old, new)
    assert_goes_on(new, before, customer)
    with (
        closing(Lending(settings(old, "credit"), pool_size=1)) as straggler,
        pytest.raises(StoreUnavailableError, match="is not migrated"),
    ):
        straggler.register(person(), BY)


def test_with_a_stop_of_seconds(old: str, new: str) -> None:
    prepare(old, "credit")
    customer = live(old)
    run("replicate", old, new)
    live(old)  # goes on meanwhile
    before = log_of(old)
    assert before[-1][0] > len(before)
    assert "The read tables are what the log says." in run("switch", old, new)
    assert_goes_on(new, before, customer)
    with psycopg.connect(new) as conn:
        fires = conn.execute(
            "SELECT tgenabled FROM pg_trigger"
            " WHERE tgrelid = 'credit.events'::regclass AND NOT tgisinternal"
        ).fetchall()
    assert fires == [("A",), ("A",)]


def test_replication_past_triggers_that_always_fire_numbers_anew(old: str, new: str) -> None:
    """The control: why the page turns them back before it subscribes."""
    prepare(old, "credit")
    live(old)
    line = re.search(r"\$tools/psql .* ENABLE TRIGGER events_floor.*\n", PAGE)
    assert line
    run("replicate", old, new, without=line[0])
    assert len(log_of(new)) == len(log_of(old))
    assert log_of(new) != log_of(old)
    with psycopg.connect(new, autocommit=True) as conn:
        conn.execute("DROP SUBSCRIPTION credit_move")


def test_a_backup_is_restored_in_the_place_of_a_new_schema(
    old: str, new: str, tmp_path: Path
) -> None:
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    for url in (old, new):
        prepare(url, "credit")
    customer = live(old)
    before = log_of(old)
    bash(block(BACKUPS, "back up"), tmp_path, DATABASE_URL=old)
    told = bash(block(BACKUPS, "restore"), tmp_path, DATABASE_URL=new)
    assert "The read tables are what the log says." in told
    assert_goes_on(new, before, customer)
