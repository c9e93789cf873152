"""The API in this process and as a real gunicorn, and how tests talk to them."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, Any, Final

from falcon.testing import Result, TestClient

from api.app import Services, create_app
from credit_es.settings import Settings, read_settings
from credit_es.store.migrations import migrate
from projections.rebuild import rebuilder

ROOT = Path(__file__).parent.parent.parent
PERSON = {
    "first_name": "Ada",
    "last_name": "Byron",
    "age": 36,
    "monthly_income": 100_000,
    "phone_number": 9_876_543_210,
}
"""Gets a limit of 3,600,000."""


class Api:
    """The application in this process; bodies are JSON texts or what becomes one."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._client = TestClient(create_app(services))

    def get(self, path: str, **headers: str) -> Result:
        """Ask; ``path`` may have a query."""
        return self._send("GET", path, None, headers)

    def post(self, path: str, body: object = b"", **headers: str) -> Result:
        """Send JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._send("POST", path, raw, {"content_type": "application/json"} | headers)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Result:
        """Send anything."""
        return self._send(method, path, body, headers)

    def register(self, **fields: object) -> int:
        """A new customer's id."""
        answered = self.post("/register", PERSON | fields)
        assert answered.status_code == 201, answered.text
        number: int = answered.json["customer_id"]
        return number

    def apply(self, customer_id: int, amount: object = 10_000, **fields: object) -> Result:
        """Apply for a loan at 12 % over 12 months."""
        terms = {"loan_amount": amount, "interest_rate": 12, "tenure": 12}
        return self.post("/create-loan", {"customer_id": customer_id} | terms | fields)

    def upload(self, form: "Form", query: str = "", **headers: str) -> Result:
        """Hand two workbooks in."""
        return self._send("POST", f"/ingestions{query}", form.raw, form.headers | headers)

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Result:
        path, _, query = path.partition("?")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._client.simulate_request(
            method, path, query_string=query, body=body, headers=named
        )


def next_of(page: Result) -> str:
    """Where the page after this one is, which its body and ``Link`` say alike; nothing if last."""
    path: str = page.json["next"] or ""
    assert page.headers.get("Link") == (f'<{path}>; rel="next"' if path else None)
    return path


class Form:
    """A multipart form."""

    def __init__(self, raw: bytes, boundary: str) -> None:
        self.raw = raw
        self.headers = {"content_type": f"multipart/form-data; boundary={boundary}"}


def form(boundary: str = "x-boundary-x", suffix: str = ".xlsx", **files: bytes) -> Form:
    """A form of files, as curl would send it."""
    parts = [
        (
            f"--{boundary}\r\nContent-Disposition: form-data; "
            f'name="{name}"; filename="{name}{suffix}"\r\n\r\n'
        ).encode()
        + content
        for name, content in files.items()
    ]
    return Form(b"\r\n".join([*parts, f"--{boundary}--\r\n".encode()]), boundary)


class Answer:
    """What a real server answered."""

    def __init__(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.status = status
        self.headers = headers
        self.content = content

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.content)


class Server:
    """A gunicorn of the test's own, started as a user would."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
        self.process = process
        self.port = port
        self._log = log

    def log(self) -> str:
        """What it has logged."""
        self._log.seek(0)
        return self._log.read().decode()

    def send(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """One request on a connection of its own."""
        return send(self.port, method, path, body, **headers)


def send(port: int, method: str, path: str, body: object = None, **headers: str) -> Answer:
    """One request to whoever serves a port here, on a connection of its own."""
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if not isinstance(body, bytes) and body is not None:
        named = {"Content-Type": "application/json"} | named
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, raw, named)
        response = connection.getresponse()
        answered = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, answered, response.read())
    finally:
        connection.close()


def settings_of(database_url: str, schema: str, redis_url: str, **more: str) -> Settings:
    """Settings for a test's schema."""
    return read_settings(environment_of(database_url, schema, redis_url, **more))


def environment_of(database_url: str, schema: str, redis_url: str, **more: str) -> dict[str, str]:
    """The variables that say the same."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "CREDIT_SCHEMA": schema,
        "CREDIT_UPLOAD_LIMIT_MIB": "1",
        **more,
    }


def prepare(database_url: str, schema: str) -> None:
    """Migrate, and make the read tables."""
    migrate(database_url, schema)
    with rebuilder(database_url, schema) as one:
        one.prepare()


WITH_US: Final = "import ctypes; getattr(ctypes.CDLL(None), 'prctl', print)(1, 15, 0, 0, 0)"
"""Linux ends the process where the test run that started it is ended (PR_SET_PDEATHSIG)."""
SERVE: Final = "from credit_es.cli.main import main; main()"


@contextmanager
def serving(environment: dict[str, str], *, first: str = "") -> Iterator[Server]:
    """A running `credit-es api`, which does ``first``; all of it is gone afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-c", f"{WITH_US}\n{first}\n{SERVE}", "api"],
            cwd=ROOT,
            env={**os.environ, **environment, "PORT": str(port)},
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
        server = Server(process, port, log)
        try:
            deadline = time.monotonic() + 30
            while not _answers(server):
                assert process.poll() is None, server.log()
                assert time.monotonic() < deadline, server.log()
                time.sleep(0.05)
            yield server
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(15)
            with suppress(ProcessLookupError):  # workers whose parent a test has killed
                os.killpg(process.pid, signal.SIGKILL)


def _answers(server: Server) -> bool:
    try:
        return server.send("GET", "/health/live").status == 200
    except OSError:
        return False
