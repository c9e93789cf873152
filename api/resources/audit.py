"""What an auditor asks of the log: a history, a search."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import ClassVar

import falcon

from api.answers import Answer, answer
from api.openapi import Method, Operation
from api.paging import name_next
from api.problems import NotThereError
from api.questions import FactsQuery, HistoryQuery
from api.requests import valid
from credit_es.audit.history import SUBJECTS, Source, ToldFact, UnknownSubjectError, history
from credit_es.audit.logs import Logs
from credit_es.audit.search import find
from credit_es.store.log import Log
from projections.status import Lag


class FactView(Answer, frozen=True, kw_only=True):
    """A fact at its place in the log; ``what`` says it in a sentence.

    ``occurred_on`` is the day from which it was true, ``recorded_at`` when we learned of it.
    """

    position: int
    version: int
    kind: str
    what: str
    customer_id: int | None
    loan_id: int | None
    occurred_on: date
    recorded_at: datetime
    actor: str
    source: Source


class HistoryPage(Answer, frozen=True, kw_only=True):
    """Facts of one customer, loan or application in order; ``next`` is null at the end.

    ``lag`` is how far what was read may be behind the log.
    """

    facts: list[FactView]
    lag: Lag
    next: str | None


class FactsPage(Answer, frozen=True, kw_only=True):
    """Facts, the latest first; ``lag`` is how far the index is behind, ``next`` null at the end."""

    facts: list[FactView]
    lag: Lag
    next: str | None


class History:
    """``GET /audit/history/{subject}/{subject_id}``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="List every fact about a customer, a loan or an application",
            tag="audit",
            answers={200: HistoryPage},
            query=HistoryQuery,
            paged=True,
        )
    }

    def __init__(self, logs: Logs) -> None:
        self._logs = logs

    def on_get(
        self, req: falcon.Request, resp: falcon.Response, subject: str, subject_id: str
    ) -> None:
        """Show where, what, when it was true, when we learned it, from whom."""
        asked = valid(HistoryQuery, req.params, location="query")
        kind = next((each for each in SUBJECTS if each == subject), None)
        if kind is None:
            raise NotThereError("history")
        try:
            found, lag = self._logs.ask(
                lambda log: history(log, kind, subject_id, after=asked.after, limit=asked.limit + 1)
            )
        except UnknownSubjectError:
            # Worded here: an id that is none may be any text, and is not to be repeated.
            raise NotThereError(kind) from None
        shown = found[: asked.limit]
        more = len(found) > asked.limit
        following = {"after": shown[-1].version, "limit": asked.limit} if more else None
        path = name_next(resp, f"/audit/history/{kind}/{subject_id}", following)
        answer(resp, HistoryPage(facts=[view(fact) for fact in shown], lag=lag, next=path))

    on_head = on_get


class Search:
    """``GET /audit/facts``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Search all facts",
            tag="audit",
            answers={200: FactsPage},
            query=FactsQuery,
            paged=True,
        )
    }

    def __init__(self, log: Log, primary: Log) -> None:
        self._log = log
        self._primary = primary

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Facts for which all that is given holds, the latest first. The index may lag."""
        asked = valid(FactsQuery, req.params, location="query")
        page = find(
            self._log, self._primary, asked.wanted(), before=asked.before, limit=asked.limit
        )
        following = {**req.params, "before": page.before} if page.before is not None else None
        path = name_next(resp, "/audit/facts", following)
        answer(
            resp,
            FactsPage(facts=[view(fact) for fact in page.facts], lag=page.lag, next=path),
        )

    on_head = on_get


def view(fact: ToldFact) -> FactView:
    """A fact as the API shows it."""
    return FactView(
        position=fact.position,
        version=fact.version,
        kind=fact.kind,
        what=fact.what,
        customer_id=fact.customer_number,
        loan_id=fact.loan_number,
        occurred_on=fact.occurred_on,
        recorded_at=fact.recorded_at,
        actor=fact.actor,
        source=fact.source,
    )
