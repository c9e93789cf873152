"""Schemathesis tries every operation of the document, and finds nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.client import PERSON, Server, form

CONFIG = Path(__file__).parent / "schemathesis.toml"
EXAMPLES = 12
LIMIT_S = 240


@pytest.mark.slow
def test_schemathesis_finds_nothing(server: Server, tmp_path: Path) -> None:
    customer = server.send("POST", "/register", PERSON).json["customer_id"]
    body = {"customer_id": customer, "loan_amount": 10_000, "interest_rate": 12, "tenure": 12}
    assert server.send("POST", "/create-loan", body).status == 201
    upload = form(customers=b"PK", loans=b"PK")
    assert server.send("POST", "/ingestions", upload.raw, **upload.headers).status == 202
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"),
        f"http://127.0.0.1:{server.port}/openapi.json",
        *("--checks", "all", "--exclude-checks", "unsupported_method,ignored_auth"),
        *("--max-examples", str(EXAMPLES), "--generation-deterministic"),
        *("--continue-on-failure", "--no-color"),
    ]
    ran = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    paths = server.send("GET", "/openapi.json").json["paths"]
    count = sum(len(methods) for methods in paths.values())
    assert f"{count} selected / {count} total" in ran.stdout
    # Tested in earnest, not passed over: every phase that the document allows has run.
    for phase in ("Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in ran.stdout, ran.stdout
