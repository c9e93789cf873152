"""Ingestions: two workbooks handed in, followed to their end, reported."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, ClassVar, Final
from uuid import UUID

import falcon
from msgspec import UNSET

from api.answers import (
    Accepted,
    IngestionItem,
    IngestionPage,
    IngestionView,
    Progress,
    RowCounts,
    Workbooks,
    answer,
)
from api.fields import path_uuid
from api.folder import PROBLEMS, put_together
from api.middleware import caller
from api.openapi import READ_PROBLEMS, XLSX, Link, Method, Operation
from api.paging import name_next
from api.problems import RETRY_AFTER_S, NotThereError, ProblemError
from api.requests import FindingsQuery, IngestionQuery, IngestionsQuery, valid
from api.uploads import digest, read_uploads
from credit_es.domain.errors import UnknownIngestionError
from credit_es.domain.values import Counts
from credit_es.importing import Importing
from credit_es.store.ingestions import Ingestions, QueuedIngestion
from workers.report import report_xlsx

LATEST: Final = (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))
"""A place in the list that comes before all."""


class AllIngestions:
    """``POST /ingestions`` and ``GET /ingestions``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "post": Operation(
            summary="Hand in two workbooks",
            tag="ingestions",
            answers={202: Accepted},
            query=IngestionQuery,
            records=True,
            files=True,
            links={
                202: (
                    Link(operation="getOneIngestion", name="ingestion_id"),
                    Link(operation="getIngestionReport", name="ingestion_id"),
                )
            },
        ),
        "get": Operation(
            summary="List ingestions",
            tag="ingestions",
            answers={200: IngestionPage},
            problems=(*READ_PROBLEMS, 404),
            query=IngestionsQuery,
            paged=True,
        ),
    }

    def __init__(
        self, importing: Importing, wake_up: Callable[[UUID], bool], *, upload_limit: int
    ) -> None:
        self._importing = importing
        self._wake_up = wake_up
        self._upload_limit = upload_limit

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Queue an ingestion of customers and loans. A worker reads and records them."""
        uploads, faults = read_uploads(req, self._upload_limit)
        who = caller(req)
        besides = [*faults, *who.faults]
        asked = valid(IngestionQuery, req.params, location="query", besides=besides)
        once = who.once(digest(uploads, check_only=asked.check, restate=asked.restate))
        ingestion_id = self._importing.request(
            uploads["customers"],
            uploads["loans"],
            check_only=asked.check,
            restate=asked.restate,
            by=who.by,
            once=once,
        )
        # Without Redis the job waits in Postgres until a worker's sweep finds it.
        self._wake_up(ingestion_id)
        resp.status = HTTPStatus.ACCEPTED
        resp.location = f"/ingestions/{ingestion_id}"
        answer(resp, Accepted(ingestion_id=str(ingestion_id), status="queued"))

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List ingestions, the latest first."""
        asked = valid(IngestionsQuery, req.params, location="query")
        queue = self._importing.ingestions
        before = LATEST
        if asked.before is not None:
            last = queue.find(UUID(asked.before))
            if last is None:
                raise UnknownIngestionError(asked.before)
            before = (last.job.requested_at, last.job.ingestion_id)
        found = queue.page(before=before, limit=asked.limit + 1)
        shown = found[: asked.limit]
        more = len(found) > asked.limit
        following = {"before": shown[-1].job.ingestion_id, "limit": asked.limit} if more else None
        path = name_next(resp, "/ingestions", following)
        ingestions = [IngestionItem(**_fields(one)) for one in shown]
        answer(resp, IngestionPage(ingestions=ingestions, next=path))

    on_head = on_get


class OneIngestion:
    """``GET /ingestions/{ingestion_id}``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Follow an ingestion",
            tag="ingestions",
            answers={200: IngestionView},
            query=FindingsQuery,
            paged=True,
        )
    }

    def __init__(self, ingestions: Ingestions) -> None:
        self._ingestions = ingestions

    def on_get(self, req: falcon.Request, resp: falcon.Response, ingestion_id: str) -> None:
        """Show how far an ingestion is, and in the end what became of every row."""
        asked = valid(FindingsQuery, req.params, location="query")
        one = _find(self._ingestions, ingestion_id)
        found = self._ingestions.findings(
            one.job.ingestion_id, after=asked.after, limit=asked.limit + 1
        )
        shown = found[: asked.limit]
        more = len(found) > asked.limit
        following = {"after": asked.after + len(shown), "limit": asked.limit} if more else None
        path = name_next(resp, f"/ingestions/{ingestion_id}", following)
        answer(resp, IngestionView(**_fields(one), findings=shown, next=path))

    on_head = on_get


class IngestionReport:
    """``GET /ingestions/{ingestion_id}/report.xlsx``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Fetch the report of an ingestion",
            tag="ingestions",
            answers={200: None},
            problems=(*PROBLEMS, 409),
        )
    }

    def __init__(self, ingestions: Ingestions, reports: Sequence[Ingestions]) -> None:
        """``reports`` are where a finished one is looked for, the primary's last."""
        self._ingestions = ingestions
        self._reports = reports

    def on_get(self, _req: falcon.Request, resp: falcon.Response, ingestion_id: str) -> None:
        """Give the counts and every finding as a workbook, once the ingestion has ended."""
        one = _find(self._ingestions, ingestion_id)
        made = (where.report(one.job.ingestion_id, report_xlsx) for where in self._reports)
        otherwise = f"GET /ingestions/{ingestion_id} gives the same counts and findings."
        with put_together("workbook", otherwise=otherwise):
            report = next((found for found in made if found is not None), None)
        if report is None:
            raise ProblemError(
                HTTPStatus.CONFLICT,
                "not-finished",
                "The ingestion has not ended yet: ask for its report later.",
                retry_after_s=RETRY_AFTER_S,
            )
        resp.content_type = XLSX
        resp.downloadable_as = f"ingestion-{ingestion_id}.xlsx"
        resp.data = report

    on_head = on_get


def _find(ingestions: Ingestions, ingestion_id: str) -> QueuedIngestion:
    number = path_uuid(ingestion_id)
    if number is None:
        raise NotThereError("ingestion")
    one = ingestions.find(number)
    if one is None:
        raise UnknownIngestionError(ingestion_id)
    return one


def _fields(one: QueuedIngestion) -> dict[str, Any]:
    job, report = one.job, one.report
    return {
        "ingestion_id": str(job.ingestion_id),
        "status": one.status,
        "progress": Progress(done=one.done, total=one.total),
        "counts": RowCounts(
            customers=report.customers if report else Counts(),
            loans=report.loans if report else Counts(),
        ),
        "check": job.check_only,
        "restate": job.restate,
        "workbooks": Workbooks(customers=job.customers, loans=job.loans),
        "requested_at": job.requested_at,
        "finished_at": one.finished_at,
        "problem": UNSET if one.problem is None else one.problem,
    }
