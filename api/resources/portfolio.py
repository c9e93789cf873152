"""The whole portfolio as of a day: the log is folded, by one request of a process at a time."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from threading import Lock
from typing import ClassVar, Final

import falcon

from api.answers import Answer, answer
from api.folder import PROBLEMS, put_together
from api.openapi import XLSX, Method, Operation
from api.problems import UnavailableError
from api.questions import KnownQuery
from api.requests import DayQuery, valid
from api.resources.past import day_of
from credit_es.audit.portfolio import Portfolio
from credit_es.audit.then import Past
from workers.portfolio import portfolio_xlsx

OTHERWISE: Final = "GET /audit/as-of/{on}/portfolio gives the same figures."


class PortfolioAsOf(Answer, frozen=True, kw_only=True):
    """Both answers about a day; `position` in them is how far the log was read.

    ``as_known_at`` is what was believed at ``known_at``, null where no instant was given.
    """

    on: date
    known_at: datetime | None
    as_known_now: Portfolio | None
    as_known_at: Portfolio | None


class Turn:
    """Lets one request of this process fold the whole log, so that others are still answered."""

    def __init__(self) -> None:
        self._lock = Lock()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """While the log is folded; raises ``UnavailableError`` where another request does it."""
        if not self._lock.acquire(blocking=False):
            raise UnavailableError("Another request folds the whole log now: send it again later.")
        try:
            yield
        finally:
            self._lock.release()


class PastPortfolio:
    """``GET /audit/as-of/{on}/portfolio``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Show the portfolio as of a day",
            tag="audit",
            answers={200: PortfolioAsOf},
            query=KnownQuery,
        )
    }

    def __init__(self, past: Past, turn: Turn) -> None:
        self._past = past
        self._turn = turn

    def on_get(self, req: falcon.Request, resp: falcon.Response, on: str) -> None:
        """Count loans, amounts, what is outstanding and on time, by status, year and slab."""
        asked = valid(KnownQuery, req.params, location="query")
        day = day_of("on", on)
        with self._turn.taken():
            found = self._past.portfolio(on=day, known_at=asked.known_at)
        answer(
            resp,
            PortfolioAsOf(
                on=found.on,
                known_at=found.known_at,
                as_known_now=found.as_known_now,
                as_known_at=found.as_known_at,
            ),
        )

    on_head = on_get


class PortfolioReport:
    """``GET /audit/portfolio-report.xlsx``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Fetch the portfolio as a workbook",
            tag="audit",
            answers={200: None},
            query=DayQuery,
            problems=PROBLEMS,
        )
    }

    def __init__(self, past: Past, turn: Turn) -> None:
        self._past = past
        self._turn = turn

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """By year, by slab, by status, with what came on time, and charts."""
        on = valid(DayQuery, req.params, location="query").on or self._past.today()
        with self._turn.taken():
            found = self._past.portfolio(on=on).as_known_now
            assert found is not None
            with put_together("workbook", otherwise=OTHERWISE.format(on=on)):
                resp.data = portfolio_xlsx(found)
        resp.content_type = XLSX
        resp.downloadable_as = f"portfolio-{on}.xlsx"

    on_head = on_get
