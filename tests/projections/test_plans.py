"""Every statement of a request finds its rows by a key, from the first day on.

A plan is made once a connection, and may be made while the tables are empty or small, where reading
all of one is cheapest. A first import then fills them within seconds, and statistics are gathered a
minute later: until then every call would read whole tables.
"""

import re
from collections.abc import Mapping, Sequence

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from credit_es.store.arrays import INT8, int8s, uuids
from credit_es.store.calls import Call
from credit_es.store.log import FIRST_TOPICS, HISTORY, ONE, SOME, STREAMS
from credit_es.store.mapper import application_stream, customer_stream, loan_stream
from credit_es.store.recorder import EVENTS_UP, HEAD, NOTIFICATIONS, NOTIFICATIONS_OF
from credit_es.store.snapshots import LOAD
from projections.applications import APPLICATIONS
from projections.status import BEHIND, OLDEST
from projections.tables import PROJECTIONS, TableOf
from tests.projections.conftest import House
from tests.projections.history import happen

STREAM = customer_stream(1)
APPLICATION = "1-1"
EXPLAIN = b"EXPLAIN (COSTS OFF) "


Values = Sequence[object] | Mapping[str, object]


def plan(conn: Connection[TupleRow], statement: bytes, values: Values) -> str:
    return _text(conn.execute(EXPLAIN + statement, values).fetchall())


def plan_of_call(conn: Connection[TupleRow], call: Call, values: Sequence[bytes]) -> str:
    return _text(Call(EXPLAIN + call.statement).rows(conn, values))


def _text(rows: list[TupleRow]) -> str:
    return "\n".join(line for (line,) in rows)


@pytest.mark.parametrize("customers", [0, 3])
def test_no_request_reads_a_whole_table(house: House, customers: int) -> None:
    happen(house.lending, customers)
    house.project()
    for table in ("events", "numbers", "customers_v1", "loans_v1", "snapshots"):
        house.sql(f"ANALYZE {{s}}.{table}")
    reads, sql = house.reads, house.lending.database.sql
    tables = [
        (TableOf(projection, house.schema, 1), APPLICATION if projection is APPLICATIONS else 1)
        for projection in PROJECTIONS
    ]
    calls: list[tuple[Call, Sequence[bytes]]] = [
        (reads._loan, (INT8.pack(1), loan_stream(1).bytes)),
        (reads._customer, (INT8.pack(1), STREAM.bytes)),
        (reads._customer_and_loans, (INT8.pack(1), STREAM.bytes)),
        (reads._loans_by_number, (int8s([1, 2]), uuids([loan_stream(1), loan_stream(2)]))),
        (reads._application, (APPLICATION.encode(), application_stream(APPLICATION).bytes)),
        (Call(sql(LOAD)), (uuids([STREAM]), int8s([1]))),
    ]
    statements: list[tuple[bytes, Values]] = [
        (reads._by_phone, (1, 0, 20)),
        *((table._load.as_bytes(None), ([key],)) for table, key in tables),
        *((table._delete.as_bytes(None), ([key],)) for table, key in tables),
        (sql(STREAMS), ([STREAM],)),
        (sql(FIRST_TOPICS), ([STREAM],)),
        (sql(ONE), (STREAM, 1)),
        (sql(SOME), (STREAM, ["t"], 9, 9)),
        (sql(HISTORY), (STREAM, 0, 9)),
        (sql(NOTIFICATIONS_OF), (0, 9, ["t"], 9)),
        (sql(EVENTS_UP), (STREAM, 0, 9, 9)),
        (sql(NOTIFICATIONS), (0, 9, 9)),
        (sql(HEAD), ()),
        (sql(BEHIND), (0, 9)),
        (sql(OLDEST), (0, 9)),
    ]
    with house.lending.database.connection() as conn:
        plans = [plan_of_call(conn, call, values) for call, values in calls]
        plans += [plan(conn, statement, values) for statement, values in statements]
    for found in plans:
        assert "Seq Scan" not in found, found
        # Nor a read table by an index from end to end, as may be done with an empty one.
        assert not (customers and re.search(r"Scan .*_v1\n(?!.*Index Cond)", f"{found}\n")), found
        # What is below a version is not fetched to be thrown away.
        assert not re.search(r"Filter: .*version >", found), found


def test_no_index_of_a_read_table_scatters_new_rows_by_the_hash_of_their_stream(
    house: House,
) -> None:
    indexes = house.sql(
        "SELECT tablename, indexdef FROM pg_indexes"
        " WHERE schemaname = %s AND tablename LIKE '%%_v1'",
        house.schema,
    )
    assert {table for table, _ in indexes} == {f"{p.name}_v1" for p in PROJECTIONS}
    assert not [found for _, found in indexes if "stream_id" in found]


def test_a_phone_that_many_share_is_paged_through_by_its_index(house: House) -> None:
    with house.lending.database.connection() as conn:
        found = plan(conn, house.reads._by_phone, (1, 0, 20))
    assert "Sort" not in found
    assert "Filter" not in found
    assert "phone_number" in found
