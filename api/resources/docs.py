"""The OpenAPI document, and a page to browse it with: local files, under a strict policy."""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import falcon
import msgspec

from api.problems import NotThereError

PAGES: Final = Path(__file__).parent.parent / "pages"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".png": "image/png",
}


class Document:
    """``GET /openapi.json``."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._content = msgspec.json.encode(document) + b"\n"

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Give the document that the routes were described in."""
        resp.data = self._content

    on_head = on_get


class Docs:
    """``GET /docs`` and the files that its page loads."""

    def __init__(self) -> None:
        swagger = _swagger_files()
        ours = (PAGES / "docs.html", PAGES / "docs.js", PAGES / "docs.css")
        theirs = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
        files = [*ours, *(swagger / name for name in theirs)]
        self._files = {path.name: path.read_bytes() for path in files}
        self._tags = {
            name: hashlib.sha256(content).hexdigest()[:32] for name, content in self._files.items()
        }

    def on_get(self, req: falcon.Request, resp: falcon.Response, name: str = "docs.html") -> None:
        """Give the page or one of its files; a browser asks again whether it has changed."""
        content = self._files.get(name)
        if content is None:
            raise NotThereError("page")
        resp.set_header("Content-Security-Policy", POLICY)
        resp.set_header("X-Content-Type-Options", "nosniff")
        resp.set_header("Referrer-Policy", "no-referrer")
        resp.cache_control = ["no-cache"]
        resp.etag = self._tags[name]
        if self._tags[name] in [str(tag) for tag in req.if_none_match or []]:
            resp.status = falcon.HTTP_304
        else:
            resp.content_type = TYPES[Path(name).suffix]
            resp.data = content

    on_head = on_get


def _swagger_files() -> Path:
    """The folder of swagger-ui's files; its package is not imported: we need no code of it."""
    spec = find_spec("swagger_ui")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "static"
