"""Two workbooks out of one multipart form, no larger than is allowed."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final

import falcon
from falcon.media.multipart import BodyPart, MultipartForm, MultipartFormHandler

from api.problems import Fault, MalformedError, MediaTypeError, TooLargeError
from credit_es.store.ingestions import Upload

MEDIA_TYPE: Final = "multipart/form-data"
FIELDS: Final = ("customers", "loans")
FORM_BYTES: Final = 1024 * 1024
"""How much a form may hold beside the workbooks."""
LONGEST_NAME: Final = 255
MIB: Final = 1024 * 1024


def read_uploads(req: falcon.Request, limit: int) -> tuple[Mapping[str, Upload], list[Fault]]:
    """The workbooks by field, and the faults of the fields; ``limit`` is that of one, in bytes.

    What is in them is for the worker to judge. Raises the ``ProblemError`` of a form that is none.
    """
    if (req.content_type or "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise MediaTypeError(MEDIA_TYPE)
    longest = len(FIELDS) * limit + FORM_BYTES
    length = req.content_length if req.content_length is not None else longest + 1
    if req.content_length is not None and length > longest:
        raise _too_large(limit)
    form = MultipartFormHandler().deserialize(req.stream, req.content_type, length)
    uploads: dict[str, Upload] = {}
    faults: list[Fault] = []
    for field, part in _fields(form):
        content = part.stream.read(limit + 1)
        if len(content) > limit:
            raise _too_large(limit)
        if field in uploads:
            faults.append(_fault(field, "duplicate", "should be given once"))
        elif not part.filename:
            faults.append(_fault(field, "file_type", "should be a file"))
        else:
            uploads[field] = Upload(name=_name(part.filename, field), content=content)
    named = {fault.pointer for fault in faults}
    faults += [
        _fault(field, "missing", "is required")
        for field in FIELDS
        if field not in uploads and f"/{field}" not in named
    ]
    return uploads, faults


def digest(uploads: Mapping[str, Upload], *, check_only: bool, restate: bool) -> bytes:
    """What was asked: the contents and the check. Names and boundaries do not count."""
    hashes = [uploads[field].workbook.sha256 for field in FIELDS]
    return hashlib.sha256(f"{' '.join(hashes)} {check_only} {restate}".encode()).digest()


def _fields(form: MultipartForm) -> Iterator[tuple[str, BodyPart]]:
    for part in form:
        try:
            name, _ = part.name, part.filename
        except UnicodeDecodeError:
            raise MalformedError("The name of a part is not UTF-8.") from None
        if name in FIELDS:
            yield name, part


def _name(given: str, field: str) -> str:
    """A file name for people to read: never a path, never what does not print."""
    last = PurePosixPath(given.replace("\\", "/")).name
    return "".join(c for c in last if c.isprintable())[:LONGEST_NAME] or f"{field}.xlsx"


def _fault(field: str, code: str, detail: str) -> Fault:
    return Fault(location="body", pointer=f"/{field}", code=code, detail=detail)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"A workbook is at most {limit / MIB:g} MB.")
