"""What the child that parses a workbook tells its parent: msgpack messages, each after its length.

``Head``, then ``Rows`` in batches, then ``End``; or ``Problem`` instead of the rest. The parent
decodes into these types and no others, so that a child taken over by a hostile workbook can lie
about its rows and do nothing else.
"""

from typing import IO, Final

from msgspec import Struct, msgpack

_LENGTH: Final = 4
_LONGEST: Final = 64 << 20


class Day(Struct, frozen=True, array_like=True, tag="day", gc=False):
    """A date, as its proleptic ordinal."""

    ordinal: int


class NoValue(Struct, frozen=True, array_like=True, tag="none", gc=False):
    """A cell that holds something that is no value, in words."""

    holds: str


Value = str | int | float | Day | NoValue | None


class Head(Struct, frozen=True, tag="head"):
    """The sheet taken, its heading row as Excel numbers it, and field -> heading in row order."""

    sheet: str
    row: int
    columns: dict[str, str]


class Rows(Struct, frozen=True, tag="rows"):
    """Rows that are not blank: the number Excel shows, and the values in the head's order."""

    rows: list[tuple[int, list[Value]]]


class End(Struct, frozen=True, tag="end"):
    """All rows were sent; ``blank`` others below the headings, to the last the sheet has."""

    blank: int


class Problem(Struct, frozen=True, tag="problem"):
    """Why the workbook cannot be read: a predicate whose subject is the workbook.

    ``detail`` is what the parser said, for the operator.
    """

    predicate: str
    detail: str = ""


Message = Head | Rows | End | Problem

_encoder: Final = msgpack.Encoder()
_decoder: Final[msgpack.Decoder[Message]] = msgpack.Decoder(Message)


def send(stream: IO[bytes], message: Message) -> None:
    """Write one message."""
    data = _encoder.encode(message)
    stream.write(len(data).to_bytes(_LENGTH, "big") + data)


def receive(stream: IO[bytes]) -> Message | None:
    """Read the next message; None where the stream ends, be it in the midst of one.

    Raises ``ValueError`` on what is no message (``msgspec.ValidationError`` is one).
    """
    prefix = stream.read(_LENGTH)
    length = int.from_bytes(prefix, "big")
    if length > _LONGEST:
        message = f"a message of {length} bytes"
        raise ValueError(message)
    data = stream.read(length)
    if len(prefix) < _LENGTH or len(data) < length:
        return None
    return _decoder.decode(data)
