"""Customers: registered, shown, found by phone."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar

import falcon

from api.accounts import Corrected, Details
from api.answers import (
    Components,
    CurrentLoans,
    CustomerItem,
    CustomerPage,
    CustomerView,
    Registered,
    answer,
)
from api.commands import read_command
from api.fields import known_number
from api.openapi import Link, Method, Operation
from api.paging import name_next
from api.requests import CorrectionRequest, CustomersQuery, RegisterRequest, valid
from credit_es.application import Lending
from credit_es.domain.customer import Customer
from credit_es.domain.score import score
from credit_es.domain.standing import is_current
from credit_es.domain.values import CustomerDetails, Scorecard
from credit_es.servicing import Servicing
from projections.reading import ReadModel


class Register:
    """``POST /register``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "post": Operation(
            summary="Register a customer",
            tag="customers",
            answers={201: Registered},
            body=RegisterRequest,
            records=True,
            links={
                201: (
                    Link(operation="getOneCustomer", name="customer_id"),
                    Link(operation="getViewLoans", name="customer_id"),
                    Link(operation="getDecisions", name="customer_id"),
                    Link(operation="postCheckEligibility", name="customer_id", in_body=True),
                    Link(operation="postCreateLoan", name="customer_id", in_body=True),
                )
            },
        )
    }

    def __init__(self, lending: Lending) -> None:
        self._lending = lending

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Record a new customer and grant a limit: 36 months' income to the nearest 100,000."""
        given = read_command(req, RegisterRequest)
        fact = self._lending.register(given.body.command(), given.by, given.once)
        resp.status = HTTPStatus.CREATED
        answer(
            resp,
            Registered(
                customer_id=fact.customer_number,
                name=f"{fact.first_name} {fact.last_name}",
                age=fact.age,
                monthly_income=int(fact.monthly_income),
                approved_limit=int(fact.approved_limit),
                phone_number=fact.phone_number,
            ),
        )


class OneCustomer:
    """``GET /customers/{customer_id}``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Show a customer with the score as of today",
            tag="customers",
            answers={200: CustomerView},
        )
    }

    def __init__(self, lending: Lending, read_model: ReadModel) -> None:
        self._lending = lending
        self._read_model = read_model

    def on_get(self, _req: falcon.Request, resp: falcon.Response, customer_id: str) -> None:
        """Who the customer is, the approved limit, and the score with its components."""
        number = known_number(customer_id, "customer")
        customer, loans = self._read_model.customer(number)
        today = self._lending.today()
        card = score(self._lending.policy.score, customer, loans, today).card
        item = _item(customer)
        answer(
            resp,
            CustomerView(
                **{field: getattr(item, field) for field in CustomerItem.__struct_fields__},
                as_of=today,
                score=card.score,
                basis=card.basis,
                components=components(card),
                current_loans=CurrentLoans(
                    count=sum(
                        loan.opened_on <= today and is_current(loan, today) for loan in loans
                    ),
                    amount=card.current_amount,
                    monthly_installments=card.current_installments,
                ),
            ),
        )

    on_head = on_get


class Corrections:
    """``POST /customers/{customer_id}/corrections``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "post": Operation(
            summary="Correct what is known of a customer",
            tag="customers",
            answers={201: Corrected},
            body=CorrectionRequest,
            records=True,
        )
    }

    def __init__(self, servicing: Servicing) -> None:
        self._servicing = servicing

    def on_post(self, req: falcon.Request, resp: falcon.Response, customer_id: str) -> None:
        """Record what was wrong, and since when; nothing is ever overwritten."""
        given = read_command(req, CorrectionRequest)
        number = known_number(customer_id, "customer")
        done = self._servicing.correct(given.body.command(number), given.by, given.once)
        resp.status = HTTPStatus.CREATED
        answer(
            resp,
            Corrected(
                correction_id=done.correction_id,
                customer_id=number,
                effective_on=done.fact.occurred_on,
                was=_details(done.fact.was),
                is_=_details(done.fact.is_),
                customer=_item(done.customer),
            ),
        )


class Customers:
    """``GET /customers?phone_number=``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Find customers by phone",
            tag="customers",
            answers={200: CustomerPage},
            query=CustomersQuery,
            paged=True,
        )
    }

    def __init__(self, read_model: ReadModel) -> None:
        self._read_model = read_model

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Two customers may share a phone. The list may lag behind the log; ``lag`` says how."""
        asked = valid(CustomersQuery, req.params, location="query")
        page = self._read_model.by_phone(
            asked.phone_number, after=asked.after, limit=asked.limit + 1
        )
        shown = page.customers[: asked.limit]
        more = len(page.customers) > asked.limit
        following = (
            {"phone_number": asked.phone_number, "after": shown[-1].number, "limit": asked.limit}
            if more
            else None
        )
        path = name_next(resp, "/customers", following)
        customers = [_item(customer) for customer in shown]
        answer(resp, CustomerPage(customers=customers, lag=page.lag, next=path))

    on_head = on_get


def components(card: Scorecard) -> Components:
    """The parts of a score."""
    return Components(
        paid_on_time=card.paid_on_time,
        past_loans=card.past_loans,
        activity=card.activity,
        volume=card.volume,
    )


def _details(details: CustomerDetails) -> Details:
    income, limit = details.monthly_income, details.approved_limit
    return Details(
        first_name=details.first_name,
        last_name=details.last_name,
        age=details.age,
        phone_number=details.phone_number,
        monthly_income=None if income is None else int(income),
        approved_limit=None if limit is None else int(limit),
    )


def _item(customer: Customer) -> CustomerItem:
    return CustomerItem(
        customer_id=customer.number,
        first_name=customer.first_name,
        last_name=customer.last_name,
        phone_number=customer.phone_number,
        age=customer.age,
        monthly_income=int(customer.monthly_income),
        approved_limit=int(customer.approved_limit),
        imported=customer.imported,
    )
