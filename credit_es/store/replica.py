"""Reading on a standby (``DATABASE_READ_URL``): for what may be late and says so, and for auditors.

A standby replays commits in the order of the primary, so a stream is whole up to some version. The
log's positions are another matter: a later one may be there before an earlier one, and a standby
has no floors to tell. What the projector has passed is whole, and its own position comes with it:
so the log is read up to the highest position of a read table *on the standby*, and no further.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from credit_es.settings import Settings
from credit_es.store.database import ConnectionLostError, Database, StoreUnavailableError
from credit_es.store.log import Log
from credit_es.store.recorder import LogRecorder

# Of every table, kept ones too: each position was safe when it was stored.
PROJECTED: Final = SQL("SELECT coalesce(max(position), 0) FROM {schema}.read_tables")


class ReplicaUnavailableError(StoreUnavailableError):
    """The read replica does not answer; the primary may."""


class Replica(Database):
    """One process's connections to a standby; of several hosts the first that answers."""

    def __init__(
        self, url: str, *, schema: str, pool_size: int = 4, prepared: bool | None = None
    ) -> None:
        super().__init__(url, schema=schema, pool_size=pool_size, prepared=prepared, writes=False)

    @contextmanager
    def connection(self) -> Iterator[Connection[TupleRow]]:
        """A pooled connection; raises ``ReplicaUnavailableError`` where there is none to be had."""
        try:
            with super().connection() as conn:
                yield conn
        except ConnectionLostError:
            raise  # and ``run`` asks again
        except StoreUnavailableError as error:
            raise ReplicaUnavailableError(f"the replica of DATABASE_READ_URL: {error}") from error


class ReplicaRecorder(LogRecorder):
    """Reads the log as far as the projector had come when the standby heard of it last."""

    def safe_position(self, after: int) -> int:
        """How far the log may be read now, on a standby."""
        statement = self.database.sql(PROJECTED)
        row = self.database.run(lambda conn: conn.execute(statement, prepare=True).fetchone())
        assert row is not None
        position: int = row[0]
        return max(after, position)


def replica_log(settings: Settings, *, pool_size: int) -> Log | None:
    """The log as the read replica has it, None where ``DATABASE_READ_URL`` is not set."""
    if not settings.database_read_url:
        return None
    replica = Replica.at(settings.database_read_url, settings, pool_size=pool_size)
    return Log(ReplicaRecorder(replica))
