"""The library's own test cases, run against our recorder; what is waived is waived by name.

docs/decisions/0006-the-librarys-cases.md says more about each waiver.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final
from unittest import TestCase

import pytest
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    ProcessRecorder,
    StoredEvent,
    TrackingRecorder,
)
from eventsourcing.tests import persistence
from eventsourcing.utils import Environment, get_topic

from credit_es.store.database import Database
from credit_es.store.recorder import LogFactory, LogRecorder

RUN: Final = [
    "ApplicationRecorderTestCase.test_insert_select",
    "ApplicationRecorderTestCase.test_performance",
    "ApplicationRecorderTestCase.test_concurrent_no_conflicts",
    "ApplicationRecorderTestCase.test_concurrent_throughput",
    "AggregateRecorderTestCase.test_insert_and_select",
    "AggregateRecorderTestCase.test_performance",
    "InfrastructureFactoryTestCase.test_mapper",
    "InfrastructureFactoryTestCase.test_mapper_with_compressor",
    "InfrastructureFactoryTestCase.test_mapper_with_cipher",
    "InfrastructureFactoryTestCase.test_mapper_with_cipher_and_compressor",
    "InfrastructureFactoryTestCase.test_mapper_with_wrong_cipher_key",
    "InfrastructureFactoryTestCase.test_create_application_recorder",
]
WAIVED: Final = {
    "NonInterleavingNotificationIDsBaseCase": "appends run side by side: positions interleave",
    "ApplicationRecorderTestCase.optional_test_insert_subscribe": "polled: nothing notifies",
    "InfrastructureFactoryTestCase.test_create_aggregate_recorder": "there is one recorder",
    "InfrastructureFactoryTestCase.test_create_tracking_recorder": "read tables keep positions",
    "InfrastructureFactoryTestCase.test_create_process_recorder": "read tables keep positions",
    "TrackingRecorderTestCase": "read tables keep their position, in their own transaction",
    "ProcessRecorderTestCase": "a projection writes its rows and its position, never events",
    "TranscoderTestCase": "entries are msgspec structs: no transcoder is used",
}


class WithoutPositions(LogRecorder):
    """As an aggregate recorder, which has no positions to give back."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Any:
        super().insert_events(stored_events, **kwargs)


class FactoryCase(persistence.InfrastructureFactoryTestCase[LogFactory]):
    """Expects our factory and recorder; the recorders that are waived it is never asked for."""

    __test__ = False  # pytest would run it as it stands
    env: Environment

    def expected_factory_class(self) -> type[LogFactory]:
        return LogFactory

    def expected_application_recorder_class(self) -> type[ApplicationRecorder]:
        return LogRecorder

    def expected_aggregate_recorder_class(self) -> type[AggregateRecorder]:
        raise NotImplementedError

    def expected_tracking_recorder_class(self) -> type[TrackingRecorder]:
        raise NotImplementedError

    def tracking_recorder_subclass(self) -> type[TrackingRecorder]:
        raise NotImplementedError

    def expected_process_recorder_class(self) -> type[ProcessRecorder]:
        raise NotImplementedError


@pytest.fixture
def case(database: Database, database_url: str, schema: str) -> Callable[[str], TestCase]:
    """A case by its name, on a schema of its own."""

    class Application(persistence.ApplicationRecorderTestCase[ApplicationRecorder]):
        def create_recorder(self) -> ApplicationRecorder:
            return LogRecorder(database)

    class Aggregate(persistence.AggregateRecorderTestCase):
        def create_recorder(self) -> AggregateRecorder:
            return WithoutPositions(database)

    class Factory(FactoryCase):
        env = Environment(
            env={
                InfrastructureFactory.PERSISTENCE_MODULE: "credit_es.store.recorder:LogFactory",
                LogFactory.APPLICATION_RECORDER_TOPIC: get_topic(LogRecorder),
                "DATABASE_URL": database_url,
                "CREDIT_SCHEMA": schema,
            }
        )

    cases: dict[str, type[TestCase]] = {
        "ApplicationRecorderTestCase": Application,
        "AggregateRecorderTestCase": Aggregate,
        "InfrastructureFactoryTestCase": Factory,
    }

    def named(name: str) -> TestCase:
        kind, _, method = name.partition(".")
        return cases[kind](method)

    return named


@pytest.mark.parametrize("name", RUN)
def test_the_librarys_own_case_holds(case: Callable[[str], TestCase], name: str) -> None:
    case(name).debug()


def test_every_case_of_the_library_is_run_or_waived_by_name() -> None:
    offered = {
        name if name in WAIVED else f"{name}.{method}"
        for name, kind in vars(persistence).items()
        if isinstance(kind, type) and issubclass(kind, TestCase) and name.endswith("Case")
        for method in vars(kind)
        if method.startswith(("test", "optional_test"))
    }
    assert offered == {*RUN, *WAIVED}
    assert len(RUN) == len(set(RUN))
    assert not set(RUN) & set(WAIVED)
