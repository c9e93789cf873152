"""What every benchmark shares: a durable Postgres of its own, writers as processes, ratios.

A machine is noisy, so peer and candidate take turns in one run, and what is quoted is the median of
the rounds and the ratio of the medians.
"""

import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from credit_es.store.migrations import migrate
from tests.servers import RunningServer, running_postgres

ROUNDS: Final = 3
READY_S: Final = 30
SPAWN: Final = multiprocessing.get_context("spawn")

MISSED: Final = "missed"

Contender = Callable[[], float]
"""One measured round; returns its figure, the higher the better unless said otherwise."""


@contextmanager
def postgres(schema: str = "credit") -> Iterator[RunningServer]:
    """A durable Postgres with one migrated schema, gone afterwards."""
    with running_postgres(durable=True) as server:
        migrate(server.url, schema)
        yield server


def in_turns(contenders: Mapping[str, Contender], rounds: int = ROUNDS) -> dict[str, float]:
    """Run the contenders in turns; returns the median figure of each."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(1, rounds + 1):
        for name, measure in contenders.items():
            figures[name].append(measure())
            say(f"  round {number} {name}: {figures[name][-1]:,.2f}")
    return {name: statistics.median(values) for name, values in figures.items()}


def writers(target: Callable[..., int], count: int, *args: Any) -> tuple[int, float]:
    """Run ``target(number, ready, go, *args)`` in processes; their sum, and the seconds it took."""
    ready, go = SPAWN.Semaphore(0), SPAWN.Event()
    with SPAWN.Manager() as manager:
        done: Any = manager.list()
        processes = [
            SPAWN.Process(target=_write, daemon=True, args=(done, target, number, ready, go, *args))
            for number in range(count)
        ]
        for process in processes:
            process.start()
        for _ in processes:
            assert ready.acquire(timeout=READY_S), "a writer did not get ready"
        started = time.monotonic()
        go.set()
        for process in processes:
            process.join()
            assert process.exitcode == 0, f"a writer ended with {process.exitcode}"
        return sum(done), time.monotonic() - started


def _write(done: Any, target: Callable[..., int], *args: Any) -> None:
    done.append(target(*args))


def asked(figure: float, *, at_least: float = 0, at_most: float = math.inf) -> str:
    """What a figure is asked to be, and whether it is: a table's last column."""
    which, limit = ("most", at_most) if at_most < math.inf else ("least", at_least)
    bound = f"at {which} {round(limit, 2):g}"
    return bound if at_least <= figure <= at_most else f"{bound}: {MISSED}"


def table(question: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table for ``benchmarks/README.md``; tell ``make bench`` what is missed."""
    say(f"\n### {question}\n")
    say(f"`python -m {_command()}` on {machine()}\n")
    say("| " + " | ".join(headings) + " |")
    say("|" + "---|" * len(headings))
    for row in rows:
        line = " | ".join(f"{v:,.2f}" if isinstance(v, float) else str(v) for v in row)
        say(f"| {line} |")
        if MISSED in str(row[-1]) and (told := os.environ.get("BENCH_MISSED")):
            with Path(told).open("a") as missed:
                missed.write(f"{question}: {line}\n")


def machine() -> str:
    """The machine in a few words."""
    cores = multiprocessing.cpu_count()
    return f"{cores} cores, {platform.machine()}, Python {platform.python_version()}"


def say(line: str) -> None:
    """Print at once, whoever reads."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _command() -> str:
    main = sys.modules["__main__"].__spec__
    return " ".join([main.name if main else sys.argv[0], *sys.argv[1:]])
