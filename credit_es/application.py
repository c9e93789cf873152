"""The application service: load streams, decide, append. One method a command.

Decisions never read the read tables. Every command is one append under optimistic concurrency; a
lost race loads and decides again, until it is recorded or time is up.
"""

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Final, Generic, TypeVar
from uuid import UUID

import msgspec
from eventsourcing.application import Application
from eventsourcing.persistence import IntegrityError
from msgspec import Struct

from credit_es.domain import customer, loan
from credit_es.domain.customer import Customer, RegisterCustomer, decide_registration
from credit_es.domain.errors import DomainError, UnknownCustomerError
from credit_es.domain.events import (
    CustomerEvent,
    CustomerRegistered,
    Decision,
    Event,
    LoanEvent,
    LoanReferred,
    PolicyAdopted,
)
from credit_es.domain.lending import ApplyForLoan, decide_loan
from credit_es.domain.loan import Loan
from credit_es.domain.policy import Policy, judge, load_policy
from credit_es.domain.review import refer
from credit_es.domain.values import Verdict
from credit_es.settings import Settings
from credit_es.store.bulk import BulkAppend
from credit_es.store.idempotency import IdempotencyKeys, Kept, Once
from credit_es.store.log import Log
from credit_es.store.mapper import (
    ENCODER,
    Entry,
    Recorded,
    UndigestedError,
    customer_stream,
    loan_stream,
    policy_stream,
    stream_of,
)
from credit_es.store.numbers import Numbers
from credit_es.store.recorder import Beside
from credit_es.store.snapshots import Aggregates

CONTEND_S: Final = 10.0
"""How long a command that keeps losing races tries again."""
PAUSE_S: Final = 0.02
REMEMBERED: Final = 20_000
"""Customers whose loans a process remembers the numbers of; some 300 bytes each."""

T = TypeVar("T")
Facts = Sequence[tuple[int, Event]]
"""Facts with their versions; the stream of a fact follows from the fact."""


class ContendedError(Exception):
    """The command lost every race for its streams; nothing was recorded. Send it again."""


class By(Struct, frozen=True, kw_only=True):
    """Who sets a command off, and the request or job that it belongs to."""

    actor: str
    correlation_id: str
    causation_id: str | None = None


class Decided(Struct, Generic[T], frozen=True, kw_only=True):
    """What a command came to: the facts to append, and other work for the same transaction."""

    facts: Facts
    outcome: T
    beside: Beside | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """A decision, and its version in the customer's stream."""

    decision: Decision
    version: int

    @property
    def decision_id(self) -> str:
        """The id under which the decision is found without any projector."""
        return f"{self.decision.customer_number}-{self.version}"


class Lending(Application[UUID]):
    """Commands in, facts recorded. Build it after a fork, never before."""

    name = "credit"

    def __init__(self, settings: Settings, *, pool_size: int = 4) -> None:
        switch = {True: "on", False: "off", None: ""}
        super().__init__(
            {
                "PERSISTENCE_MODULE": "credit_es.store.recorder:LogFactory",
                "APPLICATION_RECORDER_TOPIC": "credit_es.store.recorder:LogRecorder",
                "MAPPER_TOPIC": "credit_es.store.mapper:EntryMapper",
                "DATABASE_URL": settings.database_url,
                "CREDIT_SCHEMA": settings.schema,
                "CREDIT_PREPARED_STATEMENTS": switch[settings.prepared_statements],
                "POSTGRES_POOL_SIZE": str(pool_size),
            }
        )
        self.policy: Policy = load_policy(settings.policy)
        self.reader = Log(self.recorder)
        self.database = self.reader.database
        self.numbers = Numbers(self.database, settings.first_number)
        self.customers = Aggregates(self.database, Customer, customer.evolve, customer.DEFINITION)
        self.loans = Aggregates(self.database, Loan, loan.evolve, loan.DEFINITION)
        self.keys = IdempotencyKeys(self.database)
        self._bulk = BulkAppend(self.database)
        self._today = settings.today
        self._policy_is_recorded = False
        # Threads may share this cache; what is wrong in a list costs a round trip.
        self._loans_of: Callable[[int], list[int]] = lru_cache(REMEMBERED)(lambda _number: [])

    def today(self) -> date:
        """The business date."""
        return self._today()

    def register(
        self, command: RegisterCustomer, by: By, once: Once | None = None
    ) -> CustomerRegistered:
        """Record a new customer under the next number."""

        def decide() -> Decided[CustomerRegistered]:
            number = self.numbers.take("customer")
            fact = decide_registration(command, customer_number=number, today=self.today())
            return Decided(facts=[(1, fact)], outcome=fact)

        return self.command(decide, CustomerRegistered, by, once)

    def check_eligibility(self, command: ApplyForLoan) -> Verdict:
        """What a decision would be now; records nothing."""
        who, loans = self.load(command.customer_number)
        return judge(self.policy, who, loans, command.terms, self.today())

    def apply_for_loan(self, command: ApplyForLoan, by: By, once: Once | None = None) -> Outcome:
        """Decide, and record the decision with the loan it opens or the application it refers."""

        def decide() -> Decided[Outcome]:
            who, loans = self.load(command.customer_number)
            decision, *opened = decide_loan(
                who,
                loans,
                command,
                self.policy,
                loan_number=self.numbers.take("loan"),
                today=self.today(),
            )
            assert isinstance(decision, Decision)
            if decision.loan_number is not None:
                self._loans_of(who.number)[:] = (*who.loans, decision.loan_number)
            outcome = Outcome(decision=decision, version=who.version + 1)
            facts: list[tuple[int, Event]] = [(outcome.version, decision)]
            facts += [(1, fact) for fact in opened]
            if isinstance(decision, LoanReferred):
                application_id = outcome.decision_id
                facts.append((1, refer(decision, application_id=application_id, asked_by=by.actor)))
            return Decided(facts=[*self.adoption(), *facts], outcome=outcome)

        return self.command(decide, Outcome, by, once)

    def adoption(self) -> Facts:
        """What is recorded with a decision while the log does not hold its policy; else nothing.

        Who loses the race to record it decides again, and finds it there.
        """
        if self._policy_is_recorded:
            return []
        if self.reader.event(policy_stream(self.policy.hash), 1) is not None:
            self._policy_is_recorded = True
            return []
        adopted = PolicyAdopted(
            occurred_on=self.today(),
            policy_hash=self.policy.hash,
            name=self.policy.name,
            content=self.policy.content,
        )
        return [(1, adopted)]

    def load(self, customer_number: int) -> tuple[Customer, list[Loan]]:
        """A customer and all of their loans, from their streams; two round trips at most.

        One where this process remembers which loans there are: it asks for those along with the
        customer's stream, which alone says what is true. Raises ``UnknownCustomerError``, and
        ``UndigestedError`` where the log has lost a loan that the stream names.
        """
        remembered = self._loans_of(customer_number)
        guess = tuple(remembered)
        (who,), guessed = self.customers.load_with(
            [customer_stream(customer_number)], self.loans, [*map(loan_stream, guess)]
        )
        if who is None:
            raise UnknownCustomerError(customer_number)
        known = dict(zip(guess, guessed, strict=True))
        late = [number for number in who.loans if known.get(number) is None]
        if late:
            known |= zip(late, self.loans.load([*map(loan_stream, late)]), strict=True)
            remembered[:] = who.loans
        loans = [loan for number in who.loans if (loan := known[number]) is not None]
        if len(loans) < len(who.loans):
            lost = next(number for number in who.loans if known[number] is None)
            raise UndigestedError(loan_stream(lost), 1)
        return who, loans

    def record(
        self, facts: Facts, by: By, *, kept: Kept | None = None, beside: Beside | None = None
    ) -> None:
        """Append facts atomically. Raises ``IntegrityError`` where a version is taken."""
        self.events.put(_recorded(facts, by), once=kept, beside=beside)

    def record_many(self, groups: Sequence[Facts], by: By) -> list[int]:
        """Append groups of facts, each whole or not at all; the places of those that lost a race.

        For imports: hundreds of facts in one transaction, which stands for all that lost none.
        """
        if not any(groups):
            return []
        to_stored_event = self.mapper.to_stored_event
        return self._bulk.append([*map(to_stored_event, _recorded(f, by))] for f in groups)

    def command(
        self, decide: Callable[[], Decided[T]], kind: type[T], by: By, once: Once | None
    ) -> T:
        """Decide and record until no race is lost; a request sent again gets its first outcome.

        Raises ``ContendedError`` where no race is won in time, ``KeyReusedError`` where the key of
        ``once`` stands for another request.
        """
        give_up = time.monotonic() + CONTEND_S
        while True:
            if once and (before := self.keys.outcome(once)) is not None:
                return msgspec.json.decode(before, type=kind)
            try:
                decided = decide()
            except DomainError:
                # The same request may have come first since the key was looked up.
                if once and (before := self.keys.outcome(once)) is not None:
                    return msgspec.json.decode(before, type=kind)
                raise
            kept = Kept(request=once, outcome=ENCODER.encode(decided.outcome)) if once else None
            try:
                self.record(decided.facts, by, kept=kept, beside=decided.beside)
            except IntegrityError as lost:
                if time.monotonic() > give_up:
                    raise ContendedError from lost
                time.sleep(random.uniform(0, PAUSE_S))  # noqa: S311 - spreads callers, no secret
            else:
                return decided.outcome


def fold_customer(history: Sequence[Recorded]) -> Customer | None:
    """The state of a customer's stream, None where it is empty."""
    state: Customer | None = None
    for recorded in history:
        fact = recorded.entry.fact
        assert isinstance(fact, CustomerEvent)
        state = customer.evolve(state, fact)
    return state


def fold_loan(history: Sequence[Recorded]) -> Loan:
    """The state of a loan's stream, which has a first fact."""
    state: Loan | None = None
    for recorded in history:
        fact = recorded.entry.fact
        assert isinstance(fact, LoanEvent)
        state = loan.evolve(state, fact)
    assert state is not None
    return state


def _recorded(facts: Facts, by: By) -> list[Recorded]:
    """The facts at their places in the log, recorded now."""
    now = datetime.now(UTC)
    return [
        Recorded(
            stream_of(fact),
            version,
            Entry(
                fact=fact,
                recorded_at=now,
                actor=by.actor,
                correlation_id=by.correlation_id,
                causation_id=by.causation_id,
            ),
        )
        for version, fact in facts
    ]
