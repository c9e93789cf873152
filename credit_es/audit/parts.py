"""What is asked of every customer of the log, asked on every core: a part of the customers each."""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import TypeVar

from credit_es.audit.dossiers import Dossier, Progress, dossiers
from credit_es.settings import Settings
from credit_es.store.log import Log, primary_log
from credit_es.store.replica import replica_log
from projections.spread import Report, processes_for, spread

T = TypeVar("T")
Ask = Callable[[Log, Iterator[Dossier]], T]
"""Anything that pickles, as does what it answers and raises."""


def ask_all(settings: Settings, ask: Ask[T], progress: Progress) -> list[T]:
    """The answers of all parts; those of one come with the log, for what is asked besides.

    Raises what ``ask`` does, ``UndigestedError`` at a fact that cannot be read, and ``LostError``.
    """
    log = _log(settings)
    with closing(log.database):
        head = log.head().safe
    parts = processes_for(head)
    tasks = [partial(_ask, settings, ask, part, parts) for part in range(parts)]
    return spread(tasks, lambda share: progress(int(share * head), head))


def _ask(settings: Settings, ask: Ask[T], part: int, parts: int, report: Report) -> T:
    log = _log(settings)
    with (
        closing(log.database),
        closing(dossiers(log, report, part=part, parts=parts)) as customers,
    ):
        return ask(log, customers)


def _log(settings: Settings) -> Log:
    """On the replica, where there is one: it is work. A second connection is for policies."""
    return replica_log(settings, pool_size=2) or primary_log(settings, pool_size=2)
