"""A schema on Citus: all of it lies on one node, and its functions are called there.

Run on the coordinator after the migrations, and safe to run again. A sequence of its own is not
Citus's to distribute, so the log's is made on the node that holds the schema, ahead of every
position that was given out before. docs/scaling.md says how the nodes come about, how a schema is
moved between them, and what of this ran on a real Citus.
"""

from collections.abc import Callable
from typing import Any, Final

import psycopg
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Composed, Identifier, Literal

from credit_es.store.migrations import CONNECT_TIMEOUT_S, MigrationError, refuse_pooler

PREPARE: Final = (
    ("on every node, in postgresql.conf, then restart it", "shared_preload_libraries = 'citus'"),
    ("on every node, in the same database", "CREATE EXTENSION citus;"),
    ("on the coordinator", "SELECT citus_set_coordinator_host('coordinator', 5432);"),
    ("on the coordinator, once for each other node", "SELECT citus_add_node('node-1', 5432);"),
)
OLDEST: Final = 12
INSTALLED: Final = "SELECT extversion FROM pg_extension WHERE extname = 'citus'"
DISTRIBUTED: Final = "SELECT EXISTS (SELECT FROM pg_dist_schema WHERE schemaid = %s::regnamespace)"
FUNCTIONS: Final = (
    "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = %s::regnamespace"
    " AND p.prorettype <> 'trigger'::regtype ORDER BY p.proname"
)
HOLDER: Final = "SELECT nodename, nodeport FROM citus_shards WHERE table_name = %s::regclass"
# What readers may have passed: events, the head that a rebuild reached, numbers rolled back here.
# A statement each, for Citus joins no table with a sequence.
PASSED: Final = (
    SQL("SELECT max(position) FROM {schema}.events"),
    SQL("SELECT max(position) FROM {schema}.read_tables"),
    SQL(
        "SELECT last_value FROM pg_sequences"
        " WHERE schemaname = {name} AND sequencename = 'log_position'"
    ),
)

ALLOW_TRIGGERS: Final = SQL("SET citus.enable_unsafe_triggers = on")
# A move copies the rows by replication: a trigger that fires there, too, would number them anew.
PLAIN_TRIGGERS: Final = SQL(
    "ALTER TABLE {schema}.events ENABLE TRIGGER events_floor, ENABLE TRIGGER events_number"
)
DISTRIBUTE: Final = SQL("SELECT citus_schema_distribute({name})")
DELEGATE: Final = SQL("SELECT create_distributed_function({function}, colocate_with := {events})")
MAKE_SEQUENCE: Final = SQL("CREATE SEQUENCE IF NOT EXISTS {schema}.log_position CACHE 1")
# Forward only: positions that a reader has passed must never be given out again.
ADVANCE: Final = SQL(
    "SELECT setval({sequence}, {given_out}) FROM {schema}.log_position"
    " WHERE last_value < {given_out}"
)

Tell = Callable[[str, str], None]
"""Called with where a statement runs, and its text, before it does."""


def require_citus(conninfo: str) -> None:
    """Raise ``MigrationError`` with the steps to take where the server has no Citus to use."""
    with psycopg.connect(conninfo, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as conn:
        found = conn.execute(INSTALLED).fetchone()
    if found is None:
        steps = "\n".join(f"  {where}:\n    {step}" for where, step in PREPARE)
        raise MigrationError(
            "This database has no Citus, and nothing was changed. The steps to get it:\n"
            f"{steps}\nThen run `credit-es migrate --citus` again, on the coordinator."
        )
    if int(str(found[0]).partition(".")[0]) < OLDEST:
        raise MigrationError(
            f"Citus {found[0]} cannot distribute schemas, and nothing was changed: "
            f"update it to {OLDEST} or newer on every node."
        )


def distribute(conninfo: str, schema: str, tell: Tell) -> None:
    """Make a migrated schema a distributed one; what is done already is not done again.

    Raises ``MigrationError`` where the node that holds it cannot be reached, ``psycopg.Error``
    where Citus refuses.
    """
    with psycopg.connect(conninfo, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as conn:
        refuse_pooler(conn)
        conn.execute("SET search_path = pg_catalog")
        names = {
            "schema": Identifier(schema),
            "name": Literal(schema),
            "events": Literal(f"{schema}.events"),
            "sequence": Literal(f"{schema}.log_position"),
        }

        def do(statement: SQL, **more: Composed | Literal) -> None:
            text = statement.format(**names, **more)
            tell("coordinator", text.as_string(conn))
            conn.execute(text)

        do(ALLOW_TRIGGERS)
        if not _one(conn, DISTRIBUTED, schema):
            do(PLAIN_TRIGGERS)
            do(DISTRIBUTE)
        for (function,) in conn.execute(FUNCTIONS, (schema,)).fetchall():
            do(DELEGATE, function=Literal(function))
        holder = conn.execute(HOLDER, (f"{schema}.events",)).fetchone()
        assert holder is not None
        found = [conn.execute(question.format(**names)).fetchone() for question in PASSED]
        given_out = max((row[0] for row in found if row and row[0]), default=0)
        statements = [
            statement.format(**names, given_out=Literal(given_out)).as_string(conn)
            for statement in (MAKE_SEQUENCE, ADVANCE)
        ]
    _on_node(make_conninfo(conninfo, host=holder[0], port=holder[1]), statements, tell)


def _on_node(conninfo: str, statements: list[str], tell: Tell) -> None:
    try:
        conn = psycopg.connect(conninfo, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
    except psycopg.OperationalError as error:
        raise MigrationError(
            f"The node that holds the schema does not answer ({error}). Run this there, or nothing "
            "can be appended:\n" + "".join(f"    {text};\n" for text in statements)
        ) from error
    with conn:
        for text in statements:
            tell(f"{conn.info.host}:{conn.info.port}", text)
            conn.execute(text.encode())


def _one(conn: Connection[TupleRow], question: str, value: str) -> Any:
    return (conn.execute(question.encode(), (value,)).fetchone() or (None,))[0]
