"""What can go wrong outside of our code, each in a sentence that says what to do."""

import errno
from typing import Final

import psycopg

from credit_es.audit.cluster import ClusterError
from credit_es.audit.dossiers import BrokenDossierError
from credit_es.audit.export import ExportError
from credit_es.cli import context
from credit_es.domain.policy import PolicyError
from credit_es.embedded import postgres_problem
from credit_es.settings import Settings
from credit_es.store.database import BusyError, StoreUnavailableError
from credit_es.store.mapper import UndigestedError
from credit_es.store.migrations import MigrationError
from credit_es.store.replica import ReplicaUnavailableError
from projections.spread import LostError

TELLING: Final = (
    BrokenDossierError,
    ClusterError,
    ExportError,
    LostError,
    MigrationError,
    PolicyError,
    UndigestedError,
)
"""Their messages are such sentences."""
FULL: Final = {errno.ENOSPC, errno.EDQUOT}
OF_FILES: Final = FULL | {
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}


def in_a_sentence(error: Exception) -> str | None:
    """What is to be mended, and where; None for a fault of ours, which is a traceback."""
    sentence: str | None = None
    match error:
        case ReplicaUnavailableError():
            url = context.settings().database_read_url
            sentence = unreachable("DATABASE_READ_URL", url) or str(error)
        case StoreUnavailableError():
            sentence = unreachable("DATABASE_URL", context.settings().database_url) or str(error)
        case psycopg.OperationalError():
            sentence = direct_unreachable(context.settings()) or _on_one_line(error)
        case psycopg.errors.InsufficientPrivilege():
            sentence = f"The role of DATABASE_URL may not do this: {_on_one_line(error)}."
        case BusyError():
            sentence = f"Somebody else holds what this needs, try again: {_on_one_line(error)}."
        case UnicodeEncodeError(reason="surrogates not allowed"):
            sentence = "What was given is no text in UTF-8: type it anew, in a terminal of UTF-8."
        case OSError() if error.errno in OF_FILES:
            sentence = _of_a_file(error)
        case _ if isinstance(error, TELLING):
            sentence = str(error)
        case _:
            pass
    return sentence


def unreachable(variable: str, url: str) -> str | None:
    """That the server of a URL does not answer, and why; None where it does."""
    problem = postgres_problem(url)
    if problem is None:
        return None
    return f"{variable} cannot be reached ({problem}): start that server, or correct the URL."


def direct_unreachable(told: Settings) -> str | None:
    """The same of the server that session locks are held on, by the variable that names it."""
    own = told.database_direct_url != told.database_url
    return unreachable("DATABASE_DIRECT_URL" if own else "DATABASE_URL", told.database_direct_url)


def _of_a_file(error: OSError) -> str:
    place = error.filename or "A file"
    if error.errno in FULL:
        return f"{place} cannot be written, the disk is full: free some space, or write elsewhere."
    return f"{place} cannot be read or written: {error.strerror}."


def _on_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
