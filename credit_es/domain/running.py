"""Whether a loan still takes money; where it does not, why and what to do."""

from datetime import date

from credit_es.domain.errors import ForbiddenError
from credit_es.domain.loan import Loan
from credit_es.domain.standing import closed_on, is_current, repayments_left


def must_run(loan: Loan, on: date) -> None:
    """Raise ``ForbiddenError`` where the loan has ended, with the day and the way."""
    must_not_be_written_off(loan)
    if is_current(loan, on):
        return
    day = closed_on(loan)
    if day is not None:
        ended = f"was paid on {day}: nothing is left to pay"
    elif repayments_left(loan):
        ended = (
            f"ended on {loan.ends_on}, as its workbook says: where it still runs, restate it with "
            "a workbook that gives a later end date"
        )
    else:
        ended = (
            f"has all its {loan.tenure_months} installments paid, as its workbook says: nothing is "
            "left to pay"
        )
    raise ForbiddenError(f"loan {loan.number} {ended}")


def must_not_be_written_off(loan: Loan) -> None:
    """Raise ``ForbiddenError`` where the loan was given up: then nothing more is recorded on it."""
    if loan.written_off_on is not None:
        raise ForbiddenError(
            f"loan {loan.number} was written off on {loan.written_off_on}: nothing more is "
            "recorded on it"
        )
