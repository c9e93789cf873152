"""A read table never changes its form under the definition by which code knows it.

``migrate`` builds a table where there is none of its definition: one that stands would serve on
without the index or the key that the code has given it since. So what each is made of is kept under
the name that code knows it by, and never rewritten: who changes the columns has changed the fold,
whose definition is raised; who changes keys or indexes raises ``LAYOUT``; either adds a file.
"""

from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from projections.projection import Projection
from projections.rebuild import rebuilder
from projections.tables import PROJECTIONS

FOLDER: Final = Path(__file__).parent
COLUMNS: Final = SQL(
    "SELECT attname || ' ' || format_type(atttypid, atttypmod)"
    " || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END"
    " FROM pg_attribute WHERE attrelid = {table}::regclass AND attnum > 0 ORDER BY attnum"
)
INDEXES: Final = SQL(
    "SELECT regexp_replace(pg_get_indexdef(indexrelid), '^CREATE | \\S+ ON \\S+', '', 'g')"
    " FROM pg_index WHERE indrelid = {table}::regclass ORDER BY indexrelid"
)


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda one: one.name)
def test_a_table_has_the_form_that_its_definition_says(
    projection: Projection[Any], database_url: str, schema: str
) -> None:
    with rebuilder(database_url, schema) as one:
        one.prepare([projection])
    table = Literal(Identifier(schema, f"{projection.name}_v1").as_string(None))
    with psycopg.connect(database_url) as conn:
        form = [
            line
            for asked in (COLUMNS, INDEXES)
            for (line,) in conn.execute(asked.format(table=table))
        ]
    kept = FOLDER / f"{projection.shown_as}.txt"
    assert form == kept.read_text("utf-8").splitlines()
