"""What is wrong outside of our code is a sentence that says what to do, and never a traceback."""

import os
from pathlib import Path

import pytest

from credit_es.application import Lending
from credit_es.audit.export import Selection, export
from credit_es.cli import context, processes
from tests.cli.conftest import Command

pytestmark = pytest.mark.slow

NOBODY = "postgresql://credit:secret@127.0.0.1:1/credit"
COMMANDS = (
    ("audit", "history", "customer", "10000001"),
    ("audit", "as-of", "2026-01-31", "portfolio"),
    ("audit", "backtest", "literal"),
    ("audit", "search"),
    ("audit", "verify"),
    ("explain", "--all"),
    ("projections", "rebuild"),
    ("projections", "status"),
    ("projections", "verify"),
)
every_command = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


@every_command
def test_where_no_server_answers_each_command_says_which(
    command: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DATABASE_URL", NOBODY)
    answer = command(*words)
    assert answer.code == 1
    assert answer.out == ""
    assert "Connection refused" in answer.err
    assert "secret" not in answer.err


@every_command
def test_where_nothing_is_migrated_each_command_says_how(
    command: Command, monkeypatch: pytest.MonkeyPatch, database_url: str, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("CREDIT_SCHEMA", "never_made")
    answer = command(*words)
    assert answer.code == 1
    assert "run `credit-es migrate`" in answer.err


def test_a_silent_replica_is_named(
    command: Command, lending: Lending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_READ_URL", NOBODY)
    answer = command("audit", "verify")
    assert answer.code == 1
    assert answer.err.startswith("credit-es: DATABASE_READ_URL cannot be reached")


@pytest.mark.parametrize("variable", ["DATABASE_DIRECT_URL", "DATABASE_URL"])
@pytest.mark.parametrize("words", ["migrate", "projections rebuild", "projections retry"])
def test_the_server_that_session_locks_are_held_on_is_named(
    command: Command,
    lending: Lending,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    words: str,
) -> None:
    monkeypatch.setenv(variable, NOBODY)
    # What a process sets up for itself would stay with the tests that come after.
    monkeypatch.setattr(processes, "_begin", lambda _name: context.settings())
    answer = command(*words.split())
    assert answer.code == 1
    assert answer.err.startswith(f"credit-es: {variable} cannot be reached")
    assert "secret" not in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("audit", "backtest", "nobody"), "literal, standard"),
        (("audit", "backtest", "."), "Is a directory"),
        (("audit", "backtest", "{folder}/bad.toml"), "bad.toml: The policy cannot be read"),
        (("audit", "backtest", "literal", "--plot", "{folder}/no/x.svg"), "No such file"),
        (("audit", "portfolio-report", "{folder}/no/x.xlsx"), "No such file"),
        (("audit", "export", "/dev/full"), "cannot be read or written"),
        (("audit", "import-check", "{folder}"), "no complete export"),
        (("audit", "verify", "--shards", "{folder}"), "no complete export"),
        (
            ("audit", "verify", "--cluster", "nonsense", "--shards", "{folder}/export"),
            "No Dask scheduler answers at nonsense",
        ),
        (("audit", "verify", "--shards", "{folder}/cut"), "cannot be read back"),
        (("audit", "backtest", "literal", "--shards", "{folder}/cut"), "cannot be read back"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_what_a_person_can_mend_is_a_sentence(
    command: Command, lending: Lending, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "bad.toml").write_text("nonsense")
    for name in ("export", "cut"):
        export(lending.reader, tmp_path / name, "parquet", selection=Selection(), shards=1)
    shard = tmp_path / "cut" / "facts-0000.parquet"
    shard.write_bytes(shard.read_bytes()[:-100])
    answer = command(*(word.format(folder=tmp_path) for word in words))
    assert answer.code == 1
    assert said in answer.err
    assert "Errno" not in answer.err


@pytest.mark.parametrize("option", ["--actor", "--reason"])
def test_bytes_that_are_no_text_are_told_and_not_searched_for(
    command: Command, lending: Lending, option: str
) -> None:
    answer = command("audit", "search", option, os.fsdecode(b"\xff\xfe"))
    assert answer.code == 1
    assert answer.err.startswith("credit-es: What was given is no text in UTF-8")


@pytest.mark.parametrize(
    "words",
    [("audit", "verify"), ("audit", "backtest", "literal"), ("explain", "--all")],
    ids=" ".join,
)
def test_a_cluster_is_given_an_export(
    command: Command, lending: Lending, words: tuple[str, ...]
) -> None:
    answer = command(*words, "--cluster", "tcp://127.0.0.1:1")
    assert answer.code == 2
    assert "give --shards DIR" in answer.err


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_an_instant_beyond_the_calendar_is_none(command: Command, text: str) -> None:
    answer = command("audit", "as-of", "2026-01-01", "portfolio", "--known-at", text)
    assert answer.code == 2
    assert "is no instant" in answer.err


@pytest.mark.parametrize(
    ("words", "first", "last"),
    [
        ("backtest literal --from {} --to {}", "2026-01-02", "2026-01-01"),
        ("export {folder} --from {} --to {}", "2026-01-02", "2026-01-01"),
        ("search --occurred-from {} --occurred-to {}", "2026-01-02", "2026-01-01"),
        ("search --recorded-from {} --recorded-to {}", "2026-01-02", "2026-01-01"),
        ("search --amount-from {} --amount-to {}", "100.01", "100"),
    ],
)
def test_a_range_that_ends_before_it_begins_is_refused(
    command: Command, lending: Lending, tmp_path: Path, words: str, first: str, last: str
) -> None:
    answer = command("audit", *words.format(first, last, folder=tmp_path).split())
    assert answer.code == 2
    assert f" {first}" in answer.err
    assert "exchange the two, or leave one out" in answer.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is full")
@pytest.mark.parametrize("name", ["x.svg", "x.png"])
def test_a_full_disk_is_told(command: Command, lending: Lending, tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/dev/full")
    answer = command("audit", "backtest", "literal", "--plot", tmp_path / name)
    assert answer.code == 1
    assert "the disk is full: free some space" in answer.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("audit", "verify"), "all is well"),
        (("audit", "backtest", "literal"), "of 2 cases"),
        (("explain", "--all"), "comes out the same: 2 made again"),
    ],
)
def test_an_export_is_asked_where_there_is_neither_a_database_nor_a_cluster(
    command: Command,
    lending: Lending,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: tuple[str, ...],
    told: str,
) -> None:
    folder = tmp_path / "export"
    export(lending.reader, folder, "parquet", selection=Selection(), shards=2)
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("CREDIT_STATE", str(tmp_path))
    answer = command(*words, "--shards", folder)
    assert (answer.code, answer.err) == (0, "")
    assert told in answer.out


def test_the_shards_of_an_export_are_for_all_decisions(command: Command, tmp_path: Path) -> None:
    refused = command("explain", "10000001-2", "--shards", tmp_path)
    assert refused.code == 2
    assert "--shards goes with --all" in refused.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_told(
    command: Command, lending: Lending, tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    answer = command("audit", "export", tmp_path / "export")
    assert answer.code == 1
    assert "Permission denied" in answer.err


@pytest.mark.parametrize("amount", ["x", "nan", "inf", "1e999999"])
def test_an_amount_that_is_none_is_refused(command: Command, lending: Lending, amount: str) -> None:
    answer = command("audit", "search", "--amount-from", amount)
    assert (answer.code, answer.out) == (2, "")
    assert "write it as 1000.50" in answer.err


@pytest.mark.parametrize(
    "words",
    [
        ("as-of", "2026-02-30", "portfolio"),
        ("backtest", "literal", "--from", "soon"),
        ("portfolio-report", "x.xlsx", "--on", "31.01.2026"),
        ("search", "--occurred-to", "2026-13-01"),
    ],
    ids=" ".join,
)
def test_a_day_that_is_none_is_refused(
    command: Command, lending: Lending, words: tuple[str, ...]
) -> None:
    answer = command("audit", *words)
    assert (answer.code, answer.out) == (2, "")
    assert "write it as 2026-01-31" in answer.err
