"""What went wrong, as RFC 9457 ``application/problem+json``. Every exception is mapped here, once.

A problem says what the caller can do something about; of a fault of ours it gives the request's id,
under which the log says more.
"""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, Literal

import falcon
import msgspec
import structlog
from gunicorn.http.errors import NoMoreData, ParseException  # type: ignore[import-untyped]
from msgspec import Struct

from api.connections import SilentClientError
from credit_es.application import ContendedError
from credit_es.audit.decisions import in_words
from credit_es.audit.dossiers import BrokenDossierError
from credit_es.domain.errors import (
    DomainError,
    ForbiddenError,
    FourEyesError,
    NotAllowedError,
    UnknownApplicationError,
    UnknownCustomerError,
    UnknownDecisionError,
    UnknownIngestionError,
    UnknownLoanError,
    UnknownRepaymentError,
)
from credit_es.domain.review import DeclinedByPolicyError
from credit_es.store.database import BusyError, ConnectionLostError, StoreUnavailableError
from credit_es.store.idempotency import KeyReusedError
from credit_es.store.mapper import UndigestedError
from credit_es.store.replica import ReplicaUnavailableError
from projections.projection import PoisonError

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 1
NO_CHUNKS: Final = "The body's chunks are not those of HTTP."
BROKEN_OFF: Final = "The body broke off, and nothing was recorded: send the request again."
NOWHERE: Final = "Nothing has this path: /docs shows those there are, and /openapi.json lists them."
FOUND: Final = {
    "customer": "GET /customers?phone_number= finds one",
    "loan": "GET /view-loans/{customer_id}?status=all lists those of a customer",
    "decision": "GET /customers/{customer_id}/decisions lists those of a customer",
    "ingestion": "GET /ingestions lists them",
    "repayment": "GET /loans/{loan_id}/repayments lists those of a loan",
    "application": "GET /reviews?status=all lists all of them",
    "history": "ask for that of a customer, a loan or an application",
    "comparison": "ask for that of a customer or a loan",
}
"""Where the ids are found that there are, or what has one."""
Location = Literal["body", "query", "path", "header"]
Handler = Callable[[falcon.Request, falcon.Response, Exception, dict[str, Any]], None]


class Fault(Struct, frozen=True, kw_only=True):
    """One fault of a request; ``pointer`` is the JSON pointer of the field in its ``location``."""

    location: Location
    pointer: str
    code: str
    detail: str


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was not answered as asked; ``errors`` has every fault of it at once."""

    type: str
    title: str
    status: int
    request_id: str
    detail: str = ""
    errors: tuple[Fault, ...] = ()


class ProblemError(Exception):
    """An answer other than the one asked for; ``kind`` is the last word of its type."""

    def __init__(
        self,
        status: HTTPStatus,
        kind: str,
        detail: str,
        *,
        faults: Sequence[Fault] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.faults = tuple(faults)
        self.retry_after_s = retry_after_s


class MalformedError(ProblemError):
    """The body cannot be read at all."""

    def __init__(self, detail: str) -> None:
        super().__init__(HTTPStatus.BAD_REQUEST, "malformed", detail)


class InvalidError(ProblemError):
    """The request can be read, and fields of it are not what they must be."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        detail = "The request has a fault." if len(faults) == 1 else "The request has faults."
        super().__init__(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-fields", detail, faults=faults)


class TooLargeError(ProblemError):
    """The body is larger than is read."""

    def __init__(self, detail: str) -> None:
        super().__init__(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", detail)


class MediaTypeError(ProblemError):
    """The body is of another type than is read."""

    def __init__(self, wanted: str) -> None:
        super().__init__(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "media-type", f"Send the body as {wanted}."
        )


class NotThereError(ProblemError):
    """A path whose id is none that anything could have; it may be any text, and is not repeated."""

    def __init__(self, what: str) -> None:
        detail = f"No {what} has this id{_where(what)}."
        super().__init__(HTTPStatus.NOT_FOUND, f"unknown-{what}", detail)


class UnavailableError(ProblemError):
    """We cannot answer now."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, retry_after_s=RETRY_AFTER_S
        )


def add_error_handlers(app: "falcon.App[falcon.Request, falcon.Response]") -> None:
    """Answer every exception with its problem."""
    app.add_error_handler(ProblemError, _answer)
    app.add_error_handler(falcon.HTTPError, _http)
    app.add_error_handler(ParseException, _via(lambda _error: MalformedError(NO_CHUNKS)))
    app.add_error_handler(NoMoreData, _via(lambda _error: MalformedError(BROKEN_OFF)))
    app.add_error_handler(SilentClientError, _via(_silent))
    app.add_error_handler(DomainError, _via(_unknown))
    app.add_error_handler(ForbiddenError, _told(HTTPStatus.CONFLICT, "not-allowed"))
    app.add_error_handler(DeclinedByPolicyError, _via(_declined))
    app.add_error_handler(FourEyesError, _told(HTTPStatus.FORBIDDEN, "four-eyes"))
    app.add_error_handler(NotAllowedError, _not_allowed)
    app.add_error_handler(KeyReusedError, _via(_key_reused))
    app.add_error_handler(BusyError, _busy)
    app.add_error_handler(ContendedError, _busy)
    app.add_error_handler(StoreUnavailableError, _via(_no_store))
    app.add_error_handler(ConnectionLostError, _via(_connection_lost))
    app.add_error_handler(ReplicaUnavailableError, _via(_no_replica))
    app.add_error_handler(PoisonError, _via(_poisoned))
    app.add_error_handler(UndigestedError, _via(_undigested))
    app.add_error_handler(BrokenDossierError, _via(_undigested))
    app.add_error_handler(Exception, _unexpected)


def _silent(_error: Exception) -> ProblemError:
    detail = "The rest of the body did not come, and nothing was recorded: send the request again."
    return ProblemError(HTTPStatus.REQUEST_TIMEOUT, "silent-client", detail)


def _unknown(error: Exception) -> ProblemError:
    kinds: dict[type[Exception], str] = {
        UnknownCustomerError: "customer",
        UnknownLoanError: "loan",
        UnknownDecisionError: "decision",
        UnknownIngestionError: "ingestion",
        UnknownRepaymentError: "repayment",
        UnknownApplicationError: "application",
    }
    what = next((kind for of, kind in kinds.items() if isinstance(error, of)), "")
    detail = f"{_sentence(error)[:-1]}{_where(what)}."
    return ProblemError(HTTPStatus.NOT_FOUND, f"unknown-{what}" if what else "unknown", detail)


def _where(what: str) -> str:
    return f": {FOUND[what]}" if what in FOUND else ""


def _declined(error: Exception) -> ProblemError:
    assert isinstance(error, DeclinedByPolicyError)
    reasons = " ".join(text for _, text in in_words(error.decision))
    return ProblemError(HTTPStatus.CONFLICT, "not-allowed", f"{_sentence(error)} {reasons}")


def _not_allowed(
    req: falcon.Request, resp: falcon.Response, error: Exception, params: dict[str, Any]
) -> None:
    assert isinstance(error, NotAllowedError)
    beside_path: Location = "query" if req.method in {"GET", "HEAD"} else "body"
    fault = Fault(
        location="path" if error.field in params else beside_path,
        pointer=f"/{error.field}",
        code="not_allowed",
        detail=str(error),
    )
    _answer(req, resp, InvalidError([fault]), params)


def _sentence(error: Exception) -> str:
    message = str(error)
    return f"{message[0].upper()}{message[1:]}."


def _key_reused(_error: Exception) -> ProblemError:
    return ProblemError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "key-reused",
        "The Idempotency-Key was used for another request: give each request a key of its own.",
        faults=[
            Fault(
                location="header",
                pointer="/Idempotency-Key",
                code="key_reused",
                detail="was used for another request",
            )
        ],
    )


def _busy(
    req: falcon.Request, resp: falcon.Response, error: Exception, params: dict[str, Any]
) -> None:
    if req.context.records:
        detail = "Other requests for the same kept this one from being recorded: send it again."
        busy = ProblemError(HTTPStatus.CONFLICT, "busy", detail, retry_after_s=RETRY_AFTER_S)
        _answer(req, resp, busy, params)
    else:  # no request is in its way, but who has locked a table
        _answer(req, resp, _no_store(error), params)


def _no_store(error: Exception) -> ProblemError:
    log.warning("store unavailable", error=str(error).strip())
    return UnavailableError("The database does not answer now: send the request again.")


def _no_replica(error: Exception) -> ProblemError:
    log.warning("replica unavailable", error=str(error).strip())
    return UnavailableError("The read replica does not answer now: send the request again.")


def _connection_lost(error: Exception) -> ProblemError:
    log.warning("connection lost", error=str(error).strip())
    return UnavailableError(
        "The database went away meanwhile, and whether the request was recorded is not known: "
        "with the Idempotency-Key it had, it can be sent again without being recorded twice."
    )


def _poisoned(error: Exception) -> ProblemError:
    assert isinstance(error, PoisonError)
    log.error(
        "projection poisoned",
        projection=error.projection,
        stream_id=str(error.stream_id),
        version=error.version,
    )
    return UnavailableError(
        f"The projection {error.projection} cannot digest what was recorded: it waits for repair."
    )


def _undigested(error: Exception) -> ProblemError:
    log.error("fact undigested", exc_info=error)
    return UnavailableError(f"{_sentence(error)[:-1]}: it waits for repair.")


def _via(wording: Callable[[Exception], ProblemError]) -> Handler:
    def handle(
        req: falcon.Request, resp: falcon.Response, error: Exception, params: dict[str, Any]
    ) -> None:
        _answer(req, resp, wording(error), params)

    return handle


def _told(status: HTTPStatus, kind: str) -> Handler:
    return _via(lambda error: ProblemError(status, kind, _sentence(error)))


def _answer(
    req: falcon.Request, resp: falcon.Response, error: Exception, _params: dict[str, Any]
) -> None:
    assert isinstance(error, ProblemError)
    if error.retry_after_s is not None:
        resp.set_header("Retry-After", str(error.retry_after_s))
    _write(req, resp, error.status, error.kind, error.detail, error.faults)


def _http(
    req: falcon.Request, resp: falcon.Response, error: Exception, _params: dict[str, Any]
) -> None:
    """Word what falcon itself refuses: no route, no method, no form."""
    assert isinstance(error, falcon.HTTPError)
    resp.set_headers(error.headers or {})
    takes = f"This path takes {resp.get_header('Allow')}: /docs shows how each is sent."
    told = {falcon.HTTPRouteNotFound: NOWHERE, falcon.HTTPMethodNotAllowed: takes}
    detail = told.get(type(error), error.description)
    _write(req, resp, HTTPStatus(error.status_code), "", detail or "")


def _unexpected(
    req: falcon.Request, resp: falcon.Response, error: Exception, _params: dict[str, Any]
) -> None:
    log.error("request failed", exc_info=error)
    detail = "The fault is ours. Whoever runs this service finds it under the request's id."
    _write(req, resp, HTTPStatus.INTERNAL_SERVER_ERROR, "", detail)


def _write(
    req: falcon.Request,
    resp: falcon.Response,
    status: HTTPStatus,
    kind: str,
    detail: str,
    faults: tuple[Fault, ...] = (),
) -> None:
    problem = Problem(
        type=f"urn:credit-es:problem:{kind}" if kind else "about:blank",
        title=status.phrase,
        status=status,
        request_id=getattr(req.context, "request_id", ""),
        detail=detail,
        errors=faults,
    )
    resp.status = status
    resp.content_type = MEDIA_TYPE
    resp.data = msgspec.json.encode(problem) + b"\n"
