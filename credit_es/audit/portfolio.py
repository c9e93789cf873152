"""The whole portfolio on a day: what stood, what was outstanding, how much of it came on time.

Loan streams are independent of each other, so the log is folded stream by stream as the server
sorts it, and a loan is forgotten once it is counted. Which slab a loan was granted in stands in the
decision, on the customer's stream: of each a byte is kept, by the loan's number.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from operator import itemgetter
from typing import Final, get_args

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from credit_es.audit.asof import loan_as_of
from credit_es.audit.replay import policies_of
from credit_es.audit.slabs import Granted, Slabs
from credit_es.domain.events import CustomerImported, CustomerRegistered, LoanApproved, LoanEvent
from credit_es.domain.loan import ZERO
from credit_es.domain.money import to_cents
from credit_es.domain.standing import (
    Status,
    due_and_on_time,
    outstanding_principal,
    status_of,
)
from credit_es.store.log import Log
from credit_es.store.mapper import DIGESTION, Recorded, UndigestedError, recorded, topic
from projections.streams import STREAMS, sorted_events

LOAN_TOPICS: Final = frozenset(topic(kind) for kind in get_args(LoanEvent))
APPROVED: Final = topic(LoanApproved)
BROUGHT: Final = topic(CustomerImported)
CUSTOMER_TOPICS: Final = (topic(CustomerRegistered), BROUGHT, APPROVED)
BATCH: Final = 1_000
REPORT_EVERY: Final = 2_000

Progress = Callable[[int, int], None]
"""Called with how far it is, and how far it goes."""
Cell = tuple[Status, int, str]
"""What loans are counted by: status, year of approval, slab."""


# Of these facts nothing else is asked, and what is not decoded costs nothing.
class _Approved(Struct, frozen=True):
    loan_number: int
    verdict: Granted


class _Approval(Struct, frozen=True):
    fact: _Approved


class _Begun(Struct, frozen=True):
    occurred_on: date


class _Beginning(Struct, frozen=True):
    fact: _Begun
    recorded_at: datetime


APPROVALS: Final = msgspec.json.Decoder(_Approval)
BEGINNINGS: Final = msgspec.json.Decoder(_Beginning)


class Sums(Struct, kw_only=True):
    """Loans of one kind, added up.

    ``outstanding`` is the principal of those that run, ``written_off`` of those given up;
    ``balance_unknown`` counts those among both of which only a workbook knows it.
    """

    loans: int = 0
    amount: Decimal = ZERO
    outstanding: Decimal = ZERO
    balance_unknown: int = 0
    written_off: Decimal = ZERO
    installments_due: int = 0
    installments_on_time: int = 0

    def add(self, other: "Sums") -> None:
        """Take the loans of another, too."""
        for name in Sums.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Line(Sums, kw_only=True):
    """Sums with their name; ``on_time_share`` in per cent, None where nothing was due."""

    what: str
    on_time_share: Decimal | None


class Portfolio(Struct, frozen=True, kw_only=True):
    """All loans that there were on a day; ``position`` is how far the log was read."""

    on: date
    known_at: datetime | None
    position: int
    customers: int
    total: Line
    by_status: list[Line]
    by_year: list[Line]
    by_slab: list[Line]


def portfolio(
    log: Log,
    *,
    on: date,
    known_at: datetime | None = None,
    progress: Progress = lambda _reached, _head: None,
) -> Portfolio:
    """Count everything, up to where the log may be read now; raises ``UndigestedError``."""
    head = log.head().safe
    slabs = Slabs(policies_of(log))
    customers = _read_customers(log, head, on, known_at, slabs, progress)
    cells: dict[Cell, Sums] = {}
    with (
        log.database.connection() as conn,
        sorted_events(conn, log.database.schema, topics=LOAN_TOPICS, head=head) as events,
    ):
        streams = groupby(events, itemgetter(0))
        for number, (stream_id, stream) in enumerate(streams, 1):
            history = [recorded(stream_id, version, state) for _, version, state in stream]
            _count(cells, history, on, known_at, slabs)
            if number % REPORT_EVERY == 0:
                progress(head + head * stream_id.int // STREAMS, 2 * head)
    progress(2 * head, 2 * head)
    return Portfolio(
        on=on,
        known_at=known_at,
        position=head,
        customers=customers,
        total=_line("all loans", cells.values()),
        by_status=_lines(cells, lambda cell: cell[0].value),
        by_year=_lines(cells, lambda cell: str(cell[1])),
        by_slab=_lines(cells, lambda cell: cell[2]),
    )


def _read_customers(
    log: Log, head: int, on: date, known_at: datetime | None, slabs: Slabs, progress: Progress
) -> int:
    """Keep the slabs that loans were granted in; returns how many customers there were."""
    customers = after = 0
    while batch := log.recorder.tail(after, BATCH, head, CUSTOMER_TOPICS):
        for event in batch:
            try:
                if event.topic == APPROVED:
                    approved = APPROVALS.decode(event.state).fact
                    slabs.put(approved.loan_number, approved.verdict)
                    continue
                one = BEGINNINGS.decode(event.state)
            except DIGESTION as error:
                raise UndigestedError(event.originator_id, event.originator_version) from error
            is_true = one.fact.occurred_on <= on or event.topic == BROUGHT
            customers += is_true and (known_at is None or one.recorded_at <= known_at)
        after = batch[-1].id
        progress(after, 2 * head)
    return customers


def _count(
    cells: dict[Cell, Sums],
    history: Sequence[Recorded],
    on: date,
    known_at: datetime | None,
    slabs: Slabs,
) -> None:
    """Add one loan to its cell, if there was one."""
    try:
        one = loan_as_of(history, on=on, known_at=known_at)
        if one is None:
            return
        status = status_of(one, on)
        left = outstanding_principal(one) if status is not Status.CLOSED else ZERO
        due, on_time = due_and_on_time(one, on)
    except DIGESTION as error:
        last = history[-1]
        raise UndigestedError(last.originator_id, last.originator_version) from error
    sums = cells.setdefault((status, one.opened_on.year, slabs.of(one)), Sums())
    sums.loans += 1
    sums.amount += one.amount
    sums.installments_due += due
    sums.installments_on_time += on_time
    if left is None:
        sums.balance_unknown += 1
    elif status is Status.WRITTEN_OFF:
        sums.written_off += left
    else:
        sums.outstanding += left


def _lines(cells: dict[Cell, Sums], name: Callable[[Cell], str]) -> list[Line]:
    groups: dict[str, list[Sums]] = {}
    for cell, sums in cells.items():
        groups.setdefault(name(cell), []).append(sums)
    return [_line(what, groups[what]) for what in sorted(groups)]


def _line(what: str, parts: Iterable[Sums]) -> Line:
    whole = Sums()
    for part in parts:
        whole.add(part)
    due, on_time = whole.installments_due, whole.installments_on_time
    share = to_cents(Fraction(100 * on_time, due)) if due else None
    return Line(what=what, on_time_share=share, **asdict(whole))
