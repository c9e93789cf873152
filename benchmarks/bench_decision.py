"""Does a customer of 5,000 events decide as fast as one of 50? Both have 20 loans.

The peer is the same customer without a snapshot, whose whole stream is folded. Decisions are
refusals, recorded as in earnest; the two take turns. Each round has several short streams share its
decisions, or they would not stay short. A round's figure is its median, what is told the median of
the rounds.
"""

import statistics
import sys
import time
from typing import Final

from benchmarks.harness import ROUNDS, asked, postgres, table
from credit_es.application import Lending
from credit_es.store import snapshots
from tests.store.given import BY, asks, person, settings

LONG: Final = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
SHORT: Final = 50
LOANS: Final = 20
DECISIONS: Final = 301
AT_MOST: Final = 1.5
TOO_MUCH: Final = "999999999.00"


def customer(lending: Lending, events: int) -> int:
    """Register somebody and let them apply until the stream has so many events."""
    number = lending.register(person(monthly_income=1_000_000), BY).customer_number
    for _ in range(LOANS):
        lending.apply_for_loan(asks(number, "1000.00"), BY)
    for _ in range(events - LOANS - 1):
        lending.apply_for_loan(asks(number, TOO_MUCH), BY)
    assert len(lending.load(number)[1]) == LOANS
    return number


def decide(lending: Lending, number: int) -> float:
    """Milliseconds of one decision."""
    started = time.perf_counter()
    lending.apply_for_loan(asks(number, TOO_MUCH), BY)
    return (time.perf_counter() - started) * 1000


def main() -> None:
    """Print the medians, and their ratio to the short stream's."""
    with postgres() as server:
        lending = Lending(settings(server.url, "credit"))
        long = customer(lending, LONG)
        short, without = f"{SHORT} events", f"{LONG} events, no snapshot"
        rounds: dict[str, list[float]] = {short: [], f"{LONG} events": []}
        for _ in range(ROUNDS):
            streams = [customer(lending, SHORT) for _ in range(DECISIONS // 25)]
            numbers = dict(zip(rounds, (streams, [long]), strict=True))
            took: dict[str, list[float]] = {who: [] for who in numbers}
            for turn in range(DECISIONS):
                for who, some in numbers.items():
                    took[who].append(decide(lending, some[turn % len(some)]))
            for who, times in took.items():
                rounds[who].append(statistics.median(times))
        snapshots.EVERY = sys.maxsize  # type: ignore[misc]
        lending.database.run(lambda conn: conn.execute("DELETE FROM credit.snapshots"))
        rounds[without] = [decide(lending, long) for _ in range(31)]
        lending.close()
    medians = {who: statistics.median(all_of) for who, all_of in rounds.items()}
    rows = []
    for who, median in medians.items():
        ratio = median / medians[short]
        rows.append((who, median, ratio, asked(ratio, at_most=AT_MOST) if who != without else ""))
    headings = ("stream", "p50, ms", "ratio", "asked")
    table("One decision, by the length of the customer's stream", headings, rows)


if __name__ == "__main__":
    main()
