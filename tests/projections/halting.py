"""A projector that halts between moving a table's position and writing its rows, to be killed.

``CREDIT_TEST_MARKS`` is a folder in which it says that it has. With ``CREDIT_TEST_TORN`` it has
committed the position by then, as one would that kept its rows elsewhere.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from psycopg import Connection
from psycopg.rows import TupleRow

from credit_es.cli.main import main
from credit_es.store.recorder import Tailed
from projections import projector
from projections.tables import TableOf


def halt(conn: Connection[TupleRow], _table: TableOf, _batch: Sequence[Tailed]) -> None:
    if os.environ.get("CREDIT_TEST_TORN"):
        conn.execute("COMMIT")
    Path(os.environ["CREDIT_TEST_MARKS"], "has halted").touch()
    time.sleep(60)


if __name__ == "__main__":
    vars(projector)["apply"] = halt
    main()
