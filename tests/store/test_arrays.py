"""The arrays of an append: the server reads what psycopg's own lists would have said."""

from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection
from psycopg.rows import TupleRow

from credit_es.store import arrays
from credit_es.store.calls import Call

INT8 = st.integers(-(2**63), 2**63 - 1)
GIVEN_BACK = Call(b"SELECT $1::uuid[], $2::int8[], $3::text[], $4::bytea[]")
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
    values = [
        arrays.uuids(uuids),
        arrays.int8s(int8s),
        arrays.texts(texts),
        arrays.byteas(byteas),
    ]
    for threshold in (5, None):
        conn.prepare_threshold = threshold
        assert GIVEN_BACK.rows(conn, values) == [(uuids, int8s, texts, byteas)]


def test_a_text_that_an_encoding_could_change_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        arrays.texts(["credit.Prüfung"])
