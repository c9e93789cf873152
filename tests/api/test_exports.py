"""The log as an archive over HTTP: the files of the command, and what happens on a full disk."""

import csv
import io
import json
import re
import resource
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from falcon.testing import Result
from openpyxl import load_workbook

from api.openapi import ZIP
from credit_es.audit.cells import FORMULAS
from credit_es.audit.importcheck import import_check
from credit_es.store.mapper import UndigestedError, customer_stream
from tests.api.client import Api, Server
from tests.api.test_audit import Shell, shell
from tests.api.test_ingestions import TWO, work
from tests.api.test_problems import check_problem

pytestmark = pytest.mark.slow

__all__ = ["shell"]


@pytest.fixture
def lent(api: Api) -> Api:
    """Some facts, of an actor whom a spreadsheet would calculate."""
    for _ in range(3):
        customer = api.register()
        terms = {"loan_amount": 10_000, "interest_rate": 12, "tenure": 12}
        api.post("/create-loan", {"customer_id": customer} | terms, X_Actor="=cmd()")
    return api


def fetched(api: Api, query: str = "") -> Result:
    answered = api.get(f"/audit/export?{query}")
    assert answered.status_code == 200, answered.text
    assert answered.headers["Content-Type"] == ZIP
    return answered


def manifest(api: Api, query: str = "") -> dict[str, object]:
    with zipfile.ZipFile(io.BytesIO(fetched(api, query).content)) as members:
        document: dict[str, object] = json.loads(members.read("manifest.json"))
        return document


@pytest.mark.parametrize("how", ["jsonl", "csv", "parquet"])
def test_the_archive_has_the_files_of_the_command(
    lent: Api, shell: Shell, tmp_path: Path, how: str
) -> None:
    answered = fetched(lent, f"format={how}")
    head = lent.services.lending.reader.head().safe
    assert f"credit-es-{head}-{how}.zip" in answered.headers["Content-Disposition"]
    assert int(answered.headers["Content-Length"]) == len(answered.content)
    with zipfile.ZipFile(io.BytesIO(answered.content)) as members:
        members.extractall(tmp_path / "fetched")
    assert list(import_check(lent.services.lending.reader, tmp_path / "fetched")) == []
    shell.run("export", str(tmp_path / "written"), "--format", how)
    found, written = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("fetched", "written")
    )
    assert found == written
    assert shell.code("import-check", str(tmp_path / "fetched")) == 0


def test_no_cell_of_a_csv_is_one_that_a_spreadsheet_calculates(lent: Api) -> None:
    with zipfile.ZipFile(io.BytesIO(fetched(lent, "format=csv").content)) as members:
        lines = members.read("facts.csv").decode()
    cells = [cell for row in csv.reader(io.StringIO(lines)) for cell in row]
    assert "'=cmd()" in cells
    assert [cell for cell in cells if cell.startswith(FORMULAS)] == []


def test_no_cell_of_a_workbook_is_one_that_excel_calculates(api: Api) -> None:
    customer = api.register(first_name="=1+1", last_name="@SUM(1)")
    api.apply(customer)
    for path in (f"/customers/{customer}/statement.xlsx", "/audit/portfolio-report.xlsx"):
        book = load_workbook(io.BytesIO(api.get(path).content))
        cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]
        assert cells
        assert [cell.value for cell in cells if cell.data_type == "f"] == [], path


def test_a_selection_has_what_was_selected(lent: Api) -> None:
    def facts(query: str) -> object:
        return manifest(lent, query)["facts"]

    whole = facts("")
    assert facts("customer_id=10000002") == 3
    assert facts("kind=LoanOpened") == 3
    assert facts("kind=LoanOpened&kind=CustomerRegistered&customer_id=10000002") == 2
    assert facts("recorded_from=2020-01-01T00:00:00Z&recorded_to=2999-01-01T00:00:00Z") == whole
    assert facts("recorded_to=2020-01-01T00:00:00Z") == 0


@pytest.mark.parametrize("how", ["jsonl", "csv", "parquet"])
def test_asked_again_up_to_a_position_the_files_are_the_same_or_the_log_is_altered(
    lent: Api, how: str
) -> None:
    first = manifest(lent, f"format={how}")
    lent.register()
    assert manifest(lent, f"format={how}")["files"] != first["files"]
    again = f"format={how}&upto={first['upto']}"
    assert manifest(lent, again) == first
    database = lent.services.lending.database
    tampered = (
        f"UPDATE {database.schema}.events SET state = convert_to(replace(convert_from(state,"
        " 'UTF8'), '\"=cmd()\"', '\"eve\"'), 'UTF8')"
    )
    database.run(lambda conn: conn.execute(tampered.encode()))
    assert manifest(lent, again)["files"] != first["files"]


@pytest.mark.parametrize("state", ["{", '{"deep":' + "[" * 100_000], ids=["cut", "deep"])
def test_a_fact_that_cannot_be_read_is_named_and_nothing_exported(
    lent: Api, shell: Shell, tmp_path: Path, state: str
) -> None:
    number = lent.register()
    database = lent.services.lending.database
    damage = f"UPDATE {database.schema}.events SET state = %s WHERE stream_id = %s"
    values = (state.encode(), customer_stream(number))
    database.run(lambda conn: conn.execute(damage.encode(), values))
    told = f"The fact at version 1 of stream {customer_stream(number)} cannot be read"
    assert told in check_problem(lent.get("/audit/export"), 503)["detail"]
    with pytest.raises(UndigestedError, match=told[1:]):
        shell.run("export", str(tmp_path))


@contextmanager
def full_disk(left: int) -> Iterator[None]:
    """No file of this process may be longer: the nearest to a full disk without root."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("how", ["jsonl", "csv", "parquet"])
def test_a_full_disk_is_a_problem_that_says_what_to_do_and_leaves_nothing(
    lent: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with full_disk(1000):
        problem = check_problem(lent.get(f"/audit/export?format={how}"), 507)
    assert "takes less room" in problem["detail"]
    assert list(tmp_path.iterdir()) == []
    assert manifest(lent, f"format={how}")["facts"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_503(
    lent: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    problem = check_problem(lent.get("/audit/export"), 503)
    assert "temporary folder" in problem["detail"]


def test_a_workbook_that_cannot_be_written_says_why_and_where_the_same_is_had(
    lent: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion_id = lent.upload(TWO).json["ingestion_id"]
    work(lent, ingestion_id)
    for path in (
        f"/ingestions/{ingestion_id}/report.xlsx",
        f"/customers/{lent.register()}/statement.xlsx",
        "/audit/portfolio-report.xlsx",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
            gone = check_problem(lent.get(path), 503)["detail"]
            patch.setattr(tempfile, "tempdir", str(tmp_path))
            with structlog.testing.capture_logs(), full_disk(100):
                full = check_problem(lent.get(path), 507)["detail"]
        assert list(tmp_path.iterdir()) == []
        assert "temporary folder" in gone
        assert "makes room" in full
        for detail in (gone, full):
            (same,) = re.findall(r"GET (/\S+) gives", detail)
            assert lent.get(same).status_code == 200
        assert lent.get(path).status_code == 200


@pytest.mark.parametrize(
    "query", ["format=xml", "kind=Nothing", "upto=0", "recorded_from=yesterday", "customer_id=x"]
)
def test_what_cannot_be_selected_is_refused(api: Api, query: str) -> None:
    check_problem(api.get(f"/audit/export?{query}"), 422)
    assert api.send("HEAD", f"/audit/export?{query}").status_code == 422


def test_a_real_server_sends_the_whole_archive(server: Server) -> None:
    answered = server.send("GET", "/audit/export?format=parquet")
    assert answered.status == 200
    with zipfile.ZipFile(io.BytesIO(answered.content)) as members:
        assert members.testzip() is None
    assert server.send("HEAD", "/audit/export").status == 200
