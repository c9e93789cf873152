"""The sample workbooks are what their generator makes, and hold the quirks they promise."""

from collections import Counter, defaultdict
from datetime import date
from pathlib import Path

import pytest

from data.generate import FIRST_ID, generate, main
from workers.workbook import read_customers, read_loans

DATA = Path(__file__).parents[2] / "data"
AS_OF = date(2026, 11, 23)


def test_the_committed_workbooks_are_the_generator_s_to_the_byte(tmp_path: Path) -> None:
    main(["--out", str(tmp_path)])
    for name in ("customer_data.xlsx", "loan_data.xlsx"):
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), (
            f"{name} is stale: run `python -m data.generate` and commit it"
        )
        assert (DATA / name).stat().st_size < 60_000


def test_another_seed_gives_other_workbooks() -> None:
    assert generate(seed=5) != generate(seed=4) == generate(seed=4)


def test_the_sample_customers_have_their_quirks() -> None:
    sheet = read_customers((DATA / "customer_data.xlsx").read_bytes())
    assert (sheet.read, sheet.rejected, sheet.blank) == (40, 0, 3)
    assert [customer.number for customer in sheet.rows] == list(range(FIRST_ID, FIRST_ID + 40))
    assert sum(customer.age is None for customer in sheet.rows) == 2
    assert 0 < sum(customer.current_debt is not None for customer in sheet.rows) < 40
    assert Counter(f.code for f in sheet.findings) == {"AGE_UNKNOWN": 2}


def test_the_sample_loans_have_their_quirks() -> None:
    sheet = read_loans((DATA / "loan_data.xlsx").read_bytes(), as_of=AS_OF)
    assert (sheet.read, sheet.rejected, sheet.blank) == (100, 0, 2)
    customers_of = defaultdict(set)
    for loan in sheet.rows:
        customers_of[loan.source_loan_id].add(loan.customer_number)
    assert Counter(map(len, customers_of.values())) == {1: 94, 2: 3}
    assert [i for i in customers_of if not i.isdecimal()] == [
        "LOAN_000018",
        "LOAN_000058",
        "LOAN_000098",
    ]
    assert Counter(f.code for f in sheet.findings) == {"MORE_EMIS_THAN_MONTHS_ELAPSED": 10}


def test_every_sample_loan_is_of_a_sample_customer() -> None:
    customers = read_customers((DATA / "customer_data.xlsx").read_bytes())
    loans = read_loans((DATA / "loan_data.xlsx").read_bytes(), as_of=AS_OF)
    known = {customer.number for customer in customers.rows}
    borrowers = {loan.customer_number for loan in loans.rows}
    assert borrowers < known


@pytest.mark.parametrize(("customers", "loans"), [(1, 1), (3, 400)])
def test_a_workbook_of_any_size_reads_without_a_fault(customers: int, loans: int) -> None:
    of_customers, of_loans = generate(customers, loans)
    assert len(read_customers(of_customers).rows) == customers
    assert len(read_loans(of_loans, as_of=AS_OF).rows) == loans


@pytest.mark.parametrize("count", ["0", "5000000", "many"])
def test_a_count_beyond_the_lender_s_numbers_is_refused(
    count: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--customers", count])
    assert caught.value.code == 2
    assert "--customers" in capsys.readouterr().err
