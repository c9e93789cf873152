"""Two workbooks into the peer's tables: ``python -m benchmarks.peers.load CUSTOMERS LOANS``.

Makes the tables, then prints the seconds from opening the workbooks to the commit, and its peak
memory. Read by the same reader as ours, or with ``--openpyxl`` by the one that such services mostly
take. Every row is taken at its word, nothing is reported or looked up; with ``--checked`` a
serializer checks each row, as ours does.
"""

import resource
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import django
import msgspec
import openpyxl
from python_calamine import load_workbook

BATCH: Final = 1000
SERIAL_ZERO: Final = date(1899, 12, 30)
BLANK: Final = {"", None}


def load(customers: Path, loans: Path, *, checked: bool, by_openpyxl: bool) -> None:
    """Create all rows in one transaction."""
    # Settings are read at the first import.
    from django.db import transaction  # noqa: PLC0415

    from benchmarks.peers.models import Customer, Loan  # noqa: PLC0415
    from benchmarks.peers.serializers import CustomerRow, LoanRow  # noqa: PLC0415

    people: Any = [
        {
            "id": int(number),
            "first_name": first_name,
            "last_name": last_name,
            "age": int(age) if age not in BLANK else None,
            "phone_number": int(phone),
            "monthly_income": Decimal(income),
            "approved_limit": Decimal(limit),
        }
        for number, first_name, last_name, age, phone, income, limit, *_ in _rows(
            customers, by_openpyxl=by_openpyxl
        )
    ]
    lent: Any = [
        {
            "customer_id": int(number),
            "source_loan_id": source_id if isinstance(source_id, str) else str(int(source_id)),
            "amount": Decimal(amount),
            "annual_rate": Decimal(str(rate)),
            "tenure_months": int(tenure),
            "installment": Decimal(payment),
            "emis_on_time": int(emis),
            "opened_on": _day(approved),
            "ends_on": _day(end),
        }
        for number, source_id, amount, tenure, rate, payment, emis, approved, end in _rows(
            loans, by_openpyxl=by_openpyxl
        )
    ]
    if checked:
        people, lent = _checked(CustomerRow, people), _checked(LoanRow, lent)
    with transaction.atomic():
        Customer.objects.bulk_create([Customer(**row) for row in people], batch_size=BATCH)
        Loan.objects.bulk_create([Loan(**row) for row in lent], batch_size=BATCH)


def _checked(serializer: Any, rows: Any) -> Any:
    given = serializer(data=rows, many=True)
    given.is_valid(raise_exception=True)
    return given.validated_data


def _rows(path: Path, *, by_openpyxl: bool) -> Iterator[Any]:
    rows: Iterable[Any]
    if by_openpyxl:
        sheet = openpyxl.load_workbook(path, read_only=True, data_only=True).worksheets[0]
        sheet.reset_dimensions()
        rows = sheet.iter_rows(2, values_only=True)
    else:
        rows = load_workbook(path).get_sheet_by_index(0).to_python()[1:]
    return (row for row in rows if row and row[0] not in BLANK)


def _day(value: Any) -> date:
    if isinstance(value, str):
        return date.fromisoformat(value)
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, (int, float)):
        return SERIAL_ZERO + timedelta(days=value)
    assert isinstance(value, date)
    return value


def main() -> None:
    """Do it."""
    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    call_command("migrate", run_syncdb=True, verbosity=0)
    customers, loans, *options = sys.argv[1:]
    started = time.monotonic()
    load(
        Path(customers),
        Path(loans),
        checked="--checked" in options,
        by_openpyxl="--openpyxl" in options,
    )
    took = {
        "seconds": time.monotonic() - started,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    sys.stdout.buffer.write(msgspec.json.encode(took))


if __name__ == "__main__":
    main()
