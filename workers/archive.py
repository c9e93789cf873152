"""The zip archive that an .xlsx is, looked over before anything parses it.

Every member is inflated once, in pieces that are thrown away, and its real bytes are counted: what
the archive's headers say of a member's size may be a lie, and a parser that believes it is a bomb's
target. What is no such archive is named as what it is.
"""

import io
import zipfile
import zlib
from typing import Final

from credit_es.domain.cells import WorkbookKind

_PIECE: Final = 1 << 20
_MOST_MEMBERS: Final = 10_000
_MOST_TIMES: Final = 200
_LOCAL_HEADER: Final = 30
_ENCRYPTED: Final = 0x1
_OLE: Final = bytes.fromhex("d0cf11e0a1b11ae1")
_OLE_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")
_SAVE_AS: Final = "open it in Excel and save it as an Excel workbook (.xlsx)"


class WorkbookError(Exception):
    """A workbook that cannot be read; the message is a sentence a person can act on."""

    def __init__(self, workbook: WorkbookKind, predicate: str) -> None:
        super().__init__(f"The {workbook} workbook {predicate}.")
        self.workbook = workbook


def check_archive(content: bytes, workbook: WorkbookKind, *, most_bytes: int) -> None:
    """Raise ``WorkbookError`` unless this is a sound .xlsx of at most ``most_bytes`` inflated.

    Memory stays within a few MiB, time within that of inflating ``most_bytes``.
    """
    _check_kind(content, workbook)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RecursionError) as error:
        raise WorkbookError(workbook, "is cut short or damaged; upload it again") from error
    if len(members) > _MOST_MEMBERS:
        raise WorkbookError(workbook, f"has {len(members)} parts inside; {_SAVE_AS}")
    total = 0
    for member in members:
        total += _real_size(content, member, workbook, most_bytes=most_bytes - total)
    names = {member.filename.lower() for member in members}
    if "xl/workbook.xml" not in names:
        raise WorkbookError(workbook, f"is {_kind_of_archive(names)}; {_SAVE_AS}")


def _check_kind(content: bytes, workbook: WorkbookKind) -> None:
    if not content:
        raise WorkbookError(workbook, "is an empty file; upload it again")
    if content.startswith(_OLE):
        if _OLE_ENCRYPTED in content:
            raise WorkbookError(
                workbook, "is encrypted with a password; save it without one and upload it again"
            )
        raise WorkbookError(workbook, f"is in the old Excel format (.xls); {_SAVE_AS}")
    if not content.startswith(b"PK"):
        what = "a text or CSV file" if _is_text(content[:4096]) else "no Excel workbook"
        raise WorkbookError(workbook, f"is {what}; {_SAVE_AS}")


def _is_text(start: bytes) -> bool:
    return start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" not in start


def _kind_of_archive(names: set[str]) -> str:
    if "xl/workbook.bin" in names:
        return "a binary Excel workbook (.xlsb)"
    if "content.xml" in names:
        return "an OpenDocument file"
    return "a zip archive but no Excel workbook"


def _real_size(
    content: bytes, member: zipfile.ZipInfo, workbook: WorkbookKind, *, most_bytes: int
) -> int:
    """Count the bytes a member really inflates to, and check that it is what its header says."""
    if member.flag_bits & _ENCRYPTED:
        raise WorkbookError(
            workbook, "holds encrypted parts; save it without a password and upload it again"
        )
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise WorkbookError(workbook, f"is compressed in a way Excel does not use; {_SAVE_AS}")
    most = min(most_bytes, _MOST_TIMES * max(member.compress_size, _PIECE // 100))
    try:
        size, checksum = _inflate(_raw(content, member), member.compress_type, most_bytes=most)
    except zlib.error as error:
        raise WorkbookError(workbook, "is damaged; upload it again") from error
    if size > most:
        raise WorkbookError(
            workbook,
            "inflates to far more than a workbook of its size should hold; remove what is not "
            "needed, or split it",
        )
    if size != member.file_size or checksum != member.CRC:
        raise WorkbookError(workbook, "is damaged; upload it again")
    return size


def _raw(content: bytes, member: zipfile.ZipInfo) -> memoryview:
    header = content[member.header_offset : member.header_offset + _LOCAL_HEADER]
    name_length = int.from_bytes(header[26:28], "little")
    extra_length = int.from_bytes(header[28:30], "little")
    start = member.header_offset + _LOCAL_HEADER + name_length + extra_length
    return memoryview(content)[start : start + member.compress_size]


def _inflate(raw: memoryview, compress_type: int, *, most_bytes: int) -> tuple[int, int]:
    """Give size and CRC-32 of what ``raw`` inflates to; stop soon after ``most_bytes``."""
    if compress_type == zipfile.ZIP_STORED:
        return len(raw), zlib.crc32(raw)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size = checksum = 0
    for start in range(0, len(raw), _PIECE):
        pending: bytes | memoryview = raw[start : start + _PIECE]
        while pending and size <= most_bytes and not inflater.eof:
            piece = inflater.decompress(pending, _PIECE)
            size += len(piece)
            checksum = zlib.crc32(piece, checksum)
            pending = inflater.unconsumed_tail
    if size <= most_bytes:
        tail = inflater.flush()
        size += len(tail)
        checksum = zlib.crc32(tail, checksum)
    return size, checksum
