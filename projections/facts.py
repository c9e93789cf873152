"""The index that auditors search: a row a fact, behind the log, fed when nothing else is to be fed.

Not a fold: a row says of one fact who, what, when, about whom, how much and why, and none is ever
changed. So it needs no versions; its position is fenced, and emptied it is filled again.

At a kind of fact that this release does not know it waits for the one that does, as the read tables
do: in a roll-out the old release may be the one that feeds. A fact that is damaged, or has what no
column here can hold, is passed by: the read tables are what stops at one, visibly, and a search is
not a proof.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import takewhile
from typing import Any, Final

import structlog
from msgspec import Struct
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Composed, Identifier

from credit_es.domain.events import Decision, Event
from credit_es.store.database import Database, in_schema
from credit_es.store.log import Log, Placed
from credit_es.store.mapper import DECODER, DIGESTION, TOPICS, recorded
from credit_es.store.recorder import Tailed
from projections.status import Lag, lag
from projections.tables import ENCODING

log = structlog.get_logger()

REACHED: Final = SQL("SELECT position FROM {schema}.fact_index")
IS_ZONED: Final = SQL("SELECT position, zoned_upto >= position FROM {schema}.fact_index")
MOVE: Final = SQL("UPDATE {schema}.fact_index SET position = %s WHERE position = %s")
RESET: Final = SQL("UPDATE {schema}.fact_index SET position = 0, zoned_upto = 0")
# From where it was left: what stands behind that may be what a release without zones has fed.
ZONE: Final = SQL(
    "INSERT INTO {schema}.fact_zones AS z SELECT f.position >> 12, min(f.occurred_on),"
    " max(f.occurred_on), min(f.recorded_at), max(f.recorded_at)"
    " FROM {schema}.fact_index i JOIN {schema}.facts f ON f.position > i.zoned_upto GROUP BY 1"
    " ON CONFLICT (zone) DO UPDATE SET"
    " occurred_first = least(z.occurred_first, excluded.occurred_first),"
    " occurred_last = greatest(z.occurred_last, excluded.occurred_last),"
    " recorded_first = least(z.recorded_first, excluded.recorded_first),"
    " recorded_last = greatest(z.recorded_last, excluded.recorded_last)"
)
ZONED: Final = SQL("UPDATE {schema}.fact_index SET zoned_upto = position")
COPY: Final = SQL(
    "COPY {schema}.facts (position, topic, actor, occurred_on, recorded_at, customer_number,"
    " amount, reasons) FROM STDIN (FORMAT BINARY)"
)
TYPES: Final = ("int8", "text", "text", "date", "timestamptz", "int8", "numeric", "text[]")
BATCH: Final = 1_000
"""Few at once: the read tables come first, and an import may go on any moment."""
COUNT: Final = SQL("SELECT count(*) FROM {schema}.facts")
EMPTY: Final = SQL("TRUNCATE {schema}.facts, {schema}.fact_zones")
# The inner query alone is ordered and cut, by whichever index narrows most.
FOUND: Final = SQL(
    "SELECT f.position, e.stream_id, e.version, e.state FROM ({positions}) f"
    " JOIN {schema}.events e ON e.position = f.position ORDER BY f.position DESC"
)
POSITIONS: Final = SQL(
    "SELECT position FROM {schema}.facts WHERE position < %(before)s{wanted}"
    " ORDER BY position DESC LIMIT %(limit)s"
)
# Days and instants go along with positions, which the server cannot know: by an index of them it
# would have to sort all that it finds, and from the latest on pass by all that came later.
POSITIONS_BY_ZONE: Final = SQL(
    "SELECT f.position FROM {schema}.fact_zones z CROSS JOIN LATERAL (SELECT position"
    " FROM {schema}.facts WHERE position >= z.zone << 12 AND position < (z.zone + 1) << 12"
    " AND position < %(before)s{wanted} ORDER BY position DESC LIMIT %(limit)s) f"
    " WHERE z.zone <= %(before)s >> 12{zones}"
    " ORDER BY z.zone DESC, f.position DESC LIMIT %(limit)s"
)
# What is asked for differs each time: a plan for any values would be one for none.
PLANNED: Final = "SET LOCAL plan_cache_mode = force_custom_plan"
CONDITIONS: Final = {
    "actor": SQL(" AND actor = %(actor)s"),
    "topic": SQL(" AND topic = %(topic)s"),
    "customer_number": SQL(" AND customer_number = %(customer_number)s"),
    "reason": SQL(" AND reasons @> ARRAY[%(reason)s]"),
    "amount_from": SQL(" AND amount >= %(amount_from)s"),
    "amount_to": SQL(" AND amount <= %(amount_to)s"),
    "occurred_from": SQL(" AND occurred_on >= %(occurred_from)s"),
    "occurred_to": SQL(" AND occurred_on <= %(occurred_to)s"),
    "recorded_from": SQL(" AND recorded_at >= %(recorded_from)s"),
    "recorded_to": SQL(" AND recorded_at < %(recorded_to)s"),
}
ZONES: Final = {
    "occurred_from": SQL(" AND z.occurred_last >= %(occurred_from)s"),
    "occurred_to": SQL(" AND z.occurred_first <= %(occurred_to)s"),
    "recorded_from": SQL(" AND z.recorded_last >= %(recorded_from)s"),
    "recorded_to": SQL(" AND z.recorded_first < %(recorded_to)s"),
}
LATEST: Final = 2**63 - 1


class Wanted(Struct, frozen=True, kw_only=True):
    """What facts are searched for; all that is given must hold. ``reason`` is a code or a text.

    Days and amounts are inclusive, ``recorded_to`` is not.
    """

    actor: str | None = None
    topic: str | None = None
    customer_number: int | None = None
    reason: str | None = None
    amount_from: Decimal | None = None
    amount_to: Decimal | None = None
    occurred_from: date | None = None
    occurred_to: date | None = None
    recorded_from: datetime | None = None
    recorded_to: datetime | None = None


class FoundFacts(Struct, frozen=True, kw_only=True):
    """A page of facts, the latest first, and how far the index is behind the log."""

    facts: Sequence[Placed]
    lag: Lag


class FactIndex:
    """Feeds the index of one schema, on one connection."""

    def __init__(self, conn: Connection[TupleRow], reader: Log, schema: str) -> None:
        self._conn = conn
        self._reader = reader
        self._schema = schema

    def step(self) -> int:
        """Read the next batch and feed it; 0 where the index holds all that this release knows.

        Where somebody else feeds at the same time, what was read here may be fed there.
        """
        reached = self.reached()
        found = next(self._reader.tail(reached, limit=BATCH), [])
        batch = list(takewhile(lambda event: event.topic in TOPICS, found))
        if batch:
            self.feed(reached, batch)
        return len(batch)

    def reached(self) -> int:
        """The position up to which the log is indexed."""
        return self._number(REACHED)

    def count(self) -> int:
        """How many facts it holds."""
        return self._number(COUNT)

    def empty(self) -> None:
        """Forget everything: it is fed again."""
        with self._conn.transaction():
            # First the row that whoever feeds holds: no batch of theirs lands after the emptying.
            self._conn.execute(in_schema(RESET, self._schema))
            self._conn.execute(in_schema(EMPTY, self._schema))

    def feed(self, reached: int, batch: Sequence[Tailed]) -> None:
        """Index a batch beyond the position reached, unless somebody else has moved on."""
        try:
            self._feed(reached, batch[-1].id, rows(batch))
        except ENCODING as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                self.feed(reached, batch[:middle])
                self.feed(batch[middle - 1].id, batch[middle:])
                return
            _pass_by(batch[0], error)
            self._feed(reached, batch[0].id, ())

    def _feed(self, reached: int, upto: int, found: Iterable[tuple[Any, ...]]) -> None:
        with self._conn.transaction(), self._conn.cursor() as cursor:
            moved = self._conn.execute(in_schema(MOVE, self._schema), (upto, reached))
            if not moved.rowcount:
                return
            with cursor.copy(in_schema(COPY, self._schema)) as copy:
                copy.set_types(TYPES)
                for row in found:
                    copy.write_row(row)
            self._conn.execute(in_schema(ZONE, self._schema))
            self._conn.execute(in_schema(ZONED, self._schema))

    def _number(self, question: SQL) -> int:
        row = self._conn.execute(in_schema(question, self._schema)).fetchone()
        assert row is not None
        number: int = row[0]
        return number


def rows(batch: Iterable[Tailed]) -> Iterable[tuple[Any, ...]]:
    """A row of the index for each fact that can be read."""
    for event in batch:
        try:
            entry = DECODER.decode(event.state)
        except DIGESTION as error:
            _pass_by(event, error)
            continue
        fact = entry.fact
        yield (
            event.id,
            event.topic,
            entry.actor,
            fact.occurred_on,
            entry.recorded_at,
            getattr(fact, "customer_number", None),
            amount_of(fact),
            reasons_of(fact),
        )


def _pass_by(event: Tailed, error: Exception) -> None:
    log.warning("fact not indexed", position=event.id, error=str(error))


def amount_of(fact: Event) -> Decimal | None:
    """What a fact is about in money: what was asked for, lent, paid."""
    terms = getattr(fact, "terms", None)
    amount: Decimal | None = terms.amount if terms else getattr(fact, "amount", None)
    return amount


def reasons_of(fact: Event) -> list[str] | None:
    """Why: the codes of a decision, the words of a reversal, a write-off, a correction."""
    if isinstance(fact, Decision):
        return [*map(str, fact.verdict.reasons)] or None
    reason: str | None = getattr(fact, "reason", None)
    return [reason] if reason else None


def search(
    database: Database, primary: Database, wanted: Wanted, *, before: int | None, limit: int
) -> FoundFacts:
    """Facts below a position, the latest first; ``database`` may be a replica's, and late."""
    schema = database.schema

    def read(conn: Connection[TupleRow]) -> tuple[int, list[TupleRow]]:
        with conn.transaction():
            conn.execute(PLANNED)
            # Before the facts: the page has at least what the lag says that it has.
            position, zoned = conn.execute(in_schema(IS_ZONED, schema)).fetchone() or (0, False)
            asked = question(schema, wanted, before=before, limit=limit, zoned=zoned)
            return position, conn.execute(*asked).fetchall()

    reached, found = database.run(read)
    behind = primary.run(lambda conn: lag(conn, schema, reached))
    placed = [Placed(position, recorded(*place)) for position, *place in found]
    return FoundFacts(facts=placed, lag=behind)


def question(
    schema: str, wanted: Wanted, *, before: int | None, limit: int, zoned: bool
) -> tuple[Composed, dict[str, Any]]:
    """The statement that finds a page, and its values."""
    given = {name: value for name in CONDITIONS if (value := getattr(wanted, name)) is not None}
    zones = [condition for name, condition in ZONES.items() if name in given]
    positions = (POSITIONS_BY_ZONE if zoned and zones else POSITIONS).format(
        schema=Identifier(schema),
        wanted=Composed([CONDITIONS[name] for name in given]),
        zones=Composed(zones),
    )
    statement = FOUND.format(schema=Identifier(schema), positions=positions)
    return statement, {"before": before or LATEST, "limit": limit, **given}
