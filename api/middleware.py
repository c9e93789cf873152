"""What every request has: an id, somebody who asks, and one line in the log."""

import re
import time
from typing import Any, Final
from uuid import uuid4

import falcon
import structlog
from msgspec import Struct

from api.fields import HEADER_TEXT
from api.problems import Fault
from credit_es.application import By
from credit_es.store.idempotency import Once

log = structlog.get_logger()

ANONYMOUS: Final = "anonymous"
LONGEST_ACTOR: Final = 100
LONGEST_KEY: Final = 255
ACTOR: Final = HEADER_TEXT % (LONGEST_ACTOR - 2)
KEY: Final = HEADER_TEXT % (LONGEST_KEY - 2)

_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")
_ACTOR: Final = re.compile(ACTOR)
_KEY: Final = re.compile(KEY)
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


class Caller(Struct, frozen=True, kw_only=True):
    """Who asks for something to be recorded; ``faults`` are those of the headers that say so."""

    by: By
    path: str
    key: str | None
    faults: tuple[Fault, ...]

    def once(self, digest: bytes) -> Once | None:
        """What makes a request the same one when it is sent again; ``digest`` is its content's."""
        if self.key is None:
            return None
        return Once(actor=self.by.actor, path=self.path, key=self.key, digest=digest)


class RequestLog:
    """Gives each request its id and logs it, with ids only: no body, no query, no name."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Echo the caller's id, or make one."""
        given = req.get_header("X-Request-Id")
        request_id = given if given and _REQUEST_ID.fullmatch(given) else uuid4().hex
        req.context.request_id = request_id
        req.context.started = time.perf_counter()
        resp.set_header("X-Request-Id", request_id)
        structlog.contextvars.bind_contextvars(request_id=request_id)

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, resource: object, params: dict[str, Any]
    ) -> None:
        """Name what is asked for; 405 for a method that nobody has, where falcon answers 400."""
        # The route, for a path has several spellings: with a slash, with two at its beginning.
        req.context.path = (req.uri_template or req.path).format(**params)
        asked = getattr(resource, "operations", {}).get(req.method.lower())
        req.context.records = asked is not None and asked.records
        if req.method not in falcon.COMBINED_METHODS:
            known = [m for m in falcon.HTTP_METHODS if hasattr(resource, f"on_{m.lower()}")]
            raise falcon.HTTPMethodNotAllowed([*known, "OPTIONS"])

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        _resource: object,
        _req_succeeded: bool,  # noqa: FBT001 - falcon's signature
    ) -> None:
        """Log one line. What was asked for is the route, for a path may say anything."""
        log.info(
            "request",
            method=req.method,
            route=req.uri_template,
            status=resp.status_code,
            ms=round(1000 * (time.perf_counter() - req.context.started), 2),
        )
        structlog.contextvars.clear_contextvars()


def caller(req: falcon.Request) -> Caller:
    """Who asks: ``X-Actor``, ``traceparent`` and ``Idempotency-Key``."""
    faults: list[Fault] = []
    actor = _header(req, "X-Actor", _ACTOR, LONGEST_ACTOR, faults)
    key = _header(req, "Idempotency-Key", _KEY, LONGEST_KEY, faults)
    trace = req.get_header("traceparent") or ""
    request_id: str = req.context.request_id
    traced = _TRACEPARENT.fullmatch(trace) is not None
    return Caller(
        by=By(
            actor=actor or ANONYMOUS,
            correlation_id=trace if traced else request_id,
            causation_id=f"request/{request_id}" if traced else None,
        ),
        path=req.context.path,
        key=key,
        faults=tuple(faults),
    )


def _header(
    req: falcon.Request, name: str, pattern: re.Pattern[str], longest: int, faults: list[Fault]
) -> str | None:
    given = req.get_header(name)
    if given is None or pattern.fullmatch(given):
        return given
    detail = f"should be 1 to {longest} printable ASCII characters"
    faults.append(Fault(location="header", pointer=f"/{name}", code="header", detail=detail))
    return None
