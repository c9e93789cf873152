"""Where commands read the log: the primary, and the read replica where there is one."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

from credit_es.audit.logs import Logs
from credit_es.settings import Settings
from credit_es.store.log import primary_log
from credit_es.store.replica import replica_log

CONNECTIONS: Final = 2
"""One reads the log; another asks, meanwhile, for what a fact names."""


@contextmanager
def open_logs(settings: Settings) -> Iterator[Logs]:
    """Both, closed in the end; no connection is made before it is used."""
    logs = Logs(
        primary=primary_log(settings, pool_size=CONNECTIONS),
        replica=replica_log(settings, pool_size=CONNECTIONS),
    )
    with closing(logs.primary.database), closing(logs.whole.database):
        yield logs
