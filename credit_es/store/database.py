"""The pool of connections to Postgres: the whole of a URL reaches it, and outages are bounded.

The library's own datastore takes five fields of a URL; this one hands everything to psycopg
(sslmode, several hosts, ``target_session_attrs``) and lets callers live through a restart.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Self, TypeVar, cast

import psycopg
from eventsourcing.persistence import IntegrityError, OperationalError
from eventsourcing.postgres import ConnectionPool, PostgresDatastore
from psycopg import Connection, Cursor
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow, tuple_row
from psycopg.sql import SQL, Identifier

from credit_es.settings import Settings, SettingsError
from credit_es.store.calls import Call

T = TypeVar("T")

CONNECT_TIMEOUT_S: Final = 2
RETRY_S: Final = 2.0
"""How long to look for a connection that works; with the two above a caller waits under 5 s."""
NEVER_IDLE: Final = "SET idle_in_transaction_session_timeout = '60s'"
"""An idle transaction that has appended holds every tail of the log back."""
SESSION: Final = (
    NEVER_IDLE + "; SET lock_timeout = '5s'; SET plan_cache_mode = 'force_generic_plan'"
    "; SET enable_seqscan = off; SET jit = off"
)
"""Every statement of ours goes by a key, so its plan is the same for all values; left to itself,
the server would plan those with an array anew each time, which costs more than running them. A plan
made while a table was small must not read all of it when it has grown; nor is one worth compiling,
which the servers before 18 would do because they reckon what is off as dear."""
PATIENT: Final = (
    "SELECT set_config(name, '0', false) FROM pg_settings"
    " WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_session_timeout',"
    " 'lock_timeout')"
)
"""A migration and a rebuild take their time, and wait for another's, whatever the role or the
database allows a request."""
TRANSACTION: Final = (
    "SET LOCAL idle_in_transaction_session_timeout = '60s'; SET LOCAL lock_timeout = '5s'"
)
NOT_MIGRATED: Final = (
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidSchemaName,
)
LOST_RACES: Final = (psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected)
"""Two that append to the same streams in another order each may wait for one another; one wins. Any
other constraint that is violated is nobody's race: the schema is broken, or we are."""
OUTAGES: Final = (psycopg.OperationalError, psycopg.InterfaceError)
# A server whose machine is gone says nothing, not even that: TCP must find it out within 5 s.
WATCHFUL: Final[dict[str, str | int]] = {
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 2,
    "tcp_user_timeout": 4000,
}


class StoreUnavailableError(OperationalError):
    """Postgres does not answer, or is not ready for us; nothing was recorded. Try again later."""


class BusyError(OperationalError):
    """Somebody else holds what this call needs, and did not let go in time."""


class ConnectionLostError(StoreUnavailableError):
    """The connection went away while it was used; whether anything was recorded is unknown."""


def connection_info(url: str, *, writes: bool = True, variable: str = "DATABASE_URL") -> str:
    """``url`` with the time-outs and name that it does not set itself, and our encoding.

    For ``writes`` the one of several hosts is meant that takes them, unless the URL's own
    ``target_session_attrs`` says otherwise. Raises ``SettingsError`` that names ``variable`` at
    what is no URL of Postgres.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # which would tell the whole of it, the password too
        raise SettingsError(
            f"{variable} cannot be read: write postgresql://user:password@host:5432/database, "
            "with %40 for an @ inside of a part, and only parameters that libpq knows."
        ) from None
    ours: dict[str, str | int] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": "credit-es",
        **WATCHFUL,
    }
    if writes and "," in f"{given.get('host')}{given.get('hostaddr')}":
        ours["target_session_attrs"] = "read-write"
    lacking = {name: value for name, value in ours.items() if name not in given}
    # What a database's own setting says would turn names to bytes, or refuse some.
    return make_conninfo(url, client_encoding="utf8", **lacking)


def is_pooled(conn: Connection[Any]) -> bool:
    """Whether a pooler, which gives itself away, stands between us and the server."""
    (server_pid,) = conn.execute("SELECT pg_backend_pid()", prepare=False).fetchone() or (0,)
    return bool(server_pid != conn.info.backend_pid)


@contextmanager
def transaction(conn: Connection[TupleRow]) -> Iterator[Cursor[TupleRow]]:
    """A transaction that neither idles nor waits for long, also where no SESSION may be set."""
    with conn.transaction(), conn.cursor() as cursor:
        cursor.execute(TRANSACTION, prepare=False)
        yield cursor


def in_schema(statement: SQL, schema: str) -> bytes:
    """``statement`` with ``{schema}`` filled in."""
    return statement.format(schema=Identifier(schema)).as_bytes(None)


def configure(*, prepared: bool | None) -> Callable[[Connection[Any]], None]:
    """What a new connection is told; ``prepared`` None lets a pooler be recognised.

    Behind PgBouncer a prepared statement may be another client's, and a SET would leak to it: there
    ``transaction`` and the append's own function set what SESSION would.
    """

    def after_connect(conn: Connection[Any]) -> None:
        conn.autocommit = True
        pooled = is_pooled(conn)
        if not (prepared if prepared is not None else not pooled):
            conn.prepare_threshold = None
        if not pooled:
            conn.execute(SESSION, prepare=False)

    return after_connect


class Database(PostgresDatastore):
    """One process's connections. Build it after a fork, never before."""

    def __init__(
        self,
        url: str,
        *,
        schema: str,
        pool_size: int = 4,
        prepared: bool | None = None,
        writes: bool = True,
    ) -> None:
        super().__init__("", "", "", "", "", schema=schema)
        self.pool = ConnectionPool(
            connection_info(url, writes=writes),
            connection_class=Connection[Any],
            kwargs={"row_factory": tuple_row},
            min_size=1,
            max_size=pool_size,
            open=False,
            configure=configure(prepared=prepared),
            timeout=RETRY_S,
            reconnect_timeout=RETRY_S,
        )

    @classmethod
    def at(cls, url: str, settings: Settings, *, pool_size: int) -> Self:
        """Connections to ``url``, as the settings say."""
        return cls(
            url,
            schema=settings.schema,
            pool_size=pool_size,
            prepared=settings.prepared_statements,
        )

    def register_type_adapters(self) -> None:
        """Nothing to register: the log has no composite types."""

    def call(self, statement: SQL) -> Call:
        """``statement`` in this schema, as requests make it."""
        return Call(self.sql(statement))

    def sql(self, statement: SQL) -> bytes:
        """``statement`` in this schema; kept by who runs it often, so that psycopg caches it."""
        return in_schema(statement, self.schema)

    @contextmanager
    def connection(self) -> Iterator[Connection[TupleRow]]:
        """A pooled connection in autocommit; the library's errors in place of psycopg's."""
        self.pool.open()
        conn: Connection[Any] | None = None
        try:
            with self.pool.connection() as pooled:
                conn = pooled
                try:
                    yield cast("Connection[TupleRow]", pooled)
                except psycopg.errors.ReadOnlySqlTransaction:
                    pooled.close()  # a standby: whoever comes next looks for the primary again
                    raise
        except LOST_RACES as error:
            raise IntegrityError(str(error)) from error
        except psycopg.errors.LockNotAvailable as error:
            raise BusyError(str(error)) from error
        except NOT_MIGRATED as error:
            message = f"schema {self.schema} is not migrated: run `credit-es migrate`"
            raise StoreUnavailableError(message) from error
        except psycopg.errors.ReadOnlySqlTransaction as error:
            raise StoreUnavailableError(str(error)) from error
        except OUTAGES as error:
            if conn is not None and conn.closed:
                raise ConnectionLostError(str(error)) from error
            raise StoreUnavailableError(str(error)) from error

    def run(self, work: Callable[[Connection[TupleRow]], T]) -> T:
        """Do reading ``work``, again on another connection where one was found lost.

        Raises ``StoreUnavailableError`` within 5 seconds where there is no server to ask.
        """
        give_up = time.monotonic() + RETRY_S
        while True:
            try:
                with self.connection() as conn:
                    return work(conn)
            except ConnectionLostError:
                if time.monotonic() > give_up:
                    raise
