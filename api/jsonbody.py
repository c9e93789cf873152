"""Strict JSON: what is read is exactly what was sent.

Numbers stay exact: ``36.0`` is the integer 36, as JSON Schema says, and all others are ``Decimal``.
What two readers could read differently is refused: NaN, duplicate keys, lone surrogates.
"""

import hashlib
import json
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn

import falcon

from api.problems import BROKEN_OFF, MalformedError, MediaTypeError, TooLargeError

MEDIA_TYPE: Final = "application/json"
LONGEST: Final = 64 * 1024
LONGEST_INTEGER: Final = 30
"""Digits; what is longer fits no field of ours, and stays a ``Decimal``."""


def read_json(req: falcon.Request) -> Any:
    """The body of a request, parsed; raises the ``ProblemError`` of a body that cannot be."""
    media_type, _, parameters = (req.content_type or "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if media_type.strip().lower() != MEDIA_TYPE or charset not in {"", "charset=utf-8"}:
        raise MediaTypeError(MEDIA_TYPE)
    if (req.content_length or 0) > LONGEST:
        raise TooLargeError(f"A body is at most {LONGEST} bytes.")
    # Falcon's bounded stream takes a chunked body, which has no length, for an empty one.
    ends = req.env.get("wsgi.input_terminated")
    raw = (req.stream if ends else req.bounded_stream).read(LONGEST + 1)
    if len(raw) > LONGEST:
        raise TooLargeError(f"A body is at most {LONGEST} bytes.")
    if len(raw) < (req.content_length or 0):
        raise MalformedError(BROKEN_OFF)
    return parse(raw)


def parse(raw: bytes) -> Any:
    """Parse one JSON text; raises ``MalformedError``."""
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
        if b"\\u" in raw:
            _dump(value, ascii_only=False).encode("utf-8")
    except UnicodeDecodeError:
        raise MalformedError("The body is not UTF-8.") from None
    except UnicodeEncodeError:
        raise MalformedError("The body has half of a surrogate pair.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise MalformedError(f"The body is not JSON: {error.msg} at {place}.") from None
    except RecursionError:
        raise MalformedError("The body is nested too deeply.") from None
    return value


def digest(value: Any) -> bytes:
    """The SHA-256 of a parsed body: key order, white space and ``1`` or ``1.0`` do not count."""
    try:
        return hashlib.sha256(_dump(value, ascii_only=True).encode()).digest()
    except RecursionError:
        raise MalformedError("The body is nested too deeply.") from None


def _dump(value: Any, *, ascii_only: bool) -> str:
    return json.dumps(
        value,
        sort_keys=True,
        ensure_ascii=ascii_only,
        separators=(",", ":"),
        default=lambda number: {"number": str(number)},
    )


def _number(text: str) -> int | Decimal:
    """An int where the number is whole, else a Decimal without trailing zeros."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        # An exponent beyond any that a Decimal can have: no bound of ours lets it pass.
        return Decimal("Infinity")
    if value == value.to_integral_value():
        return int(value) if value.adjusted() < LONGEST_INTEGER else value
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    kept = len(bytes(digits).rstrip(b"\0"))
    return Decimal((sign, digits[:kept], exponent + len(digits) - kept))


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= LONGEST_INTEGER else Decimal(text)


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedError(f"The body is not JSON: it says {name}.")


def _refuse_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise MalformedError(f"The body has the key {ascii(twice)[:80]} more than once.")
    return members


_DECODER: Final = json.JSONDecoder(
    parse_float=_number,
    parse_int=_integer,
    parse_constant=_refuse_constant,
    object_pairs_hook=_refuse_duplicates,
)
