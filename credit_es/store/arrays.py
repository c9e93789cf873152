"""Arrays in Postgres's binary form, for the call that every command makes.

psycopg asks each list anew what it holds, a fifth of a writer's own time (40 of 180 us); the
columns of an append are always the same. The statement has to cast: ``%b::uuid[]``.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final
from uuid import UUID

from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format

HEADER: Final = Struct("!5i")
"""One dimension, no NULL, the elements' type, how many, the first one's number."""
LENGTH: Final = Struct("!i")
INT8: Final = Struct("!q")
INT8_OID, TEXT_OID, BYTEA_OID, UUID_OID = 20, 25, 17, 2950


class Array(bytes):
    """What the server's ``array_recv`` reads."""


class ArrayDumper(Dumper):
    """Sends an ``Array`` as it is; its type is what the statement casts it to."""

    format = Format.BINARY

    def dump(self, obj: Array) -> Array:
        """Nothing to do."""
        return obj


def register(context: AdaptContext) -> None:
    """Have statements of a connection take arrays."""
    context.adapters.register_dumper(Array, ArrayDumper)


def uuids(values: Iterable[UUID]) -> Array:
    """A ``uuid[]``."""
    return _array(UUID_OID, [value.bytes for value in values])


def int8s(values: Iterable[int]) -> Array:
    """An ``int8[]``."""
    return _array(INT8_OID, [INT8.pack(value) for value in values])


def texts(values: Iterable[str]) -> Array:
    """A ``text[]`` of plain ASCII, which is the same in every encoding of a database."""
    return _array(TEXT_OID, [value.encode("ascii") for value in values])


def byteas(values: Iterable[bytes]) -> Array:
    """A ``bytea[]``."""
    return _array(BYTEA_OID, list(values))


def _array(oid: int, elements: list[bytes]) -> Array:
    parts = [HEADER.pack(1, 0, oid, len(elements), 1)]
    for element in elements:
        parts += (LENGTH.pack(len(element)), element)
    return Array(b"".join(parts))
