"""What is put together in the service's temporary folder before it is sent."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

import structlog

from api.openapi import READ_PROBLEMS
from api.problems import ProblemError, UnavailableError

log = structlog.get_logger()

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
PROBLEMS: Final = (*READ_PROBLEMS, 507)
"""What an answer may be that is put together there."""


@contextmanager
def put_together(what: str, *, otherwise: str) -> Iterator[None]:
    """Raises a ``ProblemError``: 507 on a full disk, 503 where nothing can be written.

    ``otherwise`` is a sentence that says where else the same is had.
    """
    try:
        yield
    except OSError as error:
        log.warning("download not written", what=what, error=str(error))
        if error.errno in FULL:
            raise ProblemError(
                HTTPStatus.INSUFFICIENT_STORAGE,
                "no-room",
                f"The disk is full on which the {what} is put together: whoever runs the service"
                f" makes room on it. {otherwise}",
            ) from error
        raise UnavailableError(
            f"The {what} cannot be put together in the service's temporary folder: whoever runs"
            f" it finds out why under the request's id. {otherwise}"
        ) from error
