"""The log, or a selection of it, as one archive of the files that the command writes."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Final

import falcon

from api.folder import PROBLEMS, put_together
from api.openapi import ZIP, Method, Operation
from api.questions import ExportQuery
from api.requests import valid
from api.resources.portfolio import Turn
from credit_es.audit.archive import archived
from credit_es.store.log import Log

OTHERWISE: Final = (
    "Less of it (customer_id, kind, recorded_from, recorded_to) takes less room, and"
    " `credit-es audit export DIR` writes it elsewhere."
)


class Export:
    """``GET /audit/export``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Fetch the log, or a selection of it, as files",
            tag="audit",
            answers={200: None},
            media=ZIP,
            query=ExportQuery,
            problems=PROBLEMS,
        )
    }

    def __init__(self, whole: Log, turn: Turn) -> None:
        self._whole = whole
        self._turn = turn

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """A .zip of JSON Lines, CSV or Parquet, with a manifest: counts, positions, SHA-256."""
        asked = valid(ExportQuery, req.params, location="query")
        from credit_es.audit.export import export  # noqa: PLC0415 - pyarrow is 40 MiB

        with (
            self._turn.taken(),
            put_together("archive", otherwise=OTHERWISE),
            TemporaryDirectory(prefix="credit-es-") as folder,
        ):
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
