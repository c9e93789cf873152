"""What another policy would have decided: the whole log is judged, by one request at a time."""

from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import date
from typing import ClassVar

import falcon
from msgspec import structs

from api.answers import Answer, answer
from api.openapi import Method, Operation
from api.questions import BacktestQuery
from api.requests import valid
from api.resources.portfolio import Turn
from credit_es.audit.backtest import Question, backtest
from credit_es.audit.backtested import Summary, summarized
from credit_es.audit.dossiers import dossiers
from credit_es.domain.errors import NotAllowedError
from credit_es.domain.policy import load_policy
from credit_es.store.log import Log


class Backtested(Summary, Answer, frozen=True, kw_only=True):
    """What would have become of every application and imported loan; rates in per cent a year.

    ``against`` is the other policy, or ``as decided``. A case with several reasons is counted under
    each. ``position`` is how far the log was read.
    """

    position: int


class Backtest:
    """``GET /audit/backtest``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Judge every application by another policy",
            tag="audit",
            answers={200: Backtested},
            query=BacktestQuery,
        )
    }

    def __init__(self, log: Log, turn: Turn, today: Callable[[], date]) -> None:
        self._log = log
        self._turn = turn
        self._today = today

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Count what changes, by outcome, reason and slab; applications, and imported loans."""
        asked = valid(BacktestQuery, req.params, location="query")
        if asked.first and asked.last and asked.first > asked.last:
            raise NotAllowedError("from", f"the days end on {asked.last}: give no later day")
        question = Question(
            policy=load_policy(asked.policy),
            against=load_policy(asked.against) if asked.against else None,
            first=asked.first,
            last=asked.last,
            today=self._today(),
        )
        with self._turn.taken():
            position = self._log.head().safe
            with closing(dossiers(self._log)) as every_customer:
                tallies = backtest(every_customer, question)
        summary = summarized(tallies, question)
        answer(resp, Backtested(**structs.asdict(summary), position=position))

    on_head = on_get
