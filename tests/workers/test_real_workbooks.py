"""The lender's real workbooks: nothing lost, a rerun records nothing, and who would be lent to.

The scores are worked out once more here, from the cells, by nothing of ours.
"""

import io
from calendar import monthrange
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from openpyxl import load_workbook

from credit_es.domain.events import CustomerImported, LoanImported, LoansImported
from credit_es.domain.policy import judge
from credit_es.domain.values import Counts, ImportedLoan, Reason, Source, Terms
from credit_es.store.ingestions import Report
from tests.workers import hostile
from tests.workers.conftest import House, report_of

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data"
DAY = date(2026, 11, 23)
FIRST = 10_000_001

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the real workbooks are not here")


@pytest.fixture(scope="session")
def workbooks() -> tuple[bytes, bytes]:
    customers, loans = (REAL / f"{name}_data.xlsx" for name in ("customer", "loan"))
    return customers.read_bytes(), loans.read_bytes()


def cells(content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows that are not blank, by heading, with the number Excel shows."""
    book = load_workbook(io.BytesIO(content))
    assert book.active is not None
    headings, *rows = book.active.iter_rows(values_only=True)
    for number, values in enumerate(rows, start=2):
        if any(value is not None for value in values):
            yield number, dict(zip([str(heading) for heading in headings], values, strict=True))


def money(value: object) -> Decimal:
    return Decimal(str(value)).quantize(Decimal("0.01"))


def day(value: object) -> date:
    assert isinstance(value, datetime)
    return value.date()


def test_nothing_is_lost_every_row_is_found_again_as_it_was(
    house: House, workbooks: tuple[bytes, bytes]
) -> None:
    ended = house.ingest(*workbooks)
    assert report_of(ended) == Report(
        customers=Counts(read=300, recorded=300, blank=3), loans=Counts(read=782, recorded=782)
    )
    ours = str(ended.job.ingestion_id)
    facts = house.imported()

    found = {f.source.row: f for f in facts if isinstance(f, CustomerImported)}
    assert len(found) == 300
    for row, of in cells(workbooks[0]):
        assert found[row] == CustomerImported(
            occurred_on=ended.job.requested_on,
            customer_number=of["Customer ID"],
            first_name=of["First Name"],
            last_name=of["Last Name"],
            age=of["Age"],
            phone_number=of["Phone Number"],
            monthly_income=money(of["Monthly Salary"]),
            approved_limit=money(of["Approved Limit"]),
            current_debt=None,
            source=Source(ingestion_id=ours, sheet=found[row].source.sheet, row=row),
        )

    loans = {f.source.row: f for f in facts if isinstance(f, LoanImported)}
    assert len(loans) == len({f.loan_number for f in loans.values()}) == 782
    owner: dict[int, int] = {}
    shared = 0
    for row, of in cells(workbooks[1]):
        number, who = of["Loan ID"], of["Customer ID"]
        first = owner.setdefault(number, who) == who
        shared += not first
        fact = loans[row]
        assert (fact.loan_number == number) if first else (fact.loan_number >= FIRST)
        assert fact == LoanImported(
            occurred_on=day(of["Date of Approval"]),
            loan_number=fact.loan_number,
            customer_number=who,
            source_loan_id=str(number),
            amount=money(of["Loan Amount"]),
            annual_rate=money(of["Interest Rate"]),
            tenure_months=of["Tenure"],
            installment=money(of["Monthly payment"]),
            emis_on_time=of["EMIs paid on Time"],
            ends_on=day(of["End Date"]),
            source=Source(ingestion_id=ours, sheet=fact.source.sheet, row=row),
        )
    assert shared == house.codes(ended)["LOAN_ID_SHARED"] == 29

    # Every customer's stream names the customer's loans, in one fact.
    named = {f.customer_number: set(f.loans) for f in facts if isinstance(f, LoansImported)}
    expected: dict[int, set[ImportedLoan]] = defaultdict(set)
    for fact in loans.values():
        expected[fact.customer_number].add(
            ImportedLoan(loan_number=fact.loan_number, source_loan_id=fact.source_loan_id)
        )
    assert named == expected
    assert len(facts) == len(found) + len(loans) + len(named)


@pytest.mark.slow
def test_they_go_in_beside_the_samples_without_one_conflict(
    house: House, workbooks: tuple[bytes, bytes]
) -> None:
    samples = [(ROOT / "data" / f"{name}_data.xlsx").read_bytes() for name in ("customer", "loan")]
    for customers, loans in (samples, workbooks, samples, workbooks):
        report = report_of(house.ingest(customers, loans))
        for counts in (report.customers, report.loans):
            assert counts.conflicting == counts.rejected == 0
            assert counts.read == counts.recorded + counts.unchanged > 0


@pytest.mark.slow
def test_again_and_again_in_another_order_records_nothing(
    house: House, workbooks: tuple[bytes, bytes]
) -> None:
    house.ingest(*workbooks)
    before = house.imported()
    random = Random(7)
    shuffled = []
    for content in workbooks:
        rows = [of for _, of in cells(content)]
        random.shuffle(rows)
        shuffled.append(hostile.workbook([list(rows[0]), *(list(of.values()) for of in rows)]))
    for customers, loans in (workbooks, shuffled):
        report = report_of(house.ingest(customers, loans))
        assert report.customers == Counts(read=300, unchanged=300, blank=report.customers.blank)
        assert report.loans == Counts(read=782, unchanged=782)
    assert house.imported() == before
    assert len(house.facts()) == len(before) + 3 * 2  # asked for and finished, three times


# Who would be lent 10,000 at 8 % over 24 months, by arithmetic of its own.

AMOUNT, RATE, MONTHS = 10_000, 8, 24


class Expected(NamedTuple):
    """What the policy's page says of one customer."""

    score: Fraction
    rate: int
    reasons: tuple[Reason, ...]


def month_end(year: int, month: int, on: int) -> date:
    return date(year, month, min(on, monthrange(year, month)[1]))


def due_by(opened: date, tenure: int) -> int:
    """Installments due by the day, one after the other."""
    for k in range(1, tenure + 1):
        months = opened.month - 1 + k
        if month_end(opened.year + months // 12, months % 12 + 1, opened.day) > DAY:
            return k - 1
    return tenure


def clamp(value: Fraction) -> Fraction:
    return min(max(value, Fraction(0)), Fraction(1))


def annuity(rate: int) -> Decimal:
    with localcontext(prec=60):
        i = Decimal(rate) / 1200
        grown = (1 + i) ** MONTHS
        payment = AMOUNT * i * grown / (grown - 1)
        return payment.quantize(Decimal("0.01"), ROUND_HALF_UP)


def expected(customer: dict[str, Any], loans: list[dict[str, Any]]) -> Expected:
    due = on_time = closed = this_year = owed = 0
    burden = Decimal(0)
    for loan in loans:
        opened, ends = day(loan["Date of Approval"]), day(loan["End Date"])
        if opened > DAY:
            continue
        were_due = due_by(opened, loan["Tenure"])
        due += were_due
        on_time += min(loan["EMIs paid on Time"], were_due)
        this_year += opened.year == DAY.year
        if ends >= DAY and loan["EMIs paid on Time"] < loan["Tenure"]:
            owed += loan["Loan Amount"]
            burden += Decimal(str(loan["Monthly payment"]))
        else:
            closed += 1
    limit = customer["Approved Limit"]
    if owed > limit:
        score = Fraction(0)
    elif not loans:
        score = Fraction(50)
    else:
        paid = clamp((Fraction(on_time, due) - Fraction(1, 2)) * 2) if due else Fraction(1)
        score = (
            40 * paid
            + 20 * min(Fraction(1), Fraction(closed, 4))
            + 15 * max(Fraction(0), 1 - Fraction(this_year, 3))
            + (25 * clamp(1 - Fraction(owed) / Fraction(limit)) if limit else 0)
        )
    rate = RATE if score > 50 else 12 if score > 30 else 16
    reasons = []
    if owed + AMOUNT > limit:
        reasons.append(Reason.OVER_LIMIT)
    if (burden + annuity(rate)) * 2 > customer["Monthly Salary"]:
        reasons.append(Reason.INSTALLMENT_BURDEN)
    if score <= 10:
        reasons.append(Reason.LOW_SCORE)
    return Expected(score, rate, tuple(reasons))


def slab(score: Fraction) -> str:
    bounds = (("> 50", 50), ("> 30 to 50", 30), ("> 10 to 30", 10))
    return next((name for name, above in bounds if score > above), "10 or less")


def test_the_300_customers_divide_over_the_slabs_as_pinned(
    house: House, workbooks: tuple[bytes, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    house.ingest(*workbooks)
    loans: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for _, row in cells(workbooks[1]):
        loans[row["Customer ID"]].append(row)
    asked = Terms(amount=money(AMOUNT), annual_rate=money(RATE), tenure_months=MONTHS)
    slabs: Counter[str] = Counter()
    ends: Counter[tuple[bool, str, tuple[str, ...]]] = Counter()
    for _, row in cells(workbooks[0]):
        ours = expected(row, loans[row["Customer ID"]])
        who, known = house.lending.load(row["Customer ID"])
        verdict = judge(house.lending.policy, who, known, asked, DAY)
        assert abs(verdict.scorecard.score - Decimal(float(ours.score))) < Decimal("0.0051")
        assert verdict.annual_rate == ours.rate
        assert verdict.installment == annuity(ours.rate)
        assert verdict.approved == (not ours.reasons)
        assert tuple(r for r in verdict.reasons if r != Reason.RATE_CORRECTED) == ours.reasons
        slabs[slab(ours.score)] += 1
        ends[verdict.approved, str(verdict.annual_rate), tuple(map(str, verdict.reasons))] += 1
    with capsys.disabled():
        print(f"\nslabs of the 300 on {DAY}: {dict(slabs)}")  # noqa: T201
        for (approved, rate, reasons), count in sorted(ends.items(), reverse=True):
            word = "approved" if approved else "declined"
            print(f"  {count} {word} at {rate} % {', '.join(reasons)}")  # noqa: T201
    assert slabs == {"> 50": 266, "> 30 to 50": 27, "10 or less": 7}
    assert ends == {
        (True, "8.00", ()): 252,
        (True, "12.00", ("RATE_CORRECTED",)): 27,
        (False, "8.00", ("INSTALLMENT_BURDEN",)): 14,
        # All seven are over their limit, which makes their score 0.
        (False, "16.00", ("OVER_LIMIT", "INSTALLMENT_BURDEN", "LOW_SCORE")): 6,
        (False, "16.00", ("OVER_LIMIT", "LOW_SCORE")): 1,
    }
