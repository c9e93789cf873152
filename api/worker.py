"""gunicorn's worker of threads, where a thread takes its next request from the kernel.

gunicorn's own hands each request from one thread to another and back, and lets as many threads
run as there are requests, each of which waits for the interpreter: decision 0014. Linux only.
"""

import os
import select
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from socket import socket
from threading import Thread
from typing import Any, Final
from uuid import uuid4

import msgspec
import structlog
from gunicorn.http.errors import (  # type: ignore[import-untyped]
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

from api.connections import Connection
from api.problems import MEDIA_TYPE, Problem

log = structlog.get_logger()

STEADY: Final = 2
"""Threads that are always there. More come where these wait for something else, or take long."""
TICK_S: Final = 1.0
HELD_UP_S: Final = 0.02
"""How long a request that nobody takes waits before it is asked why."""
IDLE: Final = 0.5
"""Share of one processor below which a further thread helps."""
BUSY: Final = 0.65
"""Share of one processor above which a thread is in the way."""
LINGER_S: Final = 2.0
REST_S: Final = 0.001
REFUSE_S: Final = 2
ONCE: Final = select.EPOLLIN | select.EPOLLONESHOT
"""Tell one thread, and nobody until it asks again."""
IN_TURN: Final = ONCE | select.EPOLLOUT
"""The same, but after those who wait already: a client can be written to at any time."""


class Worker(ThreadWorker):  # type: ignore[misc]
    """Answers in our words, too, what is no HTTP that the application could answer.

    A client without a request takes no thread, and one that is slow does not keep it.
    """

    alive: bool

    def run(self) -> None:
        """Serve until told to stop; then let running requests end."""
        # gunicorn finds each by a method of its own, which took a thirtieth of a request's time.
        self.cfg.__dict__.update({name: one.get() for name, one in self.cfg.settings.items()})
        self._ready = select.epoll()
        self._listeners: dict[int, socket] = {one.fileno(): one for one in self.sockets}
        self._clients: set[TConn] = set()
        self._awaited: set[TConn] = set()
        # Who has a file's number, or had it last: the next one may have it before this one is gone.
        self._numbered: dict[int, TConn] = {}
        # gunicorn looks here whether so many are kept that a newcomer would find no room.
        self.keepalived_conns = self._awaited
        self._threads: dict[int, Thread] = {}
        self._began: dict[int, float] = {}
        self._spare = 0
        self._wanted = min(STEADY, self.cfg.threads)
        for fileno, listener in self._listeners.items():
            listener.settimeout(0)
            self._ready.register(fileno, ONCE)
        while self.alive and self.is_parent_alive():
            self._tick()
            for fileno in self._listeners:
                self._listen(fileno)
        self.alive = False  # where the parent is gone, too
        for conn in list(self._awaited):
            self._linger(conn)
        give_up = time.monotonic() + self.cfg.graceful_timeout
        while self._clients and time.monotonic() < give_up:
            self._tick()

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer one request; all of the answer is on its way afterwards."""
        kept = super().handle_request(req, conn)
        conn.sock.flush()
        return kept

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Refuse a request that cannot be read; the connection ends."""
        status = _UNREADABLE.get(type(exc), HTTPStatus.BAD_REQUEST)
        if not isinstance(exc, ParseException):
            log.error("connection failed", exc_info=exc)
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        request_id = uuid4().hex
        log.info("request", request_id=request_id, status=status, unreadable=type(exc).__name__)
        client.settimeout(REFUSE_S)
        try:
            client.sendall(_unreadable(status, request_id))
            client.flush()
        except OSError as error:
            log.info("client is gone", request_id=request_id, error=str(error))

    def _tick(self) -> None:
        """See to threads and clients, every second or when there is a request or a signal."""
        self.notify()
        for number in range(self._wanted):
            if number not in self._threads or not self._threads[number].is_alive():
                thread = Thread(target=self._serve, args=(number,), daemon=True)
                self._threads[number] = thread
                thread.start()
        told, _, _ = select.select([self.PIPE[0], self._ready], [], [], TICK_S)
        if self.PIPE[0] in told:
            os.read(self.PIPE[0], select.PIPE_BUF)
        if self._ready in told:
            self._want_threads()
        now = time.monotonic()
        for conn in list(self._awaited):
            # Who sent a request in time waits for a thread, not we for them.
            if conn.timeout < now and conn.sock.is_silent() and self._take(conn):
                conn.close()
                self._clients.discard(conn)

    def _want_threads(self) -> None:
        """One more where requests wait for threads that wait, and one for each that takes long."""
        used = time.process_time()
        time.sleep(HELD_UP_S)
        busy = (time.process_time() - used) / HELD_UP_S
        if not select.select([self._ready], [], [], 0)[0]:
            return
        if busy < IDLE:
            self._spare = min(self._spare + 1, self.cfg.threads)
        elif busy > BUSY:
            self._spare = max(self._spare - 1, 0)
        long_ago = time.monotonic() - HELD_UP_S
        taken = sum(began < long_ago for began in list(self._began.values()))
        self._wanted = min(STEADY + taken + self._spare, self.cfg.threads)

    def _serve(self, number: int) -> None:
        """What the thread of this number does while it is wanted."""
        while number < self._wanted:
            for fileno, _ in self._ready.poll(maxevents=1):
                if listener := self._listeners.get(fileno):
                    self._accept(listener)
                elif self._take(conn := self._numbered[fileno]):
                    self._began[number] = time.monotonic()
                    self._answer(conn)
                    del self._began[number]

    def _accept(self, listener: socket) -> None:
        """Take a connection, and let the other workers have the next one, who are awake, too.

        The first to run would take all that a pool of clients opens at once, and keep them.
        """
        if not self.alive:
            return
        try:
            accepted, address = listener.accept()
        except BlockingIOError:
            pass
        except OSError as error:  # until the next tick
            log.warning("cannot accept", error=str(error))
            return
        else:
            conn = TConn(self.cfg, Connection(accepted), address, listener.getsockname())
            conn.data_ready = True
            self._clients.add(conn)
            self._await(conn, self._ready.register, ONCE)
        if len(self._clients) > 1:
            time.sleep(REST_S)
        self._listen(listener.fileno())

    def _listen(self, fileno: int) -> None:
        if len(self._clients) < self.worker_connections:
            self._ready.modify(fileno, ONCE)

    def _await(self, conn: TConn, ask: Callable[[int, int], None], what: int) -> None:
        conn.set_timeout()
        fileno = conn.sock.fileno()
        self._numbered[fileno] = conn
        self._awaited.add(conn)
        if not self.alive:  # asked afterwards: whoever is not seen by ``run`` sees this
            self._linger(conn)
        ask(fileno, what)

    def _linger(self, conn: TConn) -> None:
        """Who was told to keep the connection may be sending the next request."""
        conn.timeout = min(conn.timeout, time.monotonic() + LINGER_S)

    def _take(self, conn: TConn) -> bool:
        """Whether it is ours now to answer or to end: one thread's alone."""
        try:
            self._awaited.remove(conn)
        except KeyError:
            return False
        return True

    def _answer(self, conn: TConn) -> None:
        """Answer the request that has arrived; the next one, sent along with it, in its turn."""
        conn.sock.await_request()
        if self.handle(conn):
            sent_along = conn.parser.unreader.buf.getvalue()
            self._await(conn, self._ready.modify, IN_TURN if sent_along else ONCE)
        else:
            conn.close(graceful=True)
            self._clients.discard(conn)


def _unreadable(status: HTTPStatus, request_id: str) -> bytes:
    problem = Problem(type="about:blank", title=status.phrase, status=status, request_id=request_id)
    body = msgspec.json.encode(problem) + b"\n"
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
        f"Content-Type: {MEDIA_TYPE}\r\nX-Request-Id: {request_id}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


_UNREADABLE: Final[Mapping[type[Exception], HTTPStatus]] = {
    LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
}
