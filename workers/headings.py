"""What the columns of the two workbooks are called: one table of aliases, one normalisation.

Headings are compared without case, spaces, underscores and other marks, so that ``Customer ID``,
``customer_id`` and ``CustomerId`` are one. A column that no field claims is ignored.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from credit_es.domain.cells import WorkbookKind, short

_MOST_NAMED: Final = 30


class Column(Struct, frozen=True):
    """A field of a row: the heading the lender uses, what else it may be called."""

    field: str
    heading: str
    aliases: tuple[str, ...] = ()
    required: bool = True
    is_date: bool = False


_CUSTOMER_ID: Final = ("customer number", "customer no", "cust id")

COLUMNS: Final[Mapping[WorkbookKind, tuple[Column, ...]]] = {
    "customers": (
        Column("number", "Customer ID", _CUSTOMER_ID),
        Column("first_name", "First Name", ("given name", "forename")),
        Column("last_name", "Last Name", ("surname", "family name")),
        Column("age", "Age", ("age in years", "age years"), required=False),
        Column(
            "phone_number",
            "Phone Number",
            ("phone", "phone no", "mobile", "mobile number", "contact number"),
            required=False,
        ),
        Column(
            "monthly_income",
            "Monthly Salary",
            ("monthly income", "salary", "income", "salary per month", "income per month"),
        ),
        Column("approved_limit", "Approved Limit", ("credit limit", "approved credit limit")),
        Column("current_debt", "Current Debt", ("debt", "outstanding debt"), required=False),
    ),
    "loans": (
        Column("customer_number", "Customer ID", _CUSTOMER_ID),
        Column("source_loan_id", "Loan ID", ("loan number", "loan no")),
        Column("amount", "Loan Amount", ("amount", "principal", "principal amount")),
        Column(
            "tenure_months",
            "Tenure",
            ("tenure months", "tenure in months", "loan tenure", "term months", "term in months"),
        ),
        Column(
            "annual_rate",
            "Interest Rate",
            ("rate", "rate of interest", "annual rate", "annual interest rate"),
        ),
        Column(
            "monthly_payment",
            "Monthly payment",
            (
                "monthly repayment",
                "monthly installment",
                "monthly instalment",
                "emi",
                "emi amount",
            ),
        ),
        Column(
            "emis_on_time",
            "EMIs paid on Time",
            ("emi paid on time", "emis on time", "installments paid on time", "paid on time"),
        ),
        Column(
            "approved_on",
            "Date of Approval",
            ("approval date", "approved on", "date approved", "start date", "loan start date"),
            is_date=True,
        ),
        Column(
            "ends_on",
            "End Date",
            ("date of end", "ends on", "loan end date", "maturity date"),
            is_date=True,
        ),
    ),
}


class Match(Struct, frozen=True):
    """What a heading row says: field -> position, field -> heading, and what is wrong, in words."""

    positions: dict[str, int]
    columns: dict[str, str]
    problem: str | None


def match(kind: WorkbookKind, headings: Sequence[str]) -> Match:
    """Find each field's column in a heading row; all that is missing or there twice is named."""
    known = _FIELDS[kind]
    positions: dict[str, int] = {}
    twice: list[str] = []
    for position, heading in enumerate(headings):
        field = known.get(normalise(heading))
        if field is None:
            continue
        if field in positions:
            first = headings[positions[field]]
            twice.append(f"{short(first)} and {short(heading)} mean the same")
        else:
            positions[field] = position
    columns = {field: headings[position] for field, position in positions.items()}
    missing = [
        f"'{column.heading}'"
        for column in COLUMNS[kind]
        if column.required and column.field not in positions
    ]
    return Match(positions, columns, _problem(headings, missing, twice))


def normalise(heading: str) -> str:
    """Reduce a heading to its letters and digits, without case."""
    plain = unicodedata.normalize("NFKC", heading).casefold()
    return "".join(character for character in plain if character.isalnum())


def _problem(headings: Sequence[str], missing: list[str], twice: list[str]) -> str | None:
    if missing:
        seen = [short(heading) for heading in headings if heading]
        more = f" and {len(seen) - _MOST_NAMED} more" if len(seen) > _MOST_NAMED else ""
        named = ", ".join(seen[:_MOST_NAMED]) + more
        noun = "the column" if len(missing) == 1 else "the columns"
        return f"lacks {noun} {', '.join(missing)}; its first row that is not blank says {named}"
    if twice:
        return f"has two columns for one thing: {'; '.join(twice)}; remove or rename one of them"
    return None


_FIELDS: Final[Mapping[WorkbookKind, Mapping[str, str]]] = {
    kind: {
        normalise(name): column.field
        for column in columns
        for name in (column.heading, column.field, *column.aliases)
    }
    for kind, columns in COLUMNS.items()
}
