"""A projector that takes its locks for granted, and long between reading a batch and writing it.

So does one whose lock was lost unnoticed. ``CREDIT_TEST_MARKS`` is a folder in which it says that
it has read, and waits until it may write; with ``CREDIT_TEST_UNFENCED`` it moves a table's position
wherever that is meanwhile.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from psycopg.sql import SQL

from credit_es.cli.main import main
from credit_es.store.recorder import Tailed
from projections import projector
from projections.projection import Projection
from projections.projector import Projector
from projections.tables import LiveTable

MARKS = Path(os.environ["CREDIT_TEST_MARKS"])
feed = Projector._feed


def feed_late(
    self: Projector, projection: Projection[Any], live: LiveTable, batch: Sequence[Tailed]
) -> None:
    (MARKS / "has read").touch()
    while not (MARKS / "may write").exists():
        time.sleep(0.01)
    feed(self, projection, live, batch)


if __name__ == "__main__":
    changed: dict[str, object] = {"LEAD": "SELECT true WHERE %s <> ''"}
    if os.environ.get("CREDIT_TEST_UNFENCED"):
        changed["MOVE"] = SQL(
            "UPDATE {schema}.read_tables SET position = %s"
            " WHERE projection = %s AND version = %s AND %s IS NOT NULL AND live"
        )
    vars(projector).update(changed)
    Projector._feed = feed_late  # type: ignore[method-assign]
    main()
