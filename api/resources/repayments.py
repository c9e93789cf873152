"""The life of a loan: its schedule, money that comes and is taken back, its end."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

import falcon

from api.accounts import (
    PayoffView,
    RepaymentItem,
    RepaymentRecorded,
    RepaymentReversed,
    Schedule,
    WrittenOff,
)
from api.answers import answer
from api.commands import read_command
from api.fields import known_number
from api.openapi import READ_PROBLEMS, Link, Method, Operation
from api.requests import DayQuery, ReasonRequest, RepaymentRequest, valid
from credit_es.application import Lending
from credit_es.domain.installments import loan_schedule
from credit_es.domain.payoff import payoff
from credit_es.servicing import Serviced, Servicing
from projections.reading import ReadModel


class LoanSchedule:
    """``GET /loans/{loan_id}/schedule``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Show every installment of a loan", tag="loans", answers={200: Schedule}
        )
    }

    def __init__(self, lending: Lending, read_model: ReadModel) -> None:
        self._lending = lending
        self._read_model = read_model

    def on_get(self, _req: falcon.Request, resp: falcon.Response, loan_id: str) -> None:
        """Show what is due when, what it consists of, and what is paid, as of today."""
        loan, _ = self._read_model.loan(known_number(loan_id, "loan"))
        found = loan_schedule(loan, self._lending.today())
        answer(
            resp,
            Schedule(
                loan_id=loan.number,
                source=found.source,
                installments=found.installments,
                total_interest=found.total_interest,
                total_payable=found.total_payable,
            ),
        )

    on_head = on_get


class Repayments:
    """``GET`` and ``POST /loans/{loan_id}/repayments``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "post": Operation(
            summary="Record money that came",
            tag="loans",
            answers={201: RepaymentRecorded},
            body=RepaymentRequest,
            records=True,
            links={201: (Link(operation="getLoanSchedule", name="loan_id"),)},
        ),
        "get": Operation(
            summary="List what came for a loan", tag="loans", answers={200: list[RepaymentItem]}
        ),
    }

    def __init__(self, servicing: Servicing, read_model: ReadModel) -> None:
        self._servicing = servicing
        self._read_model = read_model

    def on_post(self, req: falcon.Request, resp: falcon.Response, loan_id: str) -> None:
        """Fill the oldest unpaid installments, or prepay.

        More than all that is left is 422 and says how much is left; a loan that is closed or
        written off, and a reference used before, are 409.
        """
        given = read_command(req, RepaymentRequest)
        done = self._servicing.repay(
            given.body.command(known_number(loan_id, "loan")), given.by, given.once
        )
        resp.status = HTTPStatus.CREATED
        answer(
            resp,
            RepaymentRecorded(
                **_standing(done),
                repayment_id=done.repayment_id,
                amount=done.amount,
                paid_on=done.paid_on,
                reference=done.reference,
                installments_paid=done.installments_paid,
            ),
        )

    def on_get(self, _req: falcon.Request, resp: falcon.Response, loan_id: str) -> None:
        """List every repayment in the order in which they were recorded, reversed ones too."""
        loan, _ = self._read_model.loan(known_number(loan_id, "loan"))
        answer(
            resp,
            [
                RepaymentItem(
                    repayment_id=f"{loan.number}-{one.version}",
                    amount=one.amount,
                    paid_on=one.paid_on,
                    reference=one.reference,
                    prepayment=one.is_prepayment,
                    installments_paid=one.installments_paid,
                    reversed_on=one.reversed_on,
                )
                for one in loan.repayments
            ],
        )

    on_head = on_get


class Reversal:
    """``POST /loans/{loan_id}/repayments/{repayment_id}/reversal``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "post": Operation(
            summary="Take a mistaken repayment back",
            tag="loans",
            answers={201: RepaymentReversed},
            body=ReasonRequest,
            records=True,
        )
    }

    def __init__(self, servicing: Servicing) -> None:
        self._servicing = servicing

    def on_post(
        self, req: falcon.Request, resp: falcon.Response, loan_id: str, repayment_id: str
    ) -> None:
        """Record that a repayment never came, once; a loan that it closed is open again.

        One that a later prepayment was computed with is 409 until that one is reversed.
        """
        given = read_command(req, ReasonRequest)
        done = self._servicing.reverse(
            known_number(loan_id, "loan"), repayment_id, given.body.reason, given.by, given.once
        )
        resp.status = HTTPStatus.CREATED
        answer(
            resp,
            RepaymentReversed(
                **_standing(done),
                repayment_id=f"{done.loan_number}-{done.repayment}",
                amount=done.amount,
                reversed_on=done.reversed_on,
            ),
        )


class WriteOff:
    """``POST /loans/{loan_id}/write-off``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "post": Operation(
            summary="Give up what is left of a loan",
            tag="loans",
            answers={201: WrittenOff},
            body=ReasonRequest,
            records=True,
        )
    }

    def __init__(self, servicing: Servicing) -> None:
        self._servicing = servicing

    def on_post(self, req: falcon.Request, resp: falcon.Response, loan_id: str) -> None:
        """End a loan that will not be paid: nothing more is recorded on it."""
        given = read_command(req, ReasonRequest)
        done = self._servicing.write_off(
            known_number(loan_id, "loan"), given.body.reason, given.by, given.once
        )
        resp.status = HTTPStatus.CREATED
        answer(resp, WrittenOff(**_standing(done), written_off_on=done.written_off_on))


class LoanPayoff:
    """``GET /loans/{loan_id}/payoff``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Ask what would pay a loan off",
            tag="loans",
            answers={200: PayoffView},
            problems=(*READ_PROBLEMS, 409),
            query=DayQuery,
        )
    }

    def __init__(self, lending: Lending, read_model: ReadModel) -> None:
        self._lending = lending
        self._read_model = read_model

    def on_get(self, req: falcon.Request, resp: falcon.Response, loan_id: str) -> None:
        """Arrears, principal, and the interest of the running month by days."""
        asked = valid(DayQuery, req.params, location="query")
        loan, _ = self._read_model.loan(known_number(loan_id, "loan"))
        on = asked.on or self._lending.today()
        owed = payoff(loan, on)
        answer(
            resp,
            PayoffView(
                loan_id=loan.number,
                on=on,
                arrears=owed.arrears,
                principal=owed.principal_to_pay,
                accrued_interest=owed.interest_to_pay,
                total=owed.total,
            ),
        )

    on_head = on_get


def _standing(done: Serviced) -> dict[str, Any]:
    return {
        "loan_id": done.loan_number,
        "repayments_left": done.repayments_left,
        "outstanding_principal": done.outstanding_principal,
        "status": done.status,
    }
