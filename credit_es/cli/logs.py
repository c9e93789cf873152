"""Where commands read the log: the primary, and the read replica where there is one."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

from credit_es.audit.logs import Logs
from credit_es.settings import Settings
from credit_es.store.database import Database
from credit_es.store.log import Log
from credit_es.store.recorder import LogRecorder
from credit_es.store.replica import replica_log

CONNECTIONS: Final = 2
"""One reads the log; another asks, meanwhile, for what a fact names."""


@contextmanager
def open_logs(settings: Settings) -> Iterator[Logs]:
    """Both, closed in the end; no connection is made before it is used."""
    database = Database(
        settings.database_url,
        schema=settings.schema,
        pool_size=CONNECTIONS,
        prepared=settings.prepared_statements,
    )
    logs = Logs(
        primary=Log(LogRecorder(database)),
        replica=replica_log(settings, pool_size=CONNECTIONS),
    )
    with closing(database), closing(logs.whole.database):
        yield logs
