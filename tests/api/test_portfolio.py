"""The whole portfolio over HTTP and on the command line: as JSON, and as a workbook."""

from io import BytesIO
from pathlib import Path

import psycopg
import pytest
from openpyxl import load_workbook

from api.openapi import XLSX
from api.problems import UnavailableError
from api.resources.portfolio import Turn
from credit_es.cli.context import CommandError
from credit_es.cli.faults import in_a_sentence
from tests.api.client import Api
from tests.api.test_audit import Shell, shell
from tests.api.test_problems import check_problem
from tests.domain.facts import imported_customer, imported_loan, loans_imported
from tests.store.given import BY

__all__ = ["shell"]


def loans_of(workbook: bytes) -> int:
    """The number of all loans in a report."""
    rows = load_workbook(BytesIO(workbook))["Portfolio"].iter_rows(values_only=True)
    return next(value for name, value in rows if name == "Loans" and isinstance(value, int))


def test_both_say_the_same_of_the_portfolio(api: Api, shell: Shell, tmp_path: Path) -> None:
    record = api.services.lending.record
    record([(1, imported_customer()), (2, loans_imported(1, 2)), (1, imported_loan(2))], BY)
    record([(1, imported_loan(1, on="2024-02-29", ends="2026-02-28", emis=3))], BY)
    answered = api.get("/audit/as-of/2024-05-31/portfolio?known_at=2020-01-01T00:00:00Z")
    assert answered.status_code == 200, answered.text
    now, then = answered.json["as_known_now"], answered.json["as_known_at"]
    assert (now["customers"], then["customers"]) == (1, 0)
    assert (then["total"]["loans"], then["total"]["on_time_share"]) == (0, None)
    assert now["by_year"] == [
        {
            "what": "2024",
            "loans": 1,
            "amount": 10000.0,
            "outstanding": 0.0,
            "balance_unknown": 1,
            "written_off": 0.0,
            "installments_due": 3,
            "installments_on_time": 3,
            "on_time_share": 100.0,
        }
    ]
    report = api.get("/audit/portfolio-report.xlsx?on=2024-05-31")
    assert report.headers["Content-Type"] == XLSX
    assert "portfolio-2024-05-31.xlsx" in report.headers["Content-Disposition"]
    file = tmp_path / "report.xlsx"
    shell.run("portfolio-report", str(file), "--on", "2024-05-31")
    assert loans_of(report.content) == loans_of(file.read_bytes()) == 1
    shell.run("portfolio-report", str(file))
    assert loans_of(api.get("/audit/portfolio-report.xlsx").content) == 2
    assert loans_of(file.read_bytes()) == 2


def test_the_log_is_verified_and_what_is_wrong_named(
    api: Api, database_url: str, tables: str
) -> None:
    api.apply(api.register())
    answered = api.get("/audit/verify")
    assert answered.status_code == 200, answered.text
    head = api.services.lending.reader.head().safe
    well = {"position": head, "facts": head, "faults": [], "complete": True}
    assert answered.json == well
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(f"DELETE FROM {tables}.events WHERE topic = 'credit.LoanOpened'".encode())
    (fault,) = api.get("/audit/verify").json["faults"]
    assert (fault["check"], fault["subject"]) == ("pairs", "loan 10000001")
    assert fault["what"].endswith("the loan's stream does not name it")


def test_what_is_no_workbook_or_no_past_day_is_refused(api: Api, shell: Shell) -> None:
    for command in (
        ("portfolio-report", "report.csv"),
        ("portfolio-report", "report.xlsx", "--on", "2999-01-01"),
        ("as-of", "2026-01-01", "portfolio", "7"),
        ("as-of", "2026-01-01", "loan"),
        ("as-of", "2026-01-01", "loan", "7"),
        ("as-of", "2026-01-01", "portfolio", "--known-at", "noon"),
    ):
        with pytest.raises(CommandError):
            shell.run(*command)
    with pytest.raises(FileNotFoundError) as missing:
        shell.run("portfolio-report", "/nowhere/report.xlsx")
    assert "/nowhere/report.xlsx" in (in_a_sentence(missing.value) or "")
    check_problem(api.get("/audit/portfolio-report.xlsx?on=2999-01-01"), 422)


def test_one_request_at_a_time_folds_the_log() -> None:
    turn = Turn()
    with turn.taken(), pytest.raises(UnavailableError, match="send it again"), turn.taken():
        pytest.fail("two at once")
    with turn.taken():
        pass
