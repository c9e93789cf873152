"""The index of facts: exact whatever the clocks of hosts said, and cheap whatever is asked."""

import random
import secrets
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier

from credit_es.store.database import Database, in_schema
from credit_es.store.log import Log
from credit_es.store.mapper import ENCODER, Entry, customer_stream
from credit_es.store.migrations import migrate
from credit_es.store.recorder import LogRecorder
from projections.facts import PLANNED, ZONE, ZONED, FactIndex, Wanted, question, search
from tests.domain.facts import registered
from tests.store.given import stored

pytestmark = pytest.mark.slow

START = datetime(2026, 1, 1, tzinfo=UTC)
MANY = 50_000
FEW = 200
FILL = SQL(
    "INSERT INTO {schema}.facts SELECT n, (ARRAY['credit.LoanOpened', 'credit.LoanApproved',"
    " 'credit.LoanDeclined'])[n %% 3 + 1], CASE n %% 1000 WHEN 0 THEN 'rare' ELSE 'api' END,"
    " DATE '2025-01-01' + n / 200, TIMESTAMPTZ '2025-01-01' + n * INTERVAL '1 minute', n / 5,"
    " n %% 9973, CASE WHEN n %% 1000 = 1 THEN ARRAY['OVER_LIMIT'] END"
    " FROM generate_series(1, %s) n"
)


@pytest.fixture
def database(database_url: str, schema: str) -> Iterator[Database]:
    one = Database(database_url, schema=schema, pool_size=2)
    yield one
    one.close()


@pytest.fixture
def conn(database_url: str) -> Iterator[Connection[TupleRow]]:
    with psycopg.connect(database_url, autocommit=True) as one:
        yield one


def entry(number: int, recorded_at: datetime) -> bytes:
    fact = registered(number=number)
    return ENCODER.encode(
        Entry(fact=fact, recorded_at=recorded_at, actor="clerk", correlation_id="a-test")
    )


def found(database: Database, **wanted: Any) -> list[int]:
    page = search(database, database, Wanted(**wanted), before=None, limit=1000)
    return [placed.position for placed in page.facts]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("wrong", [timedelta(0), timedelta(seconds=90), timedelta(days=3)])
def test_a_search_by_instants_finds_what_looking_at_each_fact_finds(
    database: Database, conn: Connection[TupleRow], wrong: timedelta, seed: int
) -> None:
    """Recorded a minute after each other, by hosts whose clocks are wrong by so much."""
    chance = random.Random(seed)
    recorder = LogRecorder(database)
    times: dict[int, datetime] = {}
    for number in range(1, 61):
        at = START + timedelta(minutes=number) + wrong * chance.choice([0, 0, 1, -1])
        event = stored(
            customer_stream(number), state=entry(number, at), topic="credit.CustomerRegistered"
        )
        (position,) = recorder.insert_events([event])
        times[position] = at
    index = FactIndex(conn, Log(recorder), database.schema)
    whole = [event for batch in Log(recorder).tail(0) for event in batch]
    index.feed(0, whole[:20])
    index.feed(whole[19].id, whole[20:45])
    _check(database, {position: times[position] for position in list(times)[:45]}, chance)
    while index.step():
        pass
    _check(database, times, chance)
    index.empty()
    while index.step():
        pass
    _check(database, times, chance)


def _check(database: Database, times: dict[int, datetime], chance: random.Random) -> None:
    instants = [*chance.sample(list(times.values()), 8), START, START + timedelta(days=9)]
    for first in instants:
        for last in instants:
            expected = [p for p, at in times.items() if first <= at < last]
            within = found(database, recorded_from=first, recorded_to=last)
            assert within == expected[::-1], (first, last)
        assert found(database, recorded_from=first) == [
            p for p, at in reversed(times.items()) if at >= first
        ]


def test_what_a_release_before_has_fed_is_found_too(
    database: Database, conn: Connection[TupleRow]
) -> None:
    """It feeds facts and no zones: these are made up for in the next batch."""
    recorder = LogRecorder(database)
    for number, days in enumerate((0, 5, 1), 1):
        event = stored(
            customer_stream(number),
            state=entry(number, START + timedelta(days=days)),
            topic="credit.CustomerRegistered",
        )
        recorder.insert_events([event])
    index = FactIndex(conn, Log(recorder), database.schema)
    first, second, third = next(Log(recorder).tail(0))
    index.feed(0, [first])
    index.feed(first.id, [second])
    for as_before in (
        "UPDATE {schema}.fact_index SET zoned_upto = 1",
        "UPDATE {schema}.fact_zones SET recorded_last = recorded_first",
    ):
        conn.execute(in_schema(SQL(as_before), database.schema))
    assert found(database, recorded_from=START + timedelta(days=2)) == [second.id]
    assert found(database, recorded_to=START + timedelta(days=2)) == [first.id]
    index.feed(second.id, [third])
    assert found(database, recorded_to=START + timedelta(days=2)) == [third.id, first.id]
    assert found(database, recorded_from=START + timedelta(days=2)) == [second.id]


@pytest.fixture(scope="module")
def filled(postgres_url: str) -> Iterator[Database]:
    """An index of many facts, whose days and instants go along with their positions."""
    schema = f"test_{secrets.token_hex(6)}"
    migrate(postgres_url, schema)
    one = Database(postgres_url, schema=schema, pool_size=1)
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute(FILL.format(schema=Identifier(schema)), (MANY,))
        conn.execute(in_schema(SQL("UPDATE {schema}.fact_index SET position = 50000"), schema))
        conn.execute(in_schema(ZONE, schema))
        conn.execute(in_schema(ZONED, schema))
        conn.execute(in_schema(SQL("VACUUM (ANALYZE) {schema}.facts"), schema))
    yield one
    one.close()
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(schema)))


def blocks(database: Database, wanted: Wanted, *, zoned: bool = True) -> int:
    """How many blocks Postgres takes for a page, of tables and indexes."""
    statement, values = question(database.schema, wanted, before=None, limit=51, zoned=zoned)

    def read(conn: Connection[TupleRow]) -> int:
        with conn.transaction():
            conn.execute(PLANNED)
            explain = SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ") + statement
            row = conn.execute(explain, values).fetchone()
        assert row is not None
        taken: int = (
            row[0][0]["Plan"]["Shared Hit Blocks"] + row[0][0]["Plan"]["Shared Read Blocks"]
        )
        return taken

    return database.run(read)


LONG_AGO = datetime(2025, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(actor="rare"),
        Wanted(actor="api"),
        Wanted(actor="nobody"),
        Wanted(topic="credit.LoanDeclined"),
        Wanted(topic="credit.Nothing"),
        Wanted(customer_number=77),
        Wanted(reason="OVER_LIMIT"),
        Wanted(reason="no such"),
        Wanted(amount_from=Decimal(5000), amount_to=Decimal(5001)),
        Wanted(amount_from=Decimal(10_000)),
        Wanted(occurred_from=date(2025, 1, 3), occurred_to=date(2025, 1, 3)),
        Wanted(occurred_to=date(2025, 5, 1)),
        Wanted(occurred_to=date(2025, 5, 1), topic="credit.LoanDeclined"),
        Wanted(occurred_to=date(2025, 5, 1), reason="no such"),
        Wanted(recorded_to=LONG_AGO),
        Wanted(recorded_to=LONG_AGO, recorded_from=datetime(2025, 1, 9, 23, tzinfo=UTC)),
        Wanted(recorded_to=LONG_AGO, actor="api"),
        Wanted(recorded_to=LONG_AGO, topic="credit.LoanDeclined"),
        Wanted(recorded_to=LONG_AGO, amount_from=Decimal(10_000)),
    ],
    ids=repr,
)
def test_a_page_takes_few_blocks_whatever_is_searched_for(filled: Database, wanted: Wanted) -> None:
    """As many as the rows of a page have, and those of the indexes on the way to them."""
    assert blocks(filled, wanted) < FEW


def test_without_zones_all_that_came_later_would_be_passed_by(filled: Database) -> None:
    """The control."""
    assert blocks(filled, Wanted(recorded_to=LONG_AGO, actor="api"), zoned=False) > FEW
