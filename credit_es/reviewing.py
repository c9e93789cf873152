"""Manual review: a reviewer approves or declines what a policy referred; one method a command."""

from collections.abc import Sequence

from credit_es.application import By, Decided, Facts, Lending, Outcome
from credit_es.domain import review
from credit_es.domain.customer import Customer
from credit_es.domain.errors import UnknownApplicationError
from credit_es.domain.loan import Loan
from credit_es.domain.review import Application, Review, decide_approval, decide_decline
from credit_es.store.idempotency import Once
from credit_es.store.mapper import application_stream
from credit_es.store.snapshots import Aggregates


class Reviewing:
    """Commands on the applications of one schema, on top of ``Lending``.

    Each is recorded on the customer's stream and on the application's at once: it competes with
    every other decision on the customer, and with every other reviewer.
    """

    def __init__(self, lending: Lending) -> None:
        self._lending = lending
        self._applications = Aggregates(
            lending.database, Application, review.evolve, review.DEFINITION
        )

    def approve(self, application_id: str, note: str, by: By, once: Once | None = None) -> Outcome:
        """Approve, and open the loan.

        Raises ``UnknownApplicationError``, and what ``decide_approval`` does.
        """

        def decide() -> Decided[Outcome]:
            application, who, loans = self._load(application_id)
            approved, opened, closed = decide_approval(
                application,
                who,
                loans,
                Review(application_id=application_id, reviewer=by.actor, note=note),
                self._lending.policy,
                loan_number=self._lending.numbers.take("loan"),
                today=self._lending.today(),
            )
            outcome = Outcome(decision=approved, version=who.version + 1)
            facts: Facts = [
                *self._lending.adoption(),
                (outcome.version, approved),
                (1, opened),
                (application.version + 1, closed),
            ]
            return Decided(facts=facts, outcome=outcome)

        return self._lending.command(decide, Outcome, by, once)

    def decline(self, application_id: str, note: str, by: By, once: Once | None = None) -> Outcome:
        """Decline.

        Raises ``UnknownApplicationError``, and what ``decide_decline`` does.
        """

        def decide() -> Decided[Outcome]:
            application, who, loans = self._load(application_id)
            declined, closed = decide_decline(
                application,
                who,
                loans,
                Review(application_id=application_id, reviewer=by.actor, note=note),
                self._lending.policy,
                today=self._lending.today(),
            )
            outcome = Outcome(decision=declined, version=who.version + 1)
            facts: Facts = [
                *self._lending.adoption(),
                (outcome.version, declined),
                (application.version + 1, closed),
            ]
            return Decided(facts=facts, outcome=outcome)

        return self._lending.command(decide, Outcome, by, once)

    def _load(self, application_id: str) -> tuple[Application, Customer, Sequence[Loan]]:
        (application,) = self._applications.load([application_stream(application_id)])
        if application is None:
            raise UnknownApplicationError(application_id)
        return application, *self._lending.load(application.customer_number)
