"""What is given with a command over HTTP: its body, by whom, and whether it was given before."""

from typing import Generic, TypeVar

import falcon
from msgspec import Struct
from pydantic import BaseModel

from api.jsonbody import digest, read_json
from api.middleware import caller
from api.requests import valid
from credit_es.application import By
from credit_es.store.idempotency import Once

Body = TypeVar("Body", bound=BaseModel)


class Given(Struct, Generic[Body], frozen=True, kw_only=True):
    """A command's request, checked; ``once`` where it has an ``Idempotency-Key``."""

    body: Body
    by: By
    once: Once | None


def read_command(req: falcon.Request, model: type[Body]) -> Given[Body]:
    """Read and check a request; raises the ``ProblemError`` with all faults, headers' too."""
    given = read_json(req)
    who = caller(req)
    body = valid(model, given, besides=who.faults)
    return Given(body=body, by=who.by, once=who.once(digest(given)) if who.key else None)
