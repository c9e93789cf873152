"""What the log holds can be read for ever: one stored entry per fact and version, never rewritten.

The files are indented for people; without the white space they are the stored bytes. An added field
gets a default and a ``v2`` beside the ``v1``, which is then read only; a changed meaning gets a new
fact.
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, get_args
from uuid import UUID, uuid5

import msgspec
import pytest
from eventsourcing.persistence import JSONTranscoder, StoredEvent
from msgspec.structs import replace

from credit_es.domain.events import (
    ApplicationApproved,
    ApplicationDeclined,
    ApplicationReferred,
    CustomerCorrected,
    CustomerImported,
    CustomerRegistered,
    CustomerRestated,
    Event,
    IngestionFailed,
    IngestionFinished,
    IngestionRequested,
    LoanApproved,
    LoanBurdenRaised,
    LoanDeclined,
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
from credit_es.domain.policy import load_policy
from credit_es.domain.values import (
    Basis,
    Counts,
    CustomerDetails,
    ImportedLoan,
    Keep,
    LoanDetails,
    LoanSeen,
    Plan,
    Reason,
    Scorecard,
    Seen,
    Source,
    Terms,
    Verdict,
    Workbook,
)
from credit_es.store.mapper import (
    DECODER,
    NAMESPACE,
    TOPICS,
    EntryMapper,
    Recorded,
    customer_stream,
    loan_stream,
    topic,
)

FOLDER: Final = Path(__file__).parent
STREAM: Final = UUID("b1946ac9-2492-5d23-8f1a-6e5c0c3a7d10")
INGESTION: Final = "3f0c9a52-7a30-4f0e-9d55-0d8a1f6b2c44"
MAPPER: Final = EntryMapper(JSONTranscoder())
POLICY_HASH: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

REFERRED: Final = LoanReferred(
    occurred_on=date(2026, 2, 16),
    customer_number=14,
    terms=Terms(amount=Decimal("500000.01"), annual_rate=Decimal("12.00"), tenure_months=24),
    verdict=Verdict(
        approved=False,
        annual_rate=Decimal("12.00"),
        installment=Decimal("23536.74"),
        reasons=(Reason.AMOUNT_REFERRED, Reason.SCORE_REFERRED, Reason.THIN_FILE_REFERRED),
        scorecard=Scorecard(
            score=Decimal("50.00"),
            basis=Basis.THIN_FILE,
            paid_on_time=Decimal("40.00"),
            past_loans=Decimal("0.00"),
            activity=Decimal("15.00"),
            volume=Decimal("25.00"),
            installments_due=0,
            installments_on_time=0,
            closed_loans=0,
            loans_this_year=0,
            current_amount=Decimal("0.00"),
            current_installments=Decimal("0.00"),
        ),
        policy="careful",
        policy_hash=POLICY_HASH,
    ),
    seen=Seen(
        customer_version=2,
        monthly_income=Decimal("50000.00"),
        approved_limit=Decimal("1800000.00"),
        loans=(),
    ),
    decide_by=date(2026, 3, 2),
)

EXPECTED: Final[tuple[Event, ...]] = (
    CustomerRegistered(
        occurred_on=date(2026, 1, 15),
        customer_number=10_000_001,
        first_name="Zoë",
        last_name="O'Neill",
        age=36,
        phone_number=9876543210,
        monthly_income=Decimal("50000.00"),
        approved_limit=Decimal("1800000.00"),
    ),
    CustomerImported(
        occurred_on=date(2026, 1, 15),
        customer_number=14,
        first_name="Aaron",
        last_name="Garcia",
        age=None,
        phone_number=None,
        monthly_income=Decimal("50000.00"),
        approved_limit=Decimal("1800000.00"),
        current_debt=Decimal("12.50"),
        source=Source(ingestion_id=INGESTION, sheet="Sheet1", row=15),
    ),
    LoansImported(
        occurred_on=date(2026, 1, 15),
        customer_number=14,
        loans=(
            ImportedLoan(loan_number=5930, source_loan_id="5930"),
            ImportedLoan(loan_number=10_000_002, source_loan_id="LOAN_000001"),
        ),
        ingestion_id=INGESTION,
    ),
    LoanApproved(
        occurred_on=date(2026, 1, 16),
        customer_number=14,
        loan_number=10_000_003,
        terms=Terms(amount=Decimal("10000.00"), annual_rate=Decimal("8.00"), tenure_months=24),
        verdict=Verdict(
            approved=True,
            annual_rate=Decimal("12.00"),
            installment=Decimal("470.73"),
            reasons=(Reason.RATE_CORRECTED,),
            scorecard=Scorecard(
                score=Decimal("49.33"),
                basis=Basis.COMPONENTS,
                paid_on_time=Decimal("13.33"),
                past_loans=Decimal("5.00"),
                activity=Decimal("15.00"),
                volume=Decimal("16.00"),
                installments_due=30,
                installments_on_time=20,
                closed_loans=1,
                loans_this_year=0,
                current_amount=Decimal("648000.00"),
                current_installments=Decimal("15344.00"),
            ),
            policy="standard",
            policy_hash=POLICY_HASH,
        ),
        seen=Seen(
            customer_version=2,
            monthly_income=Decimal("50000.00"),
            approved_limit=Decimal("1800000.00"),
            loans=(
                LoanSeen(loan_number=5930, version=1),
                LoanSeen(loan_number=10_000_002, version=1),
            ),
        ),
    ),
    LoanDeclined(
        occurred_on=date(2026, 1, 16),
        customer_number=10_000_001,
        terms=Terms(
            amount=Decimal("1000000000000.00"), annual_rate=Decimal("0.00"), tenure_months=1
        ),
        verdict=Verdict(
            approved=False,
            annual_rate=Decimal("16.00"),
            installment=Decimal("1013333333333.33"),
            reasons=(Reason.OVER_LIMIT, Reason.INSTALLMENT_BURDEN, Reason.LOW_SCORE),
            scorecard=Scorecard(
                score=Decimal("0.00"),
                basis=Basis.OVER_LIMIT,
                paid_on_time=Decimal("40.00"),
                past_loans=Decimal("0.00"),
                activity=Decimal("10.00"),
                volume=Decimal("0.00"),
                installments_due=0,
                installments_on_time=0,
                closed_loans=0,
                loans_this_year=1,
                current_amount=Decimal("1800000.01"),
                current_installments=Decimal("0.00"),
            ),
            policy="literal",
            policy_hash=POLICY_HASH,
        ),
        seen=Seen(
            customer_version=1,
            monthly_income=Decimal("50000.00"),
            approved_limit=Decimal("1800000.00"),
            loans=(),
        ),
    ),
    REFERRED,
    ApplicationReferred(
        occurred_on=REFERRED.occurred_on,
        application_id="14-3",
        customer_number=14,
        terms=REFERRED.terms,
        verdict=REFERRED.verdict,
        asked_by="clerk/3",
        decide_by=REFERRED.decide_by,
    ),
    ApplicationApproved(
        occurred_on=date(2026, 2, 28),
        application_id="14-3",
        customer_number=14,
        decision_id="14-4",
        loan_number=10_000_003,
        decided_by="officer/7",
        note="known for years",
    ),
    ApplicationDeclined(
        occurred_on=date(2026, 3, 2),
        application_id="14-3",
        customer_number=14,
        decision_id="14-4",
        decided_by="officer/7",
        note="moves abroad",
    ),
    LoanOpened(
        occurred_on=date(2026, 1, 31),
        loan_number=10_000_003,
        customer_number=14,
        amount=Decimal("10000.00"),
        annual_rate=Decimal("12.00"),
        tenure_months=25,
        installment=Decimal("454.07"),
        ends_on=date(2028, 2, 29),
    ),
    LoanImported(
        occurred_on=date(2017, 3, 9),
        loan_number=10_000_002,
        customer_number=14,
        source_loan_id="LOAN_000001",
        amount=Decimal("900000.00"),
        annual_rate=Decimal("8.20"),
        tenure_months=129,
        installment=Decimal("15344.00"),
        emis_on_time=114,
        ends_on=date(2027, 12, 9),
        source=Source(ingestion_id=INGESTION, sheet="Sheet1", row=2),
    ),
    CustomerCorrected(
        occurred_on=date(2026, 1, 1),
        customer_number=14,
        was=CustomerDetails(monthly_income=Decimal("50000.00")),
        is_=CustomerDetails(age=41, monthly_income=Decimal("52000.00")),
        reason="the payslip says so",
    ),
    CustomerRestated(
        occurred_on=date(2026, 2, 15),
        customer_number=14,
        was=CustomerDetails(phone_number=9876543210, current_debt=Decimal("0.00")),
        is_=CustomerDetails(phone_number=9876543211, current_debt=Decimal("10.00")),
        source=Source(ingestion_id=INGESTION, sheet="Sheet1", row=3),
    ),
    LoansRestated(
        occurred_on=date(2026, 2, 15),
        customer_number=14,
        loan_numbers=(10_000_002,),
        ingestion_id=INGESTION,
    ),
    LoanRestated(
        occurred_on=date(2026, 2, 15),
        loan_number=10_000_002,
        customer_number=14,
        was=LoanDetails(emis_on_time=114),
        is_=LoanDetails(emis_on_time=115),
        source=Source(ingestion_id=INGESTION, sheet="Sheet1", row=2),
    ),
    RepaymentReceived(
        occurred_on=date(2026, 2, 28),
        loan_number=10_000_003,
        customer_number=14,
        amount=Decimal("908.14"),
        reference="A-1",
        installments_paid=(1, 2),
    ),
    LoanPrepaid(
        occurred_on=date(2026, 4, 10),
        loan_number=10_000_003,
        customer_number=14,
        amount=Decimal("3000.00"),
        reference=None,
        installments_paid=(),
        waiting=Decimal("0.00"),
        arrears=Decimal("0.00"),
        accrued_interest=Decimal("28.98"),
        principal=Decimal("2971.02"),
        keep=Keep.INSTALLMENT,
        plan=Plan(
            after=2,
            last=17,
            principal=Decimal("6313.08"),
            installment=Decimal("454.07"),
            begins_on=date(2026, 4, 10),
            first_interest=Decimal("42.09"),
        ),
        ends_on=date(2027, 6, 30),
    ),
    RepaymentReversed(
        occurred_on=date(2026, 4, 10),
        loan_number=10_000_003,
        customer_number=14,
        repayment=3,
        amount=Decimal("3000.00"),
        reason="typed twice",
        reversed_on=date(2026, 4, 12),
    ),
    LoanWrittenOff(
        occurred_on=date(2027, 1, 31),
        loan_number=10_000_003,
        customer_number=14,
        outstanding_principal=Decimal("9284.10"),
        reason="moved abroad",
    ),
    LoanBurdenRaised(
        occurred_on=date(2026, 4, 12),
        customer_number=14,
        loan_number=10_000_003,
        repayment=3,
        amount=Decimal("3000.00"),
    ),
    PolicyAdopted(
        occurred_on=date(2026, 1, 15),
        policy_hash=load_policy("standard").hash,
        name="standard",
        content=load_policy("standard").content,
    ),
    IngestionRequested(
        occurred_on=date(2026, 1, 15),
        ingestion_id=INGESTION,
        customers=Workbook(name="customer_data.xlsx", sha256="a" * 64),
        loans=Workbook(name="loan_data.xlsx", sha256="b" * 64),
    ),
    IngestionFinished(
        occurred_on=date(2026, 1, 15),
        ingestion_id=INGESTION,
        customers=Counts(read=300, recorded=300, blank=3),
        loans=Counts(read=782, recorded=750, unchanged=20, conflicting=10, rejected=2),
    ),
    IngestionFailed(
        occurred_on=date(2026, 1, 15),
        ingestion_id=INGESTION,
        problem="The customers workbook has no column for the monthly salary.",
    ),
)

REVIEWED: Final = tuple(
    replace(fact, application_id="14-3", note="known for years")
    for fact in EXPECTED
    if isinstance(fact, LoanApproved | LoanDeclined)
)
"""Facts that got fields: those of a review. Without them they are stored as before."""

by_topic = pytest.mark.parametrize("fact", EXPECTED, ids=topic)


def stored_entry(fact: Event, version: int = 1) -> StoredEvent:
    """The row of the log that the golden file shows."""
    text = (FOLDER / f"{topic(fact)}.v{version}.json").read_bytes()
    return StoredEvent(STREAM, 1, topic(fact), msgspec.json.format(text, indent=-1))


def test_every_fact_has_its_golden_file_and_every_file_its_fact() -> None:
    kinds = get_args(Event)
    assert {type(fact) for fact in EXPECTED} == set(kinds)
    assert {path.name for path in FOLDER.glob("*.v1.json")} == {
        f"{topic(kind)}.v1.json" for kind in kinds
    }
    assert {topic(kind) for kind in kinds} == TOPICS


@by_topic
def test_a_stored_fact_is_read_as_what_it_said(fact: Event) -> None:
    recorded = MAPPER.to_domain_event(stored_entry(fact))
    assert recorded.entry.fact == fact
    assert type(recorded.entry.fact) is type(fact)
    assert recorded.entry.recorded_at == datetime(2026, 1, 15, 10, 30, 0, 123456, UTC)
    assert recorded.entry.actor == "officer/7"
    assert recorded.entry.correlation_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    causation = f"ingestion/{INGESTION}" if "source" in fact.__struct_fields__ else None
    assert recorded.entry.causation_id == causation
    assert (recorded.originator_id, recorded.originator_version) == (STREAM, 1)


@by_topic
def test_a_fact_is_stored_byte_for_byte_as_ever(fact: Event) -> None:
    stored = stored_entry(fact)
    recorded = MAPPER.to_domain_event(stored)
    entry = msgspec.structs.replace(recorded.entry, fact=fact)
    assert MAPPER.to_stored_event(Recorded(STREAM, 1, entry)) == stored


@pytest.mark.parametrize("fact", REVIEWED, ids=topic)
def test_a_decision_of_a_review_is_stored_with_its_application_and_note(fact: Event) -> None:
    stored = stored_entry(fact, version=2)
    recorded = MAPPER.to_domain_event(stored)
    assert recorded.entry.fact == fact
    assert MAPPER.to_stored_event(recorded) == stored


@by_topic
def test_a_fact_that_nobody_knows_fails_loudly(fact: Event) -> None:
    state = stored_entry(fact).state.replace(topic(fact).encode(), b"credit.LoanForgotten")
    stored = StoredEvent(STREAM, 1, "credit.LoanForgotten", state)
    with pytest.raises(msgspec.ValidationError, match="LoanForgotten"):
        MAPPER.to_domain_event(stored)
    with pytest.raises(msgspec.ValidationError, match="LoanForgotten"):
        DECODER.decode(state)


@by_topic
def test_a_fact_that_lacks_a_field_fails_loudly(fact: Event) -> None:
    state = stored_entry(fact).state.replace(b'"occurred_on":', b'"occurred_at":')
    with pytest.raises(msgspec.ValidationError, match="occurred_on"):
        DECODER.decode(state)


def test_a_stream_is_named_by_the_uuid5_of_its_number_for_ever() -> None:
    assert customer_stream(5_000_001) == UUID("19055ae3-985d-5494-a985-9e0304d8843e")
    assert loan_stream(5_000_001) == UUID("e64057cb-b3e7-53cc-a59d-c3061a8ab97b")
    for number in (1, 10**12):
        assert customer_stream(number) == uuid5(NAMESPACE, f"customer/{number}")
        assert loan_stream(number) == uuid5(NAMESPACE, f"loan/{number}")
