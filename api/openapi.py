"""The OpenAPI 3.1 document, put together from the models that check and the structs that answer.

Each resource says of each of its methods what goes in and what comes out; nothing is written twice.
"""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Literal, Protocol

from msgspec import Struct
from pydantic import BaseModel

from api import answers, fields, jsonbody, middleware, problems, requests, uploads

Method = Literal["get", "post"]
JSON: Final = jsonbody.MEDIA_TYPE
ZIP: Final = "application/zip"
XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
READ_PROBLEMS: Final = (405, 500, 503)
BODY_PROBLEMS: Final = (400, 408, 413, 415, 422)
RECORD_PROBLEMS: Final = (409,)

_FIELD: Final = re.compile(r"{(\w+)}")
_RETRY: Final = {
    "description": "After how many seconds to send the request again.",
    "schema": {"type": "integer", "minimum": 0},
}
_REQUEST_ID: Final = {
    "description": "The caller's id for the request, or the one it was given.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
}
_LOCATION: Final = {
    "description": "Where what was accepted can be followed.",
    "schema": {"type": "string", "format": "uri-reference"},
}
_NEXT: Final = {
    "description": 'Where the next page is, as `<...>; rel="next"`; absent on the last one.',
    "schema": {"type": "string"},
}
_WHAT: Final[Mapping[int, str]] = {
    400: "The body cannot be read.",
    403: "Whoever asked for it may not decide on it.",
    404: "There is no such thing.",
    405: "The path has other methods; `Allow` names them.",
    409: "What is recorded does not allow it, or not now; `detail` says what would be right.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is of another media type.",
    422: "Fields are not what they must be; `errors` names them all.",
    500: "The fault is ours.",
    503: "The database does not answer now.",
    507: "There is no room on the service's disk for what is asked.",
}
_RECORDING: Final = [
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Makes a request that is sent again get the first answer, for 24 hours.",
        "schema": {"type": "string", "pattern": middleware.KEY},
    },
    {
        "name": "X-Actor",
        "in": "header",
        "description": "On whose behalf this is recorded; `anonymous` without it.",
        "schema": {"type": "string", "pattern": middleware.ACTOR},
    },
]


class Link(Struct, frozen=True, kw_only=True):
    """Where an answer leads: to an operation, whose parameter ``name`` is a field of the answer.

    ``in_body`` says that it is a field of that operation's body.
    """

    operation: str
    name: str
    in_body: bool = False


class Operation(Struct, frozen=True, kw_only=True):
    """One method of one path.

    ``answers`` gives the type of each good answer, None where it is a file of the type ``media``;
    ``problems`` are statuses. ``records`` takes the headers that say who asks; ``files`` takes two
    workbooks; ``paged`` names the next page in ``Link``.
    """

    summary: str
    tag: str
    answers: Mapping[int, Any]
    media: str = XLSX
    problems: Sequence[int] = READ_PROBLEMS
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    paged: bool = False
    records: bool = False
    files: bool = False
    links: Mapping[int, Sequence[Link]] = {}


class Described(Protocol):
    """A resource that says what its methods do."""

    @property
    def operations(self) -> Mapping[Method, Operation]:
        """By method."""
        ...


def document(routes: Iterable[tuple[str, Described]], version: str) -> dict[str, Any]:
    """The whole document."""
    listed = list(routes)
    operations = [op for _, resource in listed for op in resource.operations.values()]
    kinds = [kind for op in operations for kind in op.answers.values() if kind is not None]
    refs, components = answers.schemas(kinds)
    components |= requests.schemas(op.body for op in operations if op.body)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "credit-es",
            "version": version,
            "description": (
                "Registers customers, decides on loans and says why. Every path works with and "
                "without a trailing slash; every error is `application/problem+json` (RFC 9457). "
                "What comes in pages names the next one in `next` and in a `Link` header."
            ),
        },
        "paths": {path: _path(path, resource, refs) for path, resource in listed},
        "components": {"schemas": components},
    }


def _path(path: str, resource: Described, refs: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        method: {
            "operationId": f"{method}{type(resource).__name__}",
            "summary": op.summary,
            "description": inspect.getdoc(getattr(resource, f"on_{method}")),
            "tags": [op.tag],
            "parameters": [*_in_path(path), *_in_query(op), *(_RECORDING if op.records else [])],
            **_body(op),
            "responses": _responses(op, refs, known="{" in path),
        }
        for method, op in resource.operations.items()
    }


def _in_path(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": fields.PATH_PARAMETERS[name]}
        for name in _FIELD.findall(path)
    ]


def _in_query(op: Operation) -> list[dict[str, Any]]:
    if op.query is None:
        return []
    schema = op.query.model_json_schema()
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _given(field)}
        for name, field in schema["properties"].items()
    ]


def _given(field: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter that is given; None stands for one that is not."""
    field.pop("title", None)
    if field.get("default", ...) is None:
        field.pop("default")
        (field,) = (one for one in field["anyOf"] if one != {"type": "null"})
    return field


def _body(op: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if op.body:
        ref = {"$ref": f"#/components/schemas/{op.body.__name__}"}
        content[JSON] = {"schema": ref}
    if op.files:
        workbook = {"type": "string", "format": "binary", "contentMediaType": XLSX}
        content[uploads.MEDIA_TYPE] = {
            "schema": {
                "type": "object",
                "properties": dict.fromkeys(uploads.FIELDS, workbook),
                "required": list(uploads.FIELDS),
            },
            "encoding": {field: {"contentType": XLSX} for field in uploads.FIELDS},
        }
    return {"requestBody": {"required": True, "content": content}} if content else {}


def _link(link: Link) -> dict[str, Any]:
    field = {link.name: f"$response.body#/{link.name}"}
    return {
        "operationId": link.operation,
        **({"requestBody": field} if link.in_body else {"parameters": field}),
    }


def _responses(op: Operation, refs: Mapping[Any, Any], *, known: bool) -> dict[str, Any]:
    statuses = {*op.problems, *(READ_PROBLEMS if op.problems else ())}
    if known:
        statuses.add(404)
    if op.query:
        statuses.add(422)
    if op.body or op.files:
        statuses |= {*BODY_PROBLEMS}
    if op.records:
        statuses |= {*RECORD_PROBLEMS}
    good: dict[str, Any] = {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "headers": {"X-Request-Id": _REQUEST_ID}
            | ({"Location": _LOCATION} if status == HTTPStatus.ACCEPTED else {})
            | ({"Link": _NEXT} if op.paged else {}),
            "content": {op.media: {}} if kind is None else {JSON: {"schema": refs[str(kind)]}},
            "links": {link.operation: _link(link) for link in op.links.get(status, ())},
        }
        for status, kind in op.answers.items()
    }
    problem = refs[str(problems.Problem)]
    bad = {
        str(status): {
            "description": _WHAT[status],
            "headers": {"X-Request-Id": _REQUEST_ID}
            | ({"Retry-After": _RETRY} if status in {409, 503} else {}),
            "content": {problems.MEDIA_TYPE: {"schema": problem}},
        }
        for status in sorted(statuses)
    }
    return good | bad
