"""The whole log stream by stream, sorted by the server, for those who fold all of it.

Memory is bounded by a handful of events here and by ``work_mem`` there, not by the log. Sorted is
three times cheaper than through the key's index, whose every event is elsewhere on the disk.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final
from uuid import UUID

from psycopg import Connection
from psycopg.abc import Query
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from credit_es.store.database import in_schema
from credit_es.store.mapper import TOPICS

# LOCAL: a pooler would hand what is set for a session on to another client. Who only reads holds no
# tail of the log back, and may be idle for as long as the other side of a comparison takes.
SORTED: Final = (
    "SET LOCAL idle_in_transaction_session_timeout = 0;"
    " SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = off;"
    " SET LOCAL enable_bitmapscan = off; SET LOCAL max_parallel_workers_per_gather = 0;"
    " SET LOCAL work_mem = '64MB'"
)
EVENTS: Final = SQL(
    "SELECT stream_id, version, state FROM {schema}.events"
    " WHERE stream_id BETWEEN %s AND %s AND position <= %s AND topic <> ALL(%s)"
    " ORDER BY stream_id, version"
)
PLACED: Final = SQL(
    "SELECT stream_id, version, position, topic, state FROM {schema}.events"
    " WHERE position <= %s ORDER BY stream_id, version"
)
# The first such key of a fact names its customer, and stands in no text of it, where quotes are
# escaped. Found among the bytes it costs a tenth of parsing them, and fails at none.
BY_CUSTOMER: Final = SQL(
    "SELECT customer, stream_id, version, state FROM (SELECT split_part(encode(substring(state"
    " FROM position('\"customer_number\":'::bytea IN state) + 18 FOR 20), 'escape'), ',', 1)"
    " AS customer, stream_id, version, state FROM {schema}.events"
    " WHERE position <= %s AND topic <> ALL(%s)) e"
    " WHERE (hashtext(customer) & 2147483647) %% %s = %s"
    ' ORDER BY customer COLLATE "C", stream_id, version'
)
CHUNK: Final = 1_000
STREAMS: Final = 2**128
FIRST: Final = UUID(int=0)
LAST: Final = UUID(int=STREAMS - 1)

Events = Iterator[tuple[UUID, int, bytes]]
Fact = tuple[str, UUID, int, bytes]
Places = Iterator[tuple[UUID, int, int, str, bytes]]


@contextmanager
def sorted_events(
    conn: Connection[TupleRow],
    schema: str,
    *,
    topics: Collection[str],
    head: int,
    first: UUID = FIRST,
    last: UUID = LAST,
) -> Iterator[Events]:
    """Stream, version and state of the events up to ``head`` of a range of streams, in their order.

    Those of ``topics``, and any that this code does not know: nothing is passed over in silence.
    """
    values = (first, last, head, sorted(TOPICS - set(topics)))
    with streamed(conn, in_schema(EVENTS, schema), values) as events:
        yield events


@contextmanager
def sorted_by_customer(
    conn: Connection[TupleRow],
    schema: str,
    *,
    topics: Collection[str],
    head: int,
    part: int = 0,
    parts: int = 1,
) -> Iterator[Iterator[Fact]]:
    """Customer, stream, version and state of the events up to ``head`` of a part of all customers.

    Those of one customer come together, stream by stream. The customer is what the state seems to
    name: who decodes it compares. As of ``sorted_events`` nothing is passed over in silence.
    """
    values = (head, sorted(TOPICS - set(topics)), parts, part)
    with streamed(conn, in_schema(BY_CUSTOMER, schema), values) as facts:
        yield facts


@contextmanager
def sorted_places(conn: Connection[TupleRow], schema: str, *, head: int) -> Iterator[Places]:
    """Stream, version, position, topic and state of every event up to ``head``, in their order."""
    with streamed(conn, in_schema(PLACED, schema), (head,)) as places:
        yield places


@contextmanager
def streamed(
    conn: Connection[TupleRow], statement: Query, values: Mapping[str, Any] | Sequence[Any] = ()
) -> Iterator[Iterator[Any]]:
    """The rows of a statement as they come: until they are closed ``conn`` does nothing else."""
    with conn.transaction(), conn.cursor(binary=True) as cursor:
        conn.execute(SORTED)
        rows: Any = cursor.stream(statement, values, size=CHUNK)
        # Closed whatever happens: an abandoned stream holds its connection's lock.
        with closing(rows):
            yield rows
