"""What happens to customers and loans later on: repayments, corrections; one method a command."""

from datetime import date
from decimal import Decimal
from typing import Any

from msgspec import Struct

from credit_es.application import By, Decided, Lending
from credit_es.domain import customer
from credit_es.domain.customer import CorrectCustomer, Customer, decide_correction
from credit_es.domain.errors import UnknownCustomerError, UnknownLoanError
from credit_es.domain.events import CustomerCorrected, Event
from credit_es.domain.loan import Loan, evolve
from credit_es.domain.repaying import (
    Repay,
    decide_repayment,
    decide_reversal,
    decide_write_off,
)
from credit_es.domain.standing import (
    Status,
    outstanding_principal,
    repayments_left,
    status_of,
)
from credit_es.store.idempotency import Once
from credit_es.store.mapper import customer_stream, loan_stream


class Serviced(Struct, frozen=True, kw_only=True):
    """How a loan stands after a command on it; ``version`` is that of the command's fact.

    ``outstanding_principal`` is None where only a workbook knows it.
    """

    loan_number: int
    version: int
    repayments_left: int
    outstanding_principal: Decimal | None
    status: Status

    @property
    def repayment_id(self) -> str:
        """The id of the repayment that the command recorded."""
        return f"{self.loan_number}-{self.version}"


class Repaid(Serviced, frozen=True, kw_only=True):
    """A repayment, recorded."""

    amount: Decimal
    paid_on: date
    reference: str | None
    installments_paid: tuple[int, ...]


class Reversed(Serviced, frozen=True, kw_only=True):
    """A repayment, taken back."""

    repayment: int
    amount: Decimal
    reversed_on: date


class GivenUp(Serviced, frozen=True, kw_only=True):
    """A loan, written off."""

    written_off_on: date


class CustomerNowKnown(Struct, frozen=True, kw_only=True):
    """A correction, and the customer after it."""

    fact: CustomerCorrected
    customer: Customer

    @property
    def correction_id(self) -> str:
        """Where the correction stands in the customer's stream."""
        return f"{self.customer.number}-{self.customer.version}"


class Servicing:
    """Commands on the loans of one schema, on top of ``Lending``."""

    def __init__(self, lending: Lending) -> None:
        self._lending = lending

    def repay(self, command: Repay, by: By, once: Once | None = None) -> Repaid:
        """Record money that came.

        Raises ``UnknownLoanError``, and what ``decide_repayment`` does.
        """

        def decide() -> Decided[Repaid]:
            loan = self.loan(command.loan_number)
            fact = decide_repayment(loan, command, today=self._lending.today())
            after = evolve(loan, fact)
            outcome = Repaid(
                **self._standing(after),
                amount=fact.amount,
                paid_on=fact.occurred_on,
                reference=fact.reference,
                installments_paid=fact.installments_paid,
            )
            return Decided(facts=[(after.version, fact)], outcome=outcome)

        return self._lending.command(decide, Repaid, by, once)

    def reverse(
        self, loan_number: int, repayment_id: str, reason: str, by: By, once: Once | None = None
    ) -> Reversed:
        """Take a mistaken repayment back, on the loan's and on the customer's stream at once.

        Raises ``UnknownLoanError``, and what ``decide_reversal`` does.
        """

        def decide() -> Decided[Reversed]:
            loan = self.loan(loan_number)
            stream = customer_stream(loan.customer_number)
            (who,) = self._lending.customers.load([stream])
            assert who is not None
            fact, raised = decide_reversal(loan, repayment_id, reason, today=self._lending.today())
            after = evolve(loan, fact)
            outcome = Reversed(
                **self._standing(after),
                repayment=fact.repayment,
                amount=fact.amount,
                reversed_on=fact.reversed_on,
            )
            facts: list[tuple[int, Event]] = [(after.version, fact), (who.version + 1, raised)]
            return Decided(facts=facts, outcome=outcome)

        return self._lending.command(decide, Reversed, by, once)

    def write_off(self, loan_number: int, reason: str, by: By, once: Once | None = None) -> GivenUp:
        """Give up what is left of a loan.

        Raises ``UnknownLoanError``, and what ``decide_write_off`` does.
        """

        def decide() -> Decided[GivenUp]:
            loan = self.loan(loan_number)
            fact = decide_write_off(loan, reason, today=self._lending.today())
            after = evolve(loan, fact)
            outcome = GivenUp(**self._standing(after), written_off_on=fact.occurred_on)
            return Decided(facts=[(after.version, fact)], outcome=outcome)

        return self._lending.command(decide, GivenUp, by, once)

    def correct(
        self, command: CorrectCustomer, by: By, once: Once | None = None
    ) -> CustomerNowKnown:
        """Record what was wrong of a customer, since when.

        Raises ``UnknownCustomerError``, and what ``decide_correction`` does.
        """

        def decide() -> Decided[CustomerNowKnown]:
            (who,) = self._lending.customers.load([customer_stream(command.customer_number)])
            if who is None:
                raise UnknownCustomerError(command.customer_number)
            fact = decide_correction(who, command, today=self._lending.today())
            after = customer.evolve(who, fact)
            outcome = CustomerNowKnown(fact=fact, customer=after)
            return Decided(facts=[(after.version, fact)], outcome=outcome)

        return self._lending.command(decide, CustomerNowKnown, by, once)

    def loan(self, loan_number: int) -> Loan:
        """A loan from its stream; raises ``UnknownLoanError``."""
        (loan,) = self._lending.loans.load([loan_stream(loan_number)])
        if loan is None:
            raise UnknownLoanError(loan_number)
        return loan

    def _standing(self, loan: Loan) -> dict[str, Any]:
        return {
            "loan_number": loan.number,
            "version": loan.version,
            "repayments_left": repayments_left(loan),
            "outstanding_principal": outstanding_principal(loan),
            "status": status_of(loan, self._lending.today()),
        }
