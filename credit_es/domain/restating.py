"""What a workbook says differently from the one before: a conflict, or news to be recorded.

News is compared with what the workbooks said last, not with what was corrected here since: a
workbook that repeats its old value has nothing to say, and takes no correction back.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Final, TypeVar

from msgspec.structs import replace

from credit_es.domain.customer import said as meant
from credit_es.domain.events import CustomerImported, CustomerRestated, LoanImported, LoanRestated
from credit_es.domain.rows import CustomerRow, LoanRow
from credit_es.domain.values import CustomerDetails, LoanDetails, Source

CUSTOMER_FIELDS: Final = {
    "first_name": "first_name",
    "last_name": "last_name",
    "age": "age",
    "phone_number": "phone_number",
    "monthly_income": "monthly_income",
    "approved_limit": "approved_limit",
    "current_debt": "current_debt",
}
LOAN_FIELDS: Final = {
    "amount": "amount",
    "annual_rate": "annual_rate",
    "tenure_months": "tenure_months",
    "monthly_payment": "installment",
    "emis_on_time": "emis_on_time",
    "approved_on": "occurred_on",
    "ends_on": "ends_on",
}
"""What a row calls a field, and what the fact of it does."""
IDENTITY: Final = frozenset({"amount", "approved_on"})
"""What makes an imported loan the loan that it is, beside its id and its customer."""

Told = TypeVar("Told", CustomerImported, LoanImported)
Difference = tuple[str, str]
"""A field of a row, and the stored and the given value in words."""


def differences(
    row: CustomerRow | LoanRow,
    fact: CustomerImported | LoanImported,
    fields: Mapping[str, str],
) -> Iterator[tuple[str, str]]:
    """The fields in which a row contradicts its fact, with the stored and the given value."""
    for given_name, stored_name in fields.items():
        given, stored = getattr(row, given_name), getattr(fact, stored_name)
        if given != stored:
            yield given_name, f"stored is {said(stored)}, given is {said(given)}"


def said(value: object) -> str:
    """A value, for people."""
    return "nothing" if value is None else str(value)


def last_said(told: Told, restated: Iterable[CustomerRestated | LoanRestated]) -> Told:
    """A customer or a loan as the last workbook said that spoke of it."""
    for fact in restated:
        told = replace(told, source=fact.source, **meant(fact.is_))
    return told


def news(row: CustomerRow | LoanRow, differing: Sequence[Difference]) -> list[Difference]:
    """The differences that are news: a value left out says nothing."""
    return [each for each in differing if getattr(row, each[0]) is not None]


def never_restated(row: CustomerRow | LoanRow, told: CustomerImported | LoanImported) -> set[str]:
    """The fields of a row that contradict what can never be said anew.

    Those are the amount and the opening date of a loan, and fewer EMIs than were counted before.
    """
    if not isinstance(row, LoanRow) or not isinstance(told, LoanImported):
        return set()
    differing = {name for name, _ in differences(row, told, LOAN_FIELDS)}
    fewer = {"emis_on_time"} if row.emis_on_time < told.emis_on_time else set()
    return differing & (IDENTITY | fewer)


def customer_restated(
    row: CustomerRow, fields: Iterable[str], told: CustomerImported, *, on: date, source: Source
) -> CustomerRestated:
    """The fact that these fields of a customer are others now."""
    names = [CUSTOMER_FIELDS[name] for name in fields]
    return CustomerRestated(
        occurred_on=on,
        customer_number=told.customer_number,
        was=CustomerDetails(**{name: getattr(told, name) for name in names}),
        is_=CustomerDetails(**{CUSTOMER_FIELDS[name]: getattr(row, name) for name in fields}),
        source=source,
    )


def loan_restated(
    row: LoanRow, fields: Iterable[str], told: LoanImported, *, on: date, source: Source
) -> LoanRestated:
    """The fact that these fields of a loan are others now."""
    names = [LOAN_FIELDS[name] for name in fields]
    return LoanRestated(
        occurred_on=on,
        loan_number=told.loan_number,
        customer_number=told.customer_number,
        was=LoanDetails(**{name: getattr(told, name) for name in names}),
        is_=LoanDetails(**{LOAN_FIELDS[name]: getattr(row, name) for name in fields}),
        source=source,
    )
