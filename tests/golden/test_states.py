"""A state that was folded before is never taken for one folded now.

Read tables and snapshots keep states, and a field that was added since would be read as its
default, whatever the facts say. So what each fold makes of the golden facts, step by step, is kept
beside its definition and never rewritten: who changes a state or its fold raises the definition and
adds a file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from credit_es.domain.events import (
    ApplicationApproved,
    ApplicationDeclined,
    ApplicationEvent,
    ApplicationReferred,
    CustomerEvent,
    CustomerImported,
    CustomerRegistered,
    Event,
    LoanEvent,
    LoanImported,
    LoanOpened,
    LoanRestated,
)
from credit_es.store.mapper import ENCODER, topic
from projections.projection import Projection
from projections.tables import PROJECTIONS
from tests.golden.test_events import EXPECTED

FOLDER: Final = Path(__file__).parent


def told(*kinds: type[Event]) -> list[Event]:
    return [fact for fact in EXPECTED if isinstance(fact, kinds)]


def beginning_with(first: type[Event], later: Any, *but: type[Event]) -> list[Event]:
    """A stream: its first fact and all golden ones that may follow it."""
    return told(first) + [
        fact for fact in EXPECTED if isinstance(fact, later) and not isinstance(fact, (first, *but))
    ]


HISTORIES: Final[dict[str, Sequence[list[Event]]]] = {
    "customers": [
        beginning_with(CustomerImported, CustomerEvent, CustomerRegistered),
        beginning_with(CustomerRegistered, CustomerEvent, CustomerImported),
    ],
    "loans": [
        beginning_with(LoanOpened, LoanEvent, LoanImported, LoanRestated),
        told(LoanImported, LoanRestated),
    ],
    "applications": [
        told(ApplicationReferred, ApplicationApproved),
        told(ApplicationReferred, ApplicationDeclined),
    ],
}


def folded(projection: Projection[Any]) -> list[list[Any]]:
    """The state after each fact of each history, as it is stored."""
    histories = []
    for facts in HISTORIES[projection.name]:
        state, states = None, []
        for fact in facts:
            state = projection.fold(state, fact)
            states.append(msgspec.json.decode(ENCODER.encode(state)))
        histories.append(states)
    return histories


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda one: one.name)
def test_a_fold_makes_of_the_golden_facts_what_its_definition_says(
    projection: Projection[Any],
) -> None:
    kept = FOLDER / f"{projection.name}.d{projection.definition}.json"
    assert folded(projection) == msgspec.json.decode(kept.read_bytes())


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda one: one.name)
def test_every_fact_that_a_fold_takes_is_among_them(projection: Projection[Any]) -> None:
    facts = [fact for history in HISTORIES[projection.name] for fact in history]
    assert {topic(fact) for fact in facts} == projection.topics


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda one: one.name)
def test_a_fold_takes_every_fact_of_its_stream(projection: Projection[Any]) -> None:
    """One that it were not given would be missing among the versions, and the next be poison."""
    assert projection.events in (CustomerEvent, LoanEvent, ApplicationEvent)


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda one: one.name)
def test_each_of_them_tells_the_key_of_its_row(projection: Projection[Any]) -> None:
    for first, *later in HISTORIES[projection.name]:
        row = projection.fold(None, first)
        assert getattr(first, projection.told_as) == getattr(row, projection.key)
        assert all(hasattr(fact, projection.told_as) for fact in later)
