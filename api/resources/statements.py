"""A customer's whole account, as JSON and as a workbook."""

from collections.abc import Mapping
from datetime import date
from typing import ClassVar

import falcon

from api.accounts import StatementLine, StatementView
from api.answers import answer
from api.fields import known_number
from api.folder import PROBLEMS, put_together
from api.openapi import XLSX, Method, Operation
from api.requests import StatementQuery, valid
from credit_es.application import Lending
from credit_es.domain.customer import Customer
from credit_es.domain.errors import NotAllowedError
from credit_es.domain.statement import Statement, statement
from projections.reading import ReadModel
from workers.account import statement_xlsx


class CustomerStatement:
    """``GET /customers/{customer_id}/statement``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Show a customer's account",
            tag="customers",
            answers={200: StatementView},
            query=StatementQuery,
        )
    }

    def __init__(self, lending: Lending, read_model: ReadModel) -> None:
        self._lending = lending
        self._read_model = read_model

    def on_get(self, req: falcon.Request, resp: falcon.Response, customer_id: str) -> None:
        """All that raised or lowered what is owed, in the order of its days, with a balance."""
        customer, found, first, last = self.find(req, customer_id)
        answer(
            resp,
            StatementView(
                customer_id=customer.number,
                first=first,
                last=last,
                opening_balance=found.opening_balance,
                entries=[
                    StatementLine(
                        date=line.on,
                        loan_id=line.loan_number,
                        movement=line.movement,
                        amount=line.amount,
                        repayment_id=line.repayment_id,
                        balance=line.balance,
                    )
                    for line in found.lines
                ],
                closing_balance=found.closing_balance,
            ),
        )

    on_head = on_get

    def find(
        self, req: falcon.Request, customer_id: str
    ) -> tuple[Customer, Statement, date | None, date]:
        """The customer and the statement that a request asks for, with its first and last day."""
        asked = valid(StatementQuery, req.params, location="query")
        number = known_number(customer_id, "customer")
        today = self._lending.today()
        last = asked.last or today
        if last > today:
            raise NotAllowedError("to", f"today is {today}: give that day or an earlier one")
        if asked.first is not None and asked.first > last:
            raise NotAllowedError("from", f"the statement ends on {last}: give no later day")
        customer, loans = self._read_model.customer(number)
        found = statement(loans, first=asked.first or date.min, last=last)
        return customer, found, asked.first, last


class StatementWorkbook:
    """``GET /customers/{customer_id}/statement.xlsx``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Fetch a customer's account as a workbook",
            tag="customers",
            answers={200: None},
            query=StatementQuery,
            problems=PROBLEMS,
        )
    }

    def __init__(self, account: CustomerStatement) -> None:
        self._account = account

    def on_get(self, req: falcon.Request, resp: falcon.Response, customer_id: str) -> None:
        """The same lines as an .xlsx."""
        customer, found, first, last = self._account.find(req, customer_id)
        resp.content_type = XLSX
        resp.downloadable_as = f"statement-{customer.number}.xlsx"
        otherwise = f"GET /customers/{customer.number}/statement gives the same lines."
        with put_together("workbook", otherwise=otherwise):
            resp.data = statement_xlsx(customer, found, first, last)

    on_head = on_get
