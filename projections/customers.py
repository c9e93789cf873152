"""Read table ``customers``: one row per customer, naming all of the customer's loans."""

from typing import Final

from credit_es.domain.customer import Customer, evolve
from credit_es.domain.events import CustomerEvent
from projections.projection import Projection

CUSTOMERS: Final = Projection(
    name="customers",
    definition=1,
    row=Customer,
    events=CustomerEvent,
    fold=evolve,
    indexes=("phone_number",),
)
