"""The log, or a selection of it, as one archive of the files that the command writes."""

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Final

import falcon
import structlog

from api.openapi import READ_PROBLEMS, ZIP, Method, Operation
from api.problems import ProblemError, UnavailableError
from api.questions import ExportQuery
from api.requests import valid
from api.resources.portfolio import Turn
from credit_es.audit.archive import archived
from credit_es.store.log import Log

log = structlog.get_logger()

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Export:
    """``GET /audit/export``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Fetch the log, or a selection of it, as files",
            tag="audit",
            answers={200: None},
            media=ZIP,
            query=ExportQuery,
            problems=(*READ_PROBLEMS, 507),
        )
    }

    def __init__(self, whole: Log, turn: Turn) -> None:
        self._whole = whole
        self._turn = turn

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """A .zip of JSON Lines, CSV or Parquet, with a manifest: counts, positions, SHA-256."""
        asked = valid(ExportQuery, req.params, location="query")
        from credit_es.audit.export import export  # noqa: PLC0415 - pyarrow is 40 MiB

        with self._turn.taken(), _written(), TemporaryDirectory(prefix="credit-es-") as folder:
            manifest = export(
                self._whole,
                Path(folder),
                asked.format,
                selection=asked.selection(),
                upto=asked.upto,
            )
            archive, size = archived(Path(folder))
        resp.content_type = ZIP
        resp.downloadable_as = f"credit-es-{manifest.upto}-{asked.format}.zip"
        resp.set_stream(archive, size)

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Whether it may be asked for, without putting it together."""
        valid(ExportQuery, req.params, location="query")
        resp.content_type = ZIP


@contextmanager
def _written() -> Iterator[None]:
    """Raises a ``ProblemError``: 507 on a full disk, 503 where nothing can be written."""
    try:
        yield
    except OSError as error:
        log.warning("export not written", error=str(error))
        if error.errno in FULL:
            raise ProblemError(
                HTTPStatus.INSUFFICIENT_STORAGE,
                "no-room",
                "The disk is full on which the archive is put together: ask for less (customer_id,"
                " kind, recorded_from, recorded_to), or have `credit-es audit export DIR` write it"
                " where there is room.",
            ) from error
        raise UnavailableError(
            "The archive cannot be put together in the service's temporary folder: whoever runs"
            " it finds out why under the request's id, and `credit-es audit export DIR` writes it"
            " elsewhere."
        ) from error
