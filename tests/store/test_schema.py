"""The installed schema keeps the rules of DESIGN section 4, and a broken one is seen to be broken.

They are what makes the log gap-free for its readers here and on Citus; none shows in a test that
merely appends and reads.
"""

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier

from credit_es.store.database import Database

COLUMNS_WITH_DEFAULTS = """
    SELECT attname FROM pg_attribute WHERE attrelid = (%(s)s || '.events')::regclass
        AND attnum > 0 AND (atthasdef OR attidentity <> '' OR attgenerated <> '')
"""
SEQUENCES = """
    SELECT c.relname, s.seqcache, s.seqincrement, s.seqcycle
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
    WHERE c.relnamespace = (%(s)s)::regnamespace
"""
TRIGGERS = """
    SELECT tgname, tgenabled, (tgtype & 1) = 1 AS row, (tgtype & 2) = 2 AS before
    FROM pg_trigger WHERE tgrelid = (%(s)s || '.events')::regclass AND NOT tgisinternal
    ORDER BY tgname
"""
FUNCTIONS = """
    SELECT p.proname, l.lanname, p.prosrc, p.proconfig
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
    WHERE p.pronamespace = (%(s)s)::regnamespace
"""
KEYS = """
    SELECT array_agg(a.attname ORDER BY k.n) FROM pg_index i
    CROSS JOIN LATERAL unnest(i.indkey::int[]) WITH ORDINALITY k (attnum, n)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indrelid = (%(s)s || '.events')::regclass AND i.indisunique GROUP BY i.indexrelid
"""


def broken_rules(conn: Connection[TupleRow], schema: str) -> list[str]:
    """Which rules the schema breaks, in words."""

    def ask(question: str) -> list[TupleRow]:
        return conn.execute(question.encode(), {"s": schema}).fetchall()

    triggers = [("events_floor", "A", False, True), ("events_number", "A", True, True)]
    keys = [["position"], ["stream_id", "version"]]
    functions = ask(FUNCTIONS)
    rules = {
        "no column of events has a default": not ask(COLUMNS_WITH_DEFAULTS),
        "one sequence, that caches nothing": ask(SEQUENCES) == [("log_position", 1, 1, False)],
        "both triggers fire always": ask(TRIGGERS) == triggers,
        "no function in SQL": not [f for f, language, *_ in functions if language == "sql"],
        "only the numbering trigger takes a position": [
            f for f, _, source, _ in functions if "nextval" in source or "setval" in source
        ]
        == ["events_number"],
        "an append waits 5 s for another's lock": sorted(
            f for f, *_, settings in functions if settings == ["lock_timeout=5s"]
        )
        == ["append", "append_once"],
        "streams and positions are unique": sorted(columns for (columns,) in ask(KEYS)) == keys,
    }
    return [rule for rule, holds in rules.items() if not holds]


def test_the_installed_schema_keeps_every_rule(conn: Connection[TupleRow], schema: str) -> None:
    assert broken_rules(conn, schema) == []


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (
            "ALTER TABLE {s}.events ALTER position SET DEFAULT nextval('{s}.log_position')",
            "no column of events has a default",
        ),
        ("CREATE SEQUENCE {s}.another", "one sequence, that caches nothing"),
        ("ALTER SEQUENCE {s}.log_position CACHE 20", "one sequence, that caches nothing"),
        ("DROP TRIGGER events_floor ON {s}.events", "both triggers fire always"),
        (
            "ALTER TABLE {s}.events ENABLE TRIGGER events_number",
            "both triggers fire always",
        ),
        ("ALTER TABLE {s}.events DISABLE TRIGGER events_floor", "both triggers fire always"),
        (
            "CREATE FUNCTION {s}.one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "no function in SQL",
        ),
        (
            "CREATE FUNCTION {s}.skip() RETURNS void LANGUAGE plpgsql"
            " AS $$BEGIN PERFORM setval('{s}.log_position', 1); END$$",
            "only the numbering trigger takes a position",
        ),
        (
            "ALTER FUNCTION {s}.append(uuid[], int8[], text[], bytea[]) RESET ALL",
            "an append waits 5 s for another's lock",
        ),
        ("ALTER TABLE {s}.events DROP CONSTRAINT events_pkey", "streams and positions are unique"),
    ],
)
def test_a_broken_rule_is_noticed(
    conn: Connection[TupleRow], schema: str, damage: str, rule: str
) -> None:
    conn.execute(damage.format(s=schema).encode())
    assert broken_rules(conn, schema) == [rule]


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
