"""An export as one file, for who has no disk that we could write to."""

from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

QUICK: Final = 1
"""Of the levels of compression: several times faster than the default, for a tenth more bytes."""


def archived(folder: Path) -> tuple[IO[bytes], int]:
    """A .zip of the files of a folder, which are gone then, and its size; nothing names it."""
    archive = TemporaryFile()  # noqa: SIM115 - whoever sends it closes it
    try:
        with ZipFile(archive, "w", compresslevel=QUICK) as members:
            for path in sorted(folder.iterdir()):
                packed = path.suffix == ".parquet"
                members.write(path, path.name, ZIP_STORED if packed else ZIP_DEFLATED)
                path.unlink()
        size = archive.tell()
        archive.seek(0)
    except BaseException:
        archive.close()
        raise
    return archive, size
