"""The log as files: each format is read back as what the log says, and tampering is named."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_es.application import By, Lending
from credit_es.audit.cells import FORMULAS, harmless, unescaped
from credit_es.audit.export import (
    MANIFEST,
    ExportError,
    Format,
    Selection,
    export,
)
from credit_es.audit.importcheck import import_check
from credit_es.audit.readback import read_facts, read_manifest
from credit_es.store.log import Log
from tests.scenario import PROPERTY
from tests.store.given import asks, person, settings

FORMATS: tuple[Format, ...] = ("jsonl", "csv", "parquet")
ALL = Selection()
by_format = pytest.mark.parametrize("how", FORMATS)


@pytest.fixture
def lending(database_url: str, schema: str) -> Iterator[Lending]:
    one = Lending(settings(database_url, schema), pool_size=2)
    for n in range(3):
        who = one.register(person(), By(actor=f"=cmd({n})", correlation_id="+1"))
        one.apply_for_loan(asks(who.customer_number), By(actor="asha", correlation_id="-x"))
    yield one
    one.close()


@pytest.fixture
def log(lending: Lending) -> Log:
    return lending.reader


@by_format
def test_an_export_reads_back_as_the_log(log: Log, tmp_path: Path, how: Format) -> None:
    folder = tmp_path / "new" / "export"
    manifest = export(log, folder, how, selection=ALL, shards=2)
    assert read_manifest(folder) == manifest
    events = [event for batch in log.tail(0) for event in batch]
    facts = list(read_facts(folder, manifest))
    assert [(fact.position, fact.state.encode()) for fact in facts] == [
        (event.id, event.state) for event in events
    ]
    assert (manifest.facts, manifest.first_position) == (len(events), events[0].id)
    assert manifest.last_position == events[-1].id
    assert list(import_check(log, folder)) == []


def test_a_customer_s_whole_history_lies_in_one_shard(log: Log, tmp_path: Path) -> None:
    export(log, tmp_path, "parquet", selection=ALL, shards=2)
    for shard in (0, 1):
        table = pq.read_table(tmp_path / f"facts-{shard:04}.parquet")
        numbers = {number for number in table["customer_number"].to_pylist() if number}
        assert numbers
        assert {number % 2 for number in numbers} == {shard}


def test_a_cell_that_a_spreadsheet_would_calculate_is_exported_harmless(
    log: Log, tmp_path: Path
) -> None:
    export(log, tmp_path, "csv", selection=ALL)
    with (tmp_path / "facts.csv").open(newline="") as lines:
        cells = [cell for row in csv.reader(lines) for cell in row]
    assert [cell for cell in cells if cell.startswith(FORMULAS)] == []
    assert {"'=cmd(0)", "'+1", "'-x"} <= set(cells)


@pytest.mark.parametrize("begins", ["=", "+", "-", "@", "\t", "\r"])
def test_no_beginning_of_a_formula_is_forgotten(begins: str) -> None:
    assert harmless(f"{begins}SUM(A1)") == f"'{begins}SUM(A1)"


@PROPERTY
@given(st.one_of(st.text(), st.text(alphabet="=+-@'\t\r a")))
def test_a_harmless_text_is_read_back_as_it_was(text: str) -> None:
    assert not harmless(text).startswith(FORMULAS)
    assert unescaped(harmless(text)) == text


def test_a_selection_has_what_was_selected(log: Log, tmp_path: Path) -> None:
    kinds = ("credit.LoanApproved", "credit.LoanOpened")
    some = Selection(customer=10_000_002, kinds=kinds)
    manifest = export(log, tmp_path / "some", "jsonl", selection=some)
    facts = list(read_facts(tmp_path / "some", manifest))
    assert [fact.topic for fact in facts] == list(kinds)
    assert {fact.customer_number for fact in facts} == {10_000_002}
    assert list(import_check(log, tmp_path / "some")) == []
    later = Selection(recorded_from=datetime.now(UTC) + timedelta(days=1))
    manifest = export(log, tmp_path / "none", "parquet", selection=later)
    assert (manifest.facts, manifest.first_position) == (0, None)
    assert list(import_check(log, tmp_path / "none")) == []


def test_what_is_recorded_after_an_export_is_no_deviation(lending: Lending, tmp_path: Path) -> None:
    export(lending.reader, tmp_path, "jsonl", selection=ALL)
    lending.register(person(), By(actor="asha", correlation_id="later"))
    assert list(import_check(lending.reader, tmp_path)) == []


@by_format
def test_a_fact_altered_in_the_log_is_named(lending: Lending, tmp_path: Path, how: Format) -> None:
    export(lending.reader, tmp_path, how, selection=ALL)
    schema = lending.database.schema
    (position, *_), *_ = lending.database.run(
        lambda conn: conn.execute(
            f"UPDATE {schema}.events SET state = convert_to(replace(convert_from(state, 'UTF8'),"
            ' \'"actor":"asha"\', \'"actor":"eve"\'), \'UTF8\')'
            " WHERE topic = 'credit.LoanOpened' RETURNING position".encode()
        ).fetchall()
    )
    found = list(import_check(lending.reader, tmp_path))
    assert position in [one.position for one in found]
    assert all(one.exported and one.exported["actor"] == "asha" for one in found)
    assert all(one.logged and one.logged["actor"] == "eve" for one in found)


def test_lines_lost_or_added_are_named(log: Log, tmp_path: Path) -> None:
    export(log, tmp_path, "jsonl", selection=ALL)
    path = tmp_path / "facts.jsonl"
    first, second, *rest = path.read_bytes().splitlines(keepends=True)
    invented = json.loads(second) | {"position": 10**9}
    path.write_bytes(b"".join([first, *rest, json.dumps(invented).encode() + b"\n"]))
    found = list(import_check(log, tmp_path))
    assert [(one.what, one.position, one.file) for one in found] == [
        ("the file is not the one that was exported", None, "facts.jsonl"),
        ("is not in the export", json.loads(second)["position"], None),
        ("is not in the log", 10**9, None),
    ]


@by_format
def test_a_file_that_cannot_be_read_is_named(log: Log, tmp_path: Path, how: Format) -> None:
    manifest = export(log, tmp_path, how, selection=ALL)
    (tmp_path / manifest.files[0].name).write_bytes(b"\x00nothing")
    found = list(import_check(log, tmp_path))
    assert found[0].file == manifest.files[0].name
    (tmp_path / manifest.files[0].name).unlink()
    assert next(import_check(log, tmp_path)).what == "the file is missing"


def test_a_folder_with_something_in_it_is_refused(log: Log, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ExportError, match="not empty"):
        export(log, tmp_path, "jsonl", selection=ALL)
    with pytest.raises(ExportError, match="no complete export"):
        list(import_check(log, tmp_path))
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(ExportError, match="no complete export"):
        list(import_check(log, tmp_path))


@pytest.mark.parametrize("name", ["../facts.jsonl", "/etc/passwd", "sub/facts.jsonl", ".."])
def test_a_manifest_names_files_of_its_folder_only(log: Log, tmp_path: Path, name: str) -> None:
    export(log, tmp_path, "jsonl", selection=ALL)
    manifest = tmp_path / MANIFEST
    manifest.write_text(manifest.read_text("utf-8").replace("facts.jsonl", name), "utf-8")
    with pytest.raises(ExportError, match="which is no file in it"):
        list(import_check(log, tmp_path))


@by_format
def test_a_pipe_in_place_of_a_file_is_named_and_not_waited_for(
    log: Log, tmp_path: Path, how: Format
) -> None:
    file = tmp_path / export(log, tmp_path, how, selection=ALL).files[0].name
    file.unlink()
    os.mkfifo(file)
    assert any("it is no file" in one.what for one in import_check(log, tmp_path))


def test_columns_of_other_names_are_no_export(log: Log, tmp_path: Path) -> None:
    export(log, tmp_path, "csv", selection=ALL)
    file = tmp_path / "facts.csv"
    file.write_text(file.read_text("utf-8").replace("actor", "position", 1), "utf-8")
    assert any("its columns are" in one.what for one in import_check(log, tmp_path))


def test_a_row_cut_off_half_way_is_named(log: Log, tmp_path: Path) -> None:
    export(log, tmp_path, "csv", selection=ALL)
    file = tmp_path / "facts.csv"
    cut = [*file.read_text("utf-8").splitlines()[:-1], "7,a"]
    file.write_text("\n".join(cut), "utf-8")
    found = [one.what for one in import_check(log, tmp_path)]
    assert any("has 2 cells in place of 12" in what for what in found)


@pytest.mark.slow
def test_the_commands_export_check_and_exit_3(
    lending: Lending, database_url: str, tmp_path: Path
) -> None:
    environ = {"DATABASE_URL": database_url, "CREDIT_SCHEMA": lending.database.schema}
    folder = tmp_path / "export"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "credit_es.cli.main", "audit", *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    done = run("export", str(folder), "--format", "csv", "--kind", "LoanApproved", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["facts"] == 3
    assert run("import-check", str(folder)).returncode == 0
    (folder / "facts.csv").write_text("position\n1\n")
    checked = run("import-check", str(folder), "--json")
    assert checked.returncode == 3
    assert json.loads(checked.stdout)["same"] is False
    assert run("export", str(folder)).returncode == 1
    assert "LoanApproved" in run("export", str(tmp_path / "x"), "--kind", "Nothing").stderr
