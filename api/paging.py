"""Answers that come in pages. The next one stands in the answer, and in ``Link`` (RFC 8288)."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import falcon


def name_next(resp: falcon.Response, path: str, following: Mapping[str, Any] | None) -> str | None:
    """Say in ``Link`` where the page asked for with ``following`` is; None where there is none."""
    if following is None:
        return None
    page = f"{path}?{urlencode(following)}"
    resp.set_header("Link", f'<{page}>; rel="next"')
    return page
