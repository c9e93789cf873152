"""Is the log what it must be, and all that is derived from it?"""

from collections.abc import Mapping
from typing import ClassVar

import falcon

from api.answers import Answer, answer
from api.openapi import Method, Operation
from api.resources.portfolio import Turn
from credit_es.audit.checks import Fault
from credit_es.audit.verify import verify
from credit_es.store.log import Log


class Verification(Answer, frozen=True, kw_only=True):
    """What was checked, up to which position, and what is wrong.

    Where there are more faults than are listed, ``complete`` is false.
    """

    position: int
    facts: int
    faults: list[Fault]
    complete: bool


class Verify:
    """``GET /audit/verify``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Verify the log and what is derived from it",
            tag="audit",
            answers={200: Verification},
        )
    }

    def __init__(self, log: Log, turn: Turn) -> None:
        self._log = log
        self._turn = turn

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Check every stream, the read tables and the snapshots; 200 whatever is found."""
        with self._turn.taken():
            found = verify(self._log)
        answer(
            resp,
            Verification(
                position=found.position,
                facts=found.facts,
                faults=found.faults,
                complete=found.complete,
            ),
        )

    on_head = on_get
