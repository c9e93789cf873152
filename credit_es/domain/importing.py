"""Two workbooks' rows to facts: what is new, what is known, what contradicts what is known.

The rows of one customer are decided together, against that customer's own stream and loans, so that
a rerun, also of reordered rows, finds everything unchanged. An imported loan *is* the pair of its
source loan id and its customer: two customers may share an id, and both loans are real.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

from credit_es.domain.cells import HIGHEST, Finding
from credit_es.domain.events import (
    CustomerImported,
    CustomerRestated,
    Event,
    LoanImported,
    LoanRestated,
    LoansImported,
    LoansRestated,
)
from credit_es.domain.histories import History, Ingestion
from credit_es.domain.restating import (
    CUSTOMER_FIELDS,
    LOAN_FIELDS,
    Difference,
    customer_restated,
    differences,
    last_said,
    loan_restated,
    never_restated,
    news,
)
from credit_es.domain.rows import CustomerRow, LoanRow
from credit_es.domain.values import Counts, ImportedLoan, Source

RestatedRow = tuple[type[CustomerRestated | LoanRestated], int]
"""What kind of fact the row of a sheet ended in, and which row."""


class Fate(StrEnum):
    """What becomes of a row."""

    RECORDED = "recorded"
    UNCHANGED = "unchanged"
    CONFLICTING = "conflicting"
    REJECTED = "rejected"


class Known(Struct, frozen=True, kw_only=True):
    """What the log holds of one customer, and how far.

    Customer and imported loans are as earlier workbooks said last; ``loan_versions`` are by number.
    ``restated`` are the rows of which this same ingestion has recorded the news.
    """

    version: int
    imported: CustomerImported | None
    loans: Mapping[str, LoanImported]
    loan_versions: Mapping[int, int] = {}
    restated: frozenset[RestatedRow] = frozenset()


class Import(Struct, frozen=True, kw_only=True):
    """What the rows of one customer come to; ``facts`` go into one transaction.

    ``customers`` and ``loans`` are the fates of the rows of each workbook.
    """

    facts: Sequence[tuple[int, Event]]
    customers: Sequence[Fate]
    loans: Sequence[Fate]
    findings: Sequence[Finding]


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
    first, retold, customer_fates = _decide_customers(ingestion, history, known, findings)
    stranger = known is not None and known.imported is None
    nobody = known is None and first is None
    named: list[ImportedLoan] = []
    opened: list[LoanImported] = []
    restated: list[tuple[int, LoanRestated]] = []
    loan_fates: list[Fate] = []
    told = dict(known.loans) if known else {}
    for row in history.loans:
        if stranger or nobody:
            code = "CUSTOMER_IS_REGISTERED" if stranger else "UNKNOWN_CUSTOMER"
            why = "was registered here and is nobody of this workbook" if stranger else "is unknown"
            message = f"customer {row.customer_number} {why}: a loan is never given to a stranger"
            findings.append(_loan_finding(ingestion, row, "customer_number", code, message))
            loan_fates.append(Fate.REJECTED)
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
            fate, differing, code = _compared(ingestion, row, fact, LOAN_FIELDS)
            if code == "LOAN_RESTATED":
                again = _restated(ingestion, row, fact, differing)
                fact = told[row.source_loan_id] = last_said(fact, [again])
                restated.append((row.row, again))
            findings += [
                _loan_finding(ingestion, row, field, code, message) for field, message in differing
            ]
        loan_fates.append(fate)
        if fate is not Fate.CONFLICTING and row.source_loan_id != str(fact.loan_number):
            findings.append(_renumbered(ingestion, row, fact.loan_number))

    facts: list[tuple[int, Event]] = []
    version = known.version if known else 0
    if first is not None:
        facts.append((version := version + 1, first))
    if retold is not None:
        facts.append((version := version + 1, retold))
    if named:
        loans = LoansImported(
            occurred_on=ingestion.occurred_on,
            customer_number=history.customer_number,
            loans=tuple(named),
            ingestion_id=ingestion.ingestion_id,
        )
        facts.append((version + 1, loans))
    facts += [(1, loan) for loan in opened]
    if known and restated:
        facts += _retold(ingestion, history, known, restated, version + bool(named))
    return Import(facts=facts, customers=customer_fates, loans=loan_fates, findings=findings)


def _retold(
    ingestion: Ingestion,
    history: History,
    known: Known,
    restated: Sequence[tuple[int, LoanRestated]],
    version: int,
) -> Iterator[tuple[int, Event]]:
    """The news of loans, but for what this ingestion has recorded already; the customer is told."""
    fresh = [loan for row, loan in restated if (LoanRestated, row) not in known.restated]
    if fresh:
        told = LoansRestated(
            occurred_on=ingestion.occurred_on,
            customer_number=history.customer_number,
            loan_numbers=tuple(loan.loan_number for loan in fresh),
            ingestion_id=ingestion.ingestion_id,
        )
        yield version + 1, told
    for loan in fresh:
        yield known.loan_versions[loan.loan_number] + 1, loan


def _restated(
    ingestion: Ingestion, row: LoanRow, told: LoanImported, differing: Sequence[Difference]
) -> LoanRestated:
    return loan_restated(
        row,
        [field for field, _ in differing],
        told,
        on=ingestion.occurred_on,
        source=_source(ingestion, ingestion.loans.name, row.row),
    )


def counts(fates: Sequence[Fate], *, rejected: int, blank: int) -> Counts:
    """The counts of one workbook; ``rejected`` are rows that did not get as far as a customer."""
    count = Counter(fates)
    return Counts(
        read=len(fates) + rejected,
        recorded=count[Fate.RECORDED],
        unchanged=count[Fate.UNCHANGED],
        conflicting=count[Fate.CONFLICTING],
        rejected=count[Fate.REJECTED] + rejected,
        blank=blank,
    )


def _decide_customers(
    ingestion: Ingestion, history: History, known: Known | None, findings: list[Finding]
) -> tuple[CustomerImported | None, CustomerRestated | None, list[Fate]]:
    """The first fact of a customer that is new, or the news of one known; the fates of the rows."""
    fates: list[Fate] = []
    new: CustomerImported | None = None
    again: CustomerRestated | None = None
    told = known.imported if known else None
    for row in history.customers:
        fact = told or new
        code = "CUSTOMER_IS_REGISTERED"
        if fact is not None:
            fate, differing, code = _compared(ingestion, row, fact, CUSTOMER_FIELDS)
            if code == "CUSTOMER_RESTATED":
                source = _source(ingestion, ingestion.customers.name, row.row)
                fields = [field for field, _ in differing]
                again = customer_restated(
                    row, fields, fact, on=ingestion.occurred_on, source=source
                )
                told = last_said(fact, [again])
                if known and (CustomerRestated, row.row) in known.restated:
                    again = None
        elif known is not None:
            differing = [("number", f"customer {row.number} was registered here, by another way")]
            fate = Fate.CONFLICTING
        else:
            new = _customer_fact(ingestion, row)
            differing = []
            fate = Fate.RECORDED
        fates.append(fate)
        findings += [
            Finding(
                workbook="customers",
                sheet=ingestion.customers.name,
                row=row.row,
                column=ingestion.customers.columns.get(field),
                code=code,
                message=message,
            )
            for field, message in differing
        ]
    return new, again, fates


def _compared(
    ingestion: Ingestion,
    row: CustomerRow | LoanRow,
    told: CustomerImported | LoanImported,
    fields: Mapping[str, str],
) -> tuple[Fate, Sequence[Difference], str]:
    """The fate of a row that is known, its differences from what was said last, and their code.

    What this same ingestion has said is not said anew: two rows that contradict each other are a
    conflict.
    """
    kind = "LOAN" if isinstance(row, LoanRow) else "CUSTOMER"
    differing = list(differences(row, told, fields))
    if ingestion.restate:
        differing = news(row, differing)
        never = never_restated(row, told)
        if differing and not never and told.source.ingestion_id != ingestion.ingestion_id:
            return Fate.RECORDED, differing, f"{kind}_RESTATED"
        differing = [
            (field, f"{message}: that cannot be restated" if field in never else message)
            for field, message in differing
        ]
    return _fate(ingestion, row.row, told.source, differing), differing, f"{kind}_DIFFERS"


def _source(ingestion: Ingestion, sheet: str, row: int) -> Source:
    return Source(ingestion_id=ingestion.ingestion_id, sheet=sheet, row=row)


def _fate(
    ingestion: Ingestion, row: int, source: Source, differences: Sequence[tuple[str, str]]
) -> Fate:
    """The fate of a row whose fact exists: it may be this very row, in a job taken up again."""
    if differences:
        return Fate.CONFLICTING
    own = source.ingestion_id == ingestion.ingestion_id and source.row == row
    return Fate.RECORDED if own else Fate.UNCHANGED


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
        source=_source(ingestion, ingestion.customers.name, row.row),
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
        source=_source(ingestion, ingestion.loans.name, row.row),
    )
