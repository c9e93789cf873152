"""Arrays in Postgres's binary form, for ``calls``; the statement has to cast: ``$1::uuid[]``."""

from collections.abc import Iterable
from struct import Struct
from typing import Final
from uuid import UUID

HEADER: Final = Struct("!5i")
"""One dimension, no NULL, the elements' type, how many, the first one's number."""
LENGTH: Final = Struct("!i")
INT8: Final = Struct("!q")
INT8_OID, TEXT_OID, BYTEA_OID, UUID_OID = 20, 25, 17, 2950


def uuids(values: Iterable[UUID]) -> bytes:
    """A ``uuid[]``."""
    return _array(UUID_OID, [value.bytes for value in values])


def int8s(values: Iterable[int]) -> bytes:
    """An ``int8[]``."""
    return _array(INT8_OID, [INT8.pack(value) for value in values])


def texts(values: Iterable[str]) -> bytes:
    """A ``text[]`` of plain ASCII, which is the same in every encoding of a database."""
    return _array(TEXT_OID, [value.encode("ascii") for value in values])


def byteas(values: Iterable[bytes]) -> bytes:
    """A ``bytea[]``."""
    return _array(BYTEA_OID, list(values))


def _array(oid: int, elements: list[bytes]) -> bytes:
    parts = [HEADER.pack(1, 0, oid, len(elements), 1)]
    for element in elements:
        parts += (LENGTH.pack(len(element)), element)
    return b"".join(parts)
