"""What a projection is: a table whose rows are folds of one stream each.

The row is the aggregate's own state and the fold its ``evolve``: what a decision knows and what a
reader sees cannot drift apart. ``version`` in a row is that of the last event it holds, so a reader
can fold what came after.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import cached_property
from operator import attrgetter
from typing import Any, Final, Generic, Protocol, Self, TypeVar, Union, get_args, get_origin
from typing import get_type_hints as hints_of
from uuid import UUID

import msgspec
from msgspec import Struct

from credit_es.store.mapper import DECODER, DIGESTION, ENCODER, NAMED, TOPICS, stands_in, topic

TYPES: Final[Mapping[Any, str]] = {
    int: "bigint",
    str: "text",
    bool: "boolean",
    Decimal: "numeric",
    date: "date",
    tuple[int, ...]: "bigint[]",
}
"""The SQL types of a row's fields. Any other, such as a tuple of structs, is a column of JSON text:
nobody searches by it, and msgspec reads it many times faster than the driver would read jsonb."""


LAYOUT: Final = 1
"""Of the tables' own form, their keys and indexes: raise it when that changes, and ``migrate``
builds all of them anew."""


class Versioned(Protocol):
    """A state that knows the version of the last event folded into it."""

    @property
    def version(self) -> int:
        """Of the last event folded."""
        ...


Row = TypeVar("Row", bound=Versioned)


class PoisonError(Exception):
    """An event that a projection cannot digest. Nothing is skipped; other projections go on."""

    def __init__(self, projection: str, stream_id: UUID, version: int) -> None:
        super().__init__(f"{projection} cannot digest version {version} of stream {stream_id}")
        self.projection = projection
        self.stream_id = stream_id
        self.version = version

    def __reduce__(self) -> tuple[type[Self], tuple[str, UUID, int]]:
        """It travels between processes."""
        return type(self), (self.projection, self.stream_id, self.version)


class Projection(Struct, Generic[Row], frozen=True, kw_only=True, dict=True):
    """A read table and the pure fold that fills it; raise ``definition`` when either changes.

    ``events`` is the union of all events of its streams, for a row counts each, also one that its
    fold makes nothing of. ``key`` is the column by which people name a row, and ``indexes`` are the
    columns that queries search by.
    """

    name: str
    definition: int
    row: type[Row]
    events: Any
    fold: Callable[[Row | None, Any], Row]
    key: str = "number"
    indexes: tuple[tuple[str, ...], ...] = ()

    @property
    def shown_as(self) -> str:
        """The name of the view that code of this definition reads."""
        return f"{self.name}_d{self.table_definition}"

    @property
    def table_definition(self) -> int:
        """What its tables are known by: the definition of row and fold, and the tables' layout."""
        return self.definition + LAYOUT

    @cached_property
    def topics(self) -> frozenset[str]:
        """The stored names of the events it folds."""
        return frozenset(topic(kind) for kind in get_args(self.events))

    @cached_property
    def told_as(self) -> str:
        """The field in which each of its events says the key of their row: what names a stream."""
        (field,) = {NAMED[kind][1] for kind in get_args(self.events)}
        return field

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of its table, the stream first."""
        return ("stream_id", *self.row.__struct_fields__)  # type: ignore[attr-defined]

    @cached_property
    def column_types(self) -> list[tuple[str, str, bool]]:
        """Each column's name, SQL type and whether it may be null, from the row's fields."""
        return [("stream_id", "uuid", False)] + [
            (name, TYPES.get(kind, "text"), null) for name, (kind, null) in self._kinds.items()
        ]

    @cached_property
    def _kinds(self) -> dict[str, tuple[Any, bool]]:
        """The type of each field, without None, and whether None may stand for it."""
        hints = hints_of(self.row)
        kinds: dict[str, tuple[Any, bool]] = {}
        for name in self.columns[1:]:
            hint = hints[name]
            null = get_origin(hint) in {Union, types.UnionType}
            kinds[name] = (
                next(a for a in get_args(hint) if a is not type(None)) if null else hint,
                null,
            )
        return kinds

    @cached_property
    def _decoders(self) -> list[tuple[int, Callable[[Any], Any]]]:
        """How the values that psycopg does not give as they are in a row get so, by their place."""
        decoders: list[tuple[int, Callable[[Any], Any]]] = []
        for place, (kind, _) in enumerate(self._kinds.values()):
            if kind not in TYPES:
                decoders.append((place, msgspec.json.Decoder(kind).decode))
            elif get_origin(kind) is tuple:
                decoders.append((place, tuple))
        return decoders

    @cached_property
    def _encoders(self) -> list[tuple[int, Callable[[Any], Any]]]:
        """How the values of a row become those that psycopg takes, by their place."""
        encoders: list[tuple[int, Callable[[Any], Any]]] = []
        for place, (kind, _) in enumerate(self._kinds.values()):
            if kind not in TYPES:
                encoders.append((place, lambda value: ENCODER.encode(value).decode()))
            elif get_origin(kind) is tuple:
                encoders.append((place, list))
        return encoders

    @cached_property
    def _fields(self) -> Callable[[Row], tuple[Any, ...]]:
        return attrgetter(*self.columns[1:])

    def of(self, values: Sequence[Any]) -> Row:
        """A row from the values of its columns, without the stream."""
        given = list(values)
        for place, decode in self._decoders:
            if given[place] is not None:
                given[place] = decode(given[place])
        return self.row(**dict(zip(self.columns[1:], given, strict=True)))

    def values(self, row: Row) -> list[Any]:
        """The values of a row's columns, without the stream."""
        values = list(self._fields(row))
        for place, encode in self._encoders:
            if values[place] is not None:
                values[place] = encode(values[place])
        return values

    def key_of(self, stream_id: UUID, version: int, state: bytes) -> int | str:
        """The key of a stored event's row; raises ``PoisonError`` where it tells none."""
        try:
            key: int | str = getattr(DECODER.decode(state).fact, self.told_as)
        except DIGESTION as e:
            raise PoisonError(self.name, stream_id, version) from e
        return key

    def advance(self, row: Row | None, stream_id: UUID, version: int, state: bytes) -> Row:
        """Fold one stored event into its row; raises ``PoisonError`` where that cannot be done.

        So it is with one that tells another row's key: it stands in the wrong stream. The first is
        held against the stream, those after it against the row, which takes a tenth of the time.
        """
        held = row.version if row else 0
        try:
            fact = DECODER.decode(state).fact
            folded = self.fold(row, fact)
            if row is None:
                is_mine = stands_in(fact, stream_id)
            else:
                is_mine = getattr(fact, self.told_as) == getattr(folded, self.key)
        except DIGESTION as e:
            raise PoisonError(self.name, stream_id, version) from e
        if version != held + 1 or folded.version != version or not is_mine:
            raise PoisonError(self.name, stream_id, version)
        return folded

    def catch_up(
        self, row: Row | None, stream_id: UUID, tail: Sequence[bytes] | None
    ) -> Row | None:
        """Fold a stream's events beyond ``row`` onto it."""
        for state in tail or ():
            row = self.advance(row, stream_id, (row.version if row else 0) + 1, state)
        return row

    def concerns(self, stored_topic: str) -> bool:
        """Whether an event is for this projection; one that nobody knows concerns all."""
        return stored_topic in self.topics or stored_topic not in TOPICS
