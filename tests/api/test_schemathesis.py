"""Schemathesis tries every operation of the document, and finds nothing."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from credit_es.domain.policy import SHIPPED
from tests.api.client import PERSON, Server, environment_of, form, serving

ROOT = Path(__file__).parent
CONFIG = ROOT / "schemathesis.toml"
EXAMPLES = 12
LIMIT_S = 240
LOANS = 40
"""Some are written off; the others still take repayments, and lose some of them."""
UNREACHED = {("GET", "/ingestions/{ingestion_id}/report.xlsx", 200)}
"""No worker runs, so no ingestion has its report."""
BY_CLERK = {"X_Actor": "clerk"}


@pytest.fixture
def server(database_url: str, tables: str, redis_url: str, tmp_path: Path) -> Iterator[Server]:
    """The application under a policy that leaves more than 100,000 to a reviewer."""
    path = tmp_path / "careful.toml"
    rules = "\n[refer]\namount_above = 100000\nexpires_after_days = 14\n"
    path.write_text((SHIPPED / "standard.toml").read_text("utf-8") + rules, "utf-8")
    environment = environment_of(database_url, tables, redis_url, CREDIT_POLICY=str(path))
    with serving(environment) as one:
        yield one


def known(server: Server) -> dict[str, list[Any]]:
    """What there is to ask about, by the name under which it is asked about."""
    found: dict[str, list[Any]] = defaultdict(list)

    def post(path: str, body: object, status: int) -> Any:
        answered = server.send("POST", path, body, **BY_CLERK)
        assert answered.status == status, answered.content
        return answered.json

    for income in (10**9, 10**9, 0):
        found["customer_id"].append(
            post("/register", PERSON | {"monthly_income": income}, 201)["customer_id"]
        )
    rich = found["customer_id"][0]
    asked = {"customer_id": rich, "loan_amount": 90_000, "interest_rate": 12, "tenure": 12}
    for _ in range(LOANS):
        granted = post("/create-loan", asked, 201)
        found["loan_id"].append(granted["loan_id"])
        found["decision_id"].append(granted["decision_id"])
        referred = post("/create-loan", asked | {"loan_amount": 200_000}, 202)
        found["application_id"].append(referred["application_id"])
    today = server.send("GET", f"/loans/{found['loan_id'][0]}/payoff").json["on"]
    for loan in found["loan_id"]:
        body = {"amount": 10, "paid_on": today}
        recorded = post(f"/loans/{loan}/repayments", body, 201)
        found["repayment_id"].append(recorded["repayment_id"])
    found["aggregate_id"] = [*found["customer_id"], *found["loan_id"]]
    found["subject"] = ["customer"]
    found["subject_id"] = [*map(str, found["customer_id"])]
    for day in ("paid_on", "effective_on", "on", "day", "before", "after"):
        found[day].append(today)
    upload = form(customers=b"PK", loans=b"PK")
    queued = server.send("POST", "/ingestions", upload.raw, **upload.headers)
    assert queued.status == HTTPStatus.ACCEPTED
    found["ingestion_id"].append(queued.json["ingestion_id"])
    return found


def reached(log: str) -> set[tuple[str, str, int]]:
    """Method, route and status of every request in a server's log."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return {
        (line["method"], line["route"], line["status"])
        for line in lines
        if line["event"] == "request" and "method" in line
    }


@pytest.mark.slow
def test_schemathesis_finds_nothing_and_reaches_every_success(
    server: Server, tmp_path: Path
) -> None:
    ids = known(server)
    before = len(server.log())
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"),
        f"http://127.0.0.1:{server.port}/openapi.json",
        *("--checks", "all", "--exclude-checks", "unsupported_method,ignored_auth"),
        *("--max-examples", str(EXAMPLES), "--generation-deterministic"),
        *("--continue-on-failure", "--no-color"),
    ]
    ran = subprocess.run(
        command,
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT.parent.parent),
            "SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks",
            "CREDIT_TEST_KNOWN": json.dumps(ids),
        },
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    paths = server.send("GET", "/openapi.json").json["paths"]
    count = sum(len(methods) for methods in paths.values())
    assert f"{count} selected / {count} total" in ran.stdout
    # Tested in earnest, not passed over: every phase that the document allows has run.
    for phase in ("Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in ran.stdout, ran.stdout
    answered = reached(server.log()[before:])
    promised = {
        (method.upper(), path, int(status))
        for path, methods in paths.items()
        for method, operation in methods.items()
        for status in operation["responses"]
        if status.startswith("2")
    }
    assert promised - answered <= UNREACHED
