"""An export read back: is it what its manifest says, and what the log says?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from credit_es.audit.export import (
    ExportedFact,
    ExportError,
    Manifest,
    Progress,
    digest_of,
    selected,
)
from credit_es.audit.readback import read_facts, read_manifest
from credit_es.store.log import Log


class Deviation(Struct, frozen=True, kw_only=True):
    """What is not as it should be: at a position of the log, or in a file as a whole."""

    what: str
    position: int | None = None
    file: str | None = None
    exported: dict[str, Any] | None = None
    logged: dict[str, Any] | None = None


def import_check(
    log: Log, folder: Path, progress: Progress = lambda _reached, _head: None
) -> Iterator[Deviation]:
    """Yield how an export differs from its manifest and from the log; nothing where it does not.

    Files are hashed first; where they are not those of the manifest, the facts are compared all the
    same, as far as they can be read. Raises ``ExportError`` where the folder is no export.
    """
    manifest = read_manifest(folder)
    for file in manifest.files:
        path = folder / file.name
        if not path.is_file():
            yield Deviation(what="the file is missing", file=file.name)
        elif digest_of(path) != file.sha256:
            yield Deviation(what="the file is not the one that was exported", file=file.name)
    try:
        yield from _compared(log, folder, manifest, progress)
    except ExportError as error:
        yield Deviation(what=str(error))


def _compared(
    log: Log, folder: Path, manifest: Manifest, progress: Progress
) -> Iterator[Deviation]:
    exported = read_facts(folder, manifest)
    logged = selected(log, manifest.selection, manifest.upto, progress)
    count = 0
    here, there = next(exported, None), next(logged, None)
    while here is not None or there is not None:
        if there is None or (here is not None and here.position < there.position):
            assert here is not None
            yield Deviation(what="is not in the log", position=here.position)
            here, count = next(exported, None), count + 1
        elif here is None or there.position < here.position:
            yield Deviation(what="is not in the export", position=there.position)
            there = next(logged, None)
        else:
            if here != there:
                yield _differing(here, there)
            here, there, count = next(exported, None), next(logged, None), count + 1
    if count != manifest.facts:
        yield Deviation(what=f"the manifest counts {manifest.facts} facts, and there are {count}")


def _differing(here: ExportedFact, there: ExportedFact) -> Deviation:
    exported, logged = structs.asdict(here), structs.asdict(there)
    fields = [name for name in exported if exported[name] != logged[name]]
    return Deviation(
        what="differs from the log",
        position=there.position,
        exported={name: exported[name] for name in fields},
        logged={name: logged[name] for name in fields},
    )
