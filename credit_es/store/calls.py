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
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult
from psycopg.rows import TupleRow

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
        loader = self._loaders.get(conn)
        if loader is None:
            if conn.prepare_threshold is not None:
                prepared = server.prepare(self._name, self.statement)
                if prepared.status != ExecStatus.COMMAND_OK:
                    raise _error(conn, prepared)
            # Of no connection: what its key can be reached from is never forgotten.
            loader = self._loaders[conn] = Transformer()
        formats = [Format.BINARY] * len(values)
        if conn.prepare_threshold is None:
            result = server.exec_params(self.statement, values, None, formats, Format.BINARY)
        else:
            result = server.exec_prepared(self._name, values, formats, Format.BINARY)
        if result.status != ExecStatus.TUPLES_OK:
            raise _error(conn, result)
        loader.set_pgresult(result)
        return loader.load_rows(0, result.ntuples, tuple)


def _error(conn: Connection[Any], result: PGresult) -> psycopg.Error:
    error = error_from_result(result, conn.info.encoding)
    if error.sqlstate is not None:
        return error
    # Not the server's word but libpq's, who has lost it, and may not have noticed before.
    conn.close()
    return psycopg.OperationalError(str(error))
