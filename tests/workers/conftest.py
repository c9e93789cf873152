"""Fixtures of the workers' tests: a worker of one schema, with or without its thread pool."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import pytest

from credit_es.application import Lending
from credit_es.domain.cells import Finding
from credit_es.domain.events import (
    Event,
    IngestionFailed,
    IngestionFinished,
    IngestionRequested,
)
from credit_es.importing import Importing
from credit_es.settings import Settings
from credit_es.store.ingestions import QueuedIngestion, Report, Upload
from credit_es.store.mapper import DECODER
from tests.store.given import BY, settings
from workers.broker import Broker
from workers.ingestion import IngestionWorker

OWN = IngestionRequested | IngestionFinished | IngestionFailed
"""An ingestion's facts about itself."""


class House:
    """One schema, its application, and a worker, which a test starts or calls itself."""

    def __init__(self, told: Settings) -> None:
        self.settings = told
        self.lending = Lending(told)
        self.importing = Importing(self.lending)
        self.worker = IngestionWorker(told)
        self.broker = Broker(told.redis_url, told.schema)

    def close(self) -> None:
        self.worker.stop()
        self.lending.close()

    @contextmanager
    def working(self) -> Iterator[None]:
        """The worker takes messages from Redis meanwhile."""
        self.worker.start()
        try:
            yield
        finally:
            self.worker.stop()

    def request(self, customers: bytes, loans: bytes, *, check_only: bool = False) -> UUID:
        uploads = (
            Upload(name="customers.xlsx", content=customers),
            Upload(name="loans.xlsx", content=loans),
        )
        return self.importing.request(*uploads, check_only=check_only, by=BY)

    def ingest(
        self, customers: bytes, loans: bytes, *, check_only: bool = False
    ) -> QueuedIngestion:
        """What a wake-up does, without waiting for one."""
        ingestion_id = self.request(customers, loans, check_only=check_only)
        self.worker.ingest(str(ingestion_id))
        ended = self.found(ingestion_id)
        assert ended.finished_at is not None
        return ended

    def found(self, ingestion_id: UUID) -> QueuedIngestion:
        found = self.importing.ingestions.find(ingestion_id)
        assert found is not None
        return found

    def ended(self, ingestion_id: UUID, *, within_s: float = 60) -> QueuedIngestion:
        deadline = time.monotonic() + within_s
        while (found := self.found(ingestion_id)).finished_at is None:
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
        return found

    def findings(self, ended: QueuedIngestion) -> list[Finding]:
        return self.importing.ingestions.findings(ended.job.ingestion_id, after=0, limit=100_000)

    def codes(self, ended: QueuedIngestion) -> Counter[str]:
        return Counter(finding.code for finding in self.findings(ended))

    def facts(self) -> list[Event]:
        return [DECODER.decode(e.state).fact for b in self.lending.reader.tail(0) for e in b]

    def imported(self) -> list[Event]:
        """The log but for what ingestions say of themselves."""
        return [fact for fact in self.facts() if not isinstance(fact, OWN)]


def report_of(ended: QueuedIngestion) -> Report:
    assert ended.report is not None, ended
    assert ended.status == "succeeded"
    return ended.report


def kinds(facts: Sequence[Event]) -> list[type[Event]]:
    return [type(fact) for fact in facts]


@pytest.fixture
def house(database_url: str, schema: str, redis_url: str) -> Iterator[House]:
    one = House(settings(database_url, schema, redis_url=redis_url))
    yield one
    one.close()
