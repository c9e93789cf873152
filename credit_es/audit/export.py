"""The log, or a selection of it, as files that anybody can read, with a manifest to check them by.

JSON Lines and CSV are one file in the order of the log. Parquet is written in shards cut by
customer (``customer_number`` modulo their number), each in the order of the log, so that a
customer's whole history lies in one file; facts of no customer are in the first.
"""

import csv
import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any, Final, Literal, Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from credit_es.audit.cells import harmless
from credit_es.store.log import Log
from credit_es.store.mapper import recorded
from credit_es.store.recorder import Tailed

Format = Literal["jsonl", "csv", "parquet"]
MANIFEST: Final = "manifest.json"
SHARDS: Final = 8
ROWS_A_GROUP: Final = 5_000
CHUNK: Final = 2**20

Progress = Callable[[int, int], None]
"""Called with the position reached and the last one to be reached."""


class ExportError(Exception):
    """A folder that cannot be written or read; the message says what to do."""


class Selection(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which facts; ``recorded_from`` to ``recorded_to``, the latter excluded. All by default."""

    customer: int | None = None
    kinds: tuple[str, ...] = ()
    recorded_from: datetime | None = None
    recorded_to: datetime | None = None

    def takes(self, fact: "ExportedFact") -> bool:
        """Whether a fact is meant."""
        return (
            (self.customer is None or fact.customer_number == self.customer)
            and (not self.kinds or fact.topic in self.kinds)
            and (self.recorded_from is None or fact.recorded_at >= self.recorded_from)
            and (self.recorded_to is None or fact.recorded_at < self.recorded_to)
        )


class ExportedFile(Struct, frozen=True, kw_only=True):
    """A file of an export, with its SHA-256 in hexadecimal."""

    name: str
    facts: int
    sha256: str


class Manifest(Struct, frozen=True, kw_only=True):
    """What an export holds; ``upto`` is the position of the log that it was read to.

    ``first_position`` and ``last_position`` are those of its facts, None where there are none.
    """

    format: Format
    selection: Selection
    upto: int
    facts: int
    first_position: int | None
    last_position: int | None
    files: tuple[ExportedFile, ...]


class ExportedFact(Struct, frozen=True, kw_only=True):
    """A row of the log, with what can be searched by in columns of its own; ``state`` is JSON."""

    position: int
    stream_id: str
    version: int
    topic: str
    occurred_on: date
    recorded_at: datetime
    actor: str
    correlation_id: str
    causation_id: str | None
    customer_number: int | None
    loan_number: int | None
    state: str


COLUMNS: Final = ExportedFact.__struct_fields__
SCHEMA: Final = pa.schema(
    [
        pa.field("position", pa.int64(), nullable=False),
        pa.field("stream_id", pa.string(), nullable=False),
        pa.field("version", pa.int64(), nullable=False),
        pa.field("topic", pa.string(), nullable=False),
        pa.field("occurred_on", pa.date32(), nullable=False),
        pa.field("recorded_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("actor", pa.string(), nullable=False),
        pa.field("correlation_id", pa.string(), nullable=False),
        pa.field("causation_id", pa.string()),
        pa.field("customer_number", pa.int64()),
        pa.field("loan_number", pa.int64()),
        pa.field("state", pa.string(), nullable=False),
    ]
)


class Writer(Protocol):
    """Takes facts in the order of the log."""

    def write(self, fact: ExportedFact) -> None:
        """Take one."""
        ...

    def close(self) -> list[tuple[Path, int]]:
        """End all files; returns each with the number of its facts."""
        ...


def export(
    log: Log,
    folder: Path,
    how: Format,
    *,
    selection: Selection,
    upto: int | None = None,
    shards: int = SHARDS,
    progress: Progress = lambda _reached, _head: None,
) -> Manifest:
    """Write the facts up to a position, or to where the log may be read now; the manifest last.

    Of the same facts the files are the same. Raises ``ExportError`` where the folder has something
    in it, ``OSError`` where it cannot be written, as on a full disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ExportError(
            f"{folder} is not empty: give a folder that is, or a new one. Files without a "
            f"{MANIFEST} are what an export that broke off has left; they may be removed."
        )
    safe = log.head().safe
    upto = safe if upto is None else min(upto, safe)
    first = last = None
    count = 0
    with ExitStack() as files:
        writer = _writer(folder, how, shards, files)
        for fact in selected(log, selection, upto, progress):
            writer.write(fact)
            first, last, count = first or fact.position, fact.position, count + 1
        written = writer.close()
    manifest = Manifest(
        format=how,
        selection=selection,
        upto=upto,
        facts=count,
        first_position=first,
        last_position=last,
        files=tuple(
            ExportedFile(name=path.name, facts=facts, sha256=digest_of(path))
            for path, facts in written
        ),
    )
    text = msgspec.json.format(msgspec.json.encode(manifest))
    (folder / MANIFEST).write_bytes(text + b"\n")
    return manifest


def selected(
    log: Log, selection: Selection, upto: int, progress: Progress
) -> Iterator[ExportedFact]:
    """The selected facts of the log up to a position."""
    for batch in log.tail(0, upto=upto):
        for event in batch:
            fact = exported(event)
            if selection.takes(fact):
                yield fact
        progress(batch[-1].id, upto)


def exported(event: Tailed) -> ExportedFact:
    """A row of the log as it is exported; raises ``UndigestedError``."""
    entry = recorded(event.originator_id, event.originator_version, event.state).entry
    return ExportedFact(
        position=event.id,
        stream_id=str(event.originator_id),
        version=event.originator_version,
        topic=event.topic,
        occurred_on=entry.fact.occurred_on,
        recorded_at=entry.recorded_at,
        actor=entry.actor,
        correlation_id=entry.correlation_id,
        causation_id=entry.causation_id,
        customer_number=getattr(entry.fact, "customer_number", None),
        loan_number=getattr(entry.fact, "loan_number", None),
        state=event.state.decode(),
    )


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _writer(folder: Path, how: Format, shards: int, files: ExitStack) -> Writer:
    match how:
        case "jsonl":
            return _Jsonl(folder / "facts.jsonl", files)
        case "csv":
            return _Csv(folder / "facts.csv", files)
        case "parquet":
            return _Parquet(folder, shards, files)


class _Jsonl:
    def __init__(self, path: Path, files: ExitStack) -> None:
        self._path = path
        self._file: IO[bytes] = files.enter_context(path.open("wb"))
        self._count = 0

    def write(self, fact: ExportedFact) -> None:
        self._file.write(msgspec.json.encode(fact) + b"\n")
        self._count += 1

    def close(self) -> list[tuple[Path, int]]:
        self._file.close()
        return [(self._path, self._count)]


class _Csv:
    def __init__(self, path: Path, files: ExitStack) -> None:
        self._path = path
        self._file: IO[str] = files.enter_context(path.open("w", encoding="utf-8", newline=""))
        self._rows = csv.writer(self._file)
        self._rows.writerow(COLUMNS)
        self._count = 0

    def write(self, fact: ExportedFact) -> None:
        self._rows.writerow(
            harmless(str(msgspec.to_builtins(value))) if value is not None else ""
            for value in (getattr(fact, name) for name in COLUMNS)
        )
        self._count += 1

    def close(self) -> list[tuple[Path, int]]:
        self._file.close()
        return [(self._path, self._count)]


class _Parquet:
    def __init__(self, folder: Path, shards: int, files: ExitStack) -> None:
        self._paths = [folder / f"facts-{shard:04}.parquet" for shard in range(shards)]
        self._writers = [
            files.enter_context(pq.ParquetWriter(path, SCHEMA, compression="zstd"))
            for path in self._paths
        ]
        self._waiting: list[list[ExportedFact]] = [[] for _ in self._paths]
        self._counts = [0 for _ in self._paths]

    def write(self, fact: ExportedFact) -> None:
        shard = (fact.customer_number or 0) % len(self._paths)
        self._waiting[shard].append(fact)
        if len(self._waiting[shard]) >= ROWS_A_GROUP:
            self._flush(shard)

    def _flush(self, shard: int) -> None:
        facts = self._waiting[shard]
        columns: list[Any] = [
            pa.array([getattr(fact, name) for fact in facts], SCHEMA.field(name).type)
            for name in COLUMNS
        ]
        self._writers[shard].write_table(pa.Table.from_arrays(columns, schema=SCHEMA))
        self._counts[shard] += len(facts)
        facts.clear()

    def close(self) -> list[tuple[Path, int]]:
        for shard in range(len(self._paths)):
            self._flush(shard)
            self._writers[shard].close()
        return list(zip(self._paths, self._counts, strict=True))
