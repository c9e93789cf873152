"""The next release of this code: the table of loans gets a column and thereby a new definition.

Run as a program, it is that release's ``credit-es``; ``owed`` prints what its readers see.
"""

import sys
from decimal import Decimal
from typing import Final

from msgspec import Struct, structs

from credit_es.domain import loan
from credit_es.domain.events import LoanEvent
from credit_es.domain.loan import Loan
from projections import loans
from projections.projection import Projection


class NextLoan(Loan, Struct, frozen=True, kw_only=True):
    """A loan, and what all of its installments sum to."""

    owed: Decimal


def evolve(row: NextLoan | None, event: LoanEvent) -> NextLoan:
    now = loan.evolve(row, event)
    return NextLoan(**structs.asdict(now), owed=now.installment * now.tenure_months)


NEXT_LOANS: Final = Projection(
    name="loans",
    definition=loan.DEFINITION + 1,
    row=NextLoan,
    events=LoanEvent,
    fold=evolve,
    indexes=(("owed",),),
)


def owed(numbers: list[int]) -> None:
    from credit_es.settings import read_settings  # noqa: PLC0415
    from credit_es.store.database import Database  # noqa: PLC0415
    from projections.reading import ReadModel  # noqa: PLC0415

    settings = read_settings()
    database = Database(settings.database_url, schema=settings.schema, pool_size=1)
    for number in numbers:
        one = ReadModel(database).loan(number)[0]
        assert isinstance(one, NextLoan)
        sys.stdout.write(f"{one.number} {one.owed}\n")
    database.close()


if __name__ == "__main__":
    # Under the name by which a shard's process finds them; before the rest of the release is there.
    from tests.projections import next_release  # noqa: PLW0406

    loans.LOANS = next_release.NEXT_LOANS  # type: ignore[assignment, misc]
    if sys.argv[1] == "owed":
        next_release.owed([int(number) for number in sys.argv[2:]])
    else:
        from credit_es.cli.main import main

        main()
