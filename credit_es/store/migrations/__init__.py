"""Plain numbered SQL, applied once each, under a lock, in a transaction of its own."""

import hashlib
from pathlib import Path
from typing import Final

import psycopg
from psycopg.sql import SQL, Identifier

from credit_es.store.damage import damage
from credit_es.store.database import PATIENT, connection_info, in_schema, is_pooled

FOLDER: Final = Path(__file__).parent
LOCK: Final = "SELECT pg_advisory_lock(hashtextextended('credit-es/migrate/' || %s, 0))"
TABLE: Final = SQL(
    "CREATE TABLE IF NOT EXISTS {schema}.migrations"
    " (name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL)"
)
APPLIED: Final = SQL("SELECT name, sha256 FROM {schema}.migrations")
UNUSED: Final = SQL(
    "SELECT NOT EXISTS (SELECT FROM {schema}.events)"
    " AND NOT EXISTS (SELECT FROM {schema}.ingestions)"
)
APPLY: Final = SQL("INSERT INTO {schema}.migrations VALUES (%s, %s, now())")
CONNECT_TIMEOUT_S: Final = 5


class MigrationError(Exception):
    """The schema cannot be brought up to date; the message says what to do."""


def refuse_pooler(conn: psycopg.Connection) -> None:
    """Raise ``MigrationError`` behind PgBouncer, where a session lock does not hold."""
    if is_pooled(conn):
        raise MigrationError(
            "This connection goes through a pooler, where session locks do not hold: "
            "set DATABASE_DIRECT_URL to the server itself."
        )


def _refuse_encoding(conn: psycopg.Connection) -> None:
    encoding = conn.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise MigrationError(
            f"The database is encoded in {encoding}, which cannot hold every name: "
            "create one with ENCODING 'UTF8' TEMPLATE template0."
        )


def lacking(conn: psycopg.Connection, schema: str) -> list[str]:
    """The migrations that ``schema`` still lacks, in order, asked on a connection in autocommit."""
    names = SQL("{schema}.migrations").format(schema=Identifier(schema)).as_string(conn)
    (exists,) = conn.execute("SELECT to_regclass(%s) IS NOT NULL", (names,)).fetchone() or (0,)
    applied = _applied(conn, schema) if exists else {}
    return [path.name for path in sorted(FOLDER.glob("*.sql")) if path.name not in applied]


def migrate(conninfo: str, schema: str) -> list[str]:
    """Create ``schema`` and bring it up to date; returns the names of what was applied.

    Safe to run at once from many places, and again. Raises ``MigrationError`` where a migration was
    edited after it had been applied or the log is damaged, ``psycopg.Error`` where the server
    refuses.
    """
    done: list[str] = []
    info = connection_info(conninfo)
    with psycopg.connect(info, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as conn:
        refuse_pooler(conn)
        _refuse_encoding(conn)
        conn.execute(PATIENT)
        conn.execute(LOCK, (schema,))
        conn.execute("SET client_min_messages = warning")
        # In a schema that Citus has distributed already; any other server takes it for a name.
        conn.execute("SET citus.enable_unsafe_triggers = on")
        conn.execute(in_schema(SQL("CREATE SCHEMA IF NOT EXISTS {schema}"), schema))
        conn.execute(in_schema(TABLE, schema))
        applied = _applied(conn, schema)
        for path in sorted(FOLDER.glob("*.sql")):
            text = path.read_text("utf-8")
            digest = hashlib.sha256(text.encode()).hexdigest()
            if applied.get(path.name, digest) != digest:
                raise MigrationError(
                    f"{path.name} was applied to the schema {schema} with another content: "
                    "write a new migration instead of editing one."
                )
            if path.name not in applied:
                with conn.transaction():
                    conn.execute(text.replace("__S__", schema).encode())
                    conn.execute(in_schema(APPLY, schema), (path.name, digest))
                done.append(path.name)
        _refuse_damage(conn, schema)
    return done


def is_unused(conninfo: str, schema: str) -> bool:
    """Whether nothing was ever recorded or handed in: asked of a schema that is up to date."""
    with psycopg.connect(connection_info(conninfo), connect_timeout=CONNECT_TIMEOUT_S) as conn:
        (unused,) = conn.execute(in_schema(UNUSED, schema)).fetchone() or (False,)
    return bool(unused)


def _refuse_damage(conn: psycopg.Connection, schema: str) -> None:
    if faults := damage(conn, schema):
        raise MigrationError(
            f"The log in the schema {schema} is damaged: {'; '.join(faults)}. Stop whatever "
            "appends, mend it as 0001_events.sql has it, and run `credit-es projections verify`."
        )


def _applied(conn: psycopg.Connection, schema: str) -> dict[str, str]:
    return {name: digest for name, digest in conn.execute(in_schema(APPLIED, schema)).fetchall()}
