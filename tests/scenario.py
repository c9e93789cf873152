"""given(*facts).when(command).then(*facts): a decision, without a database."""

from collections.abc import Sequence
from datetime import date
from difflib import unified_diff
from typing import Final

import msgspec
from hypothesis import HealthCheck, settings

from credit_es.domain import customer, loan
from credit_es.domain.customer import Customer, RegisterCustomer, decide_registration
from credit_es.domain.events import CustomerEvent, LoanEvent
from credit_es.domain.lending import ApplyForLoan, decide_loan
from credit_es.domain.loan import Loan
from credit_es.domain.policy import Policy, load_policy
from credit_es.domain.score import score
from credit_es.domain.values import Scorecard

TODAY: Final = date(2026, 1, 15)
NEXT: Final = 10_000_001
"""The number that the next registered customer or granted loan gets."""

STANDARD: Final = load_policy("standard")
LITERAL: Final = load_policy("literal")

PROPERTY: Final = settings(
    deadline=None,
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
"""Of hypothesis tests: the same examples on every machine, however busy it is."""

Fact = CustomerEvent | LoanEvent


class Scenario:
    """The streams of one customer and their loans, folded, and a policy on a day."""

    def __init__(self, facts: Sequence[Fact], policy: Policy, today: date) -> None:
        self._customer: Customer | None = None
        self._loans: dict[int, Loan] = {}
        self._policy = policy
        self.today = today
        for fact in facts:
            if isinstance(fact, LoanEvent):
                before = self._loans.get(fact.loan_number)
                self._loans[fact.loan_number] = loan.evolve(before, fact)
            else:
                self._customer = customer.evolve(self._customer, fact)

    @property
    def customer(self) -> Customer:
        """The customer that the facts are about."""
        assert self._customer is not None, "no fact makes somebody a customer"
        return self._customer

    @property
    def loans(self) -> list[Loan]:
        """All loans of the customer."""
        return list(self._loans.values())

    def when(self, command: RegisterCustomer | ApplyForLoan) -> "Decided":
        """Decide on a command."""
        if isinstance(command, RegisterCustomer):
            assert self._customer is None
            return Decided(decide_registration(command, customer_number=NEXT, today=self.today))
        return Decided(
            *decide_loan(
                self.customer,
                self.loans,
                command,
                self._policy,
                loan_number=NEXT,
                today=self.today,
            )
        )

    def scorecard(self) -> Scorecard:
        """Score the customer, which is no decision yet."""
        return score(self._policy.score, self.customer, self.loans, self.today).card


class Decided:
    """What a decision came to."""

    def __init__(self, *facts: Fact) -> None:
        self.facts = facts

    def then(self, *expected: Fact) -> None:
        """Compare whole facts, down to the places of an amount, as they would be stored."""
        decided, wanted = _lines(self.facts), _lines(expected)
        difference = unified_diff(wanted, decided, "expected", "decided", lineterm="")
        assert decided == wanted, "\n".join(difference)


def given(*facts: Fact, policy: Policy = STANDARD, today: date = TODAY) -> Scenario:
    """Start from these facts."""
    return Scenario(facts, policy, today)


def _lines(facts: Sequence[Fact]) -> list[str]:
    return msgspec.json.format(msgspec.json.encode(facts), indent=2).decode().splitlines()
