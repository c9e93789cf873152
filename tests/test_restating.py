"""Next month's workbook: what it says anew is news, and takes nothing back that is known here."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal

import pytest

from credit_es.domain.cells import Finding
from credit_es.domain.customer import CorrectCustomer
from credit_es.domain.events import CustomerRestated, LoanRestated, LoansRestated
from credit_es.domain.loan import Loan
from credit_es.domain.repaying import Repay
from credit_es.domain.rows import CustomerRow, LoanRow
from credit_es.domain.standing import repayments_left
from credit_es.domain.values import Counts, CustomerDetails, LoanDetails, Source
from credit_es.servicing import Servicing
from credit_es.store.ingestions import Job, Report
from tests.store.given import BY
from tests.test_importing import CUSTOMERS, LOANS, House
from tests.workers.workbooks import ENDS, customer_row, loan_row, sheet


class Months(House):
    """Workbooks come one after the other."""

    def come(
        self,
        customers: Sequence[CustomerRow],
        loans: Sequence[LoanRow],
        *,
        restate: bool = True,
        check_only: bool = False,
    ) -> tuple[Job, Report, list[Finding]]:
        job = self.found(
            self.importing.request(CUSTOMERS, LOANS, check_only=check_only, restate=restate, by=BY)
        ).job
        report = self.importing.run(job, sheet("customers", customers), sheet("loans", loans))
        return job, report, self.findings(job)

    def loan(self) -> Loan:
        return Servicing(self.lending).loan(7)


@pytest.fixture
def house(database_url: str, schema: str) -> Iterator[Months]:
    one = Months(database_url, schema)
    one.come([customer_row(1)], [loan_row(1, "7")])
    yield one
    one.lending.close()


RAISED = customer_row(1, row=3, monthly_income=Decimal("60000.00"))
PAID_MORE = loan_row(1, "7", row=3, emis_on_time=21)


def test_news_of_a_customer_and_a_loan_is_recorded_with_its_row(house: Months) -> None:
    before = len(house.facts())
    job, report, findings = house.come([RAISED], [PAID_MORE])
    assert (report.customers, report.loans) == (Counts(read=1, recorded=1),) * 2
    today, ingestion_id = job.requested_on, str(job.ingestion_id)
    source = Source(ingestion_id=ingestion_id, sheet="Sheet1", row=3)
    assert house.facts()[before + 1 : -1] == [
        CustomerRestated(
            occurred_on=today,
            customer_number=1,
            was=CustomerDetails(monthly_income=Decimal("50000.00")),
            is_=CustomerDetails(monthly_income=Decimal("60000.00")),
            source=source,
        ),
        LoansRestated(
            occurred_on=today, customer_number=1, loan_numbers=(7,), ingestion_id=ingestion_id
        ),
        LoanRestated(
            occurred_on=today,
            loan_number=7,
            customer_number=1,
            was=LoanDetails(emis_on_time=20),
            is_=LoanDetails(emis_on_time=21),
            source=source,
        ),
    ]
    assert {(f.code, f.row) for f in findings} == {("CUSTOMER_RESTATED", 3), ("LOAN_RESTATED", 3)}
    who, (loan,) = house.lending.load(1)
    assert (who.monthly_income, who.approved_limit) == (Decimal("60000.00"), Decimal("1800000.00"))
    assert (loan.emis_on_time, repayments_left(loan)) == (21, 99)


def test_the_same_workbook_again_says_nothing_new(house: Months) -> None:
    house.come([RAISED], [PAID_MORE])
    news = (CustomerRestated, LoansRestated, LoanRestated)
    before = [fact for fact in house.facts() if isinstance(fact, news)]
    for restate in (True, False):
        _, report, findings = house.come([RAISED], [PAID_MORE], restate=restate)
        assert (report.customers, report.loans) == (Counts(read=1, unchanged=1),) * 2
        assert findings == []
    assert [fact for fact in house.facts() if isinstance(fact, news)] == before


def test_without_restate_news_is_a_conflict(house: Months) -> None:
    _, report, findings = house.come([RAISED], [PAID_MORE], restate=False)
    assert (report.customers, report.loans) == (Counts(read=1, conflicting=1),) * 2
    assert {f.code for f in findings} == {"CUSTOMER_DIFFERS", "LOAN_DIFFERS"}


def test_a_check_says_what_would_be_restated_and_records_nothing(house: Months) -> None:
    before = house.facts()
    _, report, findings = house.come([RAISED], [PAID_MORE], check_only=True)
    assert (report.customers, report.loans) == (Counts(read=1, recorded=1),) * 2
    assert {f.code for f in findings} == {"CUSTOMER_RESTATED", "LOAN_RESTATED"}
    assert house.facts() == before


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (loan_row(1, "7", amount=Decimal("1.00")), "amount"),
        (loan_row(1, "7", approved_on=ENDS - timedelta(days=1)), "approved_on"),
        (loan_row(1, "7", emis_on_time=19), "emis_on_time"),
    ],
)
def test_identity_and_fewer_emis_can_never_be_restated(
    house: Months, row: LoanRow, field: str
) -> None:
    _, report, findings = house.come([], [row])
    assert report.loans == Counts(read=1, conflicting=1)
    (finding,) = findings
    assert finding.code == "LOAN_DIFFERS", field
    assert "cannot be restated" in finding.message


def test_two_rows_that_contradict_each_other_are_a_conflict(house: Months) -> None:
    other = customer_row(1, row=4, monthly_income=Decimal("70000.00"))
    _, report, _ = house.come([RAISED, other], [])
    assert report.customers == Counts(read=2, recorded=1, conflicting=1)
    assert house.lending.load(1)[0].monthly_income == Decimal("60000.00")


def test_a_job_that_died_half_way_reports_what_it_would_have_at_once(house: Months) -> None:
    job, first, findings = house.come([RAISED], [PAID_MORE])
    facts = house.facts()
    assert house.run(job, [RAISED], [PAID_MORE]) == first
    assert house.findings(job) == findings
    assert house.facts() == facts


def test_a_row_never_takes_back_repayments_recorded_here(house: Months) -> None:
    today = house.lending.today()
    servicing = Servicing(house.lending)
    repaid = servicing.repay(Repay(loan_number=7, amount=Decimal("2400.00"), paid_on=today), BY)
    assert (repaid.installments_paid, repaid.repayments_left) == ((21, 22), 98)
    house.come([], [PAID_MORE])
    assert repayments_left(house.loan()) == 98
    house.come([], [loan_row(1, "7", emis_on_time=30)])
    assert repayments_left(house.loan()) == 90
    again = servicing.repay(Repay(loan_number=7, amount=Decimal("1200.00"), paid_on=today), BY)
    assert again.installments_paid == (31,)
    servicing.reverse(7, repaid.repayment_id, "typed twice", BY)
    assert repayments_left(house.loan()) == 89


def test_a_workbook_that_repeats_its_old_value_takes_no_correction_back(house: Months) -> None:
    Servicing(house.lending).correct(
        CorrectCustomer(
            customer_number=1,
            details=CustomerDetails(monthly_income=Decimal("55000.00")),
            effective_on=house.lending.today(),
            reason="the payslip says so",
        ),
        BY,
    )
    _, report, _ = house.come([customer_row(1)], [])
    assert report.customers == Counts(read=1, unchanged=1)
    assert house.lending.load(1)[0].monthly_income == Decimal("55000.00")


def test_a_value_left_out_is_no_news(house: Months) -> None:
    _, report, findings = house.come([customer_row(1, age=None, phone_number=None)], [])
    assert (report.customers, findings) == (Counts(read=1, unchanged=1), [])
