"""Workbooks handed in, listed, followed and reported. A test plays the worker itself."""

from datetime import date
from io import BytesIO
from uuid import UUID

import pytest
from openpyxl import Workbook, load_workbook

from api.app import connect
from tests.api.client import Api, Form, form, next_of, settings_of
from workers.workbook import WorkbookError, read_customers, read_loans

pytestmark = pytest.mark.slow

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
NOBODY = "0a9cbb3f-2a6c-4a55-8a5e-3f7f6c0ad9f1"
TWO = form(customers=b"PK customers", loans=b"PK loans")
CUSTOMER_HEADINGS = (
    *("Customer ID", "First Name", "Last Name", "Age", "Phone Number"),
    *("Monthly Salary", "Approved Limit"),
)
LOAN_HEADINGS = (
    *("Customer ID", "Loan ID", "Loan Amount", "Tenure", "Interest Rate", "Monthly payment"),
    *("EMIs paid on Time", "Date of Approval", "End Date"),
)
NO_COUNTS = dict.fromkeys(("read", "recorded", "unchanged", "conflicting", "rejected", "blank"), 0)


def workbook(*rows: tuple[str | int | date | None, ...]) -> bytes:
    """An .xlsx of one sheet."""
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    content = BytesIO()
    book.save(content)
    return content.getvalue()


def history(bad_rows: int = 0) -> Form:
    """A customer with a closed loan and a current one; and rows that are rejected."""
    bad = [(None, f"No{n}", "Id", 30, 9_000_000_000 + n, 1000, 36_000) for n in range(bad_rows)]
    customers = workbook(
        CUSTOMER_HEADINGS, (7, "Aarav", "Shah", 41, 9_876_500_000, 50_000, 1_800_000), *bad
    )
    loans = workbook(
        LOAN_HEADINGS,
        (7, 36, 120_000, 12, 10, 11_000, 12, date(2020, 1, 10), date(2021, 1, 10)),
        (7, 37, 600_000, 600, 10, 2_000, 2, date(2026, 1, 10), date(2076, 1, 10)),
    )
    return form(customers=customers, loans=loans)


def work(api: Api, ingestion_id: str) -> None:
    """Do what a worker does with a job."""
    importing = api.services.importing
    taken = importing.ingestions.take(UUID(ingestion_id))
    assert taken is not None
    job = taken.job
    try:
        customers = read_customers(importing.ingestions.content(job.customers))
        loans = read_loans(importing.ingestions.content(job.loans), as_of=job.requested_on)
    except WorkbookError as error:
        importing.fail(job, str(error))
    else:
        importing.run(
            job,
            customers,
            loans,
            lambda done, total: importing.ingestions.progress(
                job.ingestion_id, done=done, total=total
            ),
        )


@pytest.mark.parametrize("slash", ["", "/"])
def test_an_upload_is_202_and_says_where_it_can_be_followed(api: Api, slash: str) -> None:
    answered = api.send("POST", f"/ingestions{slash}", TWO.raw, **TWO.headers)
    assert answered.status_code == 202
    ingestion_id = answered.json["ingestion_id"]
    assert answered.json == {"ingestion_id": ingestion_id, "status": "queued"}
    assert answered.headers["Location"] == f"/ingestions/{ingestion_id}"
    shown = api.get(answered.headers["Location"] + slash)
    assert shown.status_code == 200
    assert (
        shown.json.items()
        >= {
            "ingestion_id": ingestion_id,
            "status": "queued",
            "progress": {"done": 0, "total": 0},
            "counts": {"customers": NO_COUNTS, "loans": NO_COUNTS},
            "findings": [],
            "check": False,
            "finished_at": None,
            "next": None,
        }.items()
    )
    assert "problem" not in shown.json
    assert shown.json["workbooks"]["customers"]["name"] == "customers.xlsx"


def test_a_finished_ingestion_has_its_counts_and_findings(api: Api) -> None:
    ingestion_id = api.upload(history(bad_rows=2)).json["ingestion_id"]
    work(api, ingestion_id)
    shown = api.get(f"/ingestions/{ingestion_id}").json
    assert shown["status"] == "succeeded"
    assert shown["progress"] == {"done": 3, "total": 3}
    assert shown["counts"] == {
        "customers": NO_COUNTS | {"read": 3, "recorded": 1, "rejected": 2},
        "loans": NO_COUNTS | {"read": 2, "recorded": 2},
    }
    assert shown["finished_at"] is not None
    rejected = [f for f in shown["findings"] if f["workbook"] == "customers"]
    assert [f["row"] for f in rejected] == [3, 4]
    assert set(rejected[0]) == {"workbook", "sheet", "row", "column", "code", "message"}
    assert rejected[0]["column"] == "Customer ID"


def test_imported_loans_are_shown_as_the_workbook_says(api: Api) -> None:
    work(api, api.upload(history()).json["ingestion_id"])
    current = api.get("/view-loans/7").json
    assert [(loan["loan_id"], loan["repayments_left"]) for loan in current] == [(37, 598)]
    closed = api.get("/view-loans/7?status=closed").json
    assert [(loan["loan_id"], loan["status"]) for loan in closed] == [(36, "closed")]
    assert [loan["loan_id"] for loan in api.get("/view-loans/7?status=all").json] == [36, 37]
    loan = api.get("/view-loan/36").json
    assert loan["source_loan_id"] == "36"
    assert (loan["approved_on"], loan["end_date"]) == ("2020-01-10", "2021-01-10")
    assert loan["monthly_installment"] == 11_000.0
    customer = api.get("/customers/7").json
    assert customer["imported"] is True
    assert customer["current_loans"] == {
        "count": 1,
        "amount": 600_000.0,
        "monthly_installments": 2_000.0,
    }


def test_what_an_import_left_unknown_is_null(api: Api) -> None:
    headings = [heading for heading in CUSTOMER_HEADINGS if heading not in {"Age", "Phone Number"}]
    customers = workbook(tuple(headings), (7, "Aarav", "Shah", 50_000, 1_800_000))
    loans = workbook(
        LOAN_HEADINGS, (7, 36, 120_000, 12, 10, 11_000, 12, date(2020, 1, 10), date(2021, 1, 10))
    )
    work(api, api.upload(form(customers=customers, loans=loans)).json["ingestion_id"])
    borrower = api.get("/view-loan/36").json["customer"]
    assert (borrower["age"], borrower["phone_number"]) == (None, None)
    shown = api.get("/customers/7").json
    assert (shown["age"], shown["phone_number"]) == (None, None)


def test_a_check_reports_and_records_nothing(api: Api) -> None:
    ingestion_id = api.upload(history(bad_rows=1), "?check=true").json["ingestion_id"]
    work(api, ingestion_id)
    shown = api.get(f"/ingestions/{ingestion_id}").json
    assert (shown["check"], shown["status"]) == (True, "succeeded")
    assert shown["counts"]["customers"]["recorded"] == 1
    assert api.services.lending.reader.head().last == 0
    assert api.get("/customers/7").status_code == 404


def test_a_bad_workbook_fails_with_a_sentence(api: Api) -> None:
    ingestion_id = api.upload(form(customers=b"a,b,c\n", loans=b"")).json["ingestion_id"]
    work(api, ingestion_id)
    shown = api.get(f"/ingestions/{ingestion_id}").json
    assert shown["status"] == "failed"
    assert shown["problem"].startswith("The customers workbook is a text or CSV file")
    assert shown["counts"] == {"customers": NO_COUNTS, "loans": NO_COUNTS}


def test_findings_come_in_pages_that_lead_on_to_the_end(api: Api) -> None:
    ingestion_id = api.upload(history(bad_rows=7)).json["ingestion_id"]
    work(api, ingestion_id)
    whole = api.get(f"/ingestions/{ingestion_id}?limit=1000").json
    assert whole["next"] is None
    pages, path = [], f"/ingestions/{ingestion_id}?limit=3"
    while path:
        page = api.get(path)
        assert page.json["counts"] == whole["counts"]
        pages.append(page.json["findings"])
        path = next_of(page)
    assert [len(page) for page in pages[:-1]] == [3] * (len(pages) - 1)
    assert [finding for page in pages for finding in page] == whole["findings"]
    assert len(whole["findings"]) >= 7


def test_the_report_is_a_workbook_with_every_finding(api: Api) -> None:
    ingestion_id = api.upload(history(bad_rows=7)).json["ingestion_id"]
    path = f"/ingestions/{ingestion_id}/report.xlsx"
    early = api.get(path)
    assert (early.status_code, early.json["type"]) == (409, "urn:credit-es:problem:not-finished")
    work(api, ingestion_id)
    findings = api.get(f"/ingestions/{ingestion_id}?limit=1000").json["findings"]
    for slash in ("", "/"):
        answered = api.get(path + slash)
        assert answered.status_code == 200
        assert answered.headers["Content-Type"] == XLSX
        assert f"ingestion-{ingestion_id}.xlsx" in answered.headers["Content-Disposition"]
        rows = list(load_workbook(BytesIO(answered.content))["Findings"].values)
        assert [row[2] for row in rows[1:]] == [finding["row"] for finding in findings]


@pytest.mark.parametrize("slash", ["", "/"])
def test_ingestions_are_listed_the_latest_first_in_pages(api: Api, slash: str) -> None:
    ids = [api.upload(TWO).json["ingestion_id"] for _ in range(5)]
    listed, path = [], f"/ingestions{slash}?limit=2"
    while path:
        page = api.get(path)
        assert len(page.json["ingestions"]) <= 2
        listed += [one["ingestion_id"] for one in page.json["ingestions"]]
        path = next_of(page)
    assert listed == ids[::-1]


@pytest.mark.parametrize("ingestion_id", [NOBODY, "x", "0", "1" * 400, NOBODY.upper()])
def test_an_unknown_ingestion_is_404(api: Api, ingestion_id: str) -> None:
    for path in (f"/ingestions/{ingestion_id}", f"/ingestions/{ingestion_id}/report.xlsx"):
        answered = api.get(path)
        assert answered.status_code == 404
        assert answered.json["type"] == "urn:credit-es:problem:unknown-ingestion"
    assert api.get(f"/ingestions?before={NOBODY}").status_code == 404


def test_every_fault_of_a_form_is_named_at_once(api: Api) -> None:
    raw = (
        b'--b\r\nContent-Disposition: form-data; name="loans"\r\n\r\njust text\r\n'
        b'--b\r\nContent-Disposition: form-data; name="other"; filename="x"\r\n\r\nx\r\n--b--\r\n'
    )
    answered = api.upload(Form(raw, "b"), "?check=yes", Idempotency_Key="")
    assert answered.status_code == 422
    found = {(fault["pointer"], fault["code"]) for fault in answered.json["errors"]}
    assert found == {
        ("/loans", "file_type"),
        ("/customers", "missing"),
        ("/check", "bool_type"),
        ("/Idempotency-Key", "header"),
    }


def test_a_workbook_given_twice_is_refused(api: Api) -> None:
    once = form(customers=b"PK", loans=b"PK").raw
    twice = form(customers=b"PK").raw.replace(b"--x-boundary-x--\r\n", b"") + b"\r\n" + once
    answered = api.upload(Form(twice, "x-boundary-x"))
    assert answered.status_code == 422
    assert [(f["pointer"], f["code"]) for f in answered.json["errors"]] == [
        ("/customers", "duplicate")
    ]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no form at all",
        TWO.raw[:-20],
        TWO.raw.replace(b"x-boundary-x", b"another"),
        TWO.raw.replace(b'"customers"', b'"\xff"'),
    ],
)
def test_a_form_that_is_none_is_malformed(api: Api, raw: bytes) -> None:
    answered = api.upload(Form(raw, "x-boundary-x"))
    assert answered.status_code == 400
    assert answered.headers["Content-Type"] == "application/problem+json"


def test_a_form_without_a_boundary_is_malformed(api: Api) -> None:
    answered = api.send("POST", "/ingestions", TWO.raw, content_type="multipart/form-data")
    assert answered.status_code == 400


def test_another_media_type_is_415(api: Api) -> None:
    for media_type in ("application/json", XLSX, "multipart/mixed; boundary=x-boundary-x"):
        answered = api.send("POST", "/ingestions", TWO.raw, content_type=media_type)
        assert answered.status_code == 415


def test_a_workbook_is_taken_up_to_the_limit_and_no_further(api: Api) -> None:
    limit = api.services.upload_limit
    fits = api.upload(form(customers=b"P" * limit, loans=b"P" * limit))
    assert fits.status_code == 202
    for too_large in (
        form(customers=b"P" * (limit + 1), loans=b"P"),
        form(customers=b"P", loans=b"P" * (limit + 1)),
        form(customers=b"P" * 3 * limit, loans=b"P" * limit),
    ):
        answered = api.upload(too_large)
        assert answered.status_code == 413
        assert answered.headers["Content-Type"] == "application/problem+json"


def test_a_file_name_is_kept_for_people_and_never_as_a_path(api: Api) -> None:
    raw = TWO.raw.replace(b'"customers.xlsx"', '"../../etc/\u0007möbel.xlsx"'.encode())
    ingestion_id = api.upload(Form(raw, "x-boundary-x")).json["ingestion_id"]
    workbooks = api.get(f"/ingestions/{ingestion_id}").json["workbooks"]
    assert workbooks["customers"]["name"] == "möbel.xlsx"


def test_without_redis_an_upload_is_taken_all_the_same(database_url: str, tables: str) -> None:
    services = connect(settings_of(database_url, tables, "unix:///nowhere/redis.sock"), pool_size=2)
    try:
        api = Api(services)
        answered = api.upload(TWO)
        assert answered.status_code == 202
        assert api.get(answered.headers["Location"]).json["status"] == "queued"
    finally:
        services.lending.close()
