"""The rules of the log's schema (design, section 4), asked of the catalogs and of our own sources.

They are what makes the log gap-free for its readers here and on Citus; none shows in a test that
merely appends and reads.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

ROOT: Final = Path(__file__).parents[2]
EVENTS_SQL: Final = "credit_es/store/migrations/0001_events.sql"

TABLE: Final = """
    SELECT relkind, relpersistence, relhasrules, relrowsecurity, relhassubclass, relispartition
    FROM pg_class WHERE oid = (%(s)s || '.events')::regclass
"""
COLUMNS: Final = """
    SELECT attname, format_type(atttypid, atttypmod), attnotnull,
        atthasdef OR attidentity <> '' OR attgenerated <> ''
    FROM pg_attribute WHERE attrelid = (%(s)s || '.events')::regclass AND attnum > 0
        AND NOT attisdropped ORDER BY attnum
"""
KEYS: Final = """
    SELECT array_agg(a.attname ORDER BY k.n), i.indisvalid AND i.indimmediate
        AND i.indpred IS NULL AND i.indexprs IS NULL
    FROM pg_index i
    CROSS JOIN LATERAL unnest(i.indkey::int[]) WITH ORDINALITY k (attnum, n)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indrelid = (%(s)s || '.events')::regclass AND i.indisunique
    GROUP BY i.indexrelid, 2 ORDER BY 1
"""
SEQUENCES: Final = """
    SELECT c.relname, c.relpersistence, format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement,
        s.seqmin, s.seqcache, s.seqcycle
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
    WHERE c.relnamespace = (%(s)s)::regnamespace
"""
USERS_OF_THE_SEQUENCE: Final = """
    SELECT classid::regclass::text, objid FROM pg_depend
    WHERE refclassid = 'pg_class'::regclass AND refobjid = to_regclass(%(s)s || '.log_position')
"""
TRIGGERS: Final = """
    SELECT t.tgname, p.proname, t.tgtype, t.tgqual IS NULL, t.tgenabled
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = (%(s)s || '.events')::regclass AND NOT t.tgisinternal ORDER BY t.tgname
"""
FUNCTIONS: Final = """
    SELECT p.proname, pg_get_function_identity_arguments(p.oid), l.lanname, p.provolatile,
        p.proconfig, p.prosrc
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
    WHERE p.pronamespace = (%(s)s)::regnamespace ORDER BY p.proname
"""
STANDING_SETTINGS: Final = """
    SELECT unnest(setconfig) FROM pg_db_role_setting
    UNION ALL SELECT unnest(proconfig) FROM pg_proc WHERE pronamespace = (%(s)s)::regnamespace
"""
INSERT: Final = """
    INSERT INTO {s}.events (stream_id, version, topic, state)
    VALUES (gen_random_uuid(), 1, 't', '')
"""
# The key that the floor must have, asked before the insert; and the floors, asked after it.
KEY: Final = """
    SELECT tableoid::bigint, (last_value - CASE WHEN is_called THEN 0 ELSE 1 END) & 4294967295
    FROM {s}.log_position
"""
FLOORS: Final = """
    SELECT classid::bigint, objid::bigint, objsubid, mode FROM pg_locks
    WHERE locktype = 'advisory' AND pid = pg_backend_pid()
"""
BEFORE_INSERT: Final = 2 | 4
EACH_ROW: Final = 1


def broken_rules(conn: Connection[TupleRow], schema: str) -> set[str]:
    """Which rules the installed schema breaks, in words."""

    def ask(question: str) -> list[TupleRow]:
        return conn.execute(question.encode(), {"s": schema}).fetchall()

    functions = ask(FUNCTIONS)
    source = {name: text for name, *_, text in functions}
    columns = [
        ("position", "bigint", True, False),
        ("stream_id", "uuid", True, False),
        ("version", "bigint", True, False),
        ("topic", "text", True, False),
        ("state", "bytea", True, False),
    ]
    triggers = [
        ("events_floor", "events_floor", BEFORE_INSERT, True, "A"),
        ("events_number", "events_number", BEFORE_INSERT | EACH_ROW, True, "A"),
    ]
    append = source.get("append", "")
    rules = {
        "events is one plain table": ask(TABLE) == [("r", "p", False, False, False, False)],
        "no column of events has a default": ask(COLUMNS) == columns,
        "streams and positions are unique": ask(KEYS)
        == [(["position"], True), (["stream_id", "version"], True)],
        "one sequence, of bigint, by one, that caches nothing": ask(SEQUENCES)
        == [("log_position", "p", "bigint", 1, 1, 1, 1, False)],
        "nothing is made of the sequence": ask(USERS_OF_THE_SEQUENCE) == [],
        "both triggers fire, and always": ask(TRIGGERS) == triggers,
        "every function is plpgsql": {language for _, _, language, *_ in functions} == {"plpgsql"},
        "only the numbering trigger takes a position": [
            name for name, text in source.items() if re.search(r"nextval|setval|SEQUENCE", text)
        ]
        == ["events_number"],
        "only the floor trigger floors": [
            name for name, text in source.items() if re.search(r"advisory_|credit[.]floor", text)
        ]
        == ["events_floor"],
        "no table is joined with the sequence": not [
            name
            for name, text in source.items()
            if re.search(r"(JOIN|,)\s*\S+log_position|log_position\s+(\w+\s+)?(,|\w*\s*JOIN)", text)
        ],
        "safe_position is volatile and takes the position after which": [
            (arguments, volatile)
            for name, arguments, _, volatile, *_ in functions
            if name == "safe_position"
        ]
        == [("after bigint", "v")],
        "safe_position reads the head before the floors": 0
        <= source.get("safe_position", "").find("log_position")
        < source.get("safe_position", "").find("pg_locks"),
        "no append notifies, or commits would queue": not [
            name for name, text in source.items() if re.search(r"notify", text, re.IGNORECASE)
        ],
        "append loops over INSERT ... VALUES": bool(
            re.search(r"LOOP\s+INSERT INTO \S+events \([^)]*\)\s+VALUES", append)
        )
        and not re.search(r"unnest|SELECT", append),
        "an append waits 5 s for another's lock": {
            name for name, *_, settings, _ in functions if settings == ["lock_timeout=5s"]
        }
        == {"append", "append_once"},
        "nobody is made to commit lazily or to forget a floor": not [
            setting
            for (setting,) in ask(STANDING_SETTINGS)
            if setting.startswith(("synchronous_commit=", "credit.floor="))
        ],
        "a transaction that inserts has one floor: the sequence and where it stood": _floors(
            conn, schema
        ),
    }
    return {rule for rule, holds in rules.items() if not holds}


def _floors(conn: Connection[TupleRow], schema: str) -> bool:
    try:
        with conn.transaction(force_rollback=True):
            key = conn.execute(KEY.format(s=schema).encode()).fetchone()
            conn.execute(INSERT.format(s=schema).encode())
            conn.execute(INSERT.format(s=schema).encode())
            return key is not None and conn.execute(FLOORS.encode()).fetchall() == [
                (*key, 2, "ShareLock")
            ]
    except psycopg.Error:
        return False


def our_sources() -> dict[str, str]:
    """Every module and migration, by its path."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
        for room in ("credit_es", "projections", "api", "workers")
        for path in (ROOT / room).rglob("*")
        if path.suffix in {".py", ".sql"}
    }


def broken_source_rules(sources: Mapping[str, str]) -> set[str]:
    """Which rules our own code breaks, in words."""
    elsewhere = {path: text for path, text in sources.items() if path != EVENTS_SQL}
    lazily = r"synchronous_commit\W{1,8}(to\W+)?off"

    def mentions(pattern: str) -> list[str]:
        return [path for path, text in elsewhere.items() if re.search(pattern, text, re.IGNORECASE)]

    rules = {
        # On Citus the sequence is made where the schema lies, and goes forward only: test_citus.py.
        "positions are taken and floors left by 0001_events.sql alone": mentions(
            r"\b(nextval|setval|restart with)\b|(create|alter) sequence|credit[.]floor"
        )
        == ["credit_es/store/citus.py"],
        "every other advisory lock has one key, of 64 bits": not mentions(
            r"\bpg_\w*advisory_\w*\((?!hashtextextended\()"
        ),
        "a transaction on a connection of the pool is bounded": {
            path for path in mentions(r"[.]transaction[(]") if not path.startswith("projections/")
        }
        == {"credit_es/store/database.py", "credit_es/store/migrations/__init__.py"},
        "nothing commits lazily, save the tests' own server": mentions(lazily)
        == ["credit_es/embedded.py"]
        and len(re.findall(lazily, sources["credit_es/embedded.py"])) == 1,
    }
    return {rule for rule, holds in rules.items() if not holds}
