"""A client's connection, at which nobody waits for longer than is fair to all the others.

A thread reads a request and writes its answer, so whoever sends half of one, sends it byte by byte
or does not read keeps a thread from all others. A proxy before us may buffer for such clients; here
they are given up.
"""

import errno
import socket
import time
from struct import Struct
from typing import Any, Final

PATIENCE_S: Final = 10
"""How long a request may be waited for, however slowly it comes."""
SLOWEST: Final = 16 * 1024
"""Bytes that earn a request one more second: a large upload on a poor line takes its time."""
UNREAD_S: Final = 30
"""How long an answer may wait for the client to read on."""
PIECE: Final = 16 * 1024
TIMEVAL: Final = Struct("@ll")


class SilentClientError(TimeoutError):
    """The client let us wait for the rest of its request."""

    def __init__(self) -> None:
        # To gunicorn, which reads the head, this client is one that went away.
        super().__init__(errno.ECONNRESET, "the client is silent")


class Connection(socket.socket):
    """A blocking socket that gives up; ``await_request`` begins each request."""

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        # The kernel's time-outs: those of Python ask before every call.
        self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, TIMEVAL.pack(PATIENCE_S, 0))
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, TIMEVAL.pack(UNREAD_S, 0))
        self._unsent = bytearray()
        self.await_request()

    def setblocking(self, flag: bool, /) -> None:  # noqa: FBT001 - the socket's own signature
        """Stay blocking: gunicorn asks for it twice a request, each time a call of the system."""

    def await_request(self) -> None:
        """Be patient anew."""
        self._left_s = float(PATIENCE_S)

    def is_silent(self) -> bool:
        """Whether nothing has arrived: no byte, no end."""
        try:
            super().recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:  # an end that is no good one
            return False
        return False

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """As a socket does; raises ``SilentClientError`` where no patience is left."""
        if self._left_s <= 0:
            raise SilentClientError
        started = time.monotonic()
        try:
            received = super().recv(bufsize, flags)
        except BlockingIOError:
            self._left_s = 0
            raise SilentClientError from None
        self._left_s += len(received) / SLOWEST - (time.monotonic() - started)
        return received

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send it with what follows, up to ``PIECE`` bytes; ``flush`` sends the rest."""
        self._unsent += data
        if len(self._unsent) > PIECE:
            self.flush()

    def flush(self) -> None:
        """Send all; a client that does not read is as good as gone."""
        data, self._unsent = self._unsent, bytearray()
        try:
            super().sendall(data)
        except BlockingIOError:
            raise BrokenPipeError(errno.EPIPE, "the client does not read") from None
