"""What a request with an Idempotency-Key came to is read by the release after, too.

Whoever sends it again while two releases run side by side, or within a day of an upgrade, is
answered from what the other one kept. The files are never rewritten: an added field of an outcome,
or of the customer in one, gets a default.
"""

import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest

from credit_es.application import Outcome
from credit_es.domain import customer
from credit_es.domain.events import (
    CustomerCorrected,
    CustomerImported,
    CustomerRegistered,
    LoanApproved,
)
from credit_es.domain.standing import Status
from credit_es.servicing import CustomerNowKnown, GivenUp, Repaid, Reversed
from tests.golden.test_events import EXPECTED, INGESTION

FOLDER: Final = Path(__file__).parent
ROOT: Final = FOLDER.parents[1]
STANDING: Final[dict[str, Any]] = {
    "loan_number": 10_000_003,
    "version": 4,
    "repayments_left": 23,
    "outstanding_principal": Decimal("9636.27"),
    "status": Status.OVERDUE,
}


def told(kind: type[Any]) -> Any:
    return next(fact for fact in EXPECTED if isinstance(fact, kind))


IMPORTED: Final = told(CustomerImported)
CORRECTED: Final = told(CustomerCorrected)
OUTCOMES: Final[tuple[Any, ...]] = (
    told(CustomerRegistered),
    Outcome(decision=told(LoanApproved), version=3),
    UUID(INGESTION),
    Repaid(
        **STANDING,
        amount=Decimal("500.00"),
        paid_on=date(2026, 3, 1),
        reference="bank/42",
        installments_paid=(1,),
    ),
    Reversed(**STANDING, repayment=3, amount=Decimal("500.00"), reversed_on=date(2026, 3, 1)),
    GivenUp(**STANDING, written_off_on=date(2026, 3, 1)),
    CustomerNowKnown(
        fact=CORRECTED, customer=customer.evolve(customer.evolve(None, IMPORTED), CORRECTED)
    ),
)


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda one: type(one).__name__)
def test_an_outcome_that_another_release_kept_is_read(outcome: Any) -> None:
    kept = FOLDER / f"outcome.{type(outcome).__name__}.json"
    assert msgspec.json.decode(kept.read_bytes(), type=type(outcome)) == outcome


def test_every_kind_of_outcome_is_among_them() -> None:
    sources = [path.read_text("utf-8") for path in (ROOT / "credit_es").glob("*.py")]
    kinds = {kind for text in sources for kind in re.findall(r"command\(decide, (\w+),", text)}
    assert kinds == {type(outcome).__name__ for outcome in OUTCOMES}
