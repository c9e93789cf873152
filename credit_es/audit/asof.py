"""Two clocks: what was true on a day, and what was known at an instant.

``occurred_on`` is the day from which a fact is true, ``recorded_at`` the instant at which we
learned it. What was true on a day *as known at* an instant is the fold of the facts that both
clocks have passed. All of it is pure.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from itertools import takewhile
from typing import Any, Final, Protocol, TypeVar

from msgspec.structs import replace

from credit_es.domain import customer, loan
from credit_es.domain.customer import Customer
from credit_es.domain.events import CustomerImported, LoansImported
from credit_es.domain.loan import Loan
from credit_es.store.mapper import Recorded

ALWAYS_TRUE: Final = CustomerImported | LoansImported
"""A workbook does not say since when somebody is a customer; a loan's own opening day rules."""


class Versioned(Protocol):
    """A state that knows the version of the last fact in it."""

    @property
    def version(self) -> int:
        """Of the last fact folded."""
        ...


State = TypeVar("State", bound=Versioned)


def believed(
    history: Sequence[Recorded], *, on: date, known_at: datetime | None = None
) -> list[Recorded]:
    """The facts of one stream that were true on a day, as known at an instant, in stream order.

    ``known_at`` None is now. A fact is known no sooner than those before it in its stream, whatever
    the clock of its host said. Where what the stream begins with was not true yet, nothing was.
    They come with their versions, by which a reversal names what it takes back.
    """
    known = (
        history
        if known_at is None
        else list(takewhile(lambda one: one.entry.recorded_at <= known_at, history))
    )
    if not known or not _is_true(known[0], on):
        return []
    return [one for one in known if _is_true(one, on)]


def _is_true(recorded: Recorded, on: date) -> bool:
    fact = recorded.entry.fact
    return fact.occurred_on <= on or isinstance(fact, ALWAYS_TRUE)


def customer_as_of(
    history: Sequence[Recorded],
    *,
    on: date,
    known_at: datetime | None = None,
    states: Sequence[Customer] = (),
) -> Customer | None:
    """The customer on a day, as known at an instant; None where there was none.

    ``states`` are those after each fact, where somebody has them: they need not be folded again.
    """
    return _folded(customer.evolve, history, believed(history, on=on, known_at=known_at), states)


def loan_as_of(
    history: Sequence[Recorded],
    *,
    on: date,
    known_at: datetime | None = None,
    states: Sequence[Loan] = (),
) -> Loan | None:
    """The loan on a day, as known at an instant; None where there was none; ``states`` as above."""
    return _folded(loan.evolve, history, believed(history, on=on, known_at=known_at), states)


def _folded(
    evolve: Callable[[State | None, Any], State],
    history: Sequence[Recorded],
    facts: Sequence[Recorded],
    states: Sequence[State],
) -> State | None:
    """Fold facts with gaps between them; the state's versions stay those of the stream."""
    if states and facts and facts[-1] is history[len(facts) - 1]:
        return states[len(facts) - 1]
    state: State | None = None
    for one in facts:
        before = one.originator_version - 1
        if state is not None and state.version != before:
            state = replace(state, version=before)  # type: ignore[type-var]
        state = evolve(state, one.entry.fact)
    return state
