"""Migrations: applied once each, whoever runs them and how often; never edited."""

import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from credit_es.store import migrations
from credit_es.store.migrations import MigrationError, lacking, migrate

ALL = [path.name for path in sorted(migrations.FOLDER.glob("*.sql"))]


def pending(database_url: str, schema: str) -> list[str]:
    with psycopg.connect(database_url, autocommit=True) as conn:
        return lacking(conn, schema)


@pytest.fixture
def unmigrated(database_url: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    yield name
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the migrations that a test may edit."""
    copy = tmp_path / "migrations"
    shutil.copytree(migrations.FOLDER, copy)
    monkeypatch.setattr(migrations, "FOLDER", copy)
    return copy


def test_every_migration_is_applied_once_in_order(database_url: str, unmigrated: str) -> None:
    assert pending(database_url, unmigrated) == ALL
    assert migrate(database_url, unmigrated) == ALL
    assert pending(database_url, unmigrated) == []
    assert migrate(database_url, unmigrated) == []


def test_many_may_migrate_at_once_and_each_migration_is_applied_by_one(
    database_url: str, unmigrated: str, folder: Path
) -> None:
    """They wait for the first one for longer than a request of their role may wait for a lock."""
    impatient = f"{database_url}&options=-clock_timeout%3D100ms"
    (folder / "9999_slow.sql").write_text("SELECT pg_sleep(0.5)")
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(migrate, impatient, unmigrated) for _ in range(4)]
        applied = [run.result() for run in runs]
    assert sorted(applied, key=len) == [[], [], [], [*ALL, "9999_slow.sql"]]


def test_an_edited_migration_is_refused(database_url: str, unmigrated: str, folder: Path) -> None:
    migrate(database_url, unmigrated)
    edited = folder / ALL[1]
    edited.write_text(edited.read_text() + "-- a word more\n")
    with pytest.raises(MigrationError, match=f"{ALL[1]} was applied .* write a new migration"):
        migrate(database_url, unmigrated)


def test_a_new_migration_is_applied_to_a_schema_in_use(
    database_url: str, schema: str, folder: Path
) -> None:
    (folder / "9999_more.sql").write_text("CREATE TABLE __S__.more (one int);")
    assert pending(database_url, schema) == ["9999_more.sql"]
    assert migrate(database_url, schema) == ["9999_more.sql"]


def test_a_migration_that_fails_leaves_nothing_of_itself(
    database_url: str, schema: str, folder: Path
) -> None:
    broken = folder / "9999_broken.sql"
    broken.write_text("CREATE TABLE __S__.half (one int); SELECT 1 / 0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(database_url, schema)
    assert pending(database_url, schema) == ["9999_broken.sql"]
    broken.write_text("CREATE TABLE __S__.half (one int);")
    assert migrate(database_url, schema) == ["9999_broken.sql"]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("ALTER TABLE {s}.events DISABLE TRIGGER ALL", "the trigger events_floor is gone or"),
        ("ALTER TABLE {s}.events ENABLE REPLICA TRIGGER events_number", "events_number is gone or"),
        ("DROP TRIGGER events_floor ON {s}.events", "the trigger events_floor is gone or"),
        ("ALTER TABLE {s}.events ALTER position SET DEFAULT 0", "position has a default"),
        ("ALTER TABLE {s}.events ALTER position ADD GENERATED ALWAYS AS IDENTITY", "a default; "),
        ("DROP INDEX {s}.events_position", "the unique key events_position is gone"),
        ("ALTER TABLE {s}.events DROP CONSTRAINT events_pkey", "the unique key events_pkey is"),
        ("CREATE SEQUENCE {s}.another", "a second sequence, another"),
        ("ALTER SEQUENCE {s}.log_position RESTART", "log_position is behind the log"),
    ],
)
def test_a_damaged_log_is_refused(database_url: str, schema: str, damage: str, told: str) -> None:
    append = "INSERT INTO {s}.events VALUES (NULL, gen_random_uuid(), 1, 't', '')"
    with psycopg.connect(database_url, autocommit=True) as conn:
        for _ in range(2):
            conn.execute(append.format(s=schema).encode())
        assert migrate(database_url, schema) == []
        conn.execute(damage.format(s=schema).encode())
    with pytest.raises(MigrationError, match=f"schema {schema} is damaged: .*{told}"):
        migrate(database_url, schema)


@pytest.mark.slow
def test_a_database_that_cannot_hold_every_name_is_refused(
    database_url: str, unmigrated: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            sql.SQL(
                "CREATE DATABASE {} TEMPLATE template0 ENCODING 'SQL_ASCII'"
                " LOCALE_PROVIDER libc LOCALE 'C'"
            ).format(sql.Identifier(unmigrated))
        )
        try:
            with pytest.raises(MigrationError, match=r"SQL_ASCII.*ENCODING 'UTF8'"):
                migrate(database_url.replace("/postgres?", f"/{unmigrated}?"), unmigrated)
        finally:
            conn.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(unmigrated)))
