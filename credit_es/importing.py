"""Workbooks into the log: request an ingestion, record what its rows say, close it with a report.

The rows are decided customer by customer and appended in batches of about 500 facts, so that live
calls go on meanwhile; while one batch is appended the next is decided. A customer whom a live call
moved meanwhile is decided again alone, and the others of the batch stand. A job may run twice or
die half-way: what the log holds already is found, and the log ends the same.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

from eventsourcing.persistence import IntegrityError

from credit_es.application import CONTEND_S, By, ContendedError, Decided, Lending
from credit_es.domain.cells import Finding
from credit_es.domain.events import (
    CustomerImported,
    CustomerRegistered,
    CustomerRestated,
    Event,
    IngestionFailed,
    IngestionFinished,
    IngestionRequested,
    LoanImported,
    LoanRestated,
    LoansImported,
)
from credit_es.domain.histories import History, Ingestion, ReadSheet, batches, histories
from credit_es.domain.importing import (
    Fate,
    Import,
    Known,
    RestatedRow,
    counts,
    decide_import,
    first_claims,
    wanted_number,
)
from credit_es.domain.restating import last_said
from credit_es.domain.rows import CustomerRow, LoanRow
from credit_es.store.idempotency import Once
from credit_es.store.ingestions import Ingestions, Job, Report, Upload
from credit_es.store.mapper import customer_stream, loan_stream, topic

STREAMS_A_QUERY: Final = 5_000

Progress = Callable[[int, int], None]
"""Called with the rows done and the rows to do."""


class Importing:
    """Ingestions of one schema, on top of ``Lending``."""

    def __init__(self, lending: Lending) -> None:
        self._lending = lending
        self.ingestions = Ingestions(lending.database)

    def log_is_empty(self) -> bool:
        """Whether no fact was ever recorded."""
        return self._lending.recorder.max_notification_id() is None

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
        fates: tuple[Counter[Fate], Counter[Fate]] = (Counter(), Counter())
        findings: list[Finding] = [*customers.findings, *loans.findings]
        total = len(customers.rows) + len(loans.rows)
        done = 0
        progress(done, total)
        all_batches = batches(histories(customers.rows, loans.rows))
        with ThreadPoolExecutor(1, "deciding") as ahead:
            for batch, imports in run.over(all_batches, ahead):
                for imported in imports:
                    fates[0].update(imported.customers)
                    fates[1].update(imported.loans)
                    findings += imported.findings
                done += sum(len(history.customers) + len(history.loans) for history in batch)
                progress(done, total)
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
    """One run of one job: which numbers its loans ask for, and what the log holds meanwhile."""

    def __init__(self, lending: Lending, job: Job, ingestion: Ingestion) -> None:
        self._lending = lending
        self._job = job
        self._ingestion = ingestion
        self._claims = first_claims(self._loans_of_somebody())
        if not job.check_only:
            self._pass_by_numbers()

    def over(
        self, batches: Iterable[Sequence[History]], ahead: Executor
    ) -> Iterator[tuple[Sequence[History], list[Import]]]:
        """Record batch after batch, while ``ahead`` decides the next one.

        Batches share no customer, so what one records decides nothing in another.
        """
        waiting: deque[tuple[Sequence[History], Future[list[Import]]]] = deque()
        for batch in batches:
            waiting.append((batch, ahead.submit(self._decide, batch)))
            if len(waiting) > 1:
                yield self._recorded(*waiting.popleft())
        while waiting:
            yield self._recorded(*waiting.popleft())

    def _recorded(
        self, batch: Sequence[History], decided: Future[list[Import]]
    ) -> tuple[Sequence[History], list[Import]]:
        imports = decided.result()
        if not self._job.check_only:
            facts = [imported.facts for imported in imports]
            for place in self._lending.record_many(facts, _by(self._job)):
                imports[place] = self._alone(batch[place])
        return batch, imports

    def _alone(self, history: History) -> Import:
        give_up = time.monotonic() + CONTEND_S
        while True:
            (imported,) = self._decide([history])
            try:
                self._lending.record(imported.facts, _by(self._job))
            except IntegrityError as lost:
                if time.monotonic() > give_up:
                    raise ContendedError from lost
            else:
                return imported

    def _decide(self, batch: Sequence[History]) -> list[Import]:
        wanted = {
            loan_stream(number): number
            for history in batch
            for row in history.loans
            if (number := wanted_number(row.source_loan_id))
        }
        taken = {wanted[stream] for stream in self._lending.reader.first_topics(wanted)}

        def number_for(row: LoanRow) -> int:
            number = wanted_number(row.source_loan_id)
            mine = self._claims.get(row.source_loan_id) == row.customer_number
            if number is not None and mine and number not in taken:
                return number
            return 0 if self._job.check_only else self._lending.numbers.take("loan")

        known = self._known(batch)
        return [
            decide_import(self._ingestion, history, known.get(history.customer_number), number_for)
            for history in batch
        ]

    def _known(self, batch: Sequence[History]) -> dict[int, Known]:
        """What the log holds of these customers, with the loans that imports brought them."""
        reader = self._lending.reader
        streams = reader.excerpts(
            (customer_stream(history.customer_number) for history in batch),
            [topic(LoansImported), topic(CustomerRestated)],
        )
        named = {
            loan.loan_number
            for excerpt in streams.values()
            for fact in excerpt.facts
            if isinstance(fact, LoansImported)
            for loan in fact.loans
        }
        loans: dict[int, dict[str, LoanImported]] = {}
        versions: dict[int, int] = {}
        recorded: set[RestatedRow] = set()
        streams_of_loans = (
            reader.excerpts(map(loan_stream, named), [topic(LoanRestated)]) if named else {}
        )
        for excerpt in streams_of_loans.values():
            loan, *later = excerpt.facts
            assert isinstance(loan, LoanImported)
            said = last_said(loan, self._of_others(later, recorded))
            loans.setdefault(loan.customer_number, {})[loan.source_loan_id] = said
            versions[loan.loan_number] = excerpt.version
        known: dict[int, Known] = {}
        for excerpt in streams.values():
            first, *later = excerpt.facts
            assert isinstance(first, CustomerImported | CustomerRegistered)
            others = list(self._of_others(later, recorded))
            known[first.customer_number] = Known(
                version=excerpt.version,
                imported=(
                    last_said(first, others) if isinstance(first, CustomerImported) else None
                ),
                loans=loans.get(first.customer_number, {}),
                loan_versions=versions,
                restated=frozenset(recorded),
            )
        return known

    def _of_others(
        self, facts: Iterable[Event], recorded: set[RestatedRow]
    ) -> Iterator[CustomerRestated | LoanRestated]:
        """The restatements of other ingestions; the rows of this one's own are ``recorded``."""
        for fact in facts:
            if not isinstance(fact, CustomerRestated | LoanRestated):
                continue
            if fact.source.ingestion_id == self._ingestion.ingestion_id:
                recorded.add((type(fact), fact.source.row))
            else:
                yield fact

    def _loans_of_somebody(self) -> Iterator[LoanRow]:
        """The rows whose customer this workbook or the log knows; others claim no number."""
        loans = self._ingestion.loans.rows
        given = {row.number for row in self._ingestion.customers.rows}
        asked = sorted(given.union(row.customer_number for row in loans))
        kinds: dict[UUID, str] = {}
        for some in _slices([customer_stream(number) for number in asked], STREAMS_A_QUERY):
            kinds |= self._lending.reader.first_topics(some)
        imported = topic(CustomerImported)
        somebody = {
            number
            for number in asked
            if kinds.get(customer_stream(number), imported if number in given else "") == imported
        }
        return (row for row in loans if row.customer_number in somebody)

    def _pass_by_numbers(self) -> None:
        numbers = self._lending.numbers
        customers = [row.number for row in self._ingestion.customers.rows]
        loans = [
            number for source_id in self._claims if (number := wanted_number(source_id)) is not None
        ]
        numbers.pass_by("customer", max(customers, default=0))
        numbers.pass_by("loan", max(loans, default=0))


def _by(job: Job) -> By:
    return By(
        actor=job.actor,
        correlation_id=job.correlation_id,
        causation_id=f"ingestion/{job.ingestion_id}",
    )


def _slices(items: Sequence[UUID], size: int) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
