"""Why something was decided. Found in the log itself, so no projector is needed."""

from collections.abc import Mapping
from typing import ClassVar

import falcon

from api.answers import (
    DecisionPage,
    DecisionView,
    Inputs,
    LoanSeen,
    PolicyUsed,
    ReasonInWords,
    Requested,
    Seen,
    answer,
)
from api.fields import known_number
from api.openapi import Method, Operation
from api.paging import name_next
from api.problems import NotThereError
from api.requests import DecisionsQuery, valid
from api.resources.customers import components
from credit_es.audit.decisions import Audit, DecisionRecord, in_words
from credit_es.domain.errors import UnknownDecisionError
from credit_es.domain.events import LoanReferred


class OneDecision:
    """``GET /decisions/{decision_id}``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(summary="Explain a decision", tag="decisions", answers={200: DecisionView})
    }

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def on_get(self, _req: falcon.Request, resp: falcon.Response, decision_id: str) -> None:
        """Show a decision's inputs, score, policy, what it had seen, and its reasons in words."""
        try:
            record = self._audit.decision(decision_id)
        except UnknownDecisionError:
            # Worded here: an id that is none may be any text, and is not to be repeated.
            raise NotThereError("decision") from None
        answer(resp, view(record))

    on_head = on_get


class Decisions:
    """``GET /customers/{customer_id}/decisions``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="List the decisions on a customer",
            tag="decisions",
            answers={200: DecisionPage},
            query=DecisionsQuery,
            paged=True,
        )
    }

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def on_get(self, req: falcon.Request, resp: falcon.Response, customer_id: str) -> None:
        """List a customer's decisions, the latest first."""
        asked = valid(DecisionsQuery, req.params, location="query")
        number = known_number(customer_id, "customer")
        found = self._audit.decisions(number, before=asked.before, limit=asked.limit + 1)
        shown = found[: asked.limit]
        more = len(found) > asked.limit
        following = (
            {"before": shown[-1].decision_id.partition("-")[2], "limit": asked.limit}
            if more
            else None
        )
        path = name_next(resp, f"/customers/{number}/decisions", following)
        answer(resp, DecisionPage(decisions=[view(record) for record in shown], next=path))

    on_head = on_get


def view(record: DecisionRecord) -> DecisionView:
    """A decision as the API shows it."""
    decision = record.decision
    verdict, terms, seen = decision.verdict, decision.terms, decision.seen
    card = verdict.scorecard
    return DecisionView(
        decision_id=record.decision_id,
        customer_id=decision.customer_number,
        loan_id=decision.loan_number,
        approved=verdict.approved,
        decided_on=decision.occurred_on,
        recorded_at=record.recorded_at,
        actor=record.actor,
        correlation_id=record.correlation_id,
        requested=Requested(
            loan_amount=terms.amount,
            interest_rate=terms.annual_rate,
            tenure=terms.tenure_months,
        ),
        corrected_interest_rate=verdict.annual_rate,
        monthly_installment=verdict.installment,
        score=card.score,
        basis=card.basis,
        components=components(card),
        inputs=Inputs(
            monthly_income=int(seen.monthly_income),
            approved_limit=int(seen.approved_limit),
            installments_due=card.installments_due,
            installments_on_time=card.installments_on_time,
            closed_loans=card.closed_loans,
            loans_this_year=card.loans_this_year,
            current_amount=card.current_amount,
            current_installments=card.current_installments,
        ),
        policy=PolicyUsed(name=verdict.policy, hash=verdict.policy_hash),
        seen=Seen(
            customer_version=seen.customer_version,
            loans=[LoanSeen(loan_id=loan.loan_number, version=loan.version) for loan in seen.loans],
        ),
        reasons=[ReasonInWords(code=code, text=text) for code, text in in_words(decision)],
        application_id=record.application_id,
        note=None if isinstance(decision, LoanReferred) else decision.note,
    )
