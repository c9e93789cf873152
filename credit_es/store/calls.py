"""The statements that every request makes, straight to libpq, with values and rows in binary form.

psycopg's cursor finds out at each call what its values are and whether the statement is prepared,
and waits in steps between which other threads take the interpreter: half of a call's own time.
"""

from collections.abc import Sequence
from itertools import count
from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg
from psycopg import Connection, abc
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.generators import execute
from psycopg.pq import DiagnosticField, ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import TupleRow

GONE: Final = b"26000"
"""No such statement: psycopg lets go of all where a transaction is rolled back."""
_NUMBERS: Final = count(1)


class Call:
    """One statement, with ``$1``, ``$2`` in it; a connection prepares it when it first makes it."""

    def __init__(self, statement: bytes) -> None:
        self.statement = statement
        self._name = b"credit_%d" % next(_NUMBERS)
        self._loaders: WeakKeyDictionary[Connection[Any], abc.Transformer] = WeakKeyDictionary()

    def rows(self, conn: Connection[Any], values: Sequence[bytes]) -> list[TupleRow]:
        """Make it; ``values`` are in Postgres's binary form. Raises what a cursor would raise."""
        server = conn.pgconn
        formats = [Format.BINARY] * len(values)
        if server.transaction_status != TransactionStatus.IDLE:
            # A statement that is gone would be the end of it, and of what it did. Few calls come
            # here, one of them a command's: psycopg, as it waits, looks at Ctrl-C.
            loader: abc.Transformer = Transformer()
            server.send_query_params(self.statement, values, None, formats, Format.BINARY)
            result = conn.wait(execute(server))[-1]
        elif conn.prepare_threshold is None:
            loader = Transformer()
            result = server.exec_params(self.statement, values, None, formats, Format.BINARY)
        else:
            loader = self._loaders.get(conn) or self._prepare(conn)
            result = server.exec_prepared(self._name, values, formats, Format.BINARY)
            if result.error_field(DiagnosticField.SQLSTATE) == GONE:
                self._prepare(conn)
                result = server.exec_prepared(self._name, values, formats, Format.BINARY)
        if result.status != ExecStatus.TUPLES_OK:
            raise _error(conn, result)
        loader.set_pgresult(result)
        rows = loader.load_rows(0, result.ntuples, tuple)
        result.clear()  # The loader, which lives on with the connection, would keep all of it.
        return rows

    def _prepare(self, conn: Connection[Any]) -> abc.Transformer:
        prepared = conn.pgconn.prepare(self._name, self.statement)
        if prepared.status != ExecStatus.COMMAND_OK:
            raise _error(conn, prepared)
        # Of no connection: what its key can be reached from is never forgotten.
        loader = self._loaders[conn] = Transformer()
        return loader


def _error(conn: Connection[Any], result: PGresult) -> psycopg.Error:
    error = error_from_result(result, conn.info.encoding)
    if error.sqlstate is not None:
        return error
    # Not the server's word but libpq's, who has lost it, and may not have noticed before.
    conn.close()
    return psycopg.OperationalError(str(error))
