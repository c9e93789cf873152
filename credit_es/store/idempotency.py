"""Idempotency keys: the first answer to a request, kept in the transaction of its events.

Kept are successful outcomes, per actor and path, for 24 hours. An outcome is what the command came
to, as JSON; the caller words it anew, so the same outcome gives the same answer.
"""

from typing import Final, cast

from eventsourcing.persistence import IntegrityError
from msgspec import Struct
from psycopg.sql import SQL

from credit_es.store.database import Database

APPEND_ONCE: Final = SQL(
    "SELECT {schema}.append_once($1::text, $2::text, $3::text, $4::bytea, $5::bytea,"
    " $6::uuid[], $7::int8[], $8::text[], $9::bytea[])"
)
# The message makes an answer that is found wait for the synchronous standbys, as its append did or
# should have done (store/recorder.py).
KEPT: Final = SQL(
    "SELECT digest, outcome, pg_logical_emit_message(true, 'credit-es', '')"
    " FROM {schema}.idempotency_keys"
    " WHERE actor = $1::text AND path = $2::text AND key = $3::text"
    " AND kept_at >= now() - interval '24 hours'"
)
EXPIRE: Final = SQL(
    "DELETE FROM {schema}.idempotency_keys WHERE kept_at < now() - interval '24 hours'"
)


class KeyReusedError(IntegrityError):
    """The key was used for another request."""


class Once(Struct, frozen=True, kw_only=True):
    """What makes a request the same one; ``digest`` is the SHA-256 of what was asked."""

    actor: str
    path: str
    key: str
    digest: bytes

    @property
    def columns(self) -> tuple[bytes, bytes, bytes]:
        """Its key, in Postgres's binary form."""
        return self.actor.encode(), self.path.encode(), self.key.encode()


class Kept(Struct, frozen=True, kw_only=True):
    """A request and what it came to."""

    request: Once
    outcome: bytes

    @property
    def columns(self) -> tuple[bytes, ...]:
        """Its row, in the order of ``append_once`` and Postgres's binary form."""
        return (*self.request.columns, self.request.digest, self.outcome)


class IdempotencyKeys:
    """The answers kept in one schema."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept = database.call(KEPT)
        self._expire = database.sql(EXPIRE)

    def outcome(self, once: Once) -> bytes | None:
        """What the same request came to before, if it did.

        Raises ``KeyReusedError`` where the key stands for another request.
        """
        rows = self._database.run(lambda conn: self._kept.rows(conn, once.columns))
        if not rows:
            return None
        ((digest, outcome, _),) = rows
        if digest != once.digest:
            raise KeyReusedError(once.key)
        return cast("bytes", outcome)

    def expire(self) -> int:
        """Forget what is older than 24 hours; returns how many."""
        return self._database.run(lambda conn: conn.execute(self._expire).rowcount)
