"""Rows of two workbooks to facts: what is new, what is known, what contradicts what is known."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from credit_es.domain.cells import Finding
from credit_es.domain.events import (
    CustomerEvent,
    CustomerImported,
    CustomerRegistered,
    Event,
    LoanImported,
    LoansImported,
)
from credit_es.domain.histories import Ingestion, histories
from credit_es.domain.importing import (
    Fate,
    Known,
    counts,
    decide_import,
    first_claims,
    wanted_number,
)
from credit_es.domain.rows import CustomerRow, LoanRow
from credit_es.domain.values import Counts, ImportedLoan, Source
from tests.domain.facts import money, registered
from tests.scenario import NEXT, PROPERTY, TODAY

Row = TypeVar("Row", CustomerRow, LoanRow)

COLUMNS: Final = {
    field: field.replace("_", " ").title()
    for kind in (CustomerRow, LoanRow)
    for field in kind.__struct_fields__
}


class Sheet(Struct, Generic[Row], frozen=True, kw_only=True):
    """A sheet as a reader of workbooks hands it over."""

    name: str
    rows: Sequence[Row]
    columns: Mapping[str, str] = MappingProxyType(COLUMNS)
    findings: Sequence[Finding] = ()
    rejected: int = 0
    blank: int = 0


class Told(Struct, frozen=True, kw_only=True):
    """What one ingestion recorded and reported."""

    facts: list[Event]
    customers: Counts
    loans: Counts
    findings: list[Finding]


class Books:
    """The log in a dictionary: streams that imports append to, in the order of their versions."""

    def __init__(self, *facts: CustomerRegistered) -> None:
        self.customers: dict[int, list[CustomerEvent]] = {f.customer_number: [f] for f in facts}
        self.loans: dict[int, LoanImported] = {}
        self._next = NEXT

    def ingest(
        self,
        customers: Sequence[CustomerRow],
        loans: Sequence[LoanRow],
        ingestion_id: str = "first",
        stop_after: int | None = None,
    ) -> Told:
        """Decide and append customer by customer; a job may be stopped after some of them."""
        ingestion = Ingestion(
            ingestion_id=ingestion_id,
            occurred_on=TODAY,
            customers=Sheet(name="People", rows=customers),
            loans=Sheet(name="Loans", rows=loans),
        )
        somebody = {row.number for row in customers if self._may_import(row.number)}
        somebody |= {number for number in self.customers if self._may_import(number)}
        claims = first_claims(row for row in loans if row.customer_number in somebody)

        def number_for(row: LoanRow) -> int:
            wanted = wanted_number(row.source_loan_id)
            mine = claims.get(row.source_loan_id) == row.customer_number
            if wanted is not None and mine and wanted not in self.loans:
                return wanted
            self._next += 1
            return self._next - 1

        facts: list[Event] = []
        fates: tuple[list[Fate], list[Fate]] = ([], [])
        findings: list[Finding] = []
        for history in histories(customers, loans)[:stop_after]:
            known = self._known(history.customer_number)
            imported = decide_import(ingestion, history, known, number_for)
            for version, fact in imported.facts:
                self._append(version, fact)
                facts.append(fact)
            fates[0].extend(imported.customers)
            fates[1].extend(imported.loans)
            findings += imported.findings
        return Told(
            facts=facts,
            customers=counts(fates[0], rejected=0, blank=0),
            loans=counts(fates[1], rejected=0, blank=0),
            findings=findings,
        )

    def _may_import(self, number: int) -> bool:
        stream = self.customers.get(number)
        return stream is None or isinstance(stream[0], CustomerImported)

    def _known(self, number: int) -> Known | None:
        stream = self.customers.get(number)
        if stream is None:
            return None
        return Known(
            version=len(stream),
            imported=stream[0] if isinstance(stream[0], CustomerImported) else None,
            loans={
                loan.source_loan_id: loan
                for loan in self.loans.values()
                if loan.customer_number == number
            },
        )

    def _append(self, version: int, fact: Event) -> None:
        if isinstance(fact, LoanImported):
            assert version == 1
            assert fact.loan_number not in self.loans
            self.loans[fact.loan_number] = fact
        else:
            assert isinstance(fact, CustomerEvent)
            stream = self.customers.setdefault(fact.customer_number, [])
            stream.append(fact)
            assert version == len(stream)


def person(
    number: int, *, row: int = 2, income: str = "50000", age: int | None = 36
) -> CustomerRow:
    return CustomerRow(
        row=row,
        number=number,
        first_name="Ada",
        last_name="Lovelace",
        age=age,
        phone_number=9876543210,
        monthly_income=money(income),
        approved_limit=money("1800000"),
        current_debt=None,
    )


def lent(loan: str, to: int, *, row: int = 2, amount: str = "10000", emis: int = 3) -> LoanRow:
    return LoanRow(
        row=row,
        customer_number=to,
        source_loan_id=loan,
        amount=money(amount),
        tenure_months=24,
        annual_rate=money("8.2"),
        monthly_payment=money("486"),
        emis_on_time=emis,
        approved_on=date(2025, 1, 31),
        ends_on=date(2027, 1, 31),
    )


def customer_fact(number: int, *, row: int = 2, income: str = "50000") -> CustomerImported:
    return CustomerImported(
        occurred_on=TODAY,
        customer_number=number,
        first_name="Ada",
        last_name="Lovelace",
        age=36,
        phone_number=9876543210,
        monthly_income=money(income),
        approved_limit=money("1800000"),
        current_debt=None,
        source=Source(ingestion_id="first", sheet="People", row=row),
    )


def loan_fact(
    number: int, to: int, *, source_id: str, row: int = 2, ingestion_id: str = "first"
) -> LoanImported:
    return LoanImported(
        occurred_on=date(2025, 1, 31),
        loan_number=number,
        customer_number=to,
        source_loan_id=source_id,
        amount=money("10000"),
        annual_rate=money("8.2"),
        tenure_months=24,
        installment=money("486"),
        emis_on_time=3,
        ends_on=date(2027, 1, 31),
        source=Source(ingestion_id=ingestion_id, sheet="Loans", row=row),
    )


def loans_fact(to: int, *loans: tuple[int, str], ingestion_id: str = "first") -> LoansImported:
    return LoansImported(
        occurred_on=TODAY,
        customer_number=to,
        loans=tuple(ImportedLoan(loan_number=n, source_loan_id=text) for n, text in loans),
        ingestion_id=ingestion_id,
    )


def about(workbook: str, row: int, column: str, code: str, message: str) -> Finding:
    assert workbook in ("customers", "loans")
    return Finding(
        workbook="loans" if workbook == "loans" else "customers",
        sheet="Loans" if workbook == "loans" else "People",
        row=row,
        column=column,
        code=code,
        message=message,
    )


def test_a_new_customer_and_the_loans_are_recorded_as_said_and_named_by_the_customer() -> None:
    told = Books().ingest([person(1)], [lent("5930", to=1, row=2), lent("5931", to=1, row=3)])
    assert told == Told(
        facts=[
            customer_fact(1),
            loans_fact(1, (5930, "5930"), (5931, "5931")),
            loan_fact(5930, 1, source_id="5930", row=2),
            loan_fact(5931, 1, source_id="5931", row=3),
        ],
        customers=Counts(read=1, recorded=1),
        loans=Counts(read=2, recorded=2),
        findings=[],
    )


def test_a_customer_without_loans_is_recorded_alone() -> None:
    assert Books().ingest([person(1)], []).facts == [customer_fact(1)]


def test_the_same_workbooks_again_record_nothing() -> None:
    books = Books()
    rows = [person(1)], [lent("5930", to=1), lent("LOAN_1", to=1, row=3)]
    books.ingest(*rows)
    told = books.ingest(*rows, "second")
    assert told.facts == []
    assert told.customers == Counts(read=1, unchanged=1)
    assert told.loans == Counts(read=2, unchanged=2)


def test_a_loan_that_is_new_since_is_recorded_beside_those_known() -> None:
    books = Books()
    books.ingest([person(1)], [lent("5930", to=1)])
    told = books.ingest([person(1)], [lent("5931", to=1, row=2), lent("5930", to=1, row=3)], "next")
    assert told.facts == [
        loans_fact(1, (5931, "5931"), ingestion_id="next"),
        loan_fact(5931, 1, source_id="5931", ingestion_id="next"),
    ]
    assert told.customers == Counts(read=1, unchanged=1)
    assert told.loans == Counts(read=2, recorded=1, unchanged=1)


def test_a_loan_of_a_customer_known_from_before_needs_no_customer_row() -> None:
    books = Books()
    books.ingest([person(1)], [])
    told = books.ingest([], [lent("5930", to=1)], "next")
    assert told.loans == Counts(read=1, recorded=1)
    assert told.customers == Counts()


def test_an_exact_copy_of_a_row_is_unchanged() -> None:
    told = Books().ingest(
        [person(1, row=2), person(1, row=3)],
        [lent("5930", to=1, row=2), lent("5930", to=1, row=3), lent("5930", to=1, row=4)],
    )
    assert told.facts == [
        customer_fact(1, row=2),
        loans_fact(1, (5930, "5930")),
        loan_fact(5930, 1, source_id="5930", row=2),
    ]
    assert told.customers == Counts(read=2, recorded=1, unchanged=1)
    assert told.loans == Counts(read=3, recorded=1, unchanged=2)
    assert told.findings == []


def test_the_same_id_with_other_content_is_a_conflict_with_the_stored_and_the_given_value() -> None:
    told = Books().ingest(
        [person(1, row=2), replace(person(1, row=3, income="60000"), age=None, last_name="Byron")],
        [lent("5930", to=1, row=2), lent("5930", to=1, row=3, amount="10000.01", emis=4)],
    )
    assert told.facts == [
        customer_fact(1, row=2),
        loans_fact(1, (5930, "5930")),
        loan_fact(5930, 1, source_id="5930", row=2),
    ]
    assert told.customers == Counts(read=2, recorded=1, conflicting=1)
    assert told.loans == Counts(read=2, recorded=1, conflicting=1)
    differs = ("customers", 3), ("loans", 3)
    assert told.findings == [
        about(*differs[0], "Last Name", "CUSTOMER_DIFFERS", "stored is Lovelace, given is Byron"),
        about(*differs[0], "Age", "CUSTOMER_DIFFERS", "stored is 36, given is nothing"),
        about(
            *differs[0],
            "Monthly Income",
            "CUSTOMER_DIFFERS",
            "stored is 50000.00, given is 60000.00",
        ),
        about(*differs[1], "Amount", "LOAN_DIFFERS", "stored is 10000.00, given is 10000.01"),
        about(*differs[1], "Emis On Time", "LOAN_DIFFERS", "stored is 3, given is 4"),
    ]


def test_a_row_that_changed_since_is_a_conflict_and_the_stored_fact_stays() -> None:
    books = Books()
    books.ingest([person(1)], [lent("5930", to=1)])
    told = books.ingest([person(1, income="60000")], [lent("5930", to=1, emis=4)], "second")
    assert told.facts == []
    assert told.customers == Counts(read=1, conflicting=1)
    assert told.loans == Counts(read=1, conflicting=1)
    assert [finding.message for finding in told.findings] == [
        "stored is 50000.00, given is 60000.00",
        "stored is 3, given is 4",
    ]


def test_every_field_of_a_row_is_compared() -> None:
    """Each field alone, changed, is a conflict that names the column."""
    books = Books()
    one, loan = person(1), lent("5930", to=1)
    books.ingest([one], [loan])
    identity = {"row", "number", "customer_number", "source_loan_id"}
    another: dict[type, object] = {str: "other", int: 7, Decimal: Decimal("1.00"), date: TODAY}
    for field in set(one.__struct_fields__) - identity:
        before = getattr(one, field)
        changed = replace(one, **{field: another[type(before or Decimal())]})
        told = books.ingest([changed], [], "second")
        assert [finding.column for finding in told.findings] == [COLUMNS[field]]
    for field in set(loan.__struct_fields__) - identity:
        changed_loan = replace(loan, **{field: another[type(getattr(loan, field))]})
        told = books.ingest([], [changed_loan], "second")
        assert [finding.column for finding in told.findings] == [COLUMNS[field]]


def test_of_a_shared_loan_id_the_first_in_workbook_order_keeps_the_number() -> None:
    """Workbook order is that of the loans: here customer 2 comes second among the customers."""
    books = Books()
    told = books.ingest(
        [person(1, row=2), person(2, row=3)],
        [lent("5930", to=2, row=2), lent("5930", to=1, row=3)],
    )
    assert told.facts == [
        customer_fact(1, row=2),
        loans_fact(1, (NEXT, "5930")),
        loan_fact(NEXT, 1, source_id="5930", row=3),
        customer_fact(2, row=3),
        loans_fact(2, (5930, "5930")),
        loan_fact(5930, 2, source_id="5930", row=2),
    ]
    assert told.loans == Counts(read=2, recorded=2)
    assert told.findings == [
        about(
            "loans",
            3,
            "Source Loan Id",
            "LOAN_ID_SHARED",
            f"loan id 5930 belongs to another customer's loan, too; the loan gets the number {NEXT}"
            " and keeps its source id",
        )
    ]


def test_shared_loan_ids_again_in_another_order_change_nothing() -> None:
    books = Books()
    people = [person(1, row=2), person(2, row=3)]
    books.ingest(people, [lent("5930", to=2, row=2), lent("5930", to=1, row=3)])
    told = books.ingest(
        people[::-1], [lent("5930", to=1, row=2), lent("5930", to=2, row=3)], "second"
    )
    assert told.facts == []
    assert told.loans == Counts(read=2, unchanged=2)
    assert [(finding.row, finding.code) for finding in told.findings] == [(2, "LOAN_ID_SHARED")]


def test_a_loan_id_that_an_earlier_ingestion_gave_away_gets_a_fresh_number() -> None:
    books = Books()
    books.ingest([person(1)], [lent("5930", to=1)])
    told = books.ingest([person(2)], [lent("5930", to=2)], "second")
    assert [f.loan_number for f in told.facts if isinstance(f, LoanImported)] == [NEXT]
    assert [finding.code for finding in told.findings] == ["LOAN_ID_SHARED"]


def test_a_loan_id_that_is_text_gets_a_fresh_number_and_keeps_its_source_id() -> None:
    told = Books().ingest([person(1)], [lent("LOAN_000001", to=1)])
    assert told.facts[1:] == [
        loans_fact(1, (NEXT, "LOAN_000001")),
        loan_fact(NEXT, 1, source_id="LOAN_000001"),
    ]
    assert told.findings == [
        about(
            "loans",
            2,
            "Source Loan Id",
            "LOAN_ID_IS_TEXT",
            f"loan id LOAN_000001 is text; the loan gets the number {NEXT} and keeps its source id",
        )
    ]


def test_a_conflicting_row_is_told_its_conflict_only() -> None:
    books = Books()
    books.ingest([person(1)], [lent("LOAN_1", to=1)])
    told = books.ingest([], [lent("LOAN_1", to=1, emis=4)], "second")
    assert [finding.code for finding in told.findings] == ["LOAN_DIFFERS"]


def test_a_loan_id_with_zeros_before_it_is_another_loan_than_the_one_without() -> None:
    told = Books().ingest([person(1)], [lent("36", to=1, row=2), lent("0036", to=1, row=3)])
    numbers = {f.source_loan_id: f.loan_number for f in told.facts if isinstance(f, LoanImported)}
    assert numbers == {"36": 36, "0036": NEXT}


def test_the_number_a_loan_id_asks_for() -> None:
    assert wanted_number("5930") == 5930
    assert wanted_number(str(10**12)) == 10**12
    assert wanted_number(str(10**12 + 1)) is None
    assert wanted_number("0") is None
    assert wanted_number("0036") is None
    assert wanted_number("LOAN_1") is None
    assert wanted_number("-5") is None
    assert wanted_number("٣") is None
    assert wanted_number("²") is None


def test_a_loan_of_nobody_is_rejected_and_leaves_nothing() -> None:
    told = Books().ingest([person(1)], [lent("5930", to=2, row=7)])
    assert told.facts == [customer_fact(1)]
    assert told.loans == Counts(read=1, rejected=1)
    assert told.findings == [
        about(
            "loans",
            7,
            "Customer Number",
            "UNKNOWN_CUSTOMER",
            "customer 2 is unknown: a loan is never given to a stranger",
        )
    ]


def test_a_registered_customer_is_a_conflict_and_gets_no_loan_of_a_workbook() -> None:
    books = Books(registered(1))
    told = books.ingest([person(1)], [lent("5930", to=1)])
    assert told.facts == []
    assert told.customers == Counts(read=1, conflicting=1)
    assert told.loans == Counts(read=1, rejected=1)
    assert told.findings == [
        about(
            "customers",
            2,
            "Number",
            "CUSTOMER_IS_REGISTERED",
            "customer 1 was registered here, by another way",
        ),
        about(
            "loans",
            2,
            "Customer Number",
            "CUSTOMER_IS_REGISTERED",
            "customer 1 was registered here and is nobody of this workbook: a loan is never given"
            " to a stranger",
        ),
    ]


def test_a_job_taken_up_again_counts_as_recorded_what_it_had_recorded() -> None:
    books = Books()
    people = [person(1, row=2), person(1, row=3), person(2, row=4)]
    loans = [lent("5930", to=1, row=2), lent("5930", to=1, row=3), lent("LOAN_1", to=2, row=4)]
    at_once = Books().ingest(people, loans)
    books.ingest(people, loans, stop_after=1)
    told = books.ingest(people, loans)
    assert told.facts == at_once.facts[3:]
    assert told.customers == Counts(read=3, recorded=2, unchanged=1)
    assert told.loans == Counts(read=3, recorded=2, unchanged=1)
    assert told.findings == at_once.findings


def test_rows_that_could_not_be_read_count_as_read_and_rejected() -> None:
    times = {Fate.RECORDED: 1, Fate.UNCHANGED: 2, Fate.CONFLICTING: 3, Fate.REJECTED: 4}
    fates = Counter(times).elements()
    assert counts([*fates], rejected=5, blank=6) == Counts(
        read=15, recorded=1, unchanged=2, conflicting=3, rejected=9, blank=6
    )


def test_the_rows_of_a_customer_are_gathered_in_workbook_order() -> None:
    people = [person(2, row=2), person(1, row=3), person(2, row=4)]
    loans = [lent("1", to=3, row=2), lent("2", to=1, row=3), lent("3", to=3, row=4)]
    gathered = [
        (h.customer_number, [r.row for r in h.customers], [r.row for r in h.loans])
        for h in histories(people, loans)
    ]
    assert gathered == [(2, [2, 4], []), (1, [3], [3]), (3, [], [2, 4])]


# Whatever the rows: few ids and few values, so that copies, conflicts and shared ids abound.

some_people = st.lists(
    st.builds(person, st.integers(1, 4), income=st.sampled_from(["50000", "60000"])), max_size=8
)
some_loans = st.lists(
    st.builds(
        lent,
        st.sampled_from(["1", "2", "7", "007", "LOAN_1"]),
        to=st.integers(1, 6),
        emis=st.sampled_from([3, 4]),
    ),
    max_size=16,
)


def numbered(rows: Sequence[Row]) -> list[Row]:
    """The rows at the places that Excel shows for this order."""
    return [replace(row, row=place) for place, row in enumerate(rows, start=2)]


def adds_up(told: Counts, rows: Sequence[object]) -> bool:
    fates = told.recorded + told.unchanged + told.conflicting + told.rejected
    return told.read == fates == len(rows)


@PROPERTY
@given(people=some_people, loans=some_loans, data=st.data())
def test_the_same_rows_in_any_order_change_nothing(
    people: list[CustomerRow], loans: list[LoanRow], data: st.DataObject
) -> None:
    books = Books(registered(4))
    first = books.ingest(numbered(people), numbered(loans))
    again = books.ingest(
        numbered(data.draw(st.permutations(people))),
        numbered(data.draw(st.permutations(loans))),
        "second",
    )
    assert again.facts == []
    for before, after, rows in (
        (first.customers, again.customers, people),
        (first.loans, again.loans, loans),
    ):
        assert adds_up(before, rows)
        assert adds_up(after, rows)
        assert after.unchanged == before.recorded + before.unchanged
        assert after.conflicting == before.conflicting
        assert after.rejected == before.rejected


@PROPERTY
@given(people=some_people, loans=some_loans)
def test_nothing_is_lost_and_nothing_invented(
    people: list[CustomerRow], loans: list[LoanRow]
) -> None:
    told = Books(registered(4)).ingest(numbered(people), numbered(loans))
    known = {row.number for row in people} - {4}
    recorded = [fact for fact in told.facts if isinstance(fact, LoanImported)]
    pairs = {(row.source_loan_id, row.customer_number) for row in loans}
    assert {(f.source_loan_id, f.customer_number) for f in recorded} == {
        pair for pair in pairs if pair[1] in known
    }
    assert len({fact.loan_number for fact in recorded}) == len(recorded) == told.loans.recorded
    named = {
        (loan.loan_number, loan.source_loan_id, fact.customer_number)
        for fact in told.facts
        if isinstance(fact, LoansImported)
        for loan in fact.loans
    }
    assert named == {(f.loan_number, f.source_loan_id, f.customer_number) for f in recorded}
    told_of = {finding.row for finding in told.findings if finding.workbook == "loans"}
    assert len(told_of) >= told.loans.conflicting + told.loans.rejected


@PROPERTY
@given(people=some_people, loans=some_loans, stop_after=st.integers(0, 6))
def test_a_job_that_died_on_the_way_ends_as_if_it_had_not(
    people: list[CustomerRow], loans: list[LoanRow], stop_after: int
) -> None:
    rows = numbered(people), numbered(loans)
    whole, halved = Books(registered(4)), Books(registered(4))
    at_once = whole.ingest(*rows)
    before = halved.ingest(*rows, stop_after=stop_after)
    after = halved.ingest(*rows)
    assert before.facts + after.facts == at_once.facts
    assert (after.customers, after.loans) == (at_once.customers, at_once.loans)
    assert after.findings == at_once.findings
    assert (halved.customers, halved.loans) == (whole.customers, whole.loans)
