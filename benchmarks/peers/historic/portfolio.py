"""The portfolio as it was known at an instant: ``python -m benchmarks.peers.historic.portfolio``.

``fill`` makes the tables and copies the loans of our read table into them, each with one row of
history. ``history ROWS TIMES`` gives one of them so many rows, and prints the median milliseconds
in which they are read. ``ask INSTANT DAY`` counts the loans as of the instant by status and year,
through our own domain, and prints the seconds and the counts. One clock only: of a day past it can
say what had been entered until then, not what was true then. Slabs it cannot tell, for it keeps no
decision.
"""

import statistics
import sys
import time
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import django
import msgspec

COLUMNS: Final = (
    "number, customer_number, amount, annual_rate, tenure_months, installment, emis_on_time,"
    " opened_on, ends_on"
)
FILL: Final = (
    f"INSERT INTO historic_loan ({COLUMNS}) SELECT {COLUMNS} FROM credit.loans_v1",  # noqa: S608
    f"INSERT INTO historic_historicalloan ({COLUMNS}, history_date, history_type)"  # noqa: S608
    f" SELECT {COLUMNS}, now(), '+' FROM historic_loan",
    "VACUUM (ANALYZE) historic_loan, historic_historicalloan",
)
LENGTHEN: Final = (
    f"INSERT INTO historic_historicalloan ({COLUMNS}, history_date, history_type)"  # noqa: S608
    f" SELECT {COLUMNS}, now(), '~' FROM historic_loan, generate_series(1, %s)"
    " WHERE number = %s"
)
CHUNK: Final = 2000


def fill() -> None:
    """Make the tables, and fill them."""
    # Settings are read at the first import.
    from django.core.management import call_command  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415

    call_command("migrate", run_syncdb=True, verbosity=0)
    with connection.cursor() as cursor:
        for statement in FILL:
            cursor.execute(statement)


def ask(instant: datetime, on: date) -> dict[str, Any]:
    """Count the loans as they were known."""
    from benchmarks.peers.historic.models import Loan  # noqa: PLC0415
    from credit_es.domain.standing import (  # noqa: PLC0415
        due_and_on_time,
        outstanding_principal,
        status_of,
    )

    started = time.monotonic()
    cells: dict[tuple[str, int], list[Any]] = {}
    known: Any = Loan.history.as_of(instant).iterator(chunk_size=CHUNK)
    for loan in known:
        status = status_of(loan, on)
        left = outstanding_principal(loan)
        sums = cells.setdefault((status, loan.opened_on.year), [0, Decimal(0), Decimal(0), 0, 0])
        sums[0] += 1
        sums[1] += loan.amount
        sums[2] += left or 0
        due, on_time = due_and_on_time(loan, on)
        sums[3] += due
        sums[4] += on_time
    return {
        "seconds": time.monotonic() - started,
        "loans": sum(each[0] for each in cells.values()),
        "amount": str(sum(each[1] for each in cells.values())),
    }


def history(rows: int, times: int) -> float:
    """The median milliseconds in which so many rows of one loan's history are read."""
    from django.db import connection  # noqa: PLC0415

    from benchmarks.peers.historic.models import Loan  # noqa: PLC0415

    number = Loan.history.order_by("number").values_list("number", flat=True)[0]
    with connection.cursor() as cursor:
        cursor.execute(LENGTHEN, [rows - 1, number])
        cursor.execute("ANALYZE historic_historicalloan")
    took = []
    for _ in range(times):
        started = time.perf_counter()
        found = list(Loan.history.filter(number=number))
        took.append(1000 * (time.perf_counter() - started))
        assert len(found) == rows
    return statistics.median(took)


def main() -> None:
    """Do what is asked."""
    django.setup()
    match sys.argv[1:]:
        case ["fill"]:
            fill()
        case ["history", rows, times]:
            sys.stdout.write(str(history(int(rows), int(times))))
        case ["ask", instant, day]:
            answer = ask(datetime.fromisoformat(instant), date.fromisoformat(day))
            sys.stdout.buffer.write(msgspec.json.encode(answer))
        case _:
            sys.exit("fill, history ROWS TIMES, or ask INSTANT DAY")


if __name__ == "__main__":
    main()
