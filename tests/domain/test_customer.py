"""A customer is what the customer's stream says."""

from credit_es.domain.customer import Customer
from tests.domain.facts import (
    CUSTOMER,
    approved,
    declined,
    imported_customer,
    loans_imported,
    money,
    registered,
)
from tests.scenario import NEXT, TODAY, given

REGISTERED = Customer(
    number=CUSTOMER,
    version=1,
    first_name="Ada",
    last_name="Lovelace",
    age=36,
    phone_number=9876543210,
    monthly_income=money("100000"),
    approved_limit=money("1000000"),
    imported=False,
    loans=(),
    registered_on=TODAY,
)


def test_a_registered_customer_has_no_loans_yet() -> None:
    assert given(registered()).customer == REGISTERED


def test_what_an_import_left_out_stays_unknown() -> None:
    assert given(imported_customer()).customer == Customer(
        number=CUSTOMER,
        version=1,
        first_name="Ada",
        last_name="Lovelace",
        age=None,
        phone_number=None,
        monthly_income=money("100000"),
        approved_limit=money("1000000"),
        imported=True,
        loans=(),
    )


def test_the_stream_names_every_loan_imported_or_granted_and_counts_every_fact() -> None:
    customer = given(
        imported_customer(),
        loans_imported(5, 3),
        declined("OVER_LIMIT"),
        approved(),
        loans_imported(8),
    ).customer
    assert customer.loans == (5, 3, NEXT, 8)
    assert customer.version == 5
