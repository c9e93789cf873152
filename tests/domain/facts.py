"""Facts that fit on a line: short strings for money and dates, a default for all else.

The defaults belong together: what a test does not say is the same in what it gives and expects.
Customer 7 has an income of 100,000 and a limit of 1,000,000, and asks for 10,000 at 8 % over 24
months, of which the installments are 452.27 at 8 %, 470.73 at 12 % and 489.63 at 16 %.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Final

from credit_es.domain.customer import RegisterCustomer
from credit_es.domain.events import (
    CustomerImported,
    CustomerRegistered,
    LoanApproved,
    LoanBurdenRaised,
    LoanDeclined,
    LoanImported,
    LoanOpened,
    LoansImported,
    RepaymentReceived,
    RepaymentReversed,
)
from credit_es.domain.lending import ApplyForLoan
from credit_es.domain.policy import Policy
from credit_es.domain.values import (
    Basis,
    ImportedLoan,
    LoanSeen,
    Reason,
    Scorecard,
    Seen,
    Source,
    Terms,
    Verdict,
)
from tests.scenario import NEXT, STANDARD, TODAY

CUSTOMER: Final = 7


def money(text: str) -> Decimal:
    """An amount, a rate or points with two places, which the text gives exactly."""
    exact = Decimal(text).quantize(Decimal("0.01"))
    assert exact == Decimal(text)
    return exact


def day(text: str) -> date:
    """A date from ISO text; nothing is today."""
    return date.fromisoformat(text) if text else TODAY


# What is given.


def registered(
    number: int = CUSTOMER, *, income: str = "100000", limit: str = "1000000", on: str = ""
) -> CustomerRegistered:
    """Somebody became a customer; the limit need not be the one the income allows."""
    return CustomerRegistered(
        occurred_on=day(on),
        customer_number=number,
        first_name="Ada",
        last_name="Lovelace",
        age=36,
        phone_number=9876543210,
        monthly_income=money(income),
        approved_limit=money(limit),
    )


def imported_customer(
    number: int = CUSTOMER, *, income: str = "100000", limit: str = "1000000"
) -> CustomerImported:
    """A workbook brought a customer, of unknown age and phone."""
    return CustomerImported(
        occurred_on=TODAY,
        customer_number=number,
        first_name="Ada",
        last_name="Lovelace",
        age=None,
        phone_number=None,
        monthly_income=money(income),
        approved_limit=money(limit),
        current_debt=None,
        source=source(),
    )


def imported_loan(
    loan: int = 1,
    *,
    amount: str = "10000",
    tenure: int = 24,
    emis: int = 0,
    installment: str = "500",
    on: str = "2025-01-15",
    ends: str = "2027-01-15",
) -> LoanImported:
    """A workbook brought a loan with so many EMIs paid on time."""
    return LoanImported(
        occurred_on=day(on),
        loan_number=loan,
        customer_number=CUSTOMER,
        source_loan_id=str(loan),
        amount=money(amount),
        annual_rate=money("10"),
        tenure_months=tenure,
        installment=money(installment),
        emis_on_time=emis,
        ends_on=day(ends),
        source=source(),
    )


def closed_loan(loan: int) -> LoanImported:
    """A loan of 2020 that ran for a year and was paid on time."""
    return imported_loan(loan, tenure=12, emis=12, on="2020-01-15", ends="2021-01-15")


def loans_imported(*loans: int) -> LoansImported:
    """The customer's stream names loans that a workbook brought."""
    return LoansImported(
        occurred_on=TODAY,
        customer_number=CUSTOMER,
        loans=tuple(ImportedLoan(loan_number=n, source_loan_id=str(n)) for n in loans),
        ingestion_id="first",
    )


def source(row: int = 2) -> Source:
    """A row of the first ingestion's sheet."""
    return Source(ingestion_id="first", sheet="Sheet1", row=row)


def opened(
    loan: int = NEXT,
    *,
    amount: str = "10000",
    rate: str = "8",
    tenure: int = 24,
    installment: str = "452.27",
    on: str = "",
    ends: str = "2028-01-15",
) -> LoanOpened:
    """A loan granted here."""
    return LoanOpened(
        occurred_on=day(on),
        loan_number=loan,
        customer_number=CUSTOMER,
        amount=money(amount),
        annual_rate=money(rate),
        tenure_months=tenure,
        installment=money(installment),
        ends_on=day(ends),
    )


def received(
    amount: str,
    *,
    on: str = "",
    loan: int = 1,
    reference: str | None = None,
    paid: tuple[int, ...] = (),
) -> RepaymentReceived:
    """Money came and filled these installments."""
    return RepaymentReceived(
        occurred_on=day(on),
        loan_number=loan,
        customer_number=CUSTOMER,
        amount=money(amount),
        reference=reference,
        installments_paid=paid,
    )


def reversed_repayment(
    amount: str, *, repayment: int, on: str, reversed_on: str, loan: int = 1
) -> RepaymentReversed:
    """Money that was thought to have come had been typed twice."""
    return RepaymentReversed(
        occurred_on=day(on),
        loan_number=loan,
        customer_number=CUSTOMER,
        repayment=repayment,
        amount=money(amount),
        reason="typed twice",
        reversed_on=day(reversed_on),
    )


def burden_raised(amount: str, *, repayment: int, on: str = "", loan: int = 1) -> LoanBurdenRaised:
    """The customer's stream is told of a reversal."""
    return LoanBurdenRaised(
        occurred_on=day(on),
        customer_number=CUSTOMER,
        loan_number=loan,
        repayment=repayment,
        amount=money(amount),
    )


# What is asked for.


def apply(amount: str = "10000", *, rate: str = "8", tenure: int = 24) -> ApplyForLoan:
    """An application of the customer's."""
    terms = Terms(amount=money(amount), annual_rate=money(rate), tenure_months=tenure)
    return ApplyForLoan(customer_number=CUSTOMER, terms=terms)


def register(income: int) -> RegisterCustomer:
    """A wish to become a customer."""
    return RegisterCustomer(
        first_name="Ada",
        last_name="Lovelace",
        age=36,
        phone_number=9876543210,
        monthly_income=income,
    )


# What is expected.


def card(
    score: str,
    basis: Basis = Basis.COMPONENTS,
    *,
    paid: str = "40",
    past: str = "0",
    activity: str = "15",
    volume: str = "25",
    due: int = 0,
    on_time: int = 0,
    closed: int = 0,
    this_year: int = 0,
    amount: str = "0",
    installments: str = "0",
) -> Scorecard:
    """A scorecard; by default, all points but those for past loans, which there are none of."""
    return Scorecard(
        score=money(score),
        basis=basis,
        paid_on_time=money(paid),
        past_loans=money(past),
        activity=money(activity),
        volume=money(volume),
        installments_due=due,
        installments_on_time=on_time,
        closed_loans=closed,
        loans_this_year=this_year,
        current_amount=money(amount),
        current_installments=money(installments),
    )


THIN_FILE: Final = card("50", Basis.THIN_FILE)


def saw(
    loans: Mapping[int, int] | None = None,
    *,
    version: int = 1,
    income: str = "100000",
    limit: str = "1000000",
) -> Seen:
    """What a decision knew; ``loans`` are numbers with versions."""
    return Seen(
        customer_version=version,
        monthly_income=money(income),
        approved_limit=money(limit),
        loans=tuple(LoanSeen(loan_number=n, version=v) for n, v in (loans or {}).items()),
    )


def approved(
    *reasons: str,
    asked: ApplyForLoan | None = None,
    rate: str = "8",
    installment: str = "452.27",
    card: Scorecard = THIN_FILE,
    seen: Seen | None = None,
    policy: Policy = STANDARD,
    on: str = "",
) -> LoanApproved:
    """A decision for the next loan."""
    return LoanApproved(
        occurred_on=day(on),
        customer_number=CUSTOMER,
        loan_number=NEXT,
        terms=(asked or apply()).terms,
        verdict=_verdict(reasons, rate, installment, card, policy, approved=True),
        seen=seen or saw(),
    )


def declined(
    *reasons: str,
    asked: ApplyForLoan | None = None,
    rate: str = "8",
    installment: str = "452.27",
    card: Scorecard = THIN_FILE,
    seen: Seen | None = None,
    policy: Policy = STANDARD,
) -> LoanDeclined:
    """A decision against."""
    return LoanDeclined(
        occurred_on=TODAY,
        customer_number=CUSTOMER,
        terms=(asked or apply()).terms,
        verdict=_verdict(reasons, rate, installment, card, policy, approved=False),
        seen=seen or saw(),
    )


def _verdict(
    reasons: tuple[str, ...],
    rate: str,
    installment: str,
    card: Scorecard,
    policy: Policy,
    *,
    approved: bool,
) -> Verdict:
    return Verdict(
        approved=approved,
        annual_rate=money(rate),
        installment=money(installment),
        reasons=tuple(Reason(reason) for reason in reasons),
        scorecard=card,
        policy=policy.name,
        policy_hash=policy.hash,
    )
