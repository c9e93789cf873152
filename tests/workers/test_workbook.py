"""Workbooks in, typed rows out; and every workbook that is none, in words."""

import io
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from openpyxl import Workbook
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from credit_es.domain.rows import CustomerRow, LoanRow
from tests.workers import hostile
from tests.workers.hostile import CUSTOMER, CUSTOMER_HEADINGS, LOAN, LOAN_HEADINGS, row
from workers.workbook import Limits, Sheet, WorkbookError, read_customers, read_loans

pytestmark = pytest.mark.slow

AS_OF = date(2026, 11, 23)
ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data"
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
real_workbooks = pytest.mark.skipif(not REAL.is_dir(), reason="the real workbooks are not here")

AARON = CustomerRow(
    row=2,
    number=1,
    first_name="Aaron",
    last_name="Garcia",
    age=63,
    phone_number=9629317944,
    monthly_income=Decimal("50000.00"),
    approved_limit=Decimal("4500000.00"),
    current_debt=None,
)
LOAN_5930 = LoanRow(
    row=2,
    customer_number=14,
    source_loan_id="5930",
    amount=Decimal("900000.00"),
    tenure_months=129,
    annual_rate=Decimal("8.20"),
    monthly_payment=Decimal("15344.00"),
    emis_on_time=114,
    approved_on=date(2017, 3, 9),
    ends_on=date(2027, 12, 9),
)


def loans_of(content: bytes) -> Sheet[LoanRow]:
    return read_loans(content, as_of=AS_OF)


def refusal(content: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(WorkbookError) as caught:
        read_customers(content, limits or Limits())
    assert caught.value.workbook == "customers"
    return str(caught.value)


def test_a_customer_is_read_as_the_workbook_says() -> None:
    sheet = read_customers(hostile.customers(CUSTOMER))
    assert sheet.rows == [AARON]
    assert (sheet.name, sheet.heading_row) == ("Sheet", 1)
    assert (sheet.read, sheet.rejected, sheet.blank, sheet.findings) == (1, 0, 0, [])
    assert sheet.columns["monthly_income"] == "Monthly Salary"


def test_a_loan_is_read_as_the_workbook_says() -> None:
    sheet = loans_of(hostile.loans(LOAN))
    assert sheet.rows == [LOAN_5930]
    assert sheet.findings == []


@pytest.mark.parametrize(
    "headings",
    [
        [heading.upper().replace(" ", "_") for heading in LOAN_HEADINGS],
        [f"  {heading.lower()} " for heading in LOAN_HEADINGS],
        [heading.title().replace(" ", "") for heading in LOAN_HEADINGS],
        [
            "customer_id",
            "loan_id",
            "loan_amount",
            "tenure",
            "interest_rate",
            "monthly_repayment",
            "emis_paid_on_time",
            "start_date",
            "end_date",
        ],
        [
            "Customer No.",
            "loan number",
            "Principal",
            "Tenure (months)",
            "rate of interest",
            "emi",
            "EMIs on time",
            "Approval Date",
            "maturity_date",
        ],
    ],
    ids=["upper_snake", "spaced", "camel", "other names", "other words"],
)
def test_headings_vary_in_case_spaces_and_name(headings: list[str]) -> None:
    sheet = loans_of(hostile.loans(LOAN, headings=headings))
    assert sheet.rows == [LOAN_5930]
    assert list(sheet.columns.values()) == [heading.strip() for heading in headings]


def test_columns_may_stand_in_any_order_among_others() -> None:
    headings = ["Remarks", *reversed(CUSTOMER_HEADINGS), "current_debt", "Branch"]
    values = ["none", *reversed(CUSTOMER), 12.5, "North"]
    [customer] = read_customers(hostile.customers(values, headings=headings)).rows
    assert customer.current_debt == Decimal("12.50")
    assert customer.last_name == "Garcia"


def test_the_row_is_the_one_excel_shows_wherever_the_table_stands() -> None:
    content = hostile.workbook(
        [[], [], [None, None, *CUSTOMER_HEADINGS], [], [None, None, *CUSTOMER], [], []]
    )
    sheet = read_customers(content)
    assert [customer.row for customer in sheet.rows] == [5]
    assert sheet.heading_row == 3
    assert sheet.blank == 1


def test_blank_rows_count_down_to_the_last_row_the_sheet_has() -> None:
    content = hostile.sheet_bytes(
        row(1, CUSTOMER_HEADINGS),
        row(2, CUSTOMER),
        row(4, [2, *CUSTOMER[1:]]),
        '<row r="7"><c r="B7"/></row>',
    )
    sheet = read_customers(content)
    assert [customer.row for customer in sheet.rows] == [2, 4]
    assert (sheet.read, sheet.blank) == (2, 4)


def test_a_row_with_nothing_but_a_remark_is_blank() -> None:
    content = hostile.customers(
        CUSTOMER, [None] * 7 + ["checked"], headings=[*CUSTOMER_HEADINGS, "Remarks"]
    )
    sheet = read_customers(content)
    assert (sheet.read, sheet.blank) == (1, 1)


def test_merged_headings_are_read_from_their_first_cell() -> None:
    content = hostile.sheet_bytes(
        row(1, ["", *CUSTOMER_HEADINGS]),
        row(2, ["x", *CUSTOMER]),
        after='<mergeCells count="1"><mergeCell ref="A1:A2"/></mergeCells>',
    )
    assert [customer.number for customer in read_customers(content).rows] == [1]


def test_a_title_above_the_headings_is_named_in_the_refusal() -> None:
    content = hostile.workbook([["Our customers, 2026"], CUSTOMER_HEADINGS, CUSTOMER])
    assert "first row that is not blank says 'Our customers, 2026'" in refusal(content)


def test_a_wrong_dimension_drops_no_row() -> None:
    rows = [row(n, [n, *CUSTOMER[1:]]) for n in range(2, 12)]
    content = hostile.sheet_bytes(
        row(1, CUSTOMER_HEADINGS), *rows, before='<dimension ref="A1:B2"/>'
    )
    assert [customer.row for customer in read_customers(content).rows] == list(range(2, 12))


def test_rows_and_cells_without_a_reference_are_counted() -> None:
    def bare(values: tuple[object, ...]) -> str:
        cells = "".join(hostile.cell("", value) for value in values).replace(' r=""', "")
        return f"<row>{cells}</row>"

    content = hostile.sheet_bytes(bare(CUSTOMER_HEADINGS), bare(CUSTOMER), "<row/>")
    sheet = read_customers(content)
    assert [customer.row for customer in sheet.rows] == [2]
    assert sheet.blank == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (date(2017, 3, 9), date(2017, 3, 9)),
        ("2017-03-09", date(2017, 3, 9)),
        (" 2017-03-09T00:00:00 ", date(2017, 3, 9)),
        (42803, date(2017, 3, 9)),
        (42803.75, date(2017, 3, 9)),
        ("42803", date(2017, 3, 9)),
        (61, date(1900, 3, 1)),
        (59, date(1900, 2, 28)),
        (1, date(1900, 1, 1)),
    ],
)
def test_a_date_may_be_a_date_iso_text_or_a_serial(given: object, expected: date) -> None:
    [loan] = loans_of(hostile.loans([*LOAN[:7], given, LOAN[8]])).rows
    assert loan.approved_on == expected


def test_the_serials_of_a_1904_workbook_count_from_1904() -> None:
    def old_mac(book: Workbook) -> None:
        book.epoch = CALENDAR_MAC_1904

    serial = (date(2017, 3, 9) - date(1904, 1, 1)).days
    rows = [LOAN, [*LOAN[:7], serial, LOAN[8]]]
    sheet = loans_of(hostile.workbook([LOAN_HEADINGS, *rows], change=old_mac))
    assert [loan.approved_on for loan in sheet.rows] == [date(2017, 3, 9)] * 2


@pytest.mark.parametrize("given", [60, 20170309, -1, "2017-02-30", "09/03/2017", True])
def test_a_date_that_is_none_rejects_its_row_alone(given: object) -> None:
    sheet = loans_of(hostile.loans([*LOAN[:7], given, LOAN[8]], LOAN))
    assert [loan.row for loan in sheet.rows] == [3]
    [finding] = sheet.findings
    assert (finding.row, finding.column) == (2, "Date of Approval")
    assert finding.code in {"NOT_A_DATE", "UNREADABLE"}


def test_numbers_stored_as_text_are_numbers() -> None:
    given = ("1", "Aaron", "Garcia", " 63 ", "9629317944", "  50000 ", "4500000.00")
    assert read_customers(hostile.customers(given)).rows == [AARON]


@pytest.mark.parametrize(
    ("stored", "expected"), [("8.2", "8.20"), ("13.459999999999999", "13.46"), ("9", "9.00")]
)
def test_a_float_is_the_decimal_that_excel_shows(stored: str, expected: str) -> None:
    values = [row(2, (*LOAN[:7], 42803, 46730)).replace("<v>8.2</v>", f"<v>{stored}</v>")]
    [loan] = loans_of(hostile.sheet_bytes(row(1, LOAN_HEADINGS), *values)).rows
    assert str(loan.annual_rate) == expected


def test_a_boolean_is_not_a_number() -> None:
    sheet = read_customers(hostile.customers([True, *CUSTOMER[1:]]))
    [finding] = sheet.findings
    assert (finding.column, finding.code) == ("Customer ID", "UNREADABLE")
    assert "TRUE" in finding.message


@pytest.mark.parametrize("error", ["#DIV/0!", "#N/A", "#REF!"])
@pytest.mark.parametrize("quote", ['"', "'"])
def test_an_excel_error_in_a_needed_cell_rejects_the_row(error: str, quote: str) -> None:
    broken = row(2, CUSTOMER).replace(
        '<c r="F2"><v>50000</v></c>', f"<c r='F2' t={quote}e{quote}><v>{error}</v></c>"
    )
    sheet = read_customers(
        hostile.sheet_bytes(row(1, CUSTOMER_HEADINGS), broken, row(3, [2, *CUSTOMER[1:]]))
    )
    assert [customer.row for customer in sheet.rows] == [3]
    [finding] = sheet.findings
    assert (finding.row, finding.column, finding.code) == (2, "Monthly Salary", "UNREADABLE")
    assert error in finding.message


def test_an_excel_error_in_an_optional_cell_leaves_it_unknown_and_says_so() -> None:
    broken = row(2, CUSTOMER).replace(
        '<c r="D2"><v>63</v></c>', '<c r="D2" t="e"><v>#VALUE!</v></c>'
    )
    sheet = read_customers(hostile.sheet_bytes(row(1, CUSTOMER_HEADINGS), broken))
    assert [customer.age for customer in sheet.rows] == [None]
    [finding] = sheet.findings
    assert (finding.code, finding.column) == ("AGE_UNKNOWN", "Age")
    assert "#VALUE!" in finding.message


def test_an_error_is_found_where_the_table_starts_further_right() -> None:
    cells = "".join(
        hostile.cell(f"{letter}5", value) for letter, value in zip("CDEFGHI", CUSTOMER, strict=True)
    ).replace('<c r="G5"><v>9629317944</v></c>', '<c r="G5" t="e"><v>#N/A</v></c>')
    headings = "".join(
        hostile.cell(f"{letter}4", value)
        for letter, value in zip("CDEFGHI", CUSTOMER_HEADINGS, strict=True)
    )
    sheet = read_customers(
        hostile.sheet_bytes(f'<row r="4">{headings}</row>', f'<row r="5">{cells}</row>')
    )
    [finding] = sheet.findings
    assert (finding.row, finding.column) == (5, "Phone Number")
    assert "#N/A" in finding.message


def test_a_formula_that_was_never_calculated_is_no_blank() -> None:
    sheet = read_customers(hostile.customers([*CUSTOMER[:5], "=2*25000", CUSTOMER[6]]))
    assert sheet.rows == []
    [finding] = sheet.findings
    assert (finding.column, finding.code) == ("Monthly Salary", "UNREADABLE")
    assert "never calculated" in finding.message


def test_a_calculated_formula_is_its_value() -> None:
    calculated = (
        row(2, CUSTOMER)
        .replace("<v>50000</v>", "<f>2*25000</f><v>50000</v>")
        .replace('<c r="D2"><v>63</v></c>', '<c r="D2" t="str"><f>""</f><v></v></c>')
    )
    sheet = read_customers(hostile.sheet_bytes(row(1, CUSTOMER_HEADINGS), calculated))
    [customer] = sheet.rows
    assert (customer.monthly_income, customer.age) == (Decimal("50000.00"), None)
    assert [finding.message for finding in sheet.findings] == [
        "the cell is blank; the age stays unknown"
    ]


def test_a_row_of_errors_only_is_not_blank() -> None:
    cells = "".join(f'<c r="{letter}2" t="e"><v>#REF!</v></c>' for letter in "ABCDEFG")
    sheet = read_customers(
        hostile.sheet_bytes(row(1, CUSTOMER_HEADINGS), f'<row r="2">{cells}</row>')
    )
    assert (sheet.read, sheet.rejected, sheet.blank) == (1, 1, 0)


def test_rows_on_a_second_sheet_with_the_headings_are_not_lost_in_silence() -> None:
    other = [2, *CUSTOMER[1:]]
    message = refusal(hostile.workbook([CUSTOMER_HEADINGS, CUSTOMER], [CUSTOMER_HEADINGS, other]))
    assert "'Sheet', 'Sheet1'; keep one of them" in message


def test_another_sheet_is_taken_where_only_it_has_the_headings() -> None:
    content = hostile.workbook([["Notes"], ["read me"]], [CUSTOMER_HEADINGS, CUSTOMER], [])
    sheet = read_customers(content)
    assert (sheet.name, [customer.number for customer in sheet.rows]) == ("Sheet1", [1])


def test_two_other_sheets_with_the_headings_are_refused_by_name() -> None:
    table = [CUSTOMER_HEADINGS, CUSTOMER]
    message = refusal(hostile.workbook([["Notes"]], table, table))
    assert "'Sheet1', 'Sheet2'" in message


def test_headings_without_a_row_are_a_workbook_of_nothing() -> None:
    sheet = read_customers(hostile.customers())
    assert (sheet.read, sheet.blank) == (0, 0)


def test_an_age_column_that_is_missing_is_told_once() -> None:
    content = hostile.customers(
        *[[n, "A", "B", 9629317944, 50000, 100000] for n in (1, 2, 3)],
        headings=[heading for heading in CUSTOMER_HEADINGS if heading != "Age"],
    )
    sheet = read_customers(content)
    assert [customer.age for customer in sheet.rows] == [None] * 3
    assert [(f.row, f.column, f.code) for f in sheet.findings] == [(1, None, "AGE_UNKNOWN")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is an empty file"),
        (hostile.text_file(), "is a text or CSV file; open it in Excel and save it as"),
        ("Customer ID\tAge\r\n".encode("utf-16"), "is a text or CSV file"),
        (bytes(100), "is no Excel workbook"),
        (hostile.truncated(), "is cut short or damaged"),
        (hostile.flipped_byte(), "is damaged"),
        (hostile.ole_file("EncryptedPackage"), "is encrypted with a password"),
        (hostile.ole_file("Workbook"), "is in the old Excel format (.xls)"),
        (hostile.encrypted_member(), "holds encrypted parts"),
        (hostile.archive({"word/document.xml": "<w/>"}), "a zip archive but no Excel workbook"),
        (hostile.archive({"content.xml": "<office/>"}), "is an OpenDocument file"),
        (hostile.archive({"xl/workbook.bin": "b"}), "is a binary Excel workbook (.xlsb)"),
        (hostile.archive({"xl/workbook.xml": "<workbook"}), "is damaged inside"),
        (hostile.workbook([]), "is empty; give it headings and rows"),
        (
            hostile.sheet_bytes(row(1, CUSTOMER_HEADINGS), row(2, CUSTOMER), '<row r="3"><c>'),
            "is damaged inside",
        ),
    ],
    ids=[
        "nothing",
        "csv",
        "utf-16 text",
        "other bytes",
        "truncated",
        "flipped byte",
        "encrypted",
        "xls",
        "encrypted member",
        "docx",
        "ods",
        "xlsb",
        "broken workbook part",
        "empty sheet",
        "broken sheet part",
    ],
)
def test_what_is_no_workbook_is_named_as_what_it_is(content: bytes, said: str) -> None:
    message = refusal(content)
    assert message.startswith("The customers workbook ")
    assert said in message


def test_every_missing_column_is_named_beside_the_headings_seen() -> None:
    content = hostile.customers([1, "A"], headings=["Customer ID", "Given Name", "Shoe Size"])
    assert refusal(content) == (
        "The customers workbook lacks the columns 'Last Name', 'Monthly Salary', 'Approved Limit'; "
        "its first row that is not blank says 'Customer ID', 'Given Name', 'Shoe Size'."
    )


def test_a_loans_workbook_is_no_customers_workbook() -> None:
    assert "lacks the columns 'First Name', 'Last Name'" in refusal(hostile.loans(LOAN))


def test_two_columns_for_one_thing_are_refused() -> None:
    content = hostile.customers(headings=[*CUSTOMER_HEADINGS, "monthly_income"])
    assert "'Monthly Salary' and 'monthly_income' mean the same" in refusal(content)


def test_a_zip_bomb_is_refused_before_it_is_parsed() -> None:
    message = refusal(hostile.zip_bomb(zeros=64 << 20))
    assert "inflates to far more" in message


def test_a_zip_bomb_whose_header_lies_is_counted_by_its_real_bytes() -> None:
    content = hostile.zip_bomb(zeros=64 << 20, declared=1000)
    with zipfile.ZipFile(io.BytesIO(content)) as lied_to:
        assert len(lied_to.read("xl/media/image1.bin")) == 1000
    assert "inflates to far more" in refusal(content)


@pytest.mark.parametrize(("declared", "checksum_of"), [(1000, 1 << 20), (1 << 20, 1000)])
def test_a_header_that_lies_a_little_is_damage(declared: int, checksum_of: int) -> None:
    content = hostile.zip_bomb(zeros=1 << 20, declared=declared, checksum_of=checksum_of)
    assert refusal(content) == "The customers workbook is damaged; upload it again."


def test_the_bytes_of_all_members_are_counted_together() -> None:
    content = hostile.customers(CUSTOMER)
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        total = sum(member.file_size for member in source.infolist())
    assert read_customers(content, Limits(archive_bytes=total)).read == 1
    assert "inflates to far more" in refusal(content, Limits(archive_bytes=total - 1))


@on_linux
def test_a_far_cell_is_refused_and_this_process_lives_on() -> None:
    content = hostile.far_cell()
    assert len(content) < 6_000
    assert "a cell far from all others" in refusal(content)


@on_linux
def test_one_string_that_many_cells_share_is_bounded_by_memory() -> None:
    content = hostile.huge_shared_string(copies=60_000)
    assert len(content) < 500_000
    assert "MiB of memory" in refusal(content)


def test_a_workbook_that_takes_too_long_is_refused_in_time() -> None:
    rows = "".join(row(n, [n, *CUSTOMER[1:]]) for n in range(2, 60_000))
    content = hostile.sheet_bytes(row(1, CUSTOMER_HEADINGS), rows)
    started = time.monotonic()
    assert "took more than 0.2 seconds" in refusal(content, Limits(time_s=0.2))
    assert time.monotonic() - started < 5


def test_a_bomb_of_entities_is_refused() -> None:
    assert "is damaged inside" in refusal(hostile.entity_bomb())


def test_a_hidden_sheet_is_not_read() -> None:
    def hide(book: Workbook) -> None:
        book.create_sheet("shown")
        assert book.active is not None
        book.active.sheet_state = "hidden"

    assert "is empty" in refusal(hostile.workbook([CUSTOMER_HEADINGS, CUSTOMER], change=hide))


@on_linux
def test_no_child_is_left_behind() -> None:
    def children() -> set[str]:
        tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        return {pid for task in tasks for pid in task.read_text().split()}

    before = children()
    read_customers(hostile.customers(CUSTOMER))
    for content in (hostile.far_cell(), hostile.customers(headings=["x"])):
        refusal(content)
    assert children() <= before


@on_linux
def test_the_child_dies_with_its_parent() -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, subprocess, sys; "
            "child = subprocess.Popen([sys.executable, '-m', 'workers.sheet', 'customers', "
            "str(1 << 30), '60', str(os.getpid())]); "
            "print(child.pid, flush=True); child.wait()",
        ],
        # Held open here, so that the child does not end for want of input.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with parent:
        assert parent.stdout is not None
        child = Path("/proc", parent.stdout.readline().strip())
        wait_until(lambda: b"credit-es workbook" in (child / "cmdline").read_bytes())
        parent.kill()
        parent.wait()
        wait_until(lambda: not child.exists() or " Z " in (child / "stat").read_text())


def wait_until(holds: Callable[[], bool], patience_s: float = 5) -> None:
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_child_does_not_get_the_address_of_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[dict[str, str]] = []
    popen = subprocess.Popen

    def spy(*args: object, env: dict[str, str], **kwargs: object) -> object:
        seen.append(env)
        return popen(*args, env=env, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("MARKER", "kept")
    monkeypatch.setattr(subprocess, "Popen", spy)
    read_customers(hostile.customers(CUSTOMER))
    [environment] = seen
    assert "DATABASE_URL" not in environment
    assert environment["MARKER"] == "kept"


def test_workbooks_are_read_from_several_threads_at_once() -> None:
    content = hostile.customers(CUSTOMER)
    results: list[Sheet[CustomerRow]] = []
    threads = [
        threading.Thread(target=lambda: results.append(read_customers(content))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sheet.rows for sheet in results] == [[AARON]] * 4


@real_workbooks
def test_the_real_customers_are_300_and_3_blank_rows() -> None:
    sheet = read_customers((REAL / "customer_data.xlsx").read_bytes())
    assert (sheet.read, sheet.rejected, sheet.blank) == (300, 0, 3)
    assert sheet.findings == []
    assert sheet.rows[0] == AARON
    assert [customer.number for customer in sheet.rows] == list(range(1, 301))


@real_workbooks
def test_the_real_loans_are_782_with_every_quirk_told() -> None:
    sheet = loans_of((REAL / "loan_data.xlsx").read_bytes())
    assert (sheet.read, sheet.rejected, sheet.blank) == (782, 0, 0)
    assert sheet.rows[0] == LOAN_5930
    customers_of = defaultdict(set)
    for loan in sheet.rows:
        customers_of[loan.source_loan_id].add(loan.customer_number)
    assert sum(len(customers) == 2 for customers in customers_of.values()) == 29
    assert max(map(len, customers_of.values())) == 2
    # Every payment follows the lender's formula, every end date the tenure: no finding of those.
    assert Counter(f.code for f in sheet.findings) == {"MORE_EMIS_THAN_MONTHS_ELAPSED": 188}


@real_workbooks
def test_the_count_of_early_installments_depends_on_the_day_of_the_import() -> None:
    content = (REAL / "loan_data.xlsx").read_bytes()
    codes = [f.code for f in read_loans(content, as_of=date(2024, 1, 1)).findings]
    assert codes.count("MORE_EMIS_THAN_MONTHS_ELAPSED") == 320
