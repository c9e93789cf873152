"""The decisions of the whole log made again, some customers at a time."""

from collections.abc import Iterator
from uuid import UUID

from msgspec import Struct

from credit_es.audit.dossiers import Dossier, beginnings, dossiers_in
from credit_es.audit.replay import Replay, policies_of, replays
from credit_es.store.log import Log
from credit_es.store.mapper import UndigestedError


class Replayed(Struct, frozen=True, kw_only=True):
    """What became of the decisions on some customers.

    ``decisions`` were made again, of which ``not_the_same`` came out otherwise, or could not be;
    ``unreadable`` names facts for which those of a customer were not. ``after`` is what the next
    page is asked with, None at the end; ``position`` is where the log ends.
    """

    decisions: int
    not_the_same: list[Replay]
    unreadable: list[str]
    position: int
    after: int | None


def replayed(log: Log, *, after: int, limit: int) -> Replayed:
    """Make the decisions on ``limit`` customers again, who became one beyond ``after``."""
    policies, upto = policies_of(log), log.head().safe
    begun = beginnings(log, after=after, upto=upto, limit=limit)
    count = 0
    otherwise: list[Replay] = []
    unreadable: list[str] = []
    for found in _readable(log, list(begun.values())):
        if isinstance(found, UndigestedError):
            unreadable.append(str(found))
            continue
        for again in replays(found, policies):
            count += 1
            if not again.same:
                otherwise.append(again)
    return Replayed(
        decisions=count,
        not_the_same=otherwise,
        unreadable=unreadable,
        position=upto,
        after=max(begun) if len(begun) == limit else None,
    )


def _readable(log: Log, streams: list[UUID]) -> Iterator[Dossier | UndigestedError]:
    """The dossiers of some customers, and in the place of one that cannot be read, why."""
    try:
        yield from list(dossiers_in(log, streams))
    except UndigestedError as error:
        if len(streams) == 1:
            yield error
            return
        for stream in streams:
            yield from _readable(log, [stream])
