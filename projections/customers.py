"""Read table ``customers``: one row per customer, naming all of the customer's loans."""

from typing import Final

from credit_es.domain.customer import DEFINITION, Customer, evolve
from credit_es.domain.events import CustomerEvent
from projections.projection import Projection

CUSTOMERS: Final = Projection(
    name="customers",
    definition=DEFINITION,
    row=Customer,
    events=CustomerEvent,
    fold=evolve,
    indexes=(("phone_number", "number"),),
)
