"""An export read back, fact by fact; what keeps a file from being read is told in a sentence."""

import csv
import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from credit_es.audit.cells import unescaped
from credit_es.audit.export import COLUMNS, MANIFEST, ExportedFact, ExportError, Manifest


def read_manifest(folder: Path) -> Manifest:
    """What an export says of itself; raises ``ExportError`` where it is none."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        raise ExportError(
            f"{folder} is no complete export: its {MANIFEST} cannot be read ({error.strerror}). "
            "Give a folder that `credit-es audit export` has written."
        ) from error
    except msgspec.DecodeError as error:
        raise ExportError(
            f"{folder} is no complete export: its {MANIFEST} is not as it was written ({error})."
        ) from error
    elsewhere = [
        file.name
        for file in manifest.files
        if Path(file.name).name != file.name or file.name == ".."
    ]
    if elsewhere:
        raise ExportError(
            f"{folder} is no complete export: its {MANIFEST} names {elsewhere[0]!r}, which is no "
            "file in it."
        )
    return manifest


def read_facts(folder: Path, manifest: Manifest) -> Iterator[ExportedFact]:
    """The facts of an export in the order of the log, as many in memory as a shard's row group.

    Raises ``ExportError`` where a file cannot be read.
    """
    read = {"jsonl": _read_jsonl, "csv": _read_csv, "parquet": read_shard}[manifest.format]
    files = [read(folder / file.name) for file in manifest.files]
    yield from heapq.merge(*files, key=attrgetter("position"))


def read_shard(path: Path) -> Iterator[ExportedFact]:
    """The facts of one Parquet file, in the order of the log; raises ``ExportError``."""
    with _reading(path), pq.ParquetFile(path) as file:
        if file.schema_arrow.names != [*COLUMNS]:
            raise ValueError(f"its columns are {', '.join(file.schema_arrow.names)}")
        for batch in file.iter_batches(1000):
            for row in batch.to_pylist():
                yield ExportedFact(**row)


def _read_jsonl(path: Path) -> Iterator[ExportedFact]:
    decoder = msgspec.json.Decoder(ExportedFact)
    with _reading(path), path.open("rb") as lines:
        yield from map(decoder.decode, lines)


def _read_csv(path: Path) -> Iterator[ExportedFact]:
    csv.field_size_limit(2**27)
    with _reading(path), path.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines)
        for cells in rows:
            if len(cells) != len(COLUMNS):
                raise ValueError(
                    f"line {rows.line_num} has {len(cells)} cells in place of {len(COLUMNS)}"
                )
            if rows.line_num == 1:
                if cells != [*COLUMNS]:
                    raise ValueError(f"its columns are {', '.join(cells)}")
                continue
            texts = (unescaped(cell) or None for cell in cells)
            given = dict(zip(COLUMNS, texts, strict=True))
            yield msgspec.convert(given, ExportedFact, strict=False)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What keeps a file from being read is told as an ``ExportError``."""
    if not path.is_file():  # a pipe or a device never ends
        raise ExportError(f"{path} cannot be read back: it is no file.")
    try:
        yield
    except (OSError, ValueError, csv.Error, msgspec.MsgspecError, pa.ArrowException) as error:
        raise ExportError(f"{path} cannot be read back: {error}.") from error
