"""gunicorn in this process: threads, our own log, the application built after the fork."""

import gc
import sys
from collections.abc import Mapping
from typing import Any, Final

import setproctitle
import structlog
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from api.app import Services, connect, create_app
from credit_es.domain.policy import load_policy
from credit_es.settings import Settings

log = structlog.get_logger()

TITLE: Final = "credit-es api"
KEEP_ALIVE_S: Final = 15
GRACEFUL_S: Final = 4
HUNG_S: Final = 60
BACKLOG: Final = 1024
LONGEST_LINE: Final = 8190
"""gunicorn allows no longer one; a search for a text, percent-encoded, passes the 4094 it has."""


class ServerLog(Logger):  # type: ignore[misc]
    """What gunicorn has to say, through our own log; requests are logged by the application."""

    def setup(self, cfg: Any) -> None:
        """Take nothing over: no handler of gunicorn's own."""
        self.cfg = cfg
        self._access_log_enabled = False

    def critical(self, msg: str, *args: Any, **_: Any) -> None:
        """Log it."""
        log.critical("gunicorn", message=_worded(msg, args))

    def error(self, msg: str, *args: Any, **_: Any) -> None:
        """Log it."""
        log.error("gunicorn", message=_worded(msg, args))

    def warning(self, msg: str, *args: Any, **_: Any) -> None:
        """Log it."""
        log.warning("gunicorn", message=_worded(msg, args))

    def info(self, msg: str, *args: Any, **_: Any) -> None:
        """Log it."""
        log.info("gunicorn", message=_worded(msg, args))

    def debug(self, msg: str, *args: Any, **_: Any) -> None:
        """Log it, where debugging is on."""
        log.debug("gunicorn", message=_worded(msg, args))

    def exception(self, msg: str, *args: Any, **_: Any) -> None:
        """Log it with the exception that is being handled."""
        log.exception("gunicorn", message=_worded(msg, args))  # noqa: LOG004

    def access(self, *_: Any, **__: Any) -> None:
        """Log nothing: the application has logged the request."""

    def reopen_files(self) -> None:
        """Nothing to reopen."""

    def close_on_exec(self) -> None:
        """Nothing to close."""


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, told everything by ``settings``; no file, no environment of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._services: Services | None = None
        super().__init__()

    def load_config(self) -> None:
        """Hand the options over."""
        for name, value in options(self._settings).items():
            self.cfg.set(name, value)
        self.cfg.set("post_fork", self._post_fork)
        self.cfg.set("worker_exit", self._worker_exit)

    def load(self) -> Any:
        """The application of this process."""
        assert self._services is not None
        return create_app(self._services)

    def _post_fork(self, _arbiter: Any, _worker: Any) -> None:
        entitle()
        # Two at least: a verification reads a table and the log side by side.
        self._services = connect(self._settings, pool_size=max(2, self._settings.api_threads))

    def _worker_exit(self, _arbiter: Any, _worker: Any) -> None:
        if self._services is not None:
            self._services.close()


def serve(settings: Settings) -> None:
    """Serve the API until SIGTERM, which lets running requests end, or SIGINT.

    Raises ``PolicyError`` before anything is started where the policy cannot be used.
    """
    load_policy(settings.policy)
    Server(settings).run()


def options(settings: Settings) -> Mapping[str, Any]:
    """gunicorn's options."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return {
        "bind": f"{host}:{settings.port}",
        "workers": settings.api_workers,
        "threads": settings.api_threads,
        # Elsewhere gunicorn's own, which waits for silent clients.
        "worker_class": "api.worker.Worker" if sys.platform == "linux" else "gthread",
        "logger_class": ServerLog,
        "proc_name": TITLE,
        # gunicorn titles the parent after every other hook that runs there but this one.
        "pre_fork": _pre_fork,
        "keepalive": KEEP_ALIVE_S,
        "graceful_timeout": GRACEFUL_S,
        "timeout": HUNG_S,
        "backlog": BACKLOG,
        # Python's would wait without end for a client that does not read.
        "sendfile": False,
        "limit_request_line": LONGEST_LINE,
        # Nothing is taken from what a proxy says, so that nobody need be asked who they are.
        "forwarded_allow_ips": "*",
        "forwarder_headers": "",
        "secure_scheme_headers": {},
        "control_socket_disable": True,
    }


def _pre_fork(_arbiter: Any, _worker: Any) -> None:
    entitle()
    # What is loaded by now is never garbage: not to be looked through, nor copied by looking.
    gc.freeze()


def entitle() -> None:
    """Make the process recognisable; gunicorn's own title begins with its own name.

    Not on macOS, where it breaks a later fork.
    """
    if sys.platform != "darwin":
        setproctitle.setproctitle(TITLE)


def _worded(message: str, args: tuple[Any, ...]) -> str:
    return str(message) % args if args else str(message)
