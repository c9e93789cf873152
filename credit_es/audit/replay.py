"""A decision made again, from the versions it saw, under the policy that it was made by.

It must come out the same, whatever was recorded since: what a decision knew stands in it, and the
policy stands in the log under its hash. Where the log was altered so that it cannot be made again,
that is said, and why.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from msgspec import Struct

from credit_es.audit.decisions import DecisionRecord
from credit_es.audit.dossiers import Dossier, Progress, dossier, folded
from credit_es.audit.parts import ask_all
from credit_es.domain import customer, loan
from credit_es.domain.customer import Customer
from credit_es.domain.errors import UnknownDecisionError
from credit_es.domain.events import (
    Decision,
    LoanApproved,
    LoanOpened,
    PolicyAdopted,
)
from credit_es.domain.lending import grant, seen_of
from credit_es.domain.loan import Loan
from credit_es.domain.policy import (
    Policy,
    PolicyError,
    load_policy,
    recorded_policy,
    shipped_policies,
)
from credit_es.domain.review import judge_again
from credit_es.settings import Settings
from credit_es.store.log import Log
from credit_es.store.mapper import DIGESTION, Recorded, UndigestedError, policy_stream

PLAIN: Final = msgspec.json.Encoder(decimal_format="string")


class Differing(Struct, frozen=True, kw_only=True):
    """A figure of a decision that comes out another one; ``field`` is its path in the fact."""

    field: str
    recorded: Any
    replayed: Any


class Replay(Struct, frozen=True, kw_only=True):
    """A decision made again: ``same`` is None where it cannot be, and ``problem`` says why."""

    decision_id: str
    same: bool | None
    differences: tuple[Differing, ...] = ()
    problem: str | None = None


class Policies:
    """The policies that decisions were made by, by hash: of the log, else of those shipped."""

    def __init__(self, contents: Callable[[str], str | None]) -> None:
        self._contents = contents
        self._found: dict[str, Policy | None] = {}

    def find(self, policy_hash: str) -> Policy | None:
        """The policy of a hash, None where nobody has it."""
        if policy_hash not in self._found:
            self._found[policy_hash] = self._look(policy_hash)
        return self._found[policy_hash]

    def _look(self, policy_hash: str) -> Policy | None:
        content = self._contents(policy_hash)
        try:
            candidates = [recorded_policy(content)] if content else []
        except PolicyError:
            candidates = []
        candidates += map(load_policy, shipped_policies())
        return next((one for one in candidates if one.hash == policy_hash), None)


def policies_of(log: Log) -> Policies:
    """The policies of a log."""

    def content(policy_hash: str) -> str | None:
        with suppress(UndigestedError):
            found = log.event(policy_stream(policy_hash), 1)
            if found and isinstance(found.entry.fact, PolicyAdopted):
                return found.entry.fact.content
        return None

    return Policies(content)


def replay(log: Log, policies: Policies, customer_number: int, version: int) -> Replay:
    """Make one decision again; raises ``UnknownDecisionError`` where there is none."""
    decision_id = f"{customer_number}-{version}"
    try:
        whole = dossier(log, customer_number)
    except UndigestedError as error:
        return Replay(decision_id=decision_id, same=None, problem=str(error))
    for one in replays(whole, policies) if whole else ():
        if one.decision_id == decision_id:
            return one
    raise UnknownDecisionError(decision_id)


def replay_of(log: Log, record: DecisionRecord) -> Replay:
    """Make a decision that was found again, by the policies of its log."""
    number, version = map(int, record.decision_id.split("-"))
    return replay(log, policies_of(log), number, version)


def replay_log(settings: Settings, progress: Progress) -> tuple[int, Replay | None]:
    """Make every decision of the log again, on every core: see ``first_of``."""
    return first_of(ask_all(settings, _replay_part, progress))


def _replay_part(log: Log, dossiers: Iterator[Dossier]) -> tuple[int, Replay | None]:
    return first_failing(dossiers, policies_of(log))


def first_of(parts: Sequence[tuple[int, Replay | None]]) -> tuple[int, Replay | None]:
    """How many decisions of all parts were made again, and the first that comes out otherwise."""
    failed = sorted((one for _, one in parts if one), key=lambda one: one.decision_id)
    return sum(count for count, _ in parts), next(iter(failed), None)


def first_failing(dossiers: Iterable[Dossier], policies: Policies) -> tuple[int, Replay | None]:
    """How many decisions were made again, up to the first that did not come out the same."""
    count = 0
    for whole in dossiers:
        for again in replays(whole, policies):
            count += 1
            if not again.same:
                return count, again
    return count, None


def replays(whole: Dossier, policies: Policies) -> Iterator[Replay]:
    """Make every decision of a dossier again, in order."""
    states, loans = folded(customer.evolve, whole.history), _Loans(whole)
    who: Customer | None = None
    for recorded in whole.history:
        fact = recorded.entry.fact
        if isinstance(fact, Decision):
            yield _again(recorded, fact, who, loans, policies)
        who = next(states, None)


class _Loans:
    """The loans of a dossier at each of their versions."""

    def __init__(self, whole: Dossier) -> None:
        self._whole = whole
        self._states: dict[int, list[Loan]] = {}

    def at(self, number: int, version: int) -> Loan | None:
        """A loan as a decision saw it; None where the log does not reach so far."""
        if number not in self._states:
            history = self._whole.loans.get(number, ())
            self._states[number] = list(folded(loan.evolve, history))
        states = self._states[number]
        return states[version - 1] if 1 <= version <= len(states) else None

    def opening(self, number: int) -> LoanOpened | None:
        """The first fact of a loan granted here."""
        stream = self._whole.loans.get(number, ())
        first = stream[0].entry.fact if stream else None
        return first if isinstance(first, LoanOpened) else None


def _again(
    recorded: Recorded,
    decision: Decision,
    who: Customer | None,
    states: _Loans,
    policies: Policies,
) -> Replay:
    decision_id = f"{decision.customer_number}-{recorded.originator_version}"

    def cannot(problem: str) -> Replay:
        return Replay(decision_id=decision_id, same=None, problem=problem)

    policy = policies.find(decision.verdict.policy_hash)
    if policy is None:
        return cannot(
            f"policy {decision.verdict.policy} with the hash {decision.verdict.policy_hash} is "
            "neither in the log, as it was, nor shipped"
        )
    found = [states.at(each.loan_number, each.version) for each in decision.seen.loans]
    loans = [one for one in found if one is not None]
    before = recorded.originator_version - 1
    if who is None or who.version != before or len(loans) < len(found):
        return cannot("the log does not hold all the versions that it saw")
    try:
        differences = tuple(_compared(decision, who, loans, policy, states))
    except DIGESTION as error:
        return cannot(f"what it saw cannot be judged: {error}")
    return Replay(decision_id=decision_id, same=not differences, differences=differences)


def _compared(
    decision: Decision, who: Customer, loans: Sequence[Loan], policy: Policy, states: _Loans
) -> Iterator[Differing]:
    """In what a decision differs from the one that is made of what it saw."""
    verdict = judge_again(policy, who, loans, decision)
    again: dict[str, Any] = {"verdict": verdict, "seen": seen_of(who, loans)}
    said: dict[str, Any] = {"verdict": decision.verdict, "seen": decision.seen}
    kind = type(decision).__name__
    expected = "LoanApproved" if verdict.approved else "LoanDeclined"
    said["kind"], again["kind"] = kind, "LoanReferred" if verdict.referred else expected
    if isinstance(decision, LoanApproved):
        _, opened = grant(
            who,
            loans,
            decision.terms,
            verdict,
            loan_number=decision.loan_number,
            today=decision.occurred_on,
        )
        said["loan"], again["loan"] = states.opening(decision.loan_number), opened
    recorded, replayed = PLAIN.encode(said), PLAIN.encode(again)
    if recorded != replayed:
        decode = msgspec.json.decode
        yield from _differing("", decode(recorded), decode(replayed))


def _differing(path: str, recorded: Any, replayed: Any) -> Iterator[Differing]:
    if isinstance(recorded, dict) and isinstance(replayed, dict):
        for name in sorted(recorded | replayed):
            yield from _differing(f"{path}/{name}", recorded.get(name), replayed.get(name))
    elif recorded != replayed:
        yield Differing(field=path, recorded=recorded, replayed=replayed)
