"""Loans: asked about, applied for, shown."""

from collections.abc import Mapping
from datetime import date
from http import HTTPStatus
from typing import Any, ClassVar, Final

import falcon

from api.answers import (
    Borrower,
    Eligibility,
    LoanDecided,
    LoanItem,
    LoanView,
    answer,
)
from api.commands import read_command
from api.fields import known_number
from api.jsonbody import read_json
from api.openapi import READ_PROBLEMS, Link, Method, Operation
from api.requests import LoanRequest, LoansQuery, valid
from api.reviews import Referred
from credit_es.application import Lending, Outcome
from credit_es.audit.decisions import message
from credit_es.domain.events import LoanReferred
from credit_es.domain.loan import Loan
from credit_es.domain.standing import Status, closed_on, repayments_left, status_of
from projections.reading import ReadModel

WITH_STATUS: Final = {
    "current": {Status.CURRENT, Status.OVERDUE},
    "closed": {Status.CLOSED, Status.WRITTEN_OFF},
    "all": set(Status),
}


class CheckEligibility:
    """``POST /check-eligibility``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "post": Operation(
            summary="Ask what an application would come to",
            tag="loans",
            answers={200: Eligibility},
            problems=(*READ_PROBLEMS, 404),
            body=LoanRequest,
        )
    }

    def __init__(self, lending: Lending) -> None:
        self._lending = lending

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Judge an application by the policy, and record nothing."""
        command = valid(LoanRequest, read_json(req)).command()
        verdict = self._lending.check_eligibility(command)
        answer(
            resp,
            Eligibility(
                customer_id=command.customer_number,
                approval=verdict.approved,
                interest_rate=command.terms.annual_rate,
                corrected_interest_rate=verdict.annual_rate,
                tenure=command.terms.tenure_months,
                monthly_installment=verdict.installment,
                score=verdict.scorecard.score,
                reasons=verdict.reasons,
            ),
        )


class CreateLoan:
    """``POST /create-loan``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "post": Operation(
            summary="Apply for a loan",
            tag="loans",
            answers={201: LoanDecided, 200: LoanDecided, 202: Referred},
            problems=(*READ_PROBLEMS, 404),
            body=LoanRequest,
            records=True,
            links={
                201: (
                    Link(operation="getViewLoan", name="loan_id"),
                    Link(operation="getOneDecision", name="decision_id"),
                ),
                200: (Link(operation="getOneDecision", name="decision_id"),),
                202: (
                    Link(operation="getOneReview", name="application_id"),
                    Link(operation="postApprove", name="application_id"),
                    Link(operation="postDecline", name="application_id"),
                    Link(operation="getOneDecision", name="decision_id"),
                ),
            },
        )
    }

    def __init__(self, lending: Lending) -> None:
        self._lending = lending

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Decide on an application: 201 approved, 200 declined, 202 left to a reviewer.

        Either way it is recorded.
        """
        given = read_command(req, LoanRequest)
        outcome = self._lending.apply_for_loan(given.body.command(), given.by, given.once)
        if isinstance(outcome.decision, LoanReferred):
            application_id = outcome.decision_id
            resp.status = HTTPStatus.ACCEPTED
            resp.location = f"/reviews/{application_id}"
            answer(
                resp,
                Referred(
                    application_id=application_id,
                    message=message(outcome.decision),
                    decision_id=outcome.decision_id,
                ),
            )
            return
        told = LoanDecided(**decided(outcome))
        resp.status = HTTPStatus.CREATED if told.loan_approved else HTTPStatus.OK
        answer(resp, told)


def decided(outcome: Outcome) -> dict[str, Any]:
    """What is told of a decision to approve or to decline."""
    decision = outcome.decision
    return {
        "loan_id": decision.loan_number,
        "customer_id": decision.customer_number,
        "loan_approved": decision.loan_number is not None,
        "message": message(decision),
        "monthly_installment": decision.verdict.installment,
        "interest_rate": decision.verdict.annual_rate,
        "decision_id": outcome.decision_id,
        "reasons": decision.verdict.reasons,
    }


class ViewLoan:
    """``GET /view-loan/{loan_id}``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(summary="Show a loan", tag="loans", answers={200: LoanView})
    }

    def __init__(self, lending: Lending, read_model: ReadModel) -> None:
        self._lending = lending
        self._read_model = read_model

    def on_get(self, _req: falcon.Request, resp: falcon.Response, loan_id: str) -> None:
        """Show a loan with its customer, as of the last thing recorded."""
        number = known_number(loan_id, "loan")
        loan, customer = self._read_model.loan(number)
        answer(
            resp,
            LoanView(
                **_fields(loan, self._lending.today()),
                customer=Borrower(
                    id=customer.number,
                    first_name=customer.first_name,
                    last_name=customer.last_name,
                    phone_number=customer.phone_number,
                    age=customer.age,
                ),
            ),
        )

    on_head = on_get


class ViewLoans:
    """``GET /view-loans/{customer_id}``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="List a customer's loans",
            tag="loans",
            answers={200: list[LoanItem]},
            query=LoansQuery,
        )
    }

    def __init__(self, lending: Lending, read_model: ReadModel) -> None:
        self._lending = lending
        self._read_model = read_model

    def on_get(self, req: falcon.Request, resp: falcon.Response, customer_id: str) -> None:
        """List a customer's loans: the current ones, the closed ones, or all."""
        asked = valid(LoansQuery, req.params, location="query")
        number = known_number(customer_id, "customer")
        _, loans = self._read_model.customer(number)
        today = self._lending.today()
        items = [LoanItem(**_fields(loan, today)) for loan in loans]
        wanted = WITH_STATUS[asked.status]
        answer(resp, [item for item in items if item.status in wanted])

    on_head = on_get


def _fields(loan: Loan, today: date) -> dict[str, Any]:
    """What every view of a loan shows."""
    return {
        "loan_id": loan.number,
        "loan_amount": loan.amount,
        "interest_rate": loan.annual_rate,
        "monthly_installment": loan.installment,
        "tenure": loan.tenure_months,
        "repayments_left": repayments_left(loan),
        "status": status_of(loan, today),
        "closed_on": closed_on(loan),
        "approved_on": loan.opened_on,
        "end_date": loan.ends_on,
        "source_loan_id": loan.source_loan_id,
    }
