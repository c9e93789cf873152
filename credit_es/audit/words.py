"""Each fact in one sentence, for people who read a history."""

from decimal import Decimal

from msgspec import structs

from credit_es.domain.events import (
    ApplicationApproved,
    ApplicationDeclined,
    ApplicationEvent,
    ApplicationReferred,
    CustomerCorrected,
    CustomerEvent,
    CustomerImported,
    CustomerRegistered,
    CustomerRestated,
    Event,
    IngestionEvent,
    IngestionFailed,
    IngestionFinished,
    IngestionRequested,
    LoanApproved,
    LoanBurdenRaised,
    LoanDeclined,
    LoanEvent,
    LoanImported,
    LoanOpened,
    LoanPrepaid,
    LoanReferred,
    LoanRestated,
    LoansImported,
    LoansRestated,
    LoanWrittenOff,
    PolicyAdopted,
    RepaymentReceived,
    RepaymentReversed,
)
from credit_es.domain.values import CustomerDetails, LoanDetails, Terms


def in_words(fact: Event) -> str:
    """What a fact says, with its figures. Total: a new fact must be given its words."""
    if isinstance(fact, CustomerEvent):
        return _of_customer(fact)
    if isinstance(fact, LoanEvent):
        return _of_loan(fact)
    if isinstance(fact, ApplicationEvent):
        return _of_application(fact)
    if isinstance(fact, PolicyAdopted):
        return f"Policy {fact.name} first used, with the hash {fact.policy_hash}"
    return _of_ingestion(fact)


def _of_customer(fact: CustomerEvent) -> str:  # noqa: PLR0911 - one a kind
    match fact:  # the most frequent first
        case LoanApproved():
            return (
                f"Approved {_terms(fact.terms)} as loan {fact.loan_number}, at"
                f" {fact.verdict.annual_rate} % and {fact.verdict.installment} a month"
            )
        case LoanDeclined():
            reasons = ", ".join(fact.verdict.reasons)
            return f"Declined {_terms(fact.terms)}: {reasons}"
        case LoanReferred():
            reasons = ", ".join(fact.verdict.reasons)
            return f"Referred {_terms(fact.terms)} to review until {fact.decide_by}: {reasons}"
        case CustomerRegistered() | CustomerImported():
            came = "Registered" if isinstance(fact, CustomerRegistered) else "Imported"
            return (
                f"{came} {fact.first_name} {fact.last_name}: monthly income"
                f" {fact.monthly_income}, approved limit {fact.approved_limit}"
            )
        case LoansImported():
            numbers = ", ".join(str(each.loan_number) for each in fact.loans)
            return f"Loans imported: {numbers}"
        case LoanBurdenRaised():
            return (
                f"Loan {fact.loan_number} owes {fact.amount} again: repayment"
                f" {fact.loan_number}-{fact.repayment} was reversed"
            )
        case CustomerCorrected():
            return f"Corrected {_changes(fact.was, fact.is_)}: {fact.reason}"
        case CustomerRestated():
            return f"Restated by a workbook: {_changes(fact.was, fact.is_)}"
        case LoansRestated():
            numbers = ", ".join(map(str, fact.loan_numbers))
            return f"Loans restated by a workbook: {numbers}"


def _of_application(fact: ApplicationEvent) -> str:
    match fact:
        case ApplicationReferred():
            return (
                f"Referred to review: {_terms(fact.terms)}, asked for by {fact.asked_by}, to be"
                f" decided until {fact.decide_by}"
            )
        case ApplicationApproved():
            return f"Approved by {fact.decided_by} as loan {fact.loan_number}: {fact.note}"
        case ApplicationDeclined():
            return f"Declined by {fact.decided_by}: {fact.note}"


def _of_loan(fact: LoanEvent) -> str:  # noqa: PLR0911 - one a kind
    match fact:
        case LoanOpened():
            return (
                f"Opened: {fact.amount} at {fact.annual_rate} % over {fact.tenure_months} months,"
                f" {fact.installment} a month, until {fact.ends_on}"
            )
        case LoanImported():
            return (
                f"Imported: {fact.amount} at {fact.annual_rate} % over {fact.tenure_months} months,"
                f" {fact.installment} a month, until {fact.ends_on};"
                f" {fact.emis_on_time} installments paid on time"
            )
        case RepaymentReceived():
            filled = _installments(fact.installments_paid)
            return f"Received {fact.amount}{_reference(fact.reference)}{filled}"
        case LoanPrepaid():
            outcome = f"the {fact.keep} stays" if fact.keep else "which paid the loan off"
            return (
                f"Prepaid {fact.amount}{_reference(fact.reference)}: principal {fact.principal},"
                f" interest {fact.accrued_interest}, arrears {fact.arrears}; {outcome}"
            )
        case RepaymentReversed():
            return (
                f"Reversed repayment {fact.loan_number}-{fact.repayment} of {fact.amount} on"
                f" {fact.reversed_on}: {fact.reason}"
            )
        case LoanWrittenOff():
            return f"Wrote off {_known(fact.outstanding_principal)}: {fact.reason}"
        case LoanRestated():
            return f"Restated by a workbook: {_changes(fact.was, fact.is_)}"


def _of_ingestion(fact: IngestionEvent) -> str:
    match fact:
        case IngestionRequested():
            return f"Workbooks handed in: {fact.customers.name} and {fact.loans.name}"
        case IngestionFinished():
            return (
                f"Ingestion finished: {fact.customers.recorded} of {fact.customers.read} customers"
                f" and {fact.loans.recorded} of {fact.loans.read} loans recorded"
            )
        case IngestionFailed():
            return f"Ingestion failed: {fact.problem}"


def _changes(was: CustomerDetails | LoanDetails, now: CustomerDetails | LoanDetails) -> str:
    before, after = structs.asdict(was), structs.asdict(now)
    return ", ".join(
        f"{name.replace('_', ' ')} {'unknown' if before[name] is None else before[name]} to {value}"
        for name, value in after.items()
        if value is not None
    )


def _terms(terms: Terms) -> str:
    return f"{terms.amount} at {terms.annual_rate} % over {terms.tenure_months} months"


def _reference(reference: str | None) -> str:
    return f" ({reference})" if reference else ""


def _installments(numbers: tuple[int, ...]) -> str:
    if not numbers:
        return ""
    if len(numbers) == 1:
        return f", which filled installment {numbers[0]}"
    return f", which filled installments {numbers[0]} to {numbers[-1]}"


def _known(principal: Decimal | None) -> str:
    return "what is left" if principal is None else f"a principal of {principal}"
