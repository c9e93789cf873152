"""Clients that say nothing, say half of it or do not read: nobody else is kept waiting for them."""

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from api import connections
from api.connections import Connection
from tests.api.client import PERSON, Server, environment_of, form, serving

# Each starts a gunicorn of its own.
pytestmark = pytest.mark.slow

PATIENCE_S = 2
QUICK = f"""
import api.connections
api.connections.PATIENCE_S = api.connections.UNREAD_S = {PATIENCE_S}
"""
COMPUTING = """
import time
from api.resources.health import Live

quick = Live.on_get

def on_get(self, req, resp):
    until = time.monotonic() + float(req.get_header("X-Compute") or 0)
    while time.monotonic() < until:
        pass
    quick(self, req, resp)

Live.on_get = on_get
"""
SOON_SILENT = """
import api.gunicorn_conf
api.gunicorn_conf.KEEP_ALIVE_S = 1
"""
CROWDED = """
import api.gunicorn_conf
options = api.gunicorn_conf.options
api.gunicorn_conf.options = lambda settings: {**options(settings), "worker_connections": 10}
"""
ASK = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
THREADS = 8
"""Of each of the two workers."""
MANY = 40
BODY = json.dumps(PERSON).encode()
HEAD = (
    b"POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
)


@pytest.fixture
def quick(database_url: str, tables: str, redis_url: str) -> Iterator[Server]:
    """The API, with less patience than it has in earnest."""
    with serving(environment_of(database_url, tables, redis_url), first=QUICK) as one:
        yield one


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connect(server: Server, clients: ExitStack, sent: bytes) -> socket.socket:
    client = clients.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
    client.sendall(sent)
    return client


def answered_within(server: Server, seconds: float) -> bool:
    started = time.monotonic()
    assert server.send("GET", "/health/live").status == 200
    return time.monotonic() - started < seconds


def rest(client: socket.socket) -> bytes:
    """All that comes until the other side ends the connection."""
    received = b""
    while piece := client.recv(65536):
        received += piece
    return received


def test_clients_that_send_nothing_keep_nobody_waiting(server: Server, clients: ExitStack) -> None:
    silent = [connect(server, clients, b"") for _ in range(MANY)]
    assert answered_within(server, 2)
    silent[0].sendall(HEAD + BODY)
    assert silent[0].recv(4096).startswith(b"HTTP/1.1 201")


@pytest.mark.parametrize("sent", [HEAD[:40], HEAD + BODY[:40]])
def test_clients_that_send_half_a_request_are_given_up(
    quick: Server, clients: ExitStack, sent: bytes
) -> None:
    for _ in range(MANY):
        connect(quick, clients, sent)
    # One of the two workers may have got them all.
    assert answered_within(quick, MANY / THREADS * PATIENCE_S + 5)


def test_a_thread_more_comes_where_all_wait(
    database_url: str, tables: str, redis_url: str, clients: ExitStack
) -> None:
    environment = environment_of(database_url, tables, redis_url, CREDIT_API_WORKERS="1")
    with serving(environment) as server:
        for _ in range(THREADS - 1):
            connect(server, clients, HEAD + BODY[:40])
        for _ in range(3):
            assert answered_within(server, connections.PATIENCE_S / 5)


def test_a_thread_more_comes_where_all_compute_for_long(
    database_url: str, tables: str, redis_url: str
) -> None:
    environment = environment_of(database_url, tables, redis_url, CREDIT_API_WORKERS="1")
    with (
        serving(environment, first=COMPUTING) as server,
        ThreadPoolExecutor(THREADS - 1) as callers,
    ):
        long = [
            callers.submit(server.send, "GET", "/health/live", X_Compute="3")
            for _ in range(THREADS - 1)
        ]
        time.sleep(0.5)
        for _ in range(3):
            assert answered_within(server, 1)
        assert not any(one.done() for one in long)
        assert {one.result().status for one in long} == {200}


def test_who_waits_for_a_thread_is_not_taken_for_silent(
    database_url: str, tables: str, redis_url: str, clients: ExitStack
) -> None:
    environment = environment_of(
        database_url, tables, redis_url, CREDIT_API_WORKERS="1", CREDIT_API_THREADS="1"
    )
    with serving(environment, first=COMPUTING + SOON_SILENT) as server:
        kept = connect(server, clients, ASK)
        assert kept.recv(4096).startswith(b"HTTP/1.1 200")
        waiting = [connect(server, clients, b""), kept]
        time.sleep(0.2)
        connect(server, clients, ASK.replace(b"Host", b"X-Compute: 3\r\nHost"))
        time.sleep(0.2)
        for one in waiting:
            one.sendall(ASK)
        for one in waiting:
            assert one.recv(4096).startswith(b"HTTP/1.1 200")
            assert rest(one) == b""


def test_who_sends_many_requests_at_once_waits_for_a_turn_like_all_others(
    database_url: str, tables: str, redis_url: str, clients: ExitStack
) -> None:
    environment = environment_of(
        database_url, tables, redis_url, CREDIT_API_WORKERS="1", CREDIT_API_THREADS="1"
    )
    many = 4_000
    with serving(environment) as server, ThreadPoolExecutor(1) as readers:
        greedy = connect(server, clients, b"")
        last = ASK.replace(b"Host", b"Connection: close\r\nHost")
        readers.submit(greedy.sendall, ASK * (many - 1) + last)
        assert greedy.recv(100).startswith(b"HTTP/1.1 200")
        assert answered_within(server, 1)
        greedy.setblocking(False)
        read = b""
        with suppress(BlockingIOError):
            while piece := greedy.recv(65536):
                read += piece
        assert read.count(b"HTTP/1.1 200") < many - 1
        greedy.settimeout(20)
        read += rest(greedy)
        assert read.count(b"HTTP/1.1 200") == many - 1


def test_who_is_answered_while_the_server_stops_may_ask_once_more(
    database_url: str, tables: str, redis_url: str, clients: ExitStack
) -> None:
    with serving(environment_of(database_url, tables, redis_url), first=COMPUTING) as server:
        kept = connect(server, clients, ASK.replace(b"Host", b"X-Compute: 2.3\r\nHost"))
        time.sleep(0.1)
        server.process.terminate()
        assert b"Connection: keep-alive" in kept.recv(4096)
        time.sleep(1.1)
        kept.sendall(ASK)
        assert b"Connection: close" in kept.recv(4096)


def test_those_who_keep_connections_leave_room_for_others(
    database_url: str, tables: str, redis_url: str, clients: ExitStack
) -> None:
    environment = environment_of(database_url, tables, redis_url, CREDIT_API_WORKERS="1")
    with serving(environment, first=CROWDED) as server:
        for _ in range(11):
            assert connect(server, clients, ASK).recv(4096).startswith(b"HTTP/1.1 200")


def test_a_client_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "UNREAD_S", 1)
    ours, theirs = socket.socketpair()
    with Connection(ours) as client, theirs, pytest.raises(BrokenPipeError):
        client.sendall(bytes(16 * 1024 * 1024))


def test_what_is_small_is_sent_in_one_piece() -> None:
    ours, theirs = socket.socketpair()
    with Connection(ours) as client, theirs:
        client.sendall(b"head ")
        client.sendall(b"body")
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
        client.flush()
        assert theirs.recv(100) == b"head body"


def test_half_a_head_is_no_request(quick: Server, clients: ExitStack) -> None:
    assert rest(connect(quick, clients, HEAD[:40])) == b""
    assert "Traceback" not in quick.log()


def test_a_body_that_does_not_come_is_answered_408(quick: Server, clients: ExitStack) -> None:
    upload = form(customers=b"PK" * 1000, loans=b"PK" * 1000)
    form_head = (
        "POST /ingestions HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: {upload.headers['content_type']}\r\n"
        f"Content-Length: {len(upload.raw)}\r\n\r\n"
    )
    chunked = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", HEAD)
    for sent in (
        HEAD,
        HEAD + BODY[:40],
        chunked + b"%x\r\n%s" % (len(BODY), BODY[:40]),
        form_head.encode() + upload.raw[:2500],
    ):
        started = time.monotonic()
        head, _, body = rest(connect(quick, clients, sent)).partition(b"\r\n\r\n")
        assert PATIENCE_S - 0.5 < time.monotonic() - started < PATIENCE_S + 3
        assert head.startswith(b"HTTP/1.1 408 "), head
        assert b"content-type: application/problem+json" in head.lower()
        problem = json.loads(body)
        assert problem["status"] == 408
        assert problem["request_id"].encode() in head
    assert quick.send("GET", "/customers?phone_number=9876543210").json["customers"] == []
    assert "Traceback" not in quick.log()


def test_a_body_in_drops_is_given_up_and_a_slow_one_is_not(
    quick: Server, clients: ExitStack
) -> None:
    dripping = connect(quick, clients, HEAD)
    dripping.settimeout(PATIENCE_S / 4)
    answered, started = b"", time.monotonic()
    for drop in BODY:
        dripping.sendall(bytes([drop]))
        with suppress(TimeoutError):
            answered = dripping.recv(4096)
            break
    assert answered.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - started < 3 * PATIENCE_S

    slow = connect(quick, clients, HEAD + BODY[:10])
    time.sleep(PATIENCE_S / 2)
    slow.sendall(BODY[10:])
    assert slow.recv(4096).startswith(b"HTTP/1.1 201")


def test_a_request_after_another_is_waited_for_as_long(quick: Server, clients: ExitStack) -> None:
    kept = connect(quick, clients, b"")
    for _ in range(3):
        kept.sendall(HEAD + BODY[:10])
        time.sleep(PATIENCE_S * 0.6)
        kept.sendall(BODY[10:])
        assert kept.recv(4096).startswith(b"HTTP/1.1 201")
