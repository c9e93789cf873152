"""What a restore, a bulk load or a hand can break in the log so that readers miss events unnoticed.

Not asked on Citus, where the schema lies on another node than the one that is spoken to.
"""

from typing import Final

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier, Literal

# The head of the sequence last: it is read when its turn comes, not in the statement's snapshot.
FAULTS: Final = SQL(
    "SELECT 'the trigger ' || name || ' is gone or switched off'"
    " FROM unnest(ARRAY['events_floor', 'events_number']) name"
    " WHERE NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = {name}::regclass"
    " AND tgname = name AND tgenabled IN ('O', 'A'))"
    " UNION ALL SELECT 'the column position has a default' FROM pg_attribute"
    " WHERE attrelid = {name}::regclass AND attname = 'position'"
    " AND (atthasdef OR attidentity <> '')"
    " UNION ALL SELECT 'the unique key ' || key || ' is gone'"
    " FROM unnest(ARRAY['events_pkey', 'events_position']) key"
    " WHERE NOT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " WHERE i.indrelid = {name}::regclass AND c.relname = key AND i.indisunique AND i.indisvalid)"
    " UNION ALL SELECT 'a second sequence, ' || relname FROM pg_class"
    " WHERE relkind = 'S' AND relnamespace = {schema_name}::regnamespace"
    " AND relname <> 'log_position'"
    " UNION ALL SELECT 'the sequence log_position is behind the log'"
    " WHERE (SELECT max(position) FROM {schema}.events)"
    " > (SELECT last_value FROM {schema}.log_position)"
)
DISTRIBUTED: Final = "SELECT FROM pg_extension WHERE extname = 'citus'"


def damage(conn: Connection[TupleRow], schema: str) -> list[str]:
    """What is broken in the log of a migrated schema, in words; empty where all is well."""
    if conn.execute(DISTRIBUTED).fetchone() is not None:
        return []
    question = FAULTS.format(
        schema=Identifier(schema), schema_name=Literal(schema), name=Literal(f"{schema}.events")
    )
    return [fault for (fault,) in conn.execute(question)]
