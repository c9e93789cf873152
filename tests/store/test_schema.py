"""The installed schema keeps the rules of DESIGN section 4; a broken one is seen to be broken."""

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier

from credit_es.store.database import Database
from credit_es.store.migrations import migrate
from tests.store.rules import EVENTS_SQL, broken_rules, broken_source_rules, our_sources


@pytest.fixture(scope="module")
def installed(postgres_url: str) -> Iterator[str]:
    """One schema for all damages: each of them is undone."""
    name = f"test_{secrets.token_hex(6)}"
    migrate(postgres_url, name)
    yield name
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute(f"DROP SCHEMA {name} CASCADE".encode())


@pytest.fixture
def undone(postgres_url: str) -> Iterator[Connection[TupleRow]]:
    """A connection whose transaction comes to nothing."""
    with psycopg.connect(postgres_url) as conn:
        yield conn
        conn.rollback()


def test_the_installed_schema_keeps_every_rule(
    undone: Connection[TupleRow], installed: str
) -> None:
    assert broken_rules(undone, installed) == set()


ONE_TABLE = "events is one plain table"
NO_DEFAULT = "no column of events has a default"
ONE_SEQUENCE = "one sequence, of bigint, by one, that caches nothing"
NOT_USED = "nothing is made of the sequence"
NO_JOIN = "no table is joined with the sequence"
FLOORS = "only the floor trigger floors"
TRIGGERS = "both triggers fire, and always"
PLPGSQL = "every function is plpgsql"
NUMBERS = "only the numbering trigger takes a position"
QUIETLY = "no append notifies, or commits would queue"
LOOP = "append loops over INSERT ... VALUES"
SAFE = "safe_position is volatile and takes the position after which"
UNIQUE = "streams and positions are unique"
FLOOR = "a transaction that inserts has one floor: the sequence and where it stood"
WAIT = "an append waits 5 s for another's lock"
LAZY = "nobody is made to commit lazily or to forget a floor"
FUNCTION = "CREATE OR REPLACE FUNCTION {s}.%s LANGUAGE plpgsql AS $$ BEGIN %s END $$"
APPEND = "append(ids uuid[], versions int8[], topics text[], states bytea[]) RETURNS bigint[]"
IN_ONE = (
    "RETURN (WITH one AS (INSERT INTO {s}.events (stream_id, version, topic, state)"
    " SELECT * FROM unnest(ids, versions, topics, states) RETURNING position)"
    " SELECT array_agg(position) FROM one);"
)
FLOOR_TRIGGER = "events_floor() RETURNS trigger"
KEY = "pg_advisory_xact_lock_shared({key}) FROM {{s}}.log_position q; RETURN NULL;"


def floor(key: str) -> str:
    """The floor trigger with another key, or every time anew."""
    return FUNCTION % (FLOOR_TRIGGER, "PERFORM " + KEY.format(key=key))


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        ("ALTER TABLE {s}.events SET UNLOGGED", ONE_TABLE),
        ("CREATE RULE aside AS ON INSERT TO {s}.events DO INSTEAD NOTHING", ONE_TABLE),
        ("CREATE TABLE {s}.part () INHERITS ({s}.events)", ONE_TABLE),
        (
            "ALTER TABLE {s}.events ALTER position SET DEFAULT nextval('{s}.log_position')",
            NO_DEFAULT,
        ),
        ("ALTER TABLE {s}.events ALTER position SET DEFAULT 0", NO_DEFAULT),
        ("ALTER TABLE {s}.events ALTER position ADD GENERATED ALWAYS AS IDENTITY", NO_DEFAULT),
        ("ALTER TABLE {s}.events ALTER position DROP NOT NULL", NO_DEFAULT),
        ("ALTER TABLE {s}.events DROP CONSTRAINT events_pkey", UNIQUE),
        ("DROP INDEX {s}.events_position", UNIQUE),
        (
            "DROP INDEX {s}.events_position; CREATE UNIQUE INDEX events_position"
            " ON {s}.events (position) WHERE position > 9",
            UNIQUE,
        ),
        ("CREATE SEQUENCE {s}.another", ONE_SEQUENCE),
        ("ALTER TABLE {s}.numbers ADD n bigserial", ONE_SEQUENCE),
        ("ALTER SEQUENCE {s}.log_position CACHE 20", ONE_SEQUENCE),
        ("ALTER SEQUENCE {s}.log_position INCREMENT 2", ONE_SEQUENCE),
        ("ALTER SEQUENCE {s}.log_position CYCLE", ONE_SEQUENCE),
        ("ALTER SEQUENCE {s}.log_position AS integer", ONE_SEQUENCE),
        ("ALTER SEQUENCE {s}.log_position SET UNLOGGED", ONE_SEQUENCE),
        (
            "ALTER TABLE {s}.numbers ALTER next SET DEFAULT nextval('{s}.log_position')",
            NOT_USED,
        ),
        ("CREATE VIEW {s}.v AS SELECT last_value FROM {s}.log_position", NOT_USED),
        ("DROP TRIGGER events_floor ON {s}.events", TRIGGERS),
        ("DROP TRIGGER events_number ON {s}.events", TRIGGERS),
        ("ALTER TABLE {s}.events ENABLE TRIGGER events_number", TRIGGERS),
        ("ALTER TABLE {s}.events ENABLE REPLICA TRIGGER events_floor", TRIGGERS),
        ("ALTER TABLE {s}.events DISABLE TRIGGER events_floor", TRIGGERS),
        ("ALTER TRIGGER events_floor ON {s}.events RENAME TO zz_floor", TRIGGERS),
        (
            "CREATE OR REPLACE TRIGGER events_floor AFTER INSERT ON {s}.events"
            " FOR EACH STATEMENT EXECUTE FUNCTION {s}.events_floor()",
            TRIGGERS,
        ),
        (
            "CREATE OR REPLACE TRIGGER events_number BEFORE INSERT ON {s}.events FOR EACH ROW"
            " WHEN (NEW.position IS NULL) EXECUTE FUNCTION {s}.events_number()",
            TRIGGERS,
        ),
        (
            "CREATE TRIGGER more BEFORE INSERT ON {s}.events"
            " FOR EACH ROW EXECUTE FUNCTION {s}.events_number()",
            TRIGGERS,
        ),
        ("CREATE FUNCTION {s}.one() RETURNS int LANGUAGE sql AS 'SELECT 1'", PLPGSQL),
        (
            FUNCTION % ("skip() RETURNS void", "PERFORM setval('{s}.log_position', 1);"),
            NUMBERS,
        ),
        (
            FUNCTION % ("peek() RETURNS bigint", "RETURN nextval('{s}.log_position');"),
            NUMBERS,
        ),
        (FUNCTION % ("events_number() RETURNS trigger", "RETURN NEW;"), NUMBERS),
        (
            FUNCTION
            % ("forget() RETURNS void", "PERFORM set_config('credit.floor', '{s}', false);"),
            FLOORS,
        ),
        (
            FUNCTION % ("lock() RETURNS void", "PERFORM pg_advisory_lock(1, 2);"),
            FLOORS,
        ),
        (
            FUNCTION
            % (
                "head() RETURNS bigint",
                "RETURN (SELECT max(q.last_value) FROM {s}.events e, {s}.log_position q);",
            ),
            NO_JOIN,
        ),
        (
            FUNCTION
            % (
                "head() RETURNS bigint",
                "RETURN (SELECT max(q.last_value) FROM {s}.log_position q CROSS JOIN {s}.events);",
            ),
            NO_JOIN,
        ),
        ("ALTER FUNCTION {s}.safe_position(bigint) STABLE", SAFE),
        (
            "DROP FUNCTION {s}.safe_position;"
            + FUNCTION % ("safe_position() RETURNS bigint", "RETURN 0;"),
            SAFE,
        ),
        (
            FUNCTION
            % (
                "safe_position(after bigint) RETURNS bigint",
                "RETURN (SELECT least((SELECT min(objid::bigint) FROM pg_locks),"
                " (SELECT last_value FROM {s}.log_position)));",
            ),
            "safe_position reads the head before the floors",
        ),
        (FUNCTION % ("tell() RETURNS trigger", "NOTIFY events; RETURN NULL;"), QUIETLY),
        (FUNCTION % ("tell() RETURNS trigger", "PERFORM pg_notify('events', '');"), QUIETLY),
        (FUNCTION % (APPEND, IN_ONE), LOOP),
        ("ALTER FUNCTION {s}.append(uuid[], int8[], text[], bytea[]) RESET ALL", WAIT),
        ("ALTER ROLE CURRENT_USER SET synchronous_commit = off", LAZY),
        ("ALTER DATABASE postgres SET credit.floor = '{s}'", LAZY),
        (
            "ALTER FUNCTION {s}.append(uuid[], int8[], text[], bytea[])"
            " SET synchronous_commit = off",
            LAZY,
        ),
        (FUNCTION % (FLOOR_TRIGGER, "RETURN NULL;"), FLOOR),
        (floor("q.last_value"), FLOOR),  # one key: it would be read as another lock's
        (floor("q.tableoid::int, (q.last_value + 1)::int"), FLOOR),
        (floor("0, q.last_value::int"), FLOOR),
        (floor("q.tableoid::int, q.last_value::int"), FLOOR),  # one a statement, not a transaction
        (floor("q.tableoid::int, q.last_value::int").replace("_shared", ""), FLOOR),
    ],
)
def test_a_broken_rule_is_noticed(
    undone: Connection[TupleRow], installed: str, damage: str, rule: str
) -> None:
    undone.execute(damage.format(s=installed).encode())
    assert rule in broken_rules(undone, installed)


def test_our_own_code_keeps_the_rules_that_no_catalog_shows() -> None:
    assert broken_source_rules(our_sources()) == set()


ALONE = "positions are taken and floors left by 0001_events.sql alone"
ONE_KEY = "every other advisory lock has one key, of 64 bits"
BOUNDED = "a transaction on a connection of the pool is bounded"
AT_ONCE = "nothing commits lazily, save the tests' own server"


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("SELECT setval('{schema}.log_position', 1)", ALONE),
        ("ALTER SEQUENCE {schema}.log_position RESTART", ALONE),
        ("SET LOCAL credit.floor = 'credit'", ALONE),
        ("SELECT pg_advisory_lock(%s, %s)", ONE_KEY),
        ("SELECT pg_try_advisory_xact_lock(4711)", ONE_KEY),
        ("with conn.transaction():", BOUNDED),
        ("SET synchronous_commit = off", AT_ONCE),
        ("set local synchronous_commit to 'off'", AT_ONCE),
        ("SELECT set_config('synchronous_commit', 'off', true)", AT_ONCE),
        ("options=-c%20synchronous_commit=off", AT_ONCE),
    ],
)
def test_a_rule_broken_in_our_own_code_is_noticed(line: str, rule: str) -> None:
    assert broken_source_rules({**our_sources(), "workers/new.py": line}) == {rule}


def test_the_only_exception_is_where_positions_are_made() -> None:
    sources = our_sources()
    moved = {**sources, "credit_es/store/migrations/9999_more.sql": sources[EVENTS_SQL]}
    assert broken_source_rules(moved) == {ALONE, ONE_KEY}


def test_our_connections_commit_at_once_and_never_idle_in_a_transaction(
    database: Database,
) -> None:
    with database.connection() as conn:
        assert conn.autocommit

        def setting(name: str) -> object:
            return (conn.execute(SQL("SHOW {}").format(Identifier(name))).fetchone() or [None])[0]

        assert setting("idle_in_transaction_session_timeout") == "1min"
        assert setting("lock_timeout") == "5s"
        assert setting("transaction_isolation") == "read committed"
        # The tests' server itself is lazy; ours is to leave it at what the server says.
        source = "SELECT source FROM pg_settings WHERE name = 'synchronous_commit'"
        assert conn.execute(source.encode()).fetchone() != ("session",)
