"""What a projection is: a table whose rows are folds of one stream each.

The row is the aggregate's own state and the fold its ``evolve``: what a decision knows and what a
reader sees cannot drift apart. ``version`` in a row is that of the last event it holds, so a reader
can fold what came after.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar, get_args
from uuid import UUID

from msgspec import Struct

from credit_es.store.mapper import DECODER, DIGESTION, TOPICS, topic


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


class Projection(Struct, Generic[Row], frozen=True, kw_only=True, dict=True):
    """A read table and the pure fold that fills it; raise ``definition`` when either changes.

    ``events`` is the union that the fold takes, ``indexes`` the columns that queries search by.
    """

    name: str
    definition: int
    row: type[Row]
    events: Any
    fold: Callable[[Row | None, Any], Row]
    indexes: tuple[tuple[str, ...], ...] = ()

    @property
    def shown_as(self) -> str:
        """The name of the view that code of this definition reads."""
        return f"{self.name}_d{self.definition}"

    @cached_property
    def topics(self) -> frozenset[str]:
        """The stored names of the events it folds."""
        return frozenset(topic(kind) for kind in get_args(self.events))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of its table, the stream first."""
        return ("stream_id", *self.row.__struct_fields__)  # type: ignore[attr-defined]

    def of(self, values: Sequence[Any]) -> Row:
        """A row from the values of its columns, without the stream."""
        fields: tuple[str, ...] = self.row.__struct_fields__  # type: ignore[attr-defined]
        named = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in zip(fields, values, strict=True)
        }
        return self.row(**named)

    def advance(self, row: Row | None, stream_id: UUID, version: int, state: bytes) -> Row:
        """Fold one stored event into its row; raises ``PoisonError`` where that cannot be done."""
        held = row.version if row else 0
        try:
            folded = self.fold(row, DECODER.decode(state).fact)
        except DIGESTION as e:
            raise PoisonError(self.name, stream_id, version) from e
        if version != held + 1 or folded.version != version:
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
