"""The arrays of an append: the server reads what psycopg's own lists would have said."""

from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection
from psycopg.rows import TupleRow

from credit_es.store import arrays

INT8 = st.integers(-(2**63), 2**63 - 1)
ASCII = st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=40)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    uuids=st.lists(st.uuids()),
    int8s=st.lists(INT8),
    texts=st.lists(ASCII),
    byteas=st.lists(st.binary(max_size=300)),
)
def test_what_is_sent_is_what_arrives(
    conn: Connection[TupleRow],
    uuids: list[UUID],
    int8s: list[int],
    texts: list[str],
    byteas: list[bytes],
) -> None:
    arrays.register(conn)
    same = "SELECT %b::uuid[] = %b::uuid[], %b::int8[] = %b::int8[], %b::text[] = %b::text[]"
    same += ", %b::bytea[] = %b::bytea[]"
    values = (
        *(arrays.uuids(uuids), uuids),
        *(arrays.int8s(int8s), int8s),
        *(arrays.texts(texts), texts),
        *(arrays.byteas(byteas), byteas),
    )
    for prepare in (False, True):
        found = conn.execute(same.encode(), values, prepare=prepare).fetchone()
        assert found == (True, True, True, True)


def test_a_text_that_an_encoding_could_change_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        arrays.texts(["credit.Prüfung"])
