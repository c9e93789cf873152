"""Whether the process lives, and whether the service works."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, Protocol

import falcon

from api.answers import Alive, ProjectionState, Ready, answer
from api.openapi import Method, Operation
from api.problems import UnavailableError
from credit_es.store.database import Database, StoreUnavailableError
from credit_es.store.migrations import lacking
from projections.status import ProjectionStatus, is_led, status
from projections.tables import PROJECTIONS

LATE_S: Final = 10.0
"""How far behind a read table may be before the projector counts as degraded."""
Degraded = Literal["redis", "worker", "projector", "poison", "replica"]


class WakeUp(Protocol):
    """Redis, as far as health asks for it."""

    def answers(self) -> bool:
        """Whether Redis is there."""
        ...

    def workers_alive(self) -> int:
        """How many workers gave a sign of life lately."""
        ...


class Live:
    """``GET /health/live``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Is the process alive?", tag="health", answers={200: Alive}, problems=(405, 500)
        )
    }

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer, and ask nobody else."""
        answer(resp, Alive(status="alive"))

    on_head = on_get


class Readiness:
    """``GET /health/ready``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(summary="Does the service work?", tag="health", answers={200: Ready})
    }

    def __init__(self, database: Database, wake_up: WakeUp, replica: Database | None) -> None:
        self._database = database
        self._wake_up = wake_up
        self._replica = replica

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 when Postgres answers and is migrated; all else only degrades the service."""
        missing, projections, led = self._database.run(self._look)
        unbuilt = {p.name for p in PROJECTIONS} - {state.projection for state in projections}
        if missing or unbuilt:
            what = ", ".join([*missing, *(f"the read table {name}" for name in sorted(unbuilt))])
            raise UnavailableError(f"The database lacks {what}: run `credit-es migrate`.")
        poisoned = any(state.problem is not None for state in projections)
        late = any(s.problem is None and s.lag.seconds > LATE_S for s in projections)
        redis = self._wake_up.answers()
        signs: dict[Degraded, bool] = {
            "redis": not redis,
            "worker": redis and not self._wake_up.workers_alive(),
            "projector": late or not led,
            "poison": poisoned,
            "replica": not self._replica_answers(),
        }
        answer(
            resp,
            Ready(
                status="ready",
                degraded=[name for name, wrong in signs.items() if wrong],
                projections=[_state(state) for state in projections],
            ),
        )

    on_head = on_get

    def _replica_answers(self) -> bool:
        if self._replica is None:
            return True
        try:
            self._replica.run(lambda conn: conn.execute("SELECT 1"))
        except StoreUnavailableError:
            return False
        return True

    def _look(self, conn: Any) -> tuple[list[str], list[ProjectionStatus], bool]:
        schema = self._database.schema
        missing = lacking(conn, schema)
        projections = [] if missing else status(conn, schema)
        return missing, projections, is_led(conn, schema)


def _state(state: ProjectionStatus) -> ProjectionState:
    return ProjectionState(
        projection=state.projection,
        version=state.version,
        position=state.position,
        lag=state.lag,
        problem=state.problem,
    )
