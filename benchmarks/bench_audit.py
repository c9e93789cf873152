"""What do an auditor's questions cost with a million facts in the log?

The log has a customer of 5,000 facts among others with three loans each. A history and pages of
searches are timed through the same functions as the commands. The peer's history is that of one of
the same loans as a Django model under django-simple-history, as many rows; its rows carry no
sentence, source or second clock. A backtest and a replay of every decision are what the commands
do, on every core, and are compared, per fact of the log, with the one-shard rebuild of the read
tables in the same run. Those the peer cannot answer, for it keeps no decision.

Arguments: facts (1,000,000), facts of the long stream (5,000).
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final

import psycopg

from benchmarks.bench_asof import PEER, Historic, run
from benchmarks.bench_decision import customer
from benchmarks.bench_rebuild import Ours
from benchmarks.harness import asked, in_turns, postgres, say, table
from benchmarks.history import copy_history
from credit_es.application import Lending
from credit_es.audit.backtest import Question, Tallies, backtest_log
from credit_es.audit.history import whole_history
from credit_es.audit.replay import replay_log
from credit_es.audit.search import find, topic_of
from credit_es.domain.policy import load_policy
from projections.facts import FactIndex, Wanted
from projections.rebuild import rebuilder
from tests.processes import children_of, peaks_of
from tests.store.given import settings

FACTS: Final = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
LONG: Final = int(sys.argv[2]) if len(sys.argv) > 2 else 5_000  # noqa: PLR2004
FACTS_A_CUSTOMER: Final = 6
TIMES: Final = 21
HISTORY_MS: Final = 50.0


def p50_ms(ask: Callable[[], object]) -> float:
    """The median of some calls."""
    times = []
    for _ in range(TIMES):
        started = time.perf_counter()
        ask()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def index_all(url: str, lending: Lending) -> float:
    """Fill the search index; returns facts a second."""
    started, count = time.perf_counter(), 0
    with psycopg.connect(url, autocommit=True) as conn:
        index = FactIndex(conn, lending.reader, "credit")
        while batch := index.step():
            count += batch
        conn.execute("VACUUM (ANALYZE) credit.facts")
    return count / (time.perf_counter() - started)


def searches(long: int) -> dict[str, Wanted]:
    """What is searched for: what there is much of, what there is little of, and both."""
    today = datetime.now(UTC).date()
    return {
        "an actor of nearly all facts": Wanted(actor="bench"),
        "a customer": Wanted(customer_number=long),
        "a kind": Wanted(topic=topic_of("LoanImported")),
        "a reason": Wanted(reason="RATE_CORRECTED"),
        "an amount nobody has": Wanted(amount_from=Decimal("777.77"), amount_to=Decimal("777.77")),
        "a kind about a customer, today": Wanted(
            topic=topic_of("LoanDeclined"), customer_number=long, occurred_from=today
        ),
        "an actor and a reason": Wanted(actor="tester", reason="OVER_LIMIT"),
    }


def historic(url: str) -> float:
    """The p50 of the peer's history, in ms."""
    peer = Historic(url, LONG)
    said, _ = run(["-m", PEER, "history", str(LONG), str(TIMES)], peer.environment)
    return float(said)


def main() -> None:
    """Ask everything."""
    with postgres() as server:
        customers = -(-(FACTS - LONG) // FACTS_A_CUSTOMER)
        copy_history(server.url, "credit", range(customers))
        lending = Lending(settings(server.url, "credit"), pool_size=2)
        lending.numbers.pass_by("customer", 10**9)
        lending.numbers.pass_by("loan", 10**9)
        long = customer(lending, LONG)
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute("VACUUM (ANALYZE) credit.events")
            row = conn.execute("SELECT count(*) FROM credit.events").fetchone()
            facts = int(row[0]) if row else 0
        say(f"  {facts:,} facts are in the log")
        with rebuilder(server.url, "credit") as tables:
            tables.prepare()
        log = lending.reader
        indexed = index_all(server.url, lending)
        say(f"  {indexed:,.0f} facts/s indexed")
        whole = p50_ms(lambda: list(whole_history(log, "customer", str(long))))
        rows: list[tuple[Any, ...]] = [
            (f"history of {LONG:,} facts", whole, asked(whole, at_most=HISTORY_MS)),
            (f"django-simple-history, {LONG:,} rows", historic(server.url), ""),
        ]
        for name, wanted in searches(long).items():
            rows.append((f"search: {name}", p50_ms(partial(find, log, log, wanted)), ""))
        table(f"An auditor's question with {facts:,} facts", ("what", "p50, ms", "asked"), rows)

        standard, literal = load_policy("standard"), load_policy("literal")
        today = lending.today()
        question = Question(policy=literal, against=standard, first=None, last=None, today=today)
        tallies: Tallies = {}

        told = settings(server.url, "credit")
        peaks: dict[str, float] = {}

        def rate(name: str, ask: Callable[[], object]) -> float:
            started = time.perf_counter()
            with peaks_of(lambda: children_of(os.getpid(), "projections.spread")) as seen:
                ask()
            peaks[name] = max([peaks.get(name, 0.0), *seen.values()])
            return facts / (time.perf_counter() - started)

        def judge_all() -> None:
            tallies.update(backtest_log(told, question, lambda _at, _head: None))

        def replay_all() -> None:
            _, failed = replay_log(told, lambda _at, _head: None)
            assert failed is None, failed

        one = Ours(server.url, facts, 1)
        got = in_turns(
            {
                "rebuild, one shard": one.rate,
                "backtest": partial(rate, "backtest", judge_all),
                "explain --all": partial(rate, "explain --all", replay_all),
            }
        )
        peaks["rebuild, one shard"] = one.peak_mib
        lending.close()
    cases = sum(tally.cases for tally in tallies.values())
    rebuild = got["rebuild, one shard"]
    table(
        f"The whole log, {facts:,} facts, {cases:,} applications and imported loans",
        ("what", "facts/s", "ratio", "peak of a process, MiB", "asked"),
        [
            (
                name,
                figure,
                figure / rebuild,
                peaks[name],
                asked(figure / rebuild, at_least=1.0) if n else "",
            )
            for n, (name, figure) in enumerate(got.items())
        ],
    )


if __name__ == "__main__":
    main()
