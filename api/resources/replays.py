"""Why something was decided, step by step, and whether it comes out the same when made again."""

from collections.abc import Mapping
from typing import ClassVar

import falcon

from api.answers import Answer, DecisionView, answer
from api.openapi import Method, Operation
from api.paging import name_next
from api.problems import NotThereError
from api.questions import ReplaysQuery
from api.requests import valid
from api.resources.decisions import view
from credit_es.audit.decisions import Audit, DecisionRecord
from credit_es.audit.logs import Logs
from credit_es.audit.replay import Replay, replay_of
from credit_es.audit.replayed import replayed
from credit_es.audit.steps import Step, steps
from credit_es.domain.errors import UnknownDecisionError
from credit_es.store.log import Log
from projections.status import Lag


class Explained(Answer, frozen=True, kw_only=True):
    """A decision as recorded, how it came about, and what it comes to when it is made again.

    ``lag`` is how far what was read may be behind the log.
    """

    decision: DecisionView
    steps: list[Step]
    replay: Replay
    lag: Lag


class ReplayPage(Answer, frozen=True, kw_only=True):
    """What became of the decisions on some customers; ``next`` is null at the end.

    ``decisions`` were made again, of which ``not_the_same`` came out otherwise or could not be
    made; ``unreadable`` names the facts for which those of a customer were not. ``position`` is how
    far the log was read.
    """

    decisions: int
    not_the_same: list[Replay]
    unreadable: list[str]
    position: int
    next: str | None


class Explain:
    """``GET /audit/explain/{decision_id}``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Explain a decision step by step, and make it again",
            tag="audit",
            answers={200: Explained},
        )
    }

    def __init__(self, logs: Logs) -> None:
        self._logs = logs

    def on_get(self, _req: falcon.Request, resp: falcon.Response, decision_id: str) -> None:
        """Say how it came about, and whether what it saw and its policy give the same again."""
        try:
            (record, again), lag = self._logs.ask(lambda log: _explained(log, decision_id))
        except UnknownDecisionError:
            # Worded here: an id that is none may be any text, and is not to be repeated.
            raise NotThereError("decision") from None
        answer(
            resp,
            Explained(decision=view(record), steps=steps(record), replay=again, lag=lag),
        )

    on_head = on_get


class ExplainAll:
    """``GET /audit/explain``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Make every decision again",
            tag="audit",
            answers={200: ReplayPage},
            query=ReplaysQuery,
            paged=True,
        )
    }

    def __init__(self, log: Log) -> None:
        self._log = log

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Name those that do not come out the same, customer by customer, a page at a time."""
        asked = valid(ReplaysQuery, req.params, location="query")
        page = replayed(self._log, after=asked.after, limit=asked.limit)
        following = {"after": page.after, "limit": asked.limit} if page.after is not None else None
        path = name_next(resp, "/audit/explain", following)
        answer(
            resp,
            ReplayPage(
                decisions=page.decisions,
                not_the_same=page.not_the_same,
                unreadable=page.unreadable,
                position=page.position,
                next=path,
            ),
        )

    on_head = on_get


def _explained(log: Log, decision_id: str) -> tuple[DecisionRecord, Replay]:
    record = Audit(log).decision(decision_id)
    return record, replay_of(log, record)
