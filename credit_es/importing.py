"""Workbooks into the log: request an ingestion, record what its rows say, close it with a report.

The rows are decided customer by customer and appended in batches of about 500 facts, so that live
calls go on meanwhile; while some batches are appended the next is decided. A customer whom somebody
moved meanwhile is decided again alone, and the others of the batch stand. A job may run twice or
die half-way: what the log holds already is found, and the log ends the same.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

from eventsourcing.persistence import IntegrityError

from credit_es.application import CONTEND_S, By, ContendedError, Decided, Lending
from credit_es.domain.cells import Finding
from credit_es.domain.events import (
    IngestionFailed,
    IngestionFinished,
    IngestionRequested,
)
from credit_es.domain.histories import History, Ingestion, ReadSheet, batches, histories
from credit_es.domain.importing import (
    Fate,
    Import,
    counts,
    decide_import,
    first_claims,
    wanted_number,
)
from credit_es.domain.rows import CustomerRow, LoanRow
from credit_es.lookup import Lookup
from credit_es.store.idempotency import Once
from credit_es.store.ingestions import Ingestions, Job, Report, Upload

RECORDERS: Final = 3
"""Batches that are recorded at once: while one's commit is flushed, another is encoded."""

PROBED: Final = 500
"""Loans that the log is asked about first, and where it knows none of the customers the only ones.
Where it has none of these it has hardly any, and one that it has makes its batch lose."""

TURN_S: Final = 0.1
"""How long a job that is told to stop may fail to hear it."""

Progress = Callable[[int, int], None]
"""Called with the rows done and the rows to do."""


class Importing:
    """Ingestions of one schema, on top of ``Lending``."""

    def __init__(self, lending: Lending) -> None:
        self._lending = lending
        self.ingestions = Ingestions(lending.database)

    def request(
        self,
        customers: Upload,
        loans: Upload,
        *,
        check_only: bool,
        restate: bool = False,
        by: By,
        once: Once | None = None,
    ) -> UUID:
        """Keep the workbooks and queue the job; a check leaves no fact in the log.

        With ``restate`` what the workbooks say anew of known customers and loans is recorded.
        """
        kept_customers = self.ingestions.keep(customers)
        kept_loans = self.ingestions.keep(loans)

        def decide() -> Decided[UUID]:
            job = Job(
                ingestion_id=uuid4(),
                customers=kept_customers,
                loans=kept_loans,
                check_only=check_only,
                restate=restate,
                actor=by.actor,
                correlation_id=by.correlation_id,
                requested_at=datetime.now(UTC),
                requested_on=self._lending.today(),
            )
            requested = IngestionRequested(
                occurred_on=job.requested_on,
                ingestion_id=str(job.ingestion_id),
                customers=job.customers,
                loans=job.loans,
            )
            return Decided(
                facts=[] if check_only else [(1, requested)],
                outcome=job.ingestion_id,
                beside=self.ingestions.queued(job),
            )

        return self._lending.command(decide, UUID, by, once)

    def run(
        self,
        job: Job,
        customers: ReadSheet[CustomerRow],
        loans: ReadSheet[LoanRow],
        progress: Progress = lambda _done, _total: None,
    ) -> Report:
        """Record what the two sheets say, and close the job with its report.

        A check decides the same and records nothing. Raises ``StoreUnavailableError`` and
        ``ContendedError``, after which it may be run again.
        """
        ingestion = Ingestion(
            ingestion_id=str(job.ingestion_id),
            occurred_on=job.requested_on,
            customers=customers,
            loans=loans,
            restate=job.restate,
        )
        run = _Run(self._lending, job, ingestion)
        fates: tuple[list[Fate], list[Fate]] = ([], [])
        findings: list[Finding] = [*customers.findings, *loans.findings]
        total = len(customers.rows) + len(loans.rows)
        done = 0
        progress(done, total)
        all_batches = batches(histories(customers.rows, loans.rows))
        pool = ThreadPoolExecutor(RECORDERS, "recording")
        try:
            for batch, imports in run.over(all_batches, pool):
                for imported in imports:
                    fates[0].extend(imported.customers)
                    fates[1].extend(imported.loans)
                    findings += imported.findings
                done += sum(len(history.customers) + len(history.loans) for history in batch)
                progress(done, total)
        except BaseException as error:
            # Told to stop: who waits for another's stream would keep us, and is harmless later on.
            pool.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
            raise
        pool.shutdown()
        report = Report(
            customers=counts(fates[0], rejected=customers.rejected, blank=customers.blank),
            loans=counts(fates[1], rejected=loans.rejected, blank=loans.blank),
        )
        findings.sort(key=lambda finding: (finding.workbook, finding.row))
        finished = IngestionFinished(
            occurred_on=job.requested_on,
            ingestion_id=ingestion.ingestion_id,
            customers=report.customers,
            loans=report.loans,
        )
        self._close(job, finished, report=report, problem=None, findings=findings)
        return report

    def fail(self, job: Job, problem: str) -> None:
        """Close a job whose workbooks cannot be read; ``problem`` tells its sender what to do."""
        failed = IngestionFailed(
            occurred_on=job.requested_on, ingestion_id=str(job.ingestion_id), problem=problem
        )
        self._close(job, failed, report=None, problem=problem, findings=[])

    def _close(
        self,
        job: Job,
        fact: IngestionFinished | IngestionFailed,
        *,
        report: Report | None,
        problem: str | None,
        findings: Sequence[Finding],
    ) -> None:
        beside = self.ingestions.finished(
            job.ingestion_id, report=report, problem=problem, findings=findings
        )
        facts = [] if job.check_only else [(2, fact)]
        try:
            self._lending.record(facts, _by(job), beside=beside)
        except IntegrityError:
            # The same job, run twice at once, was closed by its twin with the same report.
            closed = self.ingestions.find(job.ingestion_id)
            assert closed is not None
            assert closed.finished_at is not None


class _Run:
    """One run of one job: which numbers its loans ask for, and what the log holds meanwhile.

    What the log held at the start is asked at once. Whoever took a version that this run wants
    makes it lose a race: from then on each batch is looked up when it is decided.
    """

    def __init__(self, lending: Lending, job: Job, ingestion: Ingestion) -> None:
        self._lending = lending
        self._job = job
        self._ingestion = ingestion
        self._raced = False
        self._lookup = Lookup(lending.reader, ingestion)
        kinds = self._lookup.kinds_of_customers()
        self._there = set(kinds)
        self._claims = first_claims(self._lookup.loans_of_somebody(kinds))
        self._wanted = {
            source_loan_id: number
            for source_loan_id in self._claims
            if (number := wanted_number(source_loan_id)) is not None
        }
        self._taken = self._lookup.taken([*self._wanted.values()][:PROBED])
        if kinds or self._taken or job.check_only:
            self._taken = self._lookup.taken(self._wanted.values())
        if not job.check_only:
            self._pass_by_numbers()

    def over(
        self, batches: Iterable[Sequence[History]], pool: Executor
    ) -> Iterator[tuple[Sequence[History], list[Import]]]:
        """Decide batch after batch, while ``pool`` records those that are decided.

        Batches share no customer, so what one records decides nothing in another.
        """
        waiting: deque[tuple[Sequence[History], Future[list[Import]]]] = deque()
        for batch in batches:
            imports = self._decide(batch, look=self._raced)
            waiting.append((batch, pool.submit(self._recorded, batch, imports)))
            if len(waiting) > RECORDERS:
                first, recorded = waiting.popleft()
                yield first, _awaited(recorded)
        for batch, recorded in waiting:
            yield batch, _awaited(recorded)

    def _recorded(self, batch: Sequence[History], imports: list[Import]) -> list[Import]:
        if not self._job.check_only:
            facts = [imported.facts for imported in imports]
            for place in self._lending.record_many(facts, _by(self._job)):
                self._raced = True
                imports[place] = self._alone(batch[place])
        return imports

    def _alone(self, history: History) -> Import:
        give_up = time.monotonic() + CONTEND_S
        while True:
            (imported,) = self._decide([history], look=True)
            try:
                self._lending.record(imported.facts, _by(self._job))
            except IntegrityError as lost:
                if time.monotonic() > give_up:
                    raise ContendedError from lost
            else:
                return imported

    def _decide(self, batch: Sequence[History], *, look: bool) -> list[Import]:
        """Decide on what the log held at the start, or ``look`` what it holds now."""
        taken = self._taken
        if look:
            ids = {row.source_loan_id for each in batch for row in each.loans}
            taken = self._lookup.taken(self._wanted[one] for one in ids & self._wanted.keys())

        def number_for(row: LoanRow) -> int:
            number = self._wanted.get(row.source_loan_id)
            mine = self._claims.get(row.source_loan_id) == row.customer_number
            if number is not None and mine and number not in taken:
                return number
            return 0 if self._job.check_only else self._lending.numbers.take("loan")

        # Who was new at the start and is there by now makes a batch lose, but not where there is
        # nothing to record: a loan is refused as nobody's only after a look at today's log.
        known = self._lookup.known(
            each.customer_number
            for each in batch
            if look or not each.customers or each.customer_number in self._there
        )
        return [
            decide_import(self._ingestion, history, known.get(history.customer_number), number_for)
            for history in batch
        ]

    def _pass_by_numbers(self) -> None:
        numbers = self._lending.numbers
        customers = [row.number for row in self._ingestion.customers.rows]
        numbers.pass_by("customer", max(customers, default=0))
        numbers.pass_by("loan", max(self._wanted.values(), default=0))


def _awaited(recorded: Future[list[Import]]) -> list[Import]:
    """The result, waited for in turns: between two of them a worker that stops interrupts us."""
    while not recorded.done():
        wait([recorded], timeout=TURN_S)
    return recorded.result()


def _by(job: Job) -> By:
    return By(
        actor=job.actor,
        correlation_id=job.correlation_id,
        causation_id=f"ingestion/{job.ingestion_id}",
    )
