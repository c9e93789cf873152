"""Manual review: what a policy left to a person, and what the person says."""

from collections.abc import Callable, Mapping
from datetime import date
from http import HTTPStatus
from typing import ClassVar, Final

import falcon

from api.answers import Requested, answer
from api.commands import read_command
from api.fields import is_application_id
from api.openapi import READ_PROBLEMS, Link, Method, Operation
from api.paging import name_next
from api.problems import NotThereError
from api.requests import NoteRequest, ReviewsQuery, valid
from api.resources.loans import decided
from api.reviews import Reviewed, ReviewPage, ReviewView
from credit_es.application import By, Lending, Outcome
from credit_es.domain.review import Application, Status, status_of
from credit_es.reviewing import Reviewing
from credit_es.store.idempotency import Once
from projections.reading import ReadModel

PROBLEMS: Final = (*READ_PROBLEMS, 403)
FIRST: Final = (date.min, "")


class Reviews:
    """``GET /reviews``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="List applications referred to review",
            tag="reviews",
            answers={200: ReviewPage},
            problems=(*READ_PROBLEMS, 404),
            query=ReviewsQuery,
            paged=True,
        )
    }

    def __init__(self, lending: Lending, read_model: ReadModel) -> None:
        self._lending = lending
        self._read_model = read_model

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List those of a status, pending ones if none is asked for: the most urgent first."""
        asked = valid(ReviewsQuery, req.params, location="query")
        after = FIRST
        if asked.after is not None:
            last = self._read_model.application(asked.after)
            after = (last.decide_by, last.application_id)
        today = self._lending.today()
        page = self._read_model.applications(
            None if asked.status == "all" else Status(asked.status),
            today=today,
            after=after,
            limit=asked.limit + 1,
        )
        shown = page.applications[: asked.limit]
        more = len(page.applications) > asked.limit
        following = (
            {"status": asked.status, "after": shown[-1].application_id, "limit": asked.limit}
            if more
            else None
        )
        path = name_next(resp, "/reviews", following)
        reviews = [_view(one, today) for one in shown]
        answer(resp, ReviewPage(reviews=reviews, lag=page.lag, next=path))

    on_head = on_get


class OneReview:
    """``GET /reviews/{application_id}``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Show an application referred to review",
            tag="reviews",
            answers={200: ReviewView},
        )
    }

    def __init__(self, lending: Lending, read_model: ReadModel) -> None:
        self._lending = lending
        self._read_model = read_model

    def on_get(self, _req: falcon.Request, resp: falcon.Response, application_id: str) -> None:
        """Show what was asked for, by whom, why it was referred, and what became of it."""
        application = self._read_model.application(_known(application_id))
        answer(resp, _view(application, self._lending.today()))

    on_head = on_get


class Approve:
    """``POST /reviews/{application_id}/approve``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "post": Operation(
            summary="Approve an application referred to review",
            tag="reviews",
            answers={201: Reviewed},
            problems=PROBLEMS,
            body=NoteRequest,
            records=True,
            links={
                201: (
                    Link(operation="getViewLoan", name="loan_id"),
                    Link(operation="getOneDecision", name="decision_id"),
                )
            },
        )
    }

    def __init__(self, reviewing: Reviewing) -> None:
        self._reviewing = reviewing

    def on_post(self, req: falcon.Request, resp: falcon.Response, application_id: str) -> None:
        """Open the loan, at the rate that the policy asks for today.

        Who asked may not approve: 403. What the policy would decline today, is decided already or
        has expired is 409.
        """
        resp.status = HTTPStatus.CREATED
        _decide(req, resp, application_id, self._reviewing.approve)


class Decline:
    """``POST /reviews/{application_id}/decline``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "post": Operation(
            summary="Decline an application referred to review",
            tag="reviews",
            answers={200: Reviewed},
            problems=PROBLEMS,
            body=NoteRequest,
            records=True,
            links={200: (Link(operation="getOneDecision", name="decision_id"),)},
        )
    }

    def __init__(self, reviewing: Reviewing) -> None:
        self._reviewing = reviewing

    def on_post(self, req: falcon.Request, resp: falcon.Response, application_id: str) -> None:
        """Decline, whatever the policy says. Who asked may not: 403. Decided or expired: 409."""
        _decide(req, resp, application_id, self._reviewing.decline)


def _decide(
    req: falcon.Request,
    resp: falcon.Response,
    application_id: str,
    decide: Callable[[str, str, By, Once | None], Outcome],
) -> None:
    given = read_command(req, NoteRequest)
    known = _known(application_id)
    outcome = decide(known, given.body.note, given.by, given.once)
    answer(resp, Reviewed(application_id=known, **decided(outcome)))


def _known(application_id: str) -> str:
    if not is_application_id(application_id):
        raise NotThereError("application")
    return application_id


def _view(application: Application, today: date) -> ReviewView:
    terms, verdict = application.terms, application.verdict
    return ReviewView(
        application_id=application.application_id,
        customer_id=application.customer_number,
        status=status_of(application, today),
        requested=Requested(
            loan_amount=terms.amount,
            interest_rate=terms.annual_rate,
            tenure=terms.tenure_months,
        ),
        corrected_interest_rate=verdict.annual_rate,
        monthly_installment=verdict.installment,
        score=verdict.scorecard.score,
        reasons=verdict.reasons,
        asked_by=application.asked_by,
        referred_on=application.referred_on,
        decide_by=application.decide_by,
        decision_id=application.decision_id,
        loan_id=application.loan_number,
        decided_by=application.decided_by,
        decided_on=application.decided_on,
        note=application.note,
    )
