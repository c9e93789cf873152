"""The API as it is run: gunicorn's own processes, real sockets, a database that comes and goes."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from api.gunicorn_conf import GRACEFUL_S
from credit_es.application import fold_customer, fold_loan
from credit_es.domain.events import LoanApproved, LoanDeclined
from credit_es.domain.policy import judge
from credit_es.store.mapper import customer_stream, loan_stream
from tests.api.client import PERSON, Answer, Api, Server, environment_of, form, prepare, serving
from tests.servers import RunningServer

# Each starts a gunicorn of its own.
pytestmark = pytest.mark.slow

LOAN = {"interest_rate": 12, "tenure": 12}
AMOUNTS = [*[400_000] * 6, *[1_000] * 6, *[900_000] * 4, *[250] * 4]


def test_twenty_simultaneous_applications_end_as_some_sequential_order_would(
    shared_server: Server, shared: Api
) -> None:
    server, services = shared_server, shared.services
    customer = server.send("POST", "/register", PERSON).json["customer_id"]
    start = threading.Barrier(len(AMOUNTS))

    def apply(amount: int) -> Answer:
        start.wait()
        body = LOAN | {"customer_id": customer, "loan_amount": amount}
        return server.send("POST", "/create-loan", body)

    with ThreadPoolExecutor(len(AMOUNTS)) as pool:
        answers = list(pool.map(apply, AMOUNTS))

    assert {answer.status for answer in answers} == {200, 201}
    told = {answer.json["decision_id"]: answer.json for answer in answers}
    reader, policy = services.lending.reader, services.lending.policy
    history = reader.stream(customer_stream(customer))
    assert sorted(told) == sorted(f"{customer}-{version}" for version in range(2, 22))
    for version in range(2, 22):
        who = fold_customer(history[: version - 1])
        assert who is not None
        loans = [fold_loan(reader.stream(loan_stream(number))) for number in who.loans]
        decision = history[version - 1].entry.fact
        assert isinstance(decision, LoanApproved | LoanDeclined)
        in_turn = judge(policy, who, loans, decision.terms, decision.occurred_on)
        assert decision.verdict == in_turn
        answer = told[f"{customer}-{version}"]
        assert answer["loan_approved"] is in_turn.approved
        assert answer["loan_id"] == (
            decision.loan_number if isinstance(decision, LoanApproved) else None
        )
    assert {answer.json["loan_approved"] for answer in answers} == {True, False}


@pytest.mark.fault
@pytest.mark.parametrize("how", ["fast", "kill"])
def test_a_database_that_goes_and_comes_back_needs_no_restart_of_ours(
    private_postgres: RunningServer, redis_url: str, how: str
) -> None:
    prepare(private_postgres.url, "credit")
    with serving(environment_of(private_postgres.url, "credit", redis_url)) as server:
        customer = server.send("POST", "/register", PERSON).json["customer_id"]
        body = LOAN | {"customer_id": customer, "loan_amount": 1_000}
        loan = server.send("POST", "/create-loan", body).json["loan_id"]
        calls: list[tuple[str, str, object]] = [
            ("POST", "/register", PERSON),
            ("POST", "/create-loan", body),
            ("POST", "/check-eligibility", body),
            ("GET", f"/view-loan/{loan}", None),
            ("GET", f"/view-loans/{customer}", None),
            ("GET", f"/decisions/{customer}-2", None),
            ("GET", f"/customers/{customer}/decisions", None),
            ("GET", "/customers?phone_number=9876543210", None),
            ("GET", "/ingestions", None),
            ("GET", "/health/ready", None),
        ]
        workers = _workers(server)
        stop = threading.Event()
        under_load: list[tuple[int, float]] = []

        def timed(call: tuple[str, str, object]) -> tuple[Answer, float]:
            started = time.monotonic()
            answer = server.send(*call)
            return answer, time.monotonic() - started

        def load() -> None:
            while not stop.is_set():
                answer, seconds = timed(("POST", "/create-loan", body))
                under_load.append((answer.status, seconds))

        with ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(load)
            time.sleep(0.5)
            if how == "kill":
                private_postgres.kill()
            else:
                private_postgres.stop("fast")
            with ThreadPoolExecutor(len(calls)) as callers:
                refused = list(callers.map(timed, calls))
            for (_, path, _), (answer, seconds) in zip(calls, refused, strict=True):
                assert seconds < 5, path
                assert answer.status == 503, path
                assert answer.headers["content-type"] == "application/problem+json"
                assert int(answer.headers["retry-after"]) >= 1
            assert server.send("GET", "/health/live").status == 200
            private_postgres.start()
            deadline = time.monotonic() + 10
            while server.send("GET", f"/view-loan/{loan}").status != 200:
                assert time.monotonic() < deadline
            stop.set()
        for method, path, sent in calls:
            answer = server.send(method, path, sent)
            assert answer.status in {200, 201}, (path, answer.content)
        assert {status for status, _ in under_load} <= {200, 201, 503}
        assert 503 in {status for status, _ in under_load}
        assert max(seconds for _, seconds in under_load) < 5
        assert _workers(server) == workers


@pytest.mark.slow
def test_the_processes_are_recognisable_and_end_in_seconds(
    database_url: str, tables: str, redis_url: str
) -> None:
    with serving(environment_of(database_url, tables, redis_url)) as server:
        family = [server.process.pid, *_workers(server)]
        for pid in family:
            assert _title(pid).startswith("credit-es api")
        # A kept-alive connection must not hold the stop up for longer than its linger.
        with socket.create_connection(("127.0.0.1", server.port)) as kept:
            kept.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert kept.recv(4096).startswith(b"HTTP/1.1 200")
            started = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(10) == 0
            assert time.monotonic() - started < GRACEFUL_S  # which is where it would end, too
    for pid in family:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.slow
def test_a_request_that_runs_when_the_stop_comes_is_answered(
    server: Server, database_url: str, tables: str
) -> None:
    with psycopg.connect(database_url) as other:
        insert = sql.SQL("INSERT INTO {}.idempotency_keys VALUES (%s, %s, %s, '', '', now())")
        values = ("anonymous", "/register", "k")
        other.execute(insert.format(sql.Identifier(tables)), values)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(
                lambda: server.send("POST", "/register", PERSON, Idempotency_Key="k")
            )
            time.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            other.rollback()
            assert waiting.result(10).status == 201


@pytest.mark.fault
def test_workers_whose_parent_is_gone_let_their_clients_go(server: Server) -> None:
    ask = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as kept:
        kept.sendall(ask)
        assert b"Connection: keep-alive" in kept.recv(4096)
        server.process.kill()
        server.process.wait()
        time.sleep(1.5)
        kept.sendall(ask)
        assert b"Connection: close" in kept.recv(4096)


def test_every_log_line_of_a_request_has_its_id_and_no_name(shared_server: Server) -> None:
    server = shared_server
    server.send("POST", "/register", PERSON, X_Request_Id="request-7")
    server.send("GET", "/customers?phone_number=9876543210")
    lines = [json.loads(line) for line in server.log().splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert all(line["request_id"] for line in requests)
    (registered,) = [line for line in requests if line["request_id"] == "request-7"]
    assert (registered["route"], registered["status"]) == ("/register", 201)
    for secret in ("Ada", "Byron", "9876543210"):
        assert secret not in server.log()


def test_the_log_tells_of_a_fault_of_ours_without_the_values_it_met(
    server: Server, database_url: str, tables: str
) -> None:
    customer = server.send("POST", "/register", PERSON).json["customer_id"]
    with psycopg.connect(database_url, autocommit=True) as conn:
        broken = sql.SQL("ALTER TABLE {}.events ADD CHECK (false) NOT VALID")
        conn.execute(broken.format(sql.Identifier(tables)))
    body = LOAN | {"customer_id": customer, "loan_amount": 765_432, "note": "Mr Byron"}
    answer = server.send("POST", "/create-loan", body, X_Request_Id="request-7")
    assert (answer.status, answer.headers["content-type"]) == (500, "application/problem+json")
    assert b"psycopg" not in answer.content
    (failed,) = [line for line in server.log().splitlines() if "request failed" in line]
    assert json.loads(failed)["request_id"] == "request-7"
    assert "CheckViolation" in failed
    for secret in ("765432", "Ada", "Byron", "9876543210"):
        assert secret not in server.log()


def test_a_chunked_body_is_read_like_any_other(shared_server: Server) -> None:
    def chunked(body: bytes, path: str, media_type: str) -> bytes:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Content-Type: {media_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        half = len(body) // 2
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (body[:half], body[half:]))
        return _raw(shared_server, head.encode() + chunks + b"0\r\n\r\n")

    person = json.dumps(PERSON).encode()
    assert chunked(person, "/register", "application/json").startswith(b"HTTP/1.1 201")
    assert chunked(b" " * 70_000, "/register", "application/json").startswith(b"HTTP/1.1 413")
    upload = form(customers=b"PK", loans=b"PK")
    media_type = upload.headers["content_type"]
    assert chunked(upload.raw, "/ingestions", media_type).startswith(b"HTTP/1.1 202")
    large = form(customers=b"P" * (1024 * 1024 + 1), loans=b"PK")
    assert chunked(large.raw, "/ingestions", media_type).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"rubbish\r\n\r\n", 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (
            b"POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnothing\r\n",
            400,
        ),
        (b"BREW /register HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
    ],
)
def test_what_is_hardly_http_is_a_problem_too(
    shared_server: Server, raw: bytes, status: int
) -> None:
    answered = _raw(shared_server, raw)
    head, _, body = answered.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answered
    assert b"content-type: application/problem+json" in head.lower()
    assert b"x-request-id: " in head.lower()
    assert (b"allow: POST, OPTIONS".lower() in head.lower()) is (status == 405)
    assert json.loads(body)["status"] == status


def test_an_upload_that_breaks_off_is_malformed_and_harms_nobody(shared_server: Server) -> None:
    before = shared_server.send("GET", "/ingestions").json["ingestions"]
    upload = form(customers=b"PK" * 1000, loans=b"PK" * 1000)
    head = (
        "POST /ingestions HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: {upload.headers['content_type']}\r\n"
        f"Content-Length: {len(upload.raw)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", shared_server.port), timeout=10) as broken:
        broken.sendall(head.encode() + upload.raw[:2500])
        broken.shutdown(socket.SHUT_WR)
        assert broken.recv(4096).startswith(b"HTTP/1.1 400")
    assert shared_server.send("GET", "/ingestions").json["ingestions"] == before


@pytest.mark.parametrize("framing", ["Content-Length: %d", "Transfer-Encoding: chunked"])
def test_a_body_that_breaks_off_is_malformed_whatever_it_says(
    shared_server: Server, framing: str
) -> None:
    """Even where what came reads as the whole of a request: its sender did not mean it to end."""
    person = json.dumps(PERSON).encode()
    head = (
        "POST /register HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "Content-Type: application/json\r\n"
        f"{framing.replace('%d', str(len(person) + 1))}\r\n\r\n"
    )
    chunk = b"" if "%d" in framing else b"%x\r\n" % (len(person) + 1)
    with socket.create_connection(("127.0.0.1", shared_server.port), timeout=10) as broken:
        broken.sendall(head.encode() + chunk + person)
        broken.shutdown(socket.SHUT_WR)
        answered = broken.makefile("rb").read()
    assert answered.startswith(b"HTTP/1.1 400"), answered
    assert b"broke off" in answered


def _raw(server: Server, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as conn:
        conn.sendall(sent)
        received = b""
        while piece := conn.recv(65536):
            received += piece
    return received


def _workers(server: Server) -> list[int]:
    """Both gunicorn workers: the second is forked up to a second after the first answers."""
    deadline = time.monotonic() + 10
    while len(workers := _children(server.process.pid)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return workers


def _children(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    return sorted(child for child, parent in pairs if parent == pid)


def _title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
