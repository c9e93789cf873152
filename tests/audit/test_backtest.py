"""Another policy over the same log: exact, recorded nowhere, and the same on a cluster."""

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from distributed import LocalCluster
from msgspec.structs import replace

from credit_es.application import Lending
from credit_es.audit.backtest import Kind, Outcome, Question, Tallies, added, backtest, backtest_log
from credit_es.audit.backtested import plot, summarized
from credit_es.audit.cluster import backtest_shards, replay_shards, verify_shards
from credit_es.audit.dossiers import BrokenDossierError, dossiers
from credit_es.audit.export import Selection, export
from credit_es.audit.replay import replay_log
from credit_es.domain.events import Decision
from credit_es.domain.policy import Policy, judge
from credit_es.store.mapper import DECODER
from credit_es.store.migrations import migrate
from projections import spread
from tests.domain.facts import imported_customer, imported_loan, loans_imported
from tests.scenario import LITERAL, STANDARD
from tests.store.given import BY, asks, person, settings

pytestmark = pytest.mark.slow

TODAY = date(2026, 11, 24)
STRICT = replace(STANDARD, name="strict", burden_percent=Decimal(10))


@pytest.fixture(scope="module")
def lending(postgres_url: str) -> Iterator[Lending]:
    """Applications of all sorts, and an imported history."""
    schema = f"test_{secrets.token_hex(6)}"
    migrate(postgres_url, schema)
    one = Lending(settings(postgres_url, schema), pool_size=2)
    imported = imported_customer(7, income="20000", limit="200000")
    first = imported_loan(1, amount="100000", installment="5000", on="2024-01-31", emis=9)
    second = imported_loan(2, amount="150000", installment="7000", on="2025-03-31", emis=1)
    one.record([(1, imported), (2, loans_imported(1, 2)), (1, first), (1, second)], BY)
    for n in range(6):
        who = one.register(person(monthly_income=20_000 + 10_000 * n), BY).customer_number
        for amount in ("5000.00", "100000.00", "400000.00"):
            one.apply_for_loan(asks(who, amount, rate="8.00"), BY)
    yield one
    one.close()


def ask(policy: Policy, against: Policy | None = None, **days: date) -> Question:
    first, last = days.get("first"), days.get("last")
    return Question(policy=policy, against=against, first=first, last=last, today=TODAY)


def whole(lending: Lending, question: Question) -> Tallies:
    return backtest(dossiers(lending.reader), question)


def cases(tallies: Tallies, **wanted: object) -> int:
    return sum(
        tally.cases
        for key, tally in tallies.items()
        if all(getattr(key, name) == value for name, value in wanted.items())
    )


@pytest.mark.parametrize("policy", [STANDARD, LITERAL, STRICT], ids=lambda one: one.name)
def test_a_policy_against_itself_changes_nothing(lending: Lending, policy: Policy) -> None:
    tallies = whole(lending, ask(policy, policy))
    assert cases(tallies) == 20
    assert {key.before is key.after for key in tallies} == {True}
    assert {(tally.dearer, tally.cheaper) for tally in tallies.values()} == {(0, 0)}
    assert all(tally.rated_before == tally.rated_after for tally in tallies.values())


def test_the_policy_that_decided_decides_the_same(lending: Lending) -> None:
    tallies = whole(lending, ask(STANDARD))
    decided = {key for key in tallies if key.kind is Kind.APPLICATION}
    assert {key.before is key.after for key in decided} == {True}
    assert cases(tallies, kind=Kind.APPLICATION) == 18


def test_each_application_is_what_judging_it_alone_says(lending: Lending) -> None:
    """The model: every decision of the log, with the states folded anew for each."""
    expected: dict[tuple[Outcome, Outcome], int] = {}
    for batch in lending.reader.tail(0):
        for event in batch:
            fact = DECODER.decode(event.state).fact
            if not isinstance(fact, Decision):
                continue
            loans = [one.loan_number for one in fact.seen.loans]
            who, known = lending.load(fact.customer_number)
            seen = [one for one in known if one.number in loans]
            assert len(seen) == len(loans)
            verdict = judge(STRICT, who, seen, fact.terms, fact.occurred_on)
            before = Outcome.APPROVED if fact.verdict.approved else Outcome.DECLINED
            after = Outcome.APPROVED if verdict.approved else Outcome.DECLINED
            expected[before, after] = expected.get((before, after), 0) + 1
    tallies = whole(lending, ask(STRICT))
    for (before, after), count in expected.items():
        found = cases(tallies, kind=Kind.APPLICATION, before=before, after=after)
        assert found == count, (before, after)
    assert len(expected) > 1


def test_an_imported_loan_is_judged_on_its_own_day_by_what_was_true_then(lending: Lending) -> None:
    imported = {
        key: tally
        for key, tally in whole(lending, ask(STANDARD)).items()
        if key.kind is Kind.IMPORTED
    }
    assert sum(tally.cases for tally in imported.values()) == 2
    # The first was a thin file's; the second would have exceeded the limit beside the first.
    assert {(key.after, key.reasons) for key in imported} == {
        (Outcome.APPROVED, ("RATE_CORRECTED",)),
        (Outcome.DECLINED, ("OVER_LIMIT", "INSTALLMENT_BURDEN")),
    }
    later = whole(lending, ask(STANDARD, first=date(2025, 1, 1), last=date(2025, 12, 31)))
    assert [(key.kind, tally.cases, tally.due, tally.on_time) for key, tally in later.items()] == [
        (Kind.IMPORTED, 1, 19, 1)
    ]


def test_nothing_is_recorded(lending: Lending) -> None:
    before = lending.reader.head()
    whole(lending, ask(STRICT))
    assert lending.reader.head() == before


@pytest.mark.parametrize("version", [1, 2])
def test_a_history_with_a_hole_is_named_and_not_judged(lending: Lending, version: int) -> None:
    whole = next(one for one in dossiers(lending.reader) if one.customer_number == 10_000_001)
    broken = replace(whole, history=[*whole.history[: version - 1], *whole.history[version:]])
    loans = {number: stream[1:] or whole.history for number, stream in whole.loans.items()}
    for one in (broken, replace(whole, loans=loans), replace(whole, loans={})):
        with pytest.raises(BrokenDossierError, match=r"customer 10000001 .* verify the log"):
            backtest([one], ask(STRICT))


def test_a_cluster_of_two_workers_gives_the_same_answer_to_the_cent(
    lending: Lending, tmp_path: Path
) -> None:
    export(lending.reader, tmp_path, "parquet", selection=Selection(), shards=4)
    question = ask(STRICT)
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
    ) as cluster:
        address = cluster.scheduler_address
        done: list[int] = []
        clustered = backtest_shards(address, tmp_path, question, lambda n, _: done.append(n))
        count, failed = replay_shards(address, tmp_path, lambda _n, _of: None)
        checked = verify_shards(address, tmp_path, lambda _n, _of: None)
    assert clustered == whole(lending, question)
    assert done == [1, 2, 3, 4]
    assert (count, failed) == (18, None)
    assert checked == verify_shards(None, tmp_path, lambda _n, _of: None)
    assert (checked.position, checked.faults) == (lending.reader.head().safe, [])


def test_parts_add_up_to_the_whole(lending: Lending) -> None:
    question = ask(LITERAL)
    parts = [backtest([one], question) for one in dossiers(lending.reader)]
    assert added(parts) == whole(lending, question)


def test_every_core_together_gives_the_same_answer(
    lending: Lending, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, question = settings(postgres_url, lending.database.schema), ask(STRICT)
    reached: list[tuple[int, int]] = []
    alone = backtest_log(told, question, lambda at, head: reached.append((at, head)))
    monkeypatch.setattr(spread, "SMALL", 0)
    monkeypatch.setattr(spread, "CORES", 3)
    together = backtest_log(told, question, lambda at, head: reached.append((at, head)))
    assert alone == together == whole(lending, question)
    assert replay_log(told, lambda _at, _head: None) == (18, None)
    assert reached[-1] == (lending.reader.head().safe,) * 2


def test_the_summary_is_exact_and_counts_what_changed(lending: Lending) -> None:
    tallies = whole(lending, ask(STRICT))
    summary = summarized(tallies, ask(STRICT))
    assert summary.cases == 20
    assert sum(line.cases for line in summary.changes) == 20
    assert sum(line.cases for line in summary.by_slab) == 20
    amounts = sum((tally.amount for tally in tallies.values()), Decimal(0))
    assert sum((line.amount for line in summary.changes), Decimal(0)) == amounts
    assert summary.changed >= cases(tallies, before=Outcome.APPROVED, after=Outcome.DECLINED) > 0


@pytest.mark.parametrize(("suffix", "begins"), [(".svg", b"<?xml"), (".png", b"\x89PNG")])
def test_a_plot_is_drawn(lending: Lending, tmp_path: Path, suffix: str, begins: bytes) -> None:
    tallies = whole(lending, ask(STRICT))
    summary = summarized(tallies, ask(STRICT))
    file = tmp_path / f"plot{suffix}"
    plot(tallies, summary, file)
    assert file.read_bytes().startswith(begins)


def test_the_command_judges_by_name_or_file(
    lending: Lending, postgres_url: str, tmp_path: Path
) -> None:
    environ = {"DATABASE_URL": postgres_url, "CREDIT_SCHEMA": lending.database.schema}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "credit_es.cli.main", "audit", "backtest", *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    done = run("literal", "--json", "--plot", str(tmp_path / "plot.svg"))
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["policy"], document["against"], document["cases"]) == (
        "literal",
        "as decided",
        20,
    )
    assert (tmp_path / "plot.svg").stat().st_size > 0
    assert "application: approved" in run("standard", "--csv").stdout
    assert run("nobody").returncode == 1
    assert run("standard", "--plot", "x.pdf").returncode == 2
    assert run("standard", "--cluster", "tcp://127.0.0.1:1").returncode == 2
