"""The application service: what is recorded, who wins a race, and why something was decided."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

import psycopg
import pytest
from msgspec.structs import replace
from psycopg import pq

from credit_es import application
from credit_es.application import By, ContendedError, Lending, Outcome, fold_customer, fold_loan
from credit_es.audit.decisions import Audit, ImportedLoanError, in_words, message, score_in_words
from credit_es.domain.customer import decide_registration
from credit_es.domain.errors import (
    UnknownCustomerError,
    UnknownDecisionError,
    UnknownLoanError,
)
from credit_es.domain.events import (
    CustomerImported,
    CustomerRegistered,
    Decision,
    Event,
    LoanApproved,
    LoanDeclined,
    LoanImported,
    LoansImported,
    PolicyAdopted,
)
from credit_es.domain.lending import decide_loan
from credit_es.domain.values import ImportedLoan, Reason, Source
from credit_es.store.database import StoreUnavailableError
from credit_es.store.idempotency import KeyReusedError, Once
from credit_es.store.mapper import Entry, customer_stream, loan_stream, policy_stream
from credit_es.store.numbers import BLOCK
from tests.store.given import ASHA, BY, asks, person, settings

FIRST = 10_000_001
ONCE = Once(actor="tester", path="/x", key="k", digest=hashlib.sha256(b"asked").digest())

T = TypeVar("T")


@pytest.fixture
def lending(database_url: str, schema: str) -> Iterator[Lending]:
    one = Lending(settings(database_url, schema))
    yield one
    one.close()


@pytest.fixture
def lending_alone(database_url: str, schema: str) -> Iterator[Lending]:
    """On a single connection, so that it can be listened to."""
    one = Lending(settings(database_url, schema), pool_size=1)
    yield one
    one.close()


@pytest.fixture
def another_process(database_url: str, schema: str) -> Iterator[Lending]:
    """What another process of the same schema has: a pool and blocks of numbers of its own."""
    one = Lending(settings(database_url, schema))
    yield one
    one.close()


def facts(lending: Lending) -> list[Event]:
    """The whole log."""
    return [entry.fact for entry in entries(lending)]


def adopted(lending: Lending) -> PolicyAdopted:
    """What the first decision under a policy brings into the log."""
    policy = lending.policy
    return PolicyAdopted(
        occurred_on=lending.today(),
        policy_hash=policy.hash,
        name=policy.name,
        content=policy.content,
    )


def entries(lending: Lending) -> list[Entry]:
    mapper, recorder = lending.mapper, lending.reader.recorder
    found = (mapper.to_domain_event(n) for n in recorder.select_notifications(0, 100_000))
    return [recorded.entry for recorded in found]  # type: ignore[attr-defined]


def all_at_once(work: Callable[[int], T], count: int) -> list[T]:
    ready = threading.Barrier(count)

    def start(number: int) -> T:
        ready.wait(10)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def assert_some_order_explains(lending: Lending, customer_number: int) -> list[Decision]:
    """Every decision is what its own versions of the streams lead to, and missed none before it."""
    history = lending.reader.stream(customer_stream(customer_number))
    assert [r.originator_version for r in history] == list(range(1, len(history) + 1))
    decisions: list[Decision] = []
    for at, recorded in enumerate(history):
        decision = recorded.entry.fact
        if not isinstance(decision, Decision):
            continue
        who = fold_customer(history[:at])
        assert who is not None
        assert decision.seen.customer_version == who.version == recorded.originator_version - 1
        assert [seen.loan_number for seen in decision.seen.loans] == list(who.loans)
        loans = [
            fold_loan(lending.reader.stream(loan_stream(seen.loan_number))[: seen.version])
            for seen in decision.seen.loans
        ]
        opens = decision.loan_number if isinstance(decision, LoanApproved) else 0
        again = decide_loan(
            who,
            loans,
            replace(asks(customer_number), terms=decision.terms),
            lending.policy,
            loan_number=opens,
            today=decision.occurred_on,
        )
        opened = [r.entry.fact for r in lending.reader.stream(loan_stream(opens))]
        assert [*again] == [decision, *opened]
        decisions.append(decision)
    return decisions


# What is recorded.


def test_a_registration_is_one_fact_with_who_and_why(lending: Lending) -> None:
    by = By(actor="asha", correlation_id="request-1", causation_id="step-1")
    registered = lending.register(ASHA, by)
    assert registered == decide_registration(ASHA, customer_number=FIRST, today=lending.today())
    (entry,) = entries(lending)
    assert entry == Entry(
        fact=registered,
        recorded_at=entry.recorded_at,
        actor="asha",
        correlation_id="request-1",
        causation_id="step-1",
    )
    assert lending.register(person(first_name="Ravi"), BY).customer_number == FIRST + 1


def test_an_approval_and_its_loan_are_recorded_together(lending: Lending) -> None:
    customer = lending.register(ASHA, BY)
    outcome = lending.apply_for_loan(asks(FIRST, "250000.00"), BY)
    assert outcome.decision_id == f"{FIRST}-2"
    who = fold_customer(lending.reader.stream(customer_stream(FIRST))[:1])
    assert who is not None
    approved, *opened = decide_loan(
        who,
        [],
        asks(FIRST, "250000.00"),
        lending.policy,
        loan_number=FIRST,
        today=lending.today(),
    )
    assert outcome == Outcome(decision=approved, version=2)
    assert len(opened) == 1
    assert facts(lending) == [customer, adopted(lending), approved, *opened]


def test_a_policy_is_recorded_once_before_the_first_decision_under_it(
    database_url: str, schema: str, lending: Lending, another_process: Lending
) -> None:
    processes = (lending, another_process)
    customers = [lending.register(ASHA, BY).customer_number for _ in range(8)]
    all_at_once(lambda n: processes[n % 2].apply_for_loan(asks(customers[n]), BY), 8)
    with closing(Lending(settings(database_url, schema, policy="literal"))) as literal:
        literal.apply_for_loan(asks(customers[0]), BY)
    told = facts(lending)
    first, second = (at for at, fact in enumerate(told) if isinstance(fact, PolicyAdopted))
    assert told[first] == adopted(lending)
    assert told[second] == adopted(literal)
    assert not any(isinstance(fact, Decision) for fact in told[:first])
    assert isinstance(told[second + 1], Decision)
    assert len(lending.reader.stream(policy_stream(literal.policy.hash))) == 1


@pytest.mark.parametrize(("loans", "elsewhere", "trips"), [(0, 0, 2), (3, 0, 2), (3, 2, 3)])
def test_a_decision_loads_in_one_round_trip_and_two_after_another_process_opened_a_loan(
    lending_alone: Lending,
    another_process: Lending,
    tmp_path: Path,
    loans: int,
    elsewhere: int,
    trips: int,
) -> None:
    lending = lending_alone
    first, second = (lending.register(ASHA, BY).customer_number for _ in range(2))
    for _ in range(5):
        another_process.apply_for_loan(asks(second), BY)
        lending.apply_for_loan(asks(second), BY)
    for _ in range(loans):
        lending.apply_for_loan(asks(first), BY)
    for _ in range(elsewhere):
        another_process.apply_for_loan(asks(first), BY)
    # By now the connection has prepared its statements, blocks of numbers are taken, and the policy
    # is known to be recorded.
    wire = tmp_path / "wire"
    with wire.open("wb") as output:
        with lending.database.connection() as conn:
            conn.pgconn.trace(output.fileno())
            conn.pgconn.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
        outcome = lending.apply_for_loan(asks(first), BY)
        conn.pgconn.untrace()
    assert len(outcome.decision.seen.loans) == loans + elsewhere
    told = wire.read_text()
    assert re.findall(r"^F\t\d+\t(Query|Parse|Bind)\b", told, re.MULTILINE) == ["Bind"] * trips
    answered = re.findall(r"^B\t\d+\tRowDescription\t \d \"(.*?)\"", told, re.MULTILINE)
    assert answered == ["n"] * (trips - 1) + ["append"]
    in_no_transaction = ["I"] * trips
    assert re.findall(r"^B\t\d+\tReadyForQuery\t (.)", told, re.MULTILINE) == in_no_transaction


def test_what_a_process_remembers_of_loans_never_changes_a_decision(
    lending: Lending, another_process: Lending, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (FIRST, FIRST + 1):
        lending.register(ASHA, BY)
        for _ in range(3):
            another_process.apply_for_loan(asks(number), BY)
    who, loans = another_process.load(FIRST)
    assert [loan.number for loan in loans] == list(who.loans)
    mine, strangers = who.loans, another_process.load(FIRST + 1)[0].loans
    for remembered in ((), mine, mine[::-1], mine[1:], strangers, (*strangers, mine[2], 1)):
        monkeypatch.setattr(lending, "_loans_of", lambda _number, it=remembered: [*it])
        assert lending.load(FIRST) == (who, loans)


def test_a_refusal_is_a_fact_and_no_loan(lending: Lending) -> None:
    customer = lending.register(ASHA, BY)
    outcome = lending.apply_for_loan(asks(FIRST, "99000000.00"), BY)
    assert isinstance(outcome.decision, LoanDeclined)
    assert outcome.decision.verdict.reasons[0] == Reason.OVER_LIMIT
    assert facts(lending) == [customer, adopted(lending), outcome.decision]
    assert lending.load(FIRST)[1] == []


def test_checking_eligibility_says_what_a_decision_would_and_records_nothing(
    lending: Lending,
) -> None:
    lending.register(ASHA, BY)
    lending.apply_for_loan(asks(FIRST), BY)
    for amount in ("20000.00", "99000000.00"):
        head, log = lending.reader.head(), facts(lending)
        verdict = lending.check_eligibility(asks(FIRST, amount, rate="3.00"))
        assert (lending.reader.head(), facts(lending)) == (head, log)
        outcome = lending.apply_for_loan(asks(FIRST, amount, rate="3.00"), BY)
        assert outcome.decision.verdict == verdict


def test_nobody_is_told_apart_from_somebody(lending: Lending) -> None:
    for ask in (
        lambda: lending.apply_for_loan(asks(77), BY),
        lambda: lending.check_eligibility(asks(77)),
        lambda: lending.load(77),
    ):
        with pytest.raises(UnknownCustomerError) as caught:
            ask()
        assert caught.value.customer_number == 77
    assert facts(lending) == []


def test_a_decision_folds_what_imports_brought(lending: Lending) -> None:
    record_import(lending, customer_number=1, loan_number=5, amount="900000.00")
    decision = lending.apply_for_loan(asks(1, "100000.01"), BY).decision
    assert decision.verdict.reasons == (Reason.OVER_LIMIT,)
    assert decision.verdict.scorecard.current_amount == Decimal("900000.00")
    assert lending.apply_for_loan(asks(1, "1000.00"), BY).decision.verdict.approved


def test_the_business_date_is_that_of_the_lenders_timezone(
    database_url: str, schema: str, lending: Lending
) -> None:
    east, west = (
        Lending(settings(database_url, schema, timezone=ZoneInfo(name)))
        for name in ("Pacific/Kiritimati", "Etc/GMT+12")
    )
    try:
        assert (east.today() - west.today()).days in {1, 2}
        assert west.today() <= lending.today() <= east.today()
    finally:
        east.close()
        west.close()


# Races.


def test_twenty_applications_of_one_customer_end_as_some_order_of_them_would(
    lending: Lending, another_process: Lending
) -> None:
    limit = lending.register(person(monthly_income=100_000), BY).approved_limit
    amounts = ["400000.00", "25000.00", "1000.00", "700000.00", "900000.00"]

    def apply(number: int) -> Outcome:
        mine = (lending, another_process)[number % 2]
        rate = f"{6 + number}.00"
        return mine.apply_for_loan(asks(FIRST, amounts[number % 5], rate=rate, tenure=60), BY)

    outcomes = all_at_once(apply, 20)
    decisions = assert_some_order_explains(lending, FIRST)
    by_version = {outcome.version: outcome.decision for outcome in outcomes}
    assert [by_version[version] for version in range(2, 22)] == decisions
    asked = sorted((asks(FIRST, amounts[n % 5]).terms.amount, Decimal(6 + n)) for n in range(20))
    assert sorted((d.terms.amount, d.terms.annual_rate) for d in decisions) == asked
    granted = [d.terms.amount for d in decisions if isinstance(d, LoanApproved)]
    assert 2 < len(granted) < 20  # else the limit was not at stake
    assert sum(granted) <= limit
    who, loans = lending.load(FIRST)
    assert sum(loan.amount for loan in loans) == sum(granted)
    assert len(who.loans) == len(set(who.loans)) == len(granted)


def test_a_race_that_is_never_won_is_given_up_in_time(
    lending: Lending, another_process: Lending, monkeypatch: pytest.MonkeyPatch
) -> None:
    lending.register(ASHA, BY)
    monkeypatch.setattr(application, "CONTEND_S", 0.2)
    load = lending.load

    def load_and_lose(number: int) -> object:
        known = load(number)
        another_process.apply_for_loan(asks(FIRST, "1.00"), BY)
        return known

    monkeypatch.setattr(lending, "load", load_and_lose)
    with pytest.raises(ContendedError):
        lending.apply_for_loan(asks(FIRST, "777.00"), BY)
    assert all(d.terms.amount == 1 for d in assert_some_order_explains(another_process, FIRST))


def test_the_same_request_sent_many_times_at_once_is_recorded_once(lending: Lending) -> None:
    answers = all_at_once(lambda _: lending.register(ASHA, BY, ONCE), 8)
    assert [*answers] == [answers[0]] * 8
    assert facts(lending) == [answers[0]]


def test_a_replay_is_the_first_outcome_whatever_has_happened_since(lending: Lending) -> None:
    lending.register(ASHA, BY)
    first = lending.apply_for_loan(asks(FIRST, "500000.00"), BY, ONCE)
    lending.apply_for_loan(asks(FIRST, "1000.00"), BY)
    before = facts(lending)
    assert lending.apply_for_loan(asks(FIRST, "500000.00"), BY, ONCE) == first
    refused = replace(ONCE, key="refused")
    declined = lending.apply_for_loan(asks(FIRST, "99000000.00"), BY, refused)
    assert lending.apply_for_loan(asks(FIRST, "99000000.00"), BY, refused) == declined
    assert facts(lending) == [*before, declined.decision]


def test_a_key_that_stands_for_another_request_is_refused(lending: Lending) -> None:
    lending.register(ASHA, BY, ONCE)
    other = replace(ONCE, digest=b"another")
    with pytest.raises(KeyReusedError):
        lending.register(person(first_name="Ravi"), BY, other)
    assert len(facts(lending)) == 1


def test_of_two_requests_with_one_key_at_once_one_is_refused(lending: Lending) -> None:
    def register(number: int) -> CustomerRegistered | None:
        once = replace(ONCE, digest=b"%d" % number)
        try:
            return lending.register(person(age=20 + number), BY, once)
        except KeyReusedError:
            return None

    answers = [answer for answer in all_at_once(register, 6) if answer]
    assert facts(lending) == answers
    assert len(answers) == 1


# Numbers that an import took.


def test_a_customer_number_that_an_import_took_is_passed_by(
    lending: Lending, another_process: Lending
) -> None:
    assert lending.register(ASHA, BY).customer_number == FIRST  # and holds a block now
    for number in (FIRST + 1, FIRST + 2):
        record_import(another_process, customer_number=number, loan_number=number - 9_000_000)
    assert lending.register(ASHA, BY).customer_number == FIRST + 3


def test_a_loan_number_that_an_import_took_is_passed_by(
    lending: Lending, another_process: Lending
) -> None:
    lending.register(ASHA, BY)
    assert opened_by(lending.apply_for_loan(asks(FIRST), BY)) == FIRST
    record_import(another_process, customer_number=1, loan_number=FIRST + 1)
    assert opened_by(lending.apply_for_loan(asks(FIRST), BY)) == FIRST + 2
    assert_some_order_explains(lending, FIRST)


def test_a_whole_block_that_an_import_took_is_passed_by(
    lending: Lending, another_process: Lending
) -> None:
    lending.register(ASHA, BY)
    for number in range(FIRST + 1, FIRST + BLOCK):
        record_import(another_process, customer_number=number, loan_number=number - 9_000_000)
    assert lending.register(ASHA, BY).customer_number == FIRST + BLOCK


def opened_by(outcome: Outcome) -> int:
    assert isinstance(outcome.decision, LoanApproved)
    return outcome.decision.loan_number


def record_import(
    lending: Lending, *, customer_number: int, loan_number: int, amount: str = "1000.00"
) -> None:
    """What an ingestion records of one customer with one running loan."""
    source = Source(ingestion_id="i", sheet="Sheet1", row=2)
    customer = CustomerImported(
        occurred_on=lending.today(),
        customer_number=customer_number,
        first_name="Aaron",
        last_name="Garcia",
        age=None,
        phone_number=None,
        monthly_income=Decimal("100000.00"),
        approved_limit=Decimal("1000000.00"),
        current_debt=None,
        source=source,
    )
    named = LoansImported(
        occurred_on=lending.today(),
        customer_number=customer_number,
        loans=(ImportedLoan(loan_number=loan_number, source_loan_id=str(loan_number)),),
        ingestion_id="i",
    )
    loan = LoanImported(
        loan_number=loan_number,
        customer_number=customer_number,
        source_loan_id=str(loan_number),
        amount=Decimal(amount),
        annual_rate=Decimal("10.00"),
        tenure_months=240,
        installment=Decimal("5000.00"),
        emis_on_time=20,
        occurred_on=date(lending.today().year - 2, 1, 1),
        ends_on=date(lending.today().year + 18, 1, 1),
        source=source,
    )
    lending.record([(1, customer), (2, named), (1, loan)], BY)


# Why: decisions found in the log, and said in words.


@pytest.fixture
def audit(lending: Lending) -> Audit:
    return Audit(lending.reader)


def decisions_of(lending: Lending, *amounts: str) -> Sequence[Outcome]:
    lending.register(ASHA, BY)
    return [lending.apply_for_loan(asks(FIRST, amount), BY) for amount in amounts]


def test_a_decision_is_found_by_its_id_and_by_its_loan(lending: Lending, audit: Audit) -> None:
    approved, declined = decisions_of(lending, "1000.00", "99000000.00")
    for outcome in (approved, declined):
        record = audit.decision(outcome.decision_id)
        assert record.decision == outcome.decision
        assert record.decision_id == outcome.decision_id
        assert (record.actor, record.correlation_id) == (BY.actor, BY.correlation_id)
    assert audit.decision_of_loan(opened_by(approved)).decision == approved.decision


def test_decisions_of_a_customer_are_paged_the_latest_first(lending: Lending, audit: Audit) -> None:
    outcomes = decisions_of(lending, "1000.00", "99000000.00", "2000.00", "3000.00")
    latest = [outcome.decision_id for outcome in reversed(outcomes)]

    def page(before: int | None, limit: int) -> list[str]:
        return [r.decision_id for r in audit.decisions(FIRST, before=before, limit=limit)]

    assert page(None, 10) == latest
    assert page(None, 2) == latest[:2]
    assert page(outcomes[2].version, 2) == latest[2:]
    assert page(2, 2) == []
    lending.register(ASHA, BY)
    assert audit.decisions(FIRST + 1, before=None, limit=9) == []


@pytest.mark.parametrize(
    "decision_id", ["", "1", "1-2", f"{FIRST}-1", f"{FIRST}-9", "x-1", "-1-2", "1-2-3", "\uff11-2"]
)
def test_what_is_no_decision_is_unknown(lending: Lending, audit: Audit, decision_id: str) -> None:
    decisions_of(lending, "1000.00")
    with pytest.raises(UnknownDecisionError):
        audit.decision(decision_id)


def test_loans_that_nobody_decided_here_are_told_apart(lending: Lending, audit: Audit) -> None:
    record_import(lending, customer_number=1, loan_number=5)
    with pytest.raises(ImportedLoanError):
        audit.decision_of_loan(5)
    with pytest.raises(UnknownLoanError):
        audit.decision_of_loan(6)
    with pytest.raises(UnknownCustomerError):
        audit.decisions(2, before=None, limit=1)


def test_a_thin_file_over_its_limit_is_told_in_words(lending: Lending) -> None:
    (declined,) = decisions_of(lending, "2000000.00")
    assert in_words(declined.decision) == [
        (
            Reason.OVER_LIMIT,
            "Current loans are 0.00 and 2000000.00 is asked for: by policy standard that is too"
            " much for the approved limit of 1800000.00.",
        ),
        (
            Reason.INSTALLMENT_BURDEN,
            "Current installments are 0.00 and this loan's would be 94146.94: by policy"
            " standard that is too much for the monthly income of 50000.00.",
        ),
    ]
    assert score_in_words(declined.decision) == (
        "The score is 50.00: there is no loan yet to judge by its components."
    )
    assert message(declined.decision) == (
        "The loan is declined: the approved limit does not cover it, and the installments would"
        " take too much of the monthly income."
    )


def test_a_corrected_rate_is_told_in_words(lending: Lending) -> None:
    lending.register(ASHA, BY)
    outcome = lending.apply_for_loan(asks(FIRST, "1000.00", rate="8.00"), BY)
    assert in_words(outcome.decision) == [
        (
            Reason.RATE_CORRECTED,
            "The score is 50.00: there is no loan yet to judge by its components. At such a score"
            " policy standard lends at 12.00 % or more, and 8.00 % was asked for.",
        )
    ]
    assert message(outcome.decision) == (
        "The loan is approved at 12.00 % a year, with a monthly installment of 47.07."
    )


def test_a_low_score_is_told_in_words(lending: Lending) -> None:
    record_import(lending, customer_number=1, loan_number=5, amount="1000000.01")
    decision = lending.apply_for_loan(asks(1), BY).decision
    assert decision.verdict.reasons == (Reason.OVER_LIMIT, Reason.LOW_SCORE)
    assert in_words(decision)[1] == (
        Reason.LOW_SCORE,
        "The score is 0.00: current loans of 1000000.01 exceed the approved limit of 1000000.00."
        " Policy standard lends nothing at such a score.",
    )
    assert message(decision).endswith(
        "the approved limit does not cover it, and the credit score is too low."
    )


def test_a_score_of_components_is_told_in_words(lending: Lending) -> None:
    lending.register(ASHA, BY)
    lending.apply_for_loan(asks(FIRST, "450000.00"), BY)
    decision = lending.apply_for_loan(asks(FIRST, "1000.00"), BY).decision
    assert decision.verdict.reasons == ()
    assert score_in_words(decision) == (
        "The score is 68.75: 40.00 for 0 of 0 installments paid on time, 0.00 for 0 closed loans,"
        " 10.00 for 1 loans this year, 18.75 for the part of the limit still free."
    )


def test_an_unmigrated_schema_says_so(database_url: str) -> None:
    lending = Lending(settings(database_url, "nobody_made_this"))
    try:
        with pytest.raises(StoreUnavailableError, match="run `credit-es migrate`"):
            lending.register(ASHA, BY)
    finally:
        lending.close()


def test_an_application_goes_on_when_its_connections_were_killed(
    database_url: str, lending: Lending
) -> None:
    lending.register(ASHA, BY)
    with psycopg.connect(database_url, autocommit=True) as conn:
        for _ in range(3):
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'credit-es'"
            )
            lending.apply_for_loan(asks(FIRST), BY)
    assert len(assert_some_order_explains(lending, FIRST)) == 3
