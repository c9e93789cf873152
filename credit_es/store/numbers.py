"""Numbers of customers and loans, taken in blocks: one row a kind, no sequence (design, section 3).

A number is taken before its fact and stored in it; one that an import used meanwhile collides on
the stream's first version, and the next one is taken.
"""

from threading import Lock
from typing import Final, Literal

from psycopg.sql import SQL

from credit_es.store.database import Database

Kind = Literal["customer", "loan"]

BLOCK: Final = 50
TAKE: Final = SQL(
    "INSERT INTO {schema}.numbers AS n (kind, next) VALUES (%s, %s + %s)"
    " ON CONFLICT (kind) DO UPDATE SET next = n.next + %s RETURNING next"
)
PASS: Final = SQL(
    "INSERT INTO {schema}.numbers AS n (kind, next) VALUES (%s, greatest(%s, %s))"
    " ON CONFLICT (kind) DO UPDATE SET next = excluded.next WHERE n.next < excluded.next"
)


class Numbers:
    """Hands numbers out, each once, over all processes of one schema."""

    def __init__(self, database: Database, first: int) -> None:
        self._database = database
        self._first = first
        self._lock = Lock()
        self._left: dict[Kind, range] = {}
        self._take = database.sql(TAKE)
        self._pass = database.sql(PASS)

    def take(self, kind: Kind) -> int:
        """The next number; one that is never used leaves a hole, and that is all."""
        with self._lock:
            left = self._left.get(kind) or self._block(kind)
            self._left[kind] = left[1:]
            return left[0]

    def pass_by(self, kind: Kind, number: int) -> None:
        """Let no number up to ``number`` be handed out; does nothing below the next one."""
        if number < self._first:
            return
        values = (kind, number + 1, self._first)
        self._database.run(lambda conn: conn.execute(self._pass, values))
        with self._lock:
            self._left.pop(kind, None)

    def _block(self, kind: Kind) -> range:
        values = (kind, self._first, BLOCK, BLOCK)
        row = self._database.run(lambda conn: conn.execute(self._take, values).fetchone())
        assert row is not None
        return range(row[0] - BLOCK, row[0])
