"""Facts found in the log by who, what, when, about whom, how much and why."""

from collections.abc import Sequence

from msgspec import Struct

from credit_es.audit.history import ToldFact, told
from credit_es.store.log import Log
from credit_es.store.mapper import TOPICS
from projections.facts import Wanted, search
from projections.status import Lag


class Page(Struct, frozen=True, kw_only=True):
    """Facts, the latest first; ``before`` is what the next page is asked with, None at the end.

    The index may be behind the log; ``lag`` says how far.
    """

    facts: Sequence[ToldFact]
    lag: Lag
    before: int | None


class UnknownKindError(Exception):
    """There is no such kind of fact; the message names those there are."""


def topic_of(kind: str) -> str:
    """The stored name of a kind, such as LoanApproved; raises ``UnknownKindError``."""
    names = {name.rpartition(".")[2]: name for name in TOPICS} | {name: name for name in TOPICS}
    if kind not in names:
        known = ", ".join(sorted(name.rpartition(".")[2] for name in TOPICS))
        raise UnknownKindError(f"There is no kind {kind!r}: {known}.")
    return names[kind]


def find(
    log: Log, primary: Log, wanted: Wanted, *, before: int | None = None, limit: int = 50
) -> Page:
    """A page of the facts that are wanted; ``log`` may be a replica's."""
    found = search(log.database, primary.database, wanted, before=before, limit=limit + 1)
    shown = found.facts[:limit]
    return Page(
        facts=[told(each) for each in shown],
        lag=found.lag,
        before=shown[-1].position if len(found.facts) > limit else None,
    )
