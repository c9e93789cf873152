"""Read table ``loans``: one row per loan, for view-loan and view-loans."""

from typing import Final

from credit_es.domain.events import LoanEvent
from credit_es.domain.loan import DEFINITION, Loan, evolve
from projections.projection import Projection

LOANS: Final = Projection(
    name="loans",
    definition=DEFINITION,
    row=Loan,
    events=LoanEvent,
    fold=evolve,
    indexes=(("customer_number",),),
)
