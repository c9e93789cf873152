"""Two workbooks' rows to facts: what is new, what is known, what contradicts what is known.

The rows of one customer are decided together, against that customer's own stream and loans, so that
a rerun, also of reordered rows, finds everything unchanged. An imported loan *is* the pair of its
source loan id and its customer: two customers may share an id, and both loans are real.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import Final, Protocol, TypeVar

from msgspec import Struct

from credit_es.domain.cells import HIGHEST, Finding
from credit_es.domain.events import CustomerImported, Event, LoanImported, LoansImported
from credit_es.domain.rows import CustomerRow, LoanRow
from credit_es.domain.values import Counts, ImportedLoan, Source

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


Row_co = TypeVar("Row_co", CustomerRow, LoanRow, covariant=True)


class Fate(StrEnum):
    """What becomes of a row."""

    RECORDED = "recorded"
    UNCHANGED = "unchanged"
    CONFLICTING = "conflicting"
    REJECTED = "rejected"


class ReadSheet(Protocol[Row_co]):
    """A sheet that was read to its end; ``columns`` gives each field's heading as written.

    ``findings`` are about single rows: the faults of those rejected, the oddities of the others.
    """

    @property
    def name(self) -> str:
        """The sheet's name."""
        ...

    @property
    def columns(self) -> Mapping[str, str]:
        """Field to heading."""
        ...

    @property
    def rows(self) -> Sequence[Row_co]:
        """The accepted rows, in workbook order."""
        ...

    @property
    def findings(self) -> Sequence[Finding]:
        """What is to be said of single rows."""
        ...

    @property
    def rejected(self) -> int:
        """How many rows could not be read."""
        ...

    @property
    def blank(self) -> int:
        """How many rows have nothing in them."""
        ...


class Ingestion(Struct, frozen=True, kw_only=True):
    """What an import is told: which one it is, its business date, and the sheets it reads."""

    ingestion_id: str
    occurred_on: date
    customers: ReadSheet[CustomerRow]
    loans: ReadSheet[LoanRow]


class Known(Struct, frozen=True, kw_only=True):
    """What the log holds of one customer: how far, the first fact, and the loans imported."""

    version: int
    imported: CustomerImported | None
    loans: Mapping[str, LoanImported]


class History(Struct, frozen=True, kw_only=True):
    """The rows of one customer, in workbook order."""

    customer_number: int
    customers: Sequence[CustomerRow]
    loans: Sequence[LoanRow]


class Import(Struct, frozen=True, kw_only=True):
    """What the rows of one customer come to; ``facts`` go into one transaction."""

    facts: Sequence[tuple[int, Event]]
    customers: Counter[Fate]
    loans: Counter[Fate]
    findings: Sequence[Finding]


def histories(customers: Iterable[CustomerRow], loans: Iterable[LoanRow]) -> list[History]:
    """Gather the rows by customer, in the order in which each customer first appears."""
    rows: dict[int, tuple[list[CustomerRow], list[LoanRow]]] = {}
    for customer in customers:
        rows.setdefault(customer.number, ([], []))[0].append(customer)
    for loan in loans:
        rows.setdefault(loan.customer_number, ([], []))[1].append(loan)
    return [
        History(customer_number=number, customers=of_customer, loans=of_loans)
        for number, (of_customer, of_loans) in rows.items()
    ]


def wanted_number(source_loan_id: str) -> int | None:
    """The number that a workbook's loan id asks for; None for text, ``0036``, or one too long."""
    digits = source_loan_id.isascii() and source_loan_id.isdigit()
    number = int(source_loan_id) if digits else 0
    return number if 1 <= number <= HIGHEST and str(number) == source_loan_id else None


def first_claims(loans: Iterable[LoanRow]) -> dict[str, int]:
    """Which customer keeps the number of a shared loan id: the first in workbook order."""
    claims: dict[str, int] = {}
    for loan in loans:
        claims.setdefault(loan.source_loan_id, loan.customer_number)
    return claims


def decide_import(
    ingestion: Ingestion,
    history: History,
    known: Known | None,
    number_for: Callable[[LoanRow], int],
) -> Import:
    """Decide the rows of one customer against what the log holds.

    ``number_for`` gives a new loan its number, 0 where nothing will be recorded. A fact recorded by
    this same ingestion counts as recorded, so that a job taken up again reports what it would have
    reported at once.
    """
    findings: list[Finding] = []
    first, customer_fates = _decide_customers(ingestion, history, known, findings)
    stranger = known is not None and known.imported is None
    nobody = known is None and first is None
    named: list[ImportedLoan] = []
    opened: list[LoanImported] = []
    loan_fates: Counter[Fate] = Counter()
    told = dict(known.loans) if known else {}
    for row in history.loans:
        if stranger or nobody:
            code = "CUSTOMER_IS_REGISTERED" if stranger else "UNKNOWN_CUSTOMER"
            why = "was registered here and is nobody of this workbook" if stranger else "is unknown"
            message = f"customer {row.customer_number} {why}: a loan is never given to a stranger"
            findings.append(_loan_finding(ingestion, row, "customer_number", code, message))
            loan_fates[Fate.REJECTED] += 1
            continue
        fact = told.get(row.source_loan_id)
        if fact is None:
            fact = _loan_fact(ingestion, row, number_for(row))
            told[row.source_loan_id] = fact
            opened.append(fact)
            named.append(
                ImportedLoan(loan_number=fact.loan_number, source_loan_id=fact.source_loan_id)
            )
            fate = Fate.RECORDED
        else:
            differences = list(_differences(row, fact, LOAN_FIELDS))
            fate = _fate(ingestion, row.row, fact.source, differences)
            findings += [
                _loan_finding(ingestion, row, field, "LOAN_DIFFERS", message)
                for field, message in differences
            ]
        loan_fates[fate] += 1
        if fate is not Fate.CONFLICTING and row.source_loan_id != str(fact.loan_number):
            findings.append(_renumbered(ingestion, row, fact.loan_number))

    facts: list[tuple[int, Event]] = []
    version = known.version if known else 0
    if first is not None:
        facts.append((version := version + 1, first))
    if named:
        loans = LoansImported(
            occurred_on=ingestion.occurred_on,
            customer_number=history.customer_number,
            loans=tuple(named),
            ingestion_id=ingestion.ingestion_id,
        )
        facts.append((version + 1, loans))
    facts += [(1, loan) for loan in opened]
    return Import(facts=facts, customers=customer_fates, loans=loan_fates, findings=findings)


def counts(fates: Counter[Fate], *, rejected: int, blank: int) -> Counts:
    """The counts of one workbook; ``rejected`` are rows that did not get as far as a customer."""
    return Counts(
        read=fates.total() + rejected,
        recorded=fates[Fate.RECORDED],
        unchanged=fates[Fate.UNCHANGED],
        conflicting=fates[Fate.CONFLICTING],
        rejected=fates[Fate.REJECTED] + rejected,
        blank=blank,
    )


def _decide_customers(
    ingestion: Ingestion, history: History, known: Known | None, findings: list[Finding]
) -> tuple[CustomerImported | None, Counter[Fate]]:
    """The first fact of a customer that is new, and the fates of the customer's rows."""
    fates: Counter[Fate] = Counter()
    new: CustomerImported | None = None
    for row in history.customers:
        fact = known.imported if known else new
        if fact is not None:
            differences = list(_differences(row, fact, CUSTOMER_FIELDS))
            fate = _fate(ingestion, row.row, fact.source, differences)
        elif known is not None:
            differences = [("number", f"customer {row.number} was registered here, by another way")]
            fate = Fate.CONFLICTING
        else:
            new = _customer_fact(ingestion, row)
            differences = []
            fate = Fate.RECORDED
        fates[fate] += 1
        code = "CUSTOMER_DIFFERS" if fact is not None else "CUSTOMER_IS_REGISTERED"
        findings += [
            Finding(
                workbook="customers",
                sheet=ingestion.customers.name,
                row=row.row,
                column=ingestion.customers.columns.get(field),
                code=code,
                message=message,
            )
            for field, message in differences
        ]
    return new, fates


def _fate(
    ingestion: Ingestion, row: int, source: Source, differences: Sequence[tuple[str, str]]
) -> Fate:
    """The fate of a row whose fact exists: it may be this very row, in a job taken up again."""
    if differences:
        return Fate.CONFLICTING
    own = source.ingestion_id == ingestion.ingestion_id and source.row == row
    return Fate.RECORDED if own else Fate.UNCHANGED


def _differences(
    row: CustomerRow | LoanRow,
    fact: CustomerImported | LoanImported,
    fields: Mapping[str, str],
) -> Iterator[tuple[str, str]]:
    """The fields in which a row contradicts its fact, with the stored and the given value."""
    for given_name, stored_name in fields.items():
        given, stored = getattr(row, given_name), getattr(fact, stored_name)
        if given != stored:
            yield given_name, f"stored is {_said(stored)}, given is {_said(given)}"


def _said(value: object) -> str:
    return "nothing" if value is None else str(value)


def _loan_finding(
    ingestion: Ingestion, row: LoanRow, field: str, code: str, message: str
) -> Finding:
    return Finding(
        workbook="loans",
        sheet=ingestion.loans.name,
        row=row.row,
        column=ingestion.loans.columns.get(field),
        code=code,
        message=message,
    )


def _renumbered(ingestion: Ingestion, row: LoanRow, loan_number: int) -> Finding:
    """Say that a loan goes by another number here; 0 is one that only a real import would take."""
    text = wanted_number(row.source_loan_id) is None
    why = "is text" if text else "belongs to another customer's loan, too"
    number = f"the number {loan_number}" if loan_number else "a number of its own"
    message = f"loan id {row.source_loan_id} {why}; the loan gets {number} and keeps its source id"
    code = "LOAN_ID_IS_TEXT" if text else "LOAN_ID_SHARED"
    return _loan_finding(ingestion, row, "source_loan_id", code, message)


def _customer_fact(ingestion: Ingestion, row: CustomerRow) -> CustomerImported:
    return CustomerImported(
        occurred_on=ingestion.occurred_on,
        customer_number=row.number,
        first_name=row.first_name,
        last_name=row.last_name,
        age=row.age,
        phone_number=row.phone_number,
        monthly_income=row.monthly_income,
        approved_limit=row.approved_limit,
        current_debt=row.current_debt,
        source=Source(
            ingestion_id=ingestion.ingestion_id, sheet=ingestion.customers.name, row=row.row
        ),
    )


def _loan_fact(ingestion: Ingestion, row: LoanRow, loan_number: int) -> LoanImported:
    return LoanImported(
        occurred_on=row.approved_on,
        loan_number=loan_number,
        customer_number=row.customer_number,
        source_loan_id=row.source_loan_id,
        amount=row.amount,
        annual_rate=row.annual_rate,
        tenure_months=row.tenure_months,
        installment=row.monthly_payment,
        emis_on_time=row.emis_on_time,
        ends_on=row.ends_on,
        source=Source(ingestion_id=ingestion.ingestion_id, sheet=ingestion.loans.name, row=row.row),
    )
