"""Every audit command's answer in three forms: for people, for machines, for spreadsheets."""

import csv
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from credit_es.application import Lending
from credit_es.audit.cells import FORMULAS
from credit_es.audit.export import Selection, export
from credit_es.cli import output
from tests.cli.conftest import Command

pytestmark = pytest.mark.slow

DECISION = "10000001-2"
COMMANDS = (
    ("history", "customer", "10000001"),
    ("as-of", "2026-01-31", "portfolio"),
    ("as-of", "{today}", "customer", "10000001"),
    ("diff", "2026-01-31", "{today}", "customer", "10000001"),
    ("explain", DECISION),
    ("explain", "--all"),
    ("backtest", "literal"),
    ("search",),
    ("export", "{folder}/new"),
    ("import-check", "{folder}/export"),
    ("portfolio-report", "{folder}/report.xlsx"),
    ("verify",),
)
every_command = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


@pytest.fixture
def asked(command: Command, lending: Lending, tmp_path: Path) -> Command:
    """Runs an audit command that has an export to read."""
    export(lending.reader, tmp_path / "export", "csv", selection=Selection())
    today = f"{lending.today()}"
    return lambda *words: command(
        "audit", *(str(word).format(folder=tmp_path, today=today) for word in words)
    )


@every_command
def test_json_is_one_document_and_nothing_else(asked: Command, words: tuple[str, ...]) -> None:
    answer = asked(*words, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)


@every_command
def test_csv_has_headings_and_harmless_cells(asked: Command, words: tuple[str, ...]) -> None:
    answer = asked(*words, "--csv")
    assert answer.code == 0, answer.err
    headings, *rows = csv.reader(io.StringIO(answer.out))
    assert all(headings)
    assert {len(row) for row in rows} <= {len(headings)}
    texts = [cell for row in rows for cell in row if not cell.removeprefix("-").isdigit()]
    assert [text for text in texts if text.startswith(FORMULAS)] == []


@every_command
def test_a_table_fits_a_terminal(
    asked: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir("/")
    answer = asked(*words)
    assert answer.code == 0, answer.err
    tables = [line for line in answer.out.splitlines() if "│" in line or "┃" in line]
    assert [line for line in tables if len(line) > 80] == []


def test_points_are_shown_where_the_score_is_their_sum(asked: Command) -> None:
    thin, of_components = asked("explain", DECISION), asked("explain", "10000001-3")
    assert (thin.code, of_components.code) == (0, 0)
    assert "score: activity" not in thin.out
    assert "score: activity" in of_components.out


@every_command
def test_one_form_at_a_time(asked: Command, words: tuple[str, ...]) -> None:
    answer = asked(*words, "--json", "--csv")
    assert (answer.code, answer.out) == (2, "")
    assert "not both" in answer.err


def test_figures_stand_to_the_right_and_are_never_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    money = Decimal("1234567890123.45")
    row = ("a text of some length", money, date(2026, 1, 31), datetime(2026, 1, 31, tzinfo=UTC))
    output.table(("what", "amount", "on", "at"), [row, ("b", Decimal("1.00"), None, None)])
    said = capsys.readouterr().out
    assert f"{money}" in said
    assert "            1.00 │" in said
    assert "2026-01-31" in said


def test_rows_beyond_a_table_go_on_in_another(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("number",), [(number,) for number in range(output.ROWS_A_TABLE)])
    assert capsys.readouterr().out.count("number") == 1
    output.table(("number",), [(number,) for number in range(output.ROWS_A_TABLE + 1)])
    assert capsys.readouterr().out.count("number") == 2
