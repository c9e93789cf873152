"""The queue of ingestions and their reports. Postgres is the truth; Redis only wakes a worker up.

A row is a job: what was handed in, how far it is, and at the end what became of every row of the
workbooks. The workbooks themselves are kept under their SHA-256.
"""

# ruff: noqa: S608 - statements put together from constants
import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from typing import Final, Literal, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from credit_es.domain.rows import Finding
from credit_es.domain.values import Counts, Workbook
from credit_es.store.database import Database
from credit_es.store.recorder import Beside

T = TypeVar("T")
Status = Literal["queued", "running", "succeeded", "failed"]

KEEP: Final = SQL(
    "INSERT INTO {schema}.workbooks (sha256, content) VALUES (%s, %s) ON CONFLICT DO NOTHING"
)
CONTENT: Final = SQL("SELECT content FROM {schema}.workbooks WHERE sha256 = %s")
# A job is new, or it is our own, from a commit whose answer was lost: a check has no fact to tell.
QUEUE: Final = SQL(
    "INSERT INTO {schema}.ingestions (ingestion_id, customers_name, customers_sha256, loans_name,"
    " loans_sha256, check_only, restate, actor, correlation_id, requested_at, requested_on, status,"
    " enqueued_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'queued', now())"
    " ON CONFLICT DO NOTHING"
)
COLUMNS: Final = (
    "ingestion_id, customers_name, customers_sha256, loans_name, loans_sha256, check_only, actor,"
    " correlation_id, requested_at, requested_on, status, done, total, counts, problem,"
    " finished_at, attempts, restate"
)
ONE: Final = SQL("SELECT " + COLUMNS + " FROM {schema}.ingestions WHERE ingestion_id = %s")
PAGE: Final = SQL(
    "SELECT " + COLUMNS + " FROM {schema}.ingestions"
    " WHERE (requested_at, ingestion_id) < (%s, %s)"
    " ORDER BY requested_at DESC, ingestion_id DESC LIMIT %s"
)
TAKE: Final = SQL(
    "UPDATE {schema}.ingestions SET status = 'running', done = 0, total = 0, seen_at = now(),"
    " attempts = attempts + 1"
    " WHERE ingestion_id = %s AND (status = 'queued'"
    " OR status = 'running' AND seen_at < now() - make_interval(secs => %s))"
    " RETURNING " + COLUMNS
)
PROGRESS: Final = SQL(
    "UPDATE {schema}.ingestions SET done = %s, total = %s, seen_at = now()"
    " WHERE ingestion_id = %s AND status = 'running'"
)
FINISH: Final = SQL(
    "UPDATE {schema}.ingestions SET status = %s, counts = %s, problem = %s, finished_at = now()"
    " WHERE ingestion_id = %s"
)
FORGET_FINDINGS: Final = SQL("DELETE FROM {schema}.ingestion_findings WHERE ingestion_id = %s")
COPY_FINDINGS: Final = SQL(
    "COPY {schema}.ingestion_findings (ingestion_id, number, workbook, sheet, sheet_row,"
    " sheet_column, code, message) FROM STDIN"
)
FINDINGS: Final = SQL(
    "SELECT workbook, sheet, sheet_row, sheet_column, code, message"
    " FROM {schema}.ingestion_findings WHERE ingestion_id = %s AND number > %s"
    " ORDER BY number LIMIT %s"
)
TOUCH: Final = SQL(
    "UPDATE {schema}.ingestions SET seen_at = now()"
    " WHERE ingestion_id = ANY(%s) AND status = 'running'"
)
RELEASE: Final = SQL(
    "UPDATE {schema}.ingestions SET status = 'queued'"
    " WHERE ingestion_id = %s AND status = 'running'"
)
OVERDUE: Final = SQL(
    "UPDATE {schema}.ingestions SET enqueued_at = now()"
    " WHERE enqueued_at < now() - make_interval(secs => %s) AND (status = 'queued'"
    " OR status = 'running' AND seen_at < now() - make_interval(secs => %s))"
    " RETURNING ingestion_id"
)

FINDINGS_A_QUERY: Final = 5_000
LEASE_S: Final = 20.0
"""How long a running job without a sign of life is its worker's."""


class Upload(Struct, frozen=True, kw_only=True):
    """A workbook as it was handed in."""

    name: str
    content: bytes

    @property
    def workbook(self) -> Workbook:
        """Its name and hash."""
        return Workbook(name=self.name, sha256=hashlib.sha256(self.content).hexdigest())


class Job(Struct, frozen=True, kw_only=True):
    """An ingestion to be queued; ``check_only`` ones report and record nothing.

    A ``restate`` one takes what its workbooks say anew for news, and not for a conflict.
    """

    ingestion_id: UUID
    customers: Workbook
    loans: Workbook
    check_only: bool
    actor: str
    correlation_id: str
    requested_at: datetime
    requested_on: date
    restate: bool = False


class Report(Struct, frozen=True, kw_only=True):
    """What became of the rows of both workbooks."""

    customers: Counts
    loans: Counts


class QueuedIngestion(Struct, frozen=True, kw_only=True):
    """A job and how far it is, in rows; a report once it has one, a problem where it failed."""

    job: Job
    status: Status
    done: int
    total: int
    report: Report | None
    problem: str | None
    finished_at: datetime | None
    attempts: int


class Ingestions:
    """The ingestions of one schema."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.sql

    def keep(self, upload: Upload) -> Workbook:
        """Store a workbook under its hash, once, and name it."""
        workbook = upload.workbook
        values = (workbook.sha256, upload.content)
        self._database.run(lambda conn: conn.execute(self._sql(KEEP), values))
        return workbook

    def content(self, workbook: Workbook) -> bytes:
        """The bytes of a kept workbook."""
        row = self._database.run(
            lambda conn: conn.execute(
                self._sql(CONTENT), (workbook.sha256,), binary=True
            ).fetchone()
        )
        assert row is not None
        content: bytes = row[0]
        return content

    def queued(self, job: Job) -> Beside:
        """The work of queueing ``job``, to be done beside the append of its fact."""

        def insert(cursor: Cursor[TupleRow]) -> None:
            customers, loans = job.customers, job.loans
            values = (
                *(job.ingestion_id, customers.name, customers.sha256, loans.name, loans.sha256),
                *(job.check_only, job.restate, job.actor, job.correlation_id),
                *(job.requested_at, job.requested_on),
            )
            cursor.execute(self._sql(QUEUE), values)

        return insert

    def find(self, ingestion_id: UUID) -> QueuedIngestion | None:
        """One ingestion."""
        row = self._database.run(
            lambda conn: conn.execute(self._sql(ONE), (ingestion_id,)).fetchone()
        )
        return _ingestion(row) if row else None

    def page(self, *, before: tuple[datetime, UUID], limit: int) -> list[QueuedIngestion]:
        """The latest ingestions before a place in the list, the latest first."""
        rows = self._database.run(
            lambda conn: conn.execute(self._sql(PAGE), (*before, limit)).fetchall()
        )
        return [_ingestion(row) for row in rows]

    def take(self, ingestion_id: UUID) -> QueuedIngestion | None:
        """Start one, or start it over after a worker died.

        None where it is done already, or where another worker is at it.
        """
        row = self._database.run(
            lambda conn: conn.execute(self._sql(TAKE), (ingestion_id, LEASE_S)).fetchone()
        )
        return _ingestion(row) if row else None

    def progress(self, ingestion_id: UUID, *, done: int, total: int) -> None:
        """Say how many of the rows are done."""
        values = (done, total, ingestion_id)
        self._database.run(lambda conn: conn.execute(self._sql(PROGRESS), values))

    def finished(
        self,
        ingestion_id: UUID,
        *,
        report: Report | None,
        problem: str | None,
        findings: Sequence[Finding],
    ) -> Beside:
        """The work of closing an ingestion, to be done beside the append of its last fact."""

        def close(cursor: Cursor[TupleRow]) -> None:
            cursor.execute(self._sql(FORGET_FINDINGS), (ingestion_id,))
            with cursor.copy(self._sql(COPY_FINDINGS)) as copy:
                for number, f in enumerate(findings, start=1):
                    place = (ingestion_id, number, f.workbook, f.sheet, f.row, f.column)
                    copy.write_row((*place, f.code, f.message))
            status = "failed" if problem else "succeeded"
            counted = msgspec.json.encode(report) if report else None
            cursor.execute(self._sql(FINISH), (status, counted, problem, ingestion_id))

        return close

    def findings(self, ingestion_id: UUID, *, after: int, limit: int) -> list[Finding]:
        """A page of findings; the first one's number is ``after`` + 1."""
        statement = self._sql(FINDINGS)
        return self._database.run(
            lambda conn: _findings(conn, statement, ingestion_id, after, limit)
        )

    def report(
        self, ingestion_id: UUID, make: Callable[[QueuedIngestion, Iterator[Finding]], T]
    ) -> T | None:
        """What ``make`` makes of an ended ingestion and all of its findings.

        None where the end is not known, as on a replica that is late.
        """

        def read(conn: Connection[TupleRow]) -> T | None:
            row = conn.execute(self._sql(ONE), (ingestion_id,)).fetchone()
            one = _ingestion(row) if row else None
            if one is None or one.finished_at is None:
                return None
            return make(one, self._pages(conn, ingestion_id))

        return self._database.run(read)

    def _pages(self, conn: Connection[TupleRow], ingestion_id: UUID) -> Iterator[Finding]:
        after = 0
        while some := _findings(conn, self._sql(FINDINGS), ingestion_id, after, FINDINGS_A_QUERY):
            yield from some
            after += len(some)

    def touch(self, ingestion_ids: Sequence[UUID]) -> None:
        """Say that a worker is at these."""
        self._database.run(lambda conn: conn.execute(self._sql(TOUCH), (list(ingestion_ids),)))

    def release(self, ingestion_id: UUID) -> None:
        """Give a job back that was broken off."""
        self._database.run(lambda conn: conn.execute(self._sql(RELEASE), (ingestion_id,)))

    def overdue(self, after_s: float) -> list[UUID]:
        """Those that no worker took for so long or that one died over; each given to one caller."""
        rows = self._database.run(
            lambda conn: conn.execute(self._sql(OVERDUE), (after_s, LEASE_S)).fetchall()
        )
        return [ingestion_id for (ingestion_id,) in rows]


def _findings(
    conn: Connection[TupleRow], statement: bytes, ingestion_id: UUID, after: int, limit: int
) -> list[Finding]:
    rows = conn.execute(statement, (ingestion_id, after, limit)).fetchall()
    return [
        Finding(workbook=w, sheet=sheet, row=row, column=column, code=code, message=message)
        for w, sheet, row, column, code, message in rows
    ]


def _ingestion(row: TupleRow) -> QueuedIngestion:
    job = Job(
        ingestion_id=row[0],
        customers=Workbook(name=row[1], sha256=row[2]),
        loans=Workbook(name=row[3], sha256=row[4]),
        check_only=row[5],
        actor=row[6],
        correlation_id=row[7],
        requested_at=row[8],
        requested_on=row[9],
        restate=row[17],
    )
    return QueuedIngestion(
        job=job,
        status=row[10],
        done=row[11],
        total=row[12],
        report=msgspec.json.decode(row[13], type=Report) if row[13] else None,
        problem=row[14],
        finished_at=row[15],
        attempts=row[16],
    )
