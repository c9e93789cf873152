"""Where auditors ask: on the read replica, where there is one, and of the primary what that lacks.

A replica may be late, and what it lacks looks as if it had not happened: so each answer says how
late it may be.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from msgspec import Struct

from credit_es.audit.history import UnknownSubjectError
from credit_es.domain.errors import (
    UnknownCustomerError,
    UnknownDecisionError,
    UnknownLoanError,
)
from credit_es.store.log import Log
from projections.status import Lag, lag

T = TypeVar("T")

NOT_LATE: Final = Lag(events=0, seconds=0.0)
UNKNOWN: Final = (
    UnknownCustomerError,
    UnknownDecisionError,
    UnknownLoanError,
    UnknownSubjectError,
)


class Logs(Struct, frozen=True, kw_only=True):
    """The log of one schema; ``replica`` is None where everything is read on the primary."""

    primary: Log
    replica: Log | None

    @property
    def whole(self) -> Log:
        """Where all of the log is read: that is work, and how far it was read is told."""
        return self.replica or self.primary

    def ask(self, question: Callable[[Log], T]) -> tuple[T, Lag]:
        """An answer about one subject, and how far behind the log it may be.

        Raises what ``question`` raises where the primary does not know the subject either.
        """
        if self.replica:
            # Before the question: the answer has at least what the lag says that it has.
            reached = self.replica.recorder.safe_position(0)
            with suppress(*UNKNOWN):
                return question(self.replica), self._behind(reached)
        return question(self.primary), NOT_LATE

    def _behind(self, position: int) -> Lag:
        # A replica cannot tell a quiet primary from one it no longer hears: ask the primary itself.
        database = self.primary.database
        return database.run(lambda conn: lag(conn, database.schema, position))
