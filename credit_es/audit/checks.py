"""What must hold of a log, whoever wrote to its tables, checked stream by stream; all is pure.

A stream's versions have no hole and its positions rise, its facts can be read and folded and are
its own, money is a number and not negative, what two streams tell they tell alike, and every policy
that decided stands in the log under the hash of what it says.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any, Final, Literal
from uuid import UUID

from msgspec import Struct

from credit_es.domain.events import (
    CustomerEvent,
    Decision,
    Event,
    LoanApproved,
    LoanBurdenRaised,
    LoanEvent,
    LoanImported,
    LoanOpened,
    LoansImported,
    PolicyAdopted,
    RepaymentReversed,
)
from credit_es.domain.loan import ZERO, Loan
from credit_es.domain.standing import left_to_pay
from credit_es.store.mapper import DECODER, DIGESTION, Entry, stream_of, topic
from projections.pairs import Told, Unpaired
from projections.tables import PROJECTIONS

Check = Literal[
    "versions",
    "positions",
    "unreadable",
    "kind",
    "stream",
    "recorded",
    "money",
    "fold",
    "pairs",
    "policy",
    "table",
    "snapshot",
]
CLOCKS: Final = timedelta(minutes=5)
"""How far the clocks of two hosts may be apart."""
MAY_BE_NEGATIVE: Final = "current_debt"
"""A workbook's, imported as it is."""
_NUL: Final = rb"\u0000"
_HOLDS_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""One that is not the text ``\\u0000``, whose backslash is escaped: JSON's backslashes pair up."""


class Fault(Struct, frozen=True, kw_only=True):
    """Something that must not be: which check found it, where, and what it is, in a sentence."""

    check: Check
    subject: str
    position: int | None
    what: str


class Place(Struct, frozen=True):
    """A row of the log, undecoded."""

    stream_id: UUID
    version: int
    position: int
    topic: str
    state: bytes


class Checked(Struct, frozen=True, kw_only=True):
    """What became of one shard; policies by hash, with the position where each comes first."""

    facts: int
    faults: list[Fault]
    adopted: dict[str, int]
    used: dict[str, int]


class Checks:
    """Checks streams one after the other; remembers the policies, and where it could not read.

    With ``pairs`` it also remembers what streams tell of each other: for a shard, not for a log.
    """

    def __init__(self, *, pairs: bool = False) -> None:
        self.facts = 0
        self.unreadable: list[int] = []
        self.adopted: dict[str, int] = {}
        self.used: dict[str, int] = {}
        self._pairs: dict[bool, dict[str, tuple[int, Told]]] | None = (
            {True: {}, False: {}} if pairs else None
        )

    def stream(self, places: Sequence[Place]) -> Iterator[Fault]:
        """What is wrong with one stream, whose rows come by version."""
        self.facts += len(places)
        subject = f"stream {places[0].stream_id}"
        entries: list[Entry] = []
        for place in places:
            try:
                if _NUL in place.state and _HOLDS_NUL.search(place.state):
                    raise ValueError("a text in it holds a NUL, which the database takes in none")
                entries.append(DECODER.decode(place.state))
            except DIGESTION as error:
                self.unreadable.append(place.position)
                yield _fault("unreadable", subject, place, f"it cannot be read: {error}")
        if entries:
            subject = _subject(entries[0].fact)
        yield from _numbering(subject, places)
        if len(entries) < len(places):
            return
        for place, entry in zip(places, entries, strict=True):
            yield from _one(subject, place, entry.fact)
            yield from self._remember(subject, place, entry.fact)
        yield from _in_time(subject, places, entries)
        yield from _folded(subject, places, entries)

    def unpaired(self) -> Iterator[Unpaired]:
        """What the streams seen do not tell alike."""
        assert self._pairs is not None
        by_customer, by_loan = self._pairs[True], self._pairs[False]
        for what in sorted(by_customer | by_loan):
            (at, told), (at_loan, of_loan) = (
                side.get(what, (0, None)) for side in (by_customer, by_loan)
            )
            if told != of_loan or (told and told.times > 1):
                yield Unpaired(what=what, position=at_loan or at, by_customer=told, by_loan=of_loan)

    def _remember(self, subject: str, place: Place, fact: Event) -> Iterator[Fault]:
        if isinstance(fact, PolicyAdopted):
            self.adopted[fact.policy_hash] = place.position
            if hashlib.sha256(fact.content.encode()).hexdigest() != fact.policy_hash:
                yield _fault("policy", subject, place, "its content has another hash")
        elif isinstance(fact, Decision):
            used = fact.verdict.policy_hash
            self.used[used] = min(self.used.get(used, place.position), place.position)
        if self._pairs is not None:
            for by_customer, what, told in _told(fact):
                side = self._pairs[by_customer]
                at, before = side.get(what, (place.position, None))
                times = before.times + 1 if before else 1
                side[what] = (
                    at,
                    Told(customer=told.customer, said=told.said, times=times),
                )


def check_shard(places: Iterable[Place], *, whole_up_to: int) -> Checked:
    """Check whole customers, such as a shard of an export, in whatever order their facts come.

    Beyond position ``whole_up_to`` the other half of what one transaction recorded may be missing.
    """
    checks = Checks(pairs=True)
    found: list[Fault] = []
    in_order = sorted(places, key=lambda one: (one.stream_id, one.version))
    for _, stream in groupby(in_order, key=attrgetter("stream_id")):
        found += checks.stream(list(stream))
    found += (
        in_pairs(one)
        for one in checks.unpaired()
        if one.position <= whole_up_to or (one.by_customer and one.by_loan)
    )
    return Checked(facts=checks.facts, faults=found, adopted=checks.adopted, used=checks.used)


def without_policy(adopted: Mapping[str, int], used: Mapping[str, int]) -> Iterator[Fault]:
    """The policies that decided and are not in the log, or only later than that."""
    for policy_hash, position in sorted(used.items()):
        at = adopted.get(policy_hash)
        if at is None or at > position:
            when = "is not in the log" if at is None else f"came later, at position {at}"
            yield Fault(
                check="policy",
                subject=f"policy {policy_hash}",
                position=position,
                what=f"the policy that decided here {when}",
            )


def in_pairs(one: Unpaired) -> Fault:
    """What two streams do not tell alike, as a fault."""

    def said(side: str, told: Told | None) -> str:
        if told is None:
            return f"{side} does not name it"
        often = f", {told.times} times" if told.times > 1 else ""
        return f"{side} says {told.said} of customer {told.customer}{often}"

    by_customer = said("the customer's stream", one.by_customer)
    by_loan = said("the loan's stream", one.by_loan)
    return Fault(
        check="pairs",
        subject=one.what,
        position=one.position,
        what=f"{by_customer}; {by_loan}",
    )


def _numbering(subject: str, places: Sequence[Place]) -> Iterator[Fault]:
    for expected, place in enumerate(places, 1):
        if place.version != expected:
            yield _fault(
                "versions", subject, place, f"version {place.version} follows {expected - 1}"
            )
            break
    for before, place in pairwise(places):
        if place.position <= before.position:
            what = f"version {place.version} stands before version {before.version}"
            yield _fault("positions", subject, place, what)


def _one(subject: str, place: Place, fact: Event) -> Iterator[Fault]:
    if place.topic != topic(fact):
        yield _fault("kind", subject, place, f"{place.topic} is {topic(fact)} within")
    if place.stream_id != stream_of(fact):
        what = f"it is about {_subject(fact)}, and stands in stream {place.stream_id}"
        yield _fault("stream", subject, place, what)
    for path, amount in amounts(fact):
        if not amount.is_finite() or (amount < 0 and path.rpartition(".")[2] != MAY_BE_NEGATIVE):
            yield _fault("money", subject, place, f"{path} is {amount}")


def _in_time(subject: str, places: Sequence[Place], entries: Sequence[Entry]) -> Iterator[Fault]:
    for place, before, entry in zip(places[1:], entries, entries[1:], strict=False):
        if entry.recorded_at < before.recorded_at - CLOCKS:
            what = f"it was recorded at {entry.recorded_at}, and the one before it later"
            yield _fault("recorded", subject, place, what)


def _folded(subject: str, places: Sequence[Place], entries: Sequence[Entry]) -> Iterator[Fault]:
    projection = next((one for one in PROJECTIONS if places[0].topic in one.topics), None)
    state: Any = None
    for place, entry in zip(places, entries, strict=True):
        if projection is None:
            return
        try:
            state = projection.fold(state, entry.fact)
            left = left_to_pay(state) if isinstance(state, Loan) and state.repayments else ZERO
            is_overpaid = left < 0
        except DIGESTION as error:
            what = f"it does not follow from the facts before it ({type(error).__name__})"
            yield _fault("fold", subject, place, what)
            return
        if is_overpaid:
            yield _fault("money", subject, place, f"{-left} more was paid than was owed")


def amounts(value: object, path: str = "") -> Iterator[tuple[str, Decimal]]:
    """All amounts and rates of a fact, however deep, with their paths."""
    if isinstance(value, Decimal):
        yield path, value
    elif isinstance(value, Struct):
        for name in value.__struct_fields__:
            yield from amounts(getattr(value, name), f"{path}.{name}" if path else name)
    elif isinstance(value, tuple):
        for number, one in enumerate(value):
            yield from amounts(one, f"{path}.{number}")


def _told(fact: Event) -> Iterator[tuple[bool, str, Told]]:
    """What a fact tells that another stream tells, too: whether it is the customer's, of what."""
    match fact:
        case LoanApproved():
            said = f"{fact.terms.amount} at {fact.verdict.annual_rate} %"
            yield True, f"loan {fact.loan_number}", _by(fact, said)
        case LoansImported():
            for one in fact.loans:
                yield True, f"loan {one.loan_number}", _by(fact, "imported")
        case LoanOpened():
            said = f"{fact.amount} at {fact.annual_rate} %"
            yield False, f"loan {fact.loan_number}", _by(fact, said)
        case LoanImported():
            yield False, f"loan {fact.loan_number}", _by(fact, "imported")
        case LoanBurdenRaised() | RepaymentReversed():
            what = f"reversal of {fact.loan_number}-{fact.repayment}"
            yield isinstance(fact, LoanBurdenRaised), what, _by(fact, str(fact.amount))
        case _:
            pass


def _by(fact: CustomerEvent | LoanEvent, said: str) -> Told:
    return Told(customer=str(fact.customer_number), said=said)


def _subject(fact: Event) -> str:
    if isinstance(fact, CustomerEvent):
        return f"customer {fact.customer_number}"
    if isinstance(fact, LoanEvent):
        return f"loan {fact.loan_number}"
    return f"stream {stream_of(fact)}"


def _fault(check: Check, subject: str, place: Place, what: str) -> Fault:
    return Fault(
        check=check,
        subject=subject,
        position=place.position,
        what=f"version {place.version}: {what}",
    )
