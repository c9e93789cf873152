"""The ingestion worker: takes jobs from Postgres when Redis wakes it up, and never loses one.

A job may run twice or die half-way: rows the log already holds are found there. What no wake-up
reached, and what a dead worker left, a sweep sends again.
"""

import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event as Stop
from threading import Lock
from typing import Final
from uuid import UUID

import dramatiq
import redis
import structlog
from dramatiq.middleware import Shutdown
from msgspec import structs

from credit_es.application import Lending
from credit_es.domain.rows import CustomerRow, LoanRow
from credit_es.importing import RECORDERS, Importing
from credit_es.settings import Settings
from credit_es.store.database import BusyError, StoreUnavailableError
from credit_es.store.ingestions import Job, QueuedIngestion
from workers.broker import ACTOR, QUEUE, Broker
from workers.workbook import Sheet, WorkbookError, read_customers, read_loans

log = structlog.get_logger()

THREADS: Final = 2
MINUTE_MS: Final = 60_000
SWEEP_S: Final = 5.0
OVERDUE_S: Final = 10.0
LOOK_MS: Final = 100
"""How long Redis may hold a job before the worker looks: dramatiq asks it again and again."""
PROGRESS_S: Final = 0.25
STOP_MS: Final = 4_000
MOST_ATTEMPTS: Final = 8
GIVEN_UP: Final = (
    "It broke off {attempts} times, and is not tried again. What it recorded stays recorded; the "
    "log of the worker says what went wrong. When that is mended, ingest the workbooks again."
)


class IngestionWorker:
    """One process's worker: two jobs at a time, on one application."""

    def __init__(self, settings: Settings) -> None:
        # A job decides and appends at once; the sweep needs one more.
        self._lending = Lending(settings, pool_size=THREADS * (1 + RECORDERS) + 1)
        self._importing = Importing(self._lending)
        self._broker = Broker(settings.redis_url, settings.schema)
        self._name = f"{socket.gethostname()}/{os.getpid()}"
        self._lock = Lock()
        self._running: set[UUID] = set()
        as_actor = dramatiq.actor(
            actor_name=ACTOR,
            queue_name=QUEUE,
            broker=self._broker.dramatiq,
            max_retries=5,
            time_limit=30 * MINUTE_MS,
            notify_shutdown=True,
        )
        as_actor(self.ingest)
        self._worker = dramatiq.Worker(
            self._broker.dramatiq, worker_timeout=LOOK_MS, worker_threads=THREADS
        )

    def start(self) -> None:
        """Begin to take jobs."""
        self._worker.start()
        log.info("worker started")

    def stop(self) -> None:
        """Break off what is running, leave it queued, and let go of everything."""
        self._worker.stop(timeout=STOP_MS)
        try:
            self._broker.say_gone(self._name)
        except redis.RedisError as error:
            log.info("redis is away", error=str(error))
        self._lending.close()
        log.info("worker stopped")

    def sweep_until(self, stop: Stop) -> None:
        """Keep our jobs ours, and send again what waits too long."""
        while True:
            try:
                self.sweep()
            except (StoreUnavailableError, BusyError, redis.RedisError) as error:
                log.warning("sweep waits", error=str(error).strip())
            if stop.wait(SWEEP_S):
                return

    def sweep(self) -> None:
        """One round of it."""
        with self._lock:
            running = list(self._running)
        if running:
            self._importing.ingestions.touch(running)
        self._broker.say_alive(self._name)
        for ingestion_id in self._importing.ingestions.overdue(OVERDUE_S):
            log.info("ingestion sent again", ingestion_id=str(ingestion_id))
            self._broker.enqueue(ingestion_id)
        self._lending.keys.expire()

    def ingest(self, ingestion_id: str) -> None:
        """Record what the two workbooks of one ingestion say."""
        taken = self._importing.ingestions.take(UUID(ingestion_id))
        if taken is None:
            return
        structlog.contextvars.bind_contextvars(
            ingestion_id=ingestion_id, request_id=taken.job.correlation_id
        )
        with self._lock:
            self._running.add(taken.job.ingestion_id)
        try:
            self._ingest(taken)
        except Shutdown:
            # Not a failure, for which dramatiq would take it: a sweep sends it to the next worker.
            self._give_back(taken.job.ingestion_id)
            log.info("ingestion broken off")
        except BaseException:
            self._give_back(taken.job.ingestion_id)
            raise
        finally:
            with self._lock:
                self._running.discard(taken.job.ingestion_id)
            structlog.contextvars.clear_contextvars()

    def _ingest(self, taken: QueuedIngestion) -> None:
        job = taken.job
        if taken.attempts > MOST_ATTEMPTS:
            self._importing.fail(job, GIVEN_UP.format(attempts=taken.attempts - 1))
            log.error("ingestion given up", attempts=taken.attempts)
            return
        started = time.monotonic()
        try:
            customers, loans = self._read(job)
        except WorkbookError as error:
            # Who stood still past the lease has read too long, and is not asked any more.
            if self._is_ours(taken):
                self._importing.fail(job, str(error))
                log.info("ingestion failed", problem=str(error))
            return
        report = self._importing.run(job, customers, loans, self._progress(job.ingestion_id))
        log.info(
            "ingestion finished",
            check_only=job.check_only,
            seconds=round(time.monotonic() - started, 3),
            customers=structs.asdict(report.customers),
            loans=structs.asdict(report.loans),
        )

    def _is_ours(self, taken: QueuedIngestion) -> bool:
        """Whether no other worker has taken the job since."""
        now = self._importing.ingestions.find(taken.job.ingestion_id)
        return now is not None and now.attempts == taken.attempts

    def _read(self, job: Job) -> tuple[Sheet[CustomerRow], Sheet[LoanRow]]:
        """Both workbooks at once; where both are bad, the customers' fault is told."""
        content = self._importing.ingestions.content
        with ThreadPoolExecutor(1, "reading") as beside:
            reading = beside.submit(read_customers, content(job.customers))
            try:
                loans = read_loans(content(job.loans), as_of=job.requested_on)
            finally:
                customers = reading.result()
        return customers, loans

    def _progress(self, ingestion_id: UUID) -> Callable[[int, int], None]:
        """Say the progress a few times a second, and the start and the end of it."""
        said = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal said
            if done in {0, total} or time.monotonic() - said > PROGRESS_S:
                self._importing.ingestions.progress(ingestion_id, done=done, total=total)
                said = time.monotonic()

        return progress

    def _give_back(self, ingestion_id: UUID) -> None:
        try:
            self._importing.ingestions.release(ingestion_id)
        except (StoreUnavailableError, BusyError) as error:
            log.warning("ingestion not given back", error=str(error).strip())


def serve(settings: Settings) -> None:
    """Ingest until SIGTERM or SIGINT; a job that is running then is taken up by the next worker."""
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    worker = IngestionWorker(settings)
    worker.start()
    worker.sweep_until(stop)
    worker.stop()
