"""Registering, applying, importing and rebuilding in any order, beside a model in memory.

The model holds customers and their loans as the domain folds them, and the workbook rows that were
recorded. It says what every step must answer and record; after each one, what is decided with and
what is read, whatever the projector has done, is what the model holds.

Left to itself it makes the same ten runs each time that the same modules are imported, for their
constants are among hypothesis's examples. ``CREDIT_TEST_EXAMPLES=200`` makes as many new runs, and
a failure tells the ``CREDIT_TEST_SEED`` that makes them again.
"""

import os
import re
import secrets
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from msgspec import Struct
from msgspec.structs import replace
from psycopg import sql

from credit_es import importing
from credit_es.application import Lending, Outcome
from credit_es.domain import customer, histories, loan
from credit_es.domain.customer import Customer, RegisterCustomer, decide_registration
from credit_es.domain.errors import DomainError
from credit_es.domain.events import (
    CustomerImported,
    Decision,
    Event,
    IngestionFinished,
    IngestionRequested,
    LoanApproved,
    LoanImported,
    LoanOpened,
    LoansImported,
)
from credit_es.domain.histories import History, Ingestion
from credit_es.domain.importing import Fate, Import, decide_import
from credit_es.domain.lending import ApplyForLoan, decide_loan
from credit_es.domain.loan import Loan
from credit_es.domain.policy import judge
from credit_es.domain.repaying import Repay, decide_repayment, decide_reversal
from credit_es.domain.rows import CustomerRow, LoanRow
from credit_es.domain.standing import is_current, repayments_left
from credit_es.domain.values import Counts
from credit_es.importing import Importing
from credit_es.servicing import Servicing
from credit_es.store import snapshots
from credit_es.store.idempotency import Once
from credit_es.store.ingestions import Report, Upload
from credit_es.store.mapper import DECODER
from credit_es.store.migrations import migrate
from projections import projector
from projections.projector import Projector
from projections.reading import ReadModel
from projections.rebuild import named, rebuilder
from projections.status import status
from projections.tables import PROJECTIONS
from projections.verify import verify
from tests.scenario import TODAY
from tests.store.given import BY, asks, person
from tests.store.given import settings as settings_of
from tests.workers.workbooks import customer_row, loan_row, sheet

FIRST = 10_000_001
UPLOAD = Upload(name="rows.xlsx", content=b"")
LENDERS_OWN = [1, 2, 3, FIRST + 1, FIRST + 51]
"""Numbers that a workbook gives: most its own, some such as are given out here."""
SOURCE_IDS = ["1", "2", "L1", str(FIRST + 1)]

numbers = st.sampled_from(LENDERS_OWN)
besides = st.sampled_from(
    ["nothing", "project 1", "project 3", "project 1000"]
    + [f"{work} {p.name}" for work in ("rebuild", "roll-back") for p in PROJECTIONS]
)
any_one = st.integers(0, 99)
terms = st.builds(
    lambda *given: given,
    st.sampled_from(["1000.00", "90000.00", "400000.00", "3000000.00"]),
    st.sampled_from(["9.00", "14.50"]),
    st.sampled_from([12, 360]),
)
hows = st.sampled_from(["once", "twice", "check"])
customer_rows = st.lists(st.tuples(numbers, st.sampled_from([63, 64])), max_size=4)
loan_rows = st.lists(
    st.tuples(numbers, st.sampled_from(SOURCE_IDS), st.sampled_from([20, 40])), max_size=6
)


class Person(Struct):
    """A customer in the model; ``row`` and ``rows`` are what workbooks said of them."""

    state: Customer
    row: CustomerRow | None
    loans: dict[int, Loan]
    rows: dict[str, LoanRow]

    @property
    def all_loans(self) -> list[Loan]:
        return [self.loans[number] for number in self.state.loans]


class Workbooks(Struct, frozen=True):
    """The rows of one import."""

    customers: Sequence[CustomerRow]
    loans: Sequence[LoanRow]


class AnyOrder(RuleBasedStateMachine):
    """The system and the model, step by step."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.schema = f"test_{secrets.token_hex(6)}"
        migrate(self.url, self.schema)
        with rebuilder(self.url, self.schema) as one:
            one.prepare()
        self.conn = psycopg.connect(self.url, autocommit=True)
        self.position = 0
        self.versions: Counter[Any] = Counter()
        self.people: dict[int, Person] = {}
        self.answered: list[tuple[RegisterCustomer | ApplyForLoan, Once, object]] = []
        self.imported: list[Workbooks] = []
        self.rebuilt: set[str] = set()
        self.start()
        # In the log already, so that what a step records does not depend on those before it.
        self.lending.record(self.lending.adoption(), BY)
        assert len(self.recorded()) == 1

    def start(self) -> None:
        self.lending = Lending(settings_of(self.url, self.schema), pool_size=3)
        self.lending.today = lambda: TODAY  # type: ignore[method-assign]
        self.importing = Importing(self.lending)
        self.servicing = Servicing(self.lending)
        self.reads = ReadModel(self.lending.database)
        self.projector = Projector(self.conn, self.lending.reader, self.schema)

    def teardown(self) -> None:
        try:
            while self.projector.step():
                pass
            # A rebuild holds the log up to numbers, too, that an append took and rolled back.
            reached = self.lending.reader.recorder.safe_position(self.position)
            for one in status(self.conn, self.schema):
                assert self.position <= one.position <= reached
            self.verify()
        finally:
            self.lending.close()
            drop = sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(self.schema))
            self.conn.execute(drop)
            self.conn.close()

    # What the log says.

    def recorded(self) -> list[Event]:
        """What was recorded since this was last asked, each fact at the place it must have."""
        facts = []
        for batch in self.lending.reader.tail(self.position):
            for event in batch:
                assert event.id > self.position
                self.position = event.id
                self.versions[event.originator_id] += 1
                assert event.originator_version == self.versions[event.originator_id]
                facts.append(DECODER.decode(event.state).fact)
        return facts

    def one_of_the_people(self, at: int) -> Person:
        return self.people[sorted(self.people)[at % len(self.people)]]

    def once(self) -> Once:
        key = f"request-{len(self.answered)}"
        return Once(actor="tester", path="/x", key=key, digest=key.encode())

    # Commands.

    @initialize()
    def begin(self) -> None:
        self.register(100_000, "nothing")
        self.ingest([(1, 63), (2, 63)], [(1, "1", 20), (2, "1", 20)], "once", "nothing")

    @rule(income=st.sampled_from([9_000, 100_000]), beside=besides)
    def register(self, income: int, beside: str) -> None:
        command, once = person(monthly_income=income), self.once()
        fact = self.lending.register(command, BY, once)
        number = fact.customer_number
        assert fact == decide_registration(command, customer_number=number, today=TODAY)
        assert self.recorded() == [fact]
        assert number >= FIRST
        assert number not in self.people
        state = customer.evolve(None, fact)
        self.people[number] = Person(state=state, row=None, loans={}, rows={})
        self.answered.append((command, once, fact))
        self.go_on(beside)

    @rule(at=any_one, asked=terms, beside=besides)
    def apply(self, at: int, asked: tuple[str, str, int], beside: str) -> None:
        amount, rate, tenure = asked
        who = self.one_of_the_people(at)
        command = asks(who.state.number, amount, rate=rate, tenure=tenure)
        once = self.once()
        outcome = self.lending.apply_for_loan(command, BY, once)
        assert self.recorded() == self.decided(who, command, outcome)
        self.answered.append((command, once, outcome))
        self.go_on(beside)

    @rule(
        at=any_one,
        nth=any_one,
        amount=st.sampled_from(["0.01", "452.27", "5000.00", "9999.99"]),
        prepay=st.booleans(),
        beside=besides,
    )
    def repay(self, at: int, nth: int, amount: str, prepay: bool, beside: str) -> None:
        loans = self.one_of_the_people(at).all_loans
        if not loans:
            return
        one = loans[nth % len(loans)]
        command = Repay(
            loan_number=one.number, amount=Decimal(amount), paid_on=TODAY, prepay=prepay
        )
        try:
            fact = decide_repayment(one, command, today=TODAY)
        except DomainError as refused:
            with pytest.raises(type(refused), match=re.escape(str(refused))):
                self.servicing.repay(command, BY)
            return
        done = self.servicing.repay(command, BY)
        assert self.recorded() == [fact]
        after = self.one_of_the_people(at).loans[one.number] = loan.evolve(one, fact)
        assert (done.version, done.repayments_left) == (after.version, repayments_left(after))
        self.go_on(beside)

    @rule(at=any_one, nth=any_one, beside=besides)
    def reverse(self, at: int, nth: int, beside: str) -> None:
        who = self.one_of_the_people(at)
        repaid = [(one, each) for one in who.all_loans for each in one.repayments]
        if not repaid:
            return
        one, each = repaid[nth % len(repaid)]
        name = f"{one.number}-{each.version}"
        try:
            facts = decide_reversal(one, name, "typed twice", today=TODAY)
        except DomainError as refused:
            with pytest.raises(type(refused), match=re.escape(str(refused))):
                self.servicing.reverse(one.number, name, "typed twice", BY)
            return
        self.servicing.reverse(one.number, name, "typed twice", BY)
        assert self.recorded() == [*facts]
        who.loans[one.number] = loan.evolve(one, facts[0])
        who.state = customer.evolve(who.state, facts[1])
        self.go_on(beside)

    def decided(self, who: Person, command: ApplyForLoan, outcome: Outcome) -> list[Event]:
        """The facts that the model records where this was answered."""
        new = outcome.decision.loan_number if isinstance(outcome.decision, LoanApproved) else 0
        facts = decide_loan(
            who.state,
            who.all_loans,
            command,
            self.lending.policy,
            loan_number=new,
            today=TODAY,
        )
        who.state = customer.evolve(who.state, facts[0])
        assert outcome == Outcome(decision=facts[0], version=who.state.version)
        if len(facts) > 1:
            assert all(new not in one.loans for one in self.people.values())
            who.loans[new] = loan.evolve(None, facts[1])
            current = [one.amount for one in who.all_loans if is_current(one, TODAY)]
            assert sum(current, Decimal(0)) <= who.state.approved_limit
        return [*facts]

    @rule(at=any_one, restarted=st.booleans())
    def send_again(self, at: int, restarted: bool) -> None:
        if restarted:
            self.lending.close()
            self.start()
        command, once, answer = self.answered[at % len(self.answered)]
        if isinstance(command, RegisterCustomer):
            assert self.lending.register(command, BY, once) == answer
        else:
            assert self.lending.apply_for_loan(command, BY, once) == answer

    @rule(at=any_one, asked=terms)
    def check_eligibility(self, at: int, asked: tuple[str, str, int]) -> None:
        amount, rate, tenure = asked
        who = self.one_of_the_people(at)
        command = asks(who.state.number, amount, rate=rate, tenure=tenure)
        assert self.lending.check_eligibility(command) == judge(
            self.lending.policy, who.state, who.all_loans, command.terms, TODAY
        )

    # Imports.

    @rule(customers=customer_rows, loans=loan_rows, how=hows, beside=besides)
    def ingest(
        self,
        customers: Sequence[tuple[int, int]],
        loans: Sequence[tuple[int, str, int]],
        how: str,
        beside: str,
    ) -> None:
        books = Workbooks(
            [customer_row(n, row=at, age=age) for at, (n, age) in enumerate(customers, start=2)],
            [
                loan_row(n, source_id, row=at, emis_on_time=emis)
                for at, (n, source_id, emis) in enumerate(loans, start=2)
            ],
        )
        self.run(books, check_only=how == "check", twice=how == "twice")
        self.go_on(beside)

    @rule(at=any_one, beside=besides)
    def ingest_the_same_again(self, at: int, beside: str) -> None:
        self.run(self.imported[at % len(self.imported)])
        self.go_on(beside)

    @rule(at=any_one, loans=loan_rows, asked=terms, beside=besides)
    def ingest_while_somebody_applies(
        self,
        at: int,
        loans: Sequence[tuple[int, str, int]],
        asked: tuple[str, str, int],
        beside: str,
    ) -> None:
        somebody = sorted(number for number, one in self.people.items() if one.row)
        who = self.people[somebody[at % len(somebody)]]
        number = who.state.number
        amount, rate, tenure = asked
        command = asks(number, amount, rate=rate, tenure=tenure)
        outcomes: list[Outcome] = []
        decide = decide_import

        def overtaken(ingestion: Ingestion, history: History, *more: Any) -> Import:
            decided = decide(ingestion, history, *more)
            if history.customer_number == number and not outcomes:
                outcomes.append(self.lending.apply_for_loan(command, BY))
            return decided

        given = [
            loan_row(n, source_id, row=row, emis_on_time=emis)
            for row, (n, source_id, emis) in enumerate([(number, "L9", 20), *loans], start=2)
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(importing, "decide_import", overtaken)
            self.run(Workbooks([], given), meanwhile=(who, command, outcomes))
        assert len(outcomes) == 1
        self.go_on(beside)

    def run(
        self,
        books: Workbooks,
        *,
        check_only: bool = False,
        twice: bool = False,
        meanwhile: tuple[Person, ApplyForLoan, list[Outcome]] | None = None,
    ) -> None:
        """Import, and compare the report and every fact with what the model says."""
        expected, people, opened = self.expected(books)
        ingestion_id = self.importing.request(UPLOAD, UPLOAD, check_only=check_only, by=BY)
        found = self.importing.ingestions.find(ingestion_id)
        assert found is not None
        sheets = sheet("customers", books.customers), sheet("loans", books.loans)
        reports = [self.importing.run(found.job, *sheets) for _ in range(1 + twice)]
        assert reports == [expected] * (1 + twice)
        facts = self.recorded()
        if meanwhile:
            who, command, (outcome,) = meanwhile
            live = self.decided(who, command, outcome)
            assert [fact for fact in facts if isinstance(fact, Decision | LoanOpened)] == live
            facts = [fact for fact in facts if fact not in live]
        if check_only:
            assert facts == []
            return
        assert isinstance(facts.pop(0), IngestionRequested)
        assert isinstance(facts.pop(), IngestionFinished)
        self.take_over(facts, people, opened, books)
        self.imported.append(books)

    def expected(
        self, books: Workbooks
    ) -> tuple[Report, dict[int, CustomerRow], dict[tuple[int, str], LoanRow]]:
        """What an import must report, and which rows it must record."""
        people: dict[int, CustomerRow] = {}
        opened: dict[tuple[int, str], LoanRow] = {}
        fates: tuple[Counter[Fate], Counter[Fate]] = (Counter(), Counter())
        for row in books.customers:
            who = self.people.get(row.number)
            known = people.get(row.number) or (who.row if who else None)
            if who is None and known is None:
                people[row.number] = row
                fates[0][Fate.RECORDED] += 1
            elif known and replace(known, row=row.row) == row:
                fates[0][Fate.UNCHANGED] += 1
            else:
                fates[0][Fate.CONFLICTING] += 1
        for lent in books.loans:
            number, key = lent.customer_number, (lent.customer_number, lent.source_loan_id)
            who = self.people.get(number)
            before = opened.get(key) or (who.rows.get(lent.source_loan_id) if who else None)
            if number not in people and (who is None or who.row is None):
                fates[1][Fate.REJECTED] += 1
            elif before is None:
                opened[key] = lent
                fates[1][Fate.RECORDED] += 1
            elif replace(before, row=lent.row) == lent:
                fates[1][Fate.UNCHANGED] += 1
            else:
                fates[1][Fate.CONFLICTING] += 1
        report = [
            Counts(
                read=of.total(),
                recorded=of[Fate.RECORDED],
                unchanged=of[Fate.UNCHANGED],
                conflicting=of[Fate.CONFLICTING],
                rejected=of[Fate.REJECTED],
            )
            for of in fates
        ]
        return Report(customers=report[0], loans=report[1]), people, opened

    def take_over(
        self,
        facts: Sequence[Event],
        people: dict[int, CustomerRow],
        opened: dict[tuple[int, str], LoanRow],
        books: Workbooks,
    ) -> None:
        """Compare the facts of an import with the rows it must have recorded, and fold them."""
        claims: dict[str, int] = {}
        for lent in books.loans:
            who = self.people.get(lent.customer_number)
            if lent.customer_number in people or (who and who.row):
                claims.setdefault(lent.source_loan_id, lent.customer_number)
        taken = {number for one in self.people.values() for number in one.loans}
        arrived: dict[int, Loan] = {}
        for fact in facts:
            match fact:
                case CustomerImported():
                    row = people.pop(fact.customer_number)
                    assert (fact.age, fact.source.row) == (row.age, row.row)
                    state = customer.evolve(None, fact)
                    self.people[row.number] = Person(state=state, row=row, loans={}, rows={})
                case LoansImported():
                    who = self.people[fact.customer_number]
                    who.state = customer.evolve(who.state, fact)
                case LoanImported():
                    lent = opened.pop((fact.customer_number, fact.source_loan_id))
                    assert (fact.emis_on_time, fact.source.row) == (lent.emis_on_time, lent.row)
                    assert fact.loan_number not in {*taken, *arrived}
                    asked = fact.source_loan_id
                    mine = claims[asked] == fact.customer_number
                    if asked.isdigit() and mine and int(asked) not in taken:
                        assert fact.loan_number == int(asked)
                    else:
                        assert fact.loan_number >= FIRST
                    arrived[fact.loan_number] = loan.evolve(None, fact)
                    who = self.people[fact.customer_number]
                    who.loans[fact.loan_number] = arrived[fact.loan_number]
                    who.rows[asked] = lent
                case _:
                    raise AssertionError(fact)
        assert (people, opened) == ({}, {})

    # What goes on beside.

    def go_on(self, beside: str) -> None:
        """Let the projector or a rebuilder do something."""
        match beside.split():
            case ["project", batch]:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(projector, "BATCH", int(batch))
                    self.projector.step()
            case ["rebuild", name]:
                with rebuilder(self.url, self.schema) as one:
                    one.rebuild(named(name))
                self.rebuilt.add(name)
            case ["roll-back", name] if name in self.rebuilt:
                with rebuilder(self.url, self.schema) as one:
                    one.rollback(named(name))
            case _:
                return
        self.verify()

    def verify(self) -> None:
        assert {one.problem for one in status(self.conn, self.schema)} == {None}
        for projection in PROJECTIONS:
            found = verify(self.conn, self.lending.reader, self.schema, projection)
            assert list(found) == []

    @invariant()
    def nothing_else_is_recorded(self) -> None:
        assert self.recorded() == []

    @invariant()
    def what_is_read_and_decided_with_is_what_the_model_holds(self) -> None:
        for number, who in self.people.items():
            assert self.lending.load(number) == (who.state, who.all_loans)
            in_order = [who.loans[one] for one in sorted(who.loans)]
            assert self.reads.customer(number) == (who.state, in_order)
            for latest in who.state.loans[-1:]:
                assert self.reads.loan(latest) == (who.loans[latest], who.state)


@pytest.fixture
def machine(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> type[AnyOrder]:
    """The machine on this process's server, with batches and snapshots that a few steps fill."""
    monkeypatch.setattr(AnyOrder, "url", postgres_url)
    monkeypatch.setattr(histories, "FACTS_A_BATCH", 6)
    monkeypatch.setattr(snapshots, "EVERY", 3)
    return AnyOrder


def runs(examples: int, *phases: Phase, derandomize: bool = True) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=25,
        deadline=None,
        derandomize=derandomize,
        database=None,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.slow
def test_in_any_order_answers_log_and_reads_are_those_of_the_model(machine: type[AnyOrder]) -> None:
    new = os.environ.get("CREDIT_TEST_EXAMPLES")
    begun_with = int(os.environ.get("CREDIT_TEST_SEED") or secrets.randbelow(2**32))
    told = runs(int(new or 10), Phase.generate, Phase.shrink, derandomize=not new)
    try:
        run_state_machine_as_test(seed(begun_with)(machine) if new else machine, settings=told)
    except Exception as error:
        if new:
            error.add_note(f"Again: CREDIT_TEST_EXAMPLES={new} CREDIT_TEST_SEED={begun_with}")
        raise


@pytest.mark.slow
def test_a_snapshot_of_a_version_too_high_is_found(
    machine: type[AnyOrder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the machine sees what it is there to see."""
    keep = snapshots.Aggregates._keep

    def one_too_high(of: Any, stream_id: Any, state: Any) -> None:
        keep(of, stream_id, replace(state, version=state.version + 1))

    monkeypatch.setattr(snapshots.Aggregates, "_keep", one_too_high)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=runs(10, Phase.generate))
