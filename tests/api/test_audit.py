"""What auditors ask, by REST and on the command line: both say the same."""

import csv
import io
from datetime import datetime
from uuid import UUID

import msgspec
import pytest
from typer.testing import CliRunner

from credit_es.audit.history import whole_history
from credit_es.cli.context import CommandError, ExitCode
from credit_es.cli.main import app
from credit_es.store import log
from credit_es.store.mapper import Recorded, recorded
from tests.api.client import Api, environment_of, next_of
from tests.api.test_ingestions import history, work
from tests.domain.facts import CUSTOMER, declined, registered
from tests.store.given import BY

pytestmark = pytest.mark.slow

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Shell:
    """The command line, on the schema of the test."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._environ = environ

    def run(self, *command: str) -> str:
        """What a command says on stdout; raises what it cannot do."""
        result = CliRunner().invoke(app, ("audit", *command), env=self._environ)
        if result.exception:
            raise result.exception
        return result.stdout

    def code(self, *command: str) -> int:
        """What it answers to the shell."""
        try:
            self.run(*command)
        except CommandError as error:
            return error.code
        except SystemExit as end:
            return int(end.code or 0)
        return ExitCode.OK


@pytest.fixture
def shell(database_url: str, tables: str, redis_url: str) -> Shell:
    return Shell(environment_of(database_url, tables, redis_url, COLUMNS="200"))


def test_a_history_has_every_fact_in_order_with_its_source(api: Api, shell: Shell) -> None:
    customer = api.register()
    granted = api.post(
        "/create-loan",
        {"customer_id": customer, "loan_amount": 10_000, "interest_rate": 12, "tenure": 12},
        X_Actor="=officer",
        X_Request_Id="request-7",
        traceparent=TRACE,
    ).json
    answered = api.get(f"/audit/history/customer/{customer}/")
    assert answered.status_code == 200
    registered, approved = answered.json["facts"]
    today = api.services.lending.today().isoformat()
    assert datetime.fromisoformat(approved.pop("recorded_at")) >= datetime.fromisoformat(
        registered["recorded_at"]
    )
    assert approved == {
        "position": 3,  # behind the policy, which is recorded before its first decision
        "version": 2,
        "kind": "LoanApproved",
        "what": f"Approved 10000.00 at 12.00 % over 12 months as loan {granted['loan_id']}, at"
        " 12.00 % and 888.49 a month",
        "customer_id": customer,
        "loan_id": granted["loan_id"],
        "occurred_on": today,
        "actor": "=officer",
        "source": {"request_id": "request-7", "ingestion_id": None, "sheet": None, "row": None},
    }
    facts = msgspec.json.decode(shell.run("history", "customer", str(customer), "--json"))
    assert [fact["what"] for fact in facts] == [registered["what"], approved["what"]]
    rows = list(csv.reader(io.StringIO(shell.run("history", "customer", str(customer), "--csv"))))
    assert rows[0] == ["position", "what", "occurred", "recorded (UTC)", "actor", "source"]
    assert rows[2][4:] == ["'=officer", "request request-7"]
    (opened,) = api.get(f"/audit/history/loan/{granted['loan_id']}").json["facts"]
    assert (opened["kind"], opened["position"]) == ("LoanOpened", 4)
    assert "Opened: 10000.00" in shell.run("history", "loan", str(granted["loan_id"]))


def test_what_a_workbook_brought_leads_to_its_row(api: Api, shell: Shell) -> None:
    ingestion = api.upload(history()).json["ingestion_id"]
    work(api, ingestion)
    (imported,) = api.get("/audit/history/loan/37").json["facts"]
    source = imported["source"]
    assert (source["ingestion_id"], source["sheet"], source["row"]) == (ingestion, "Sheet", 3)
    rows = list(csv.reader(io.StringIO(shell.run("history", "customer", "7", "--csv"))))
    assert [row[-1] for row in rows[1:]] == [
        f"ingestion {ingestion}, Sheet row 2",
        f"ingestion {ingestion}",
    ]


def test_a_history_comes_in_pages_that_name_the_next(api: Api) -> None:
    customer = api.register()
    for amount in (1, 9_000_000, 2, 3):
        api.apply(customer, amount)
    path, versions = f"/audit/history/customer/{customer}?limit=2", []
    while path:
        page = api.get(path)
        versions += [fact["version"] for fact in page.json["facts"]]
        path = next_of(page)
    assert versions == [1, 2, 3, 4, 5]


def test_a_history_of_many_facts_is_not_held_at_once(
    api: Api, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    lending = api.services.lending
    lending.record([(1, registered(CUSTOMER))], BY)
    lending.record([(version, declined("OVER_LIMIT")) for version in range(2, 2503)], BY)

    decoded: list[int] = []

    def seen(stream_id: UUID, version: int, state: bytes) -> Recorded:
        decoded.append(version)
        return recorded(stream_id, version, state)

    with monkeypatch.context() as patched:
        patched.setattr(log, "recorded", seen)
        facts = whole_history(lending.reader, "customer", str(CUSTOMER))
        assert next(facts).version == 1
        assert decoded == [1]
        assert [fact.version for fact in facts] == [*range(2, 2503)]
    told = msgspec.json.decode(shell.run("history", "customer", str(CUSTOMER), "--json"))
    assert [fact["version"] for fact in told] == [*range(1, 2503)]
    assert len(shell.run("history", "customer", str(CUSTOMER), "--csv").splitlines()) == 2503
    assert shell.run("history", "customer", str(CUSTOMER)).count("position") == 3


@pytest.mark.parametrize(
    ("subject", "name"),
    [("customer", "1"), ("customer", "007"), ("loan", "x"), ("application", "10000001-2")],
)
def test_the_history_of_nobody_is_not_found(
    api: Api, shell: Shell, subject: str, name: str
) -> None:
    assert api.get(f"/audit/history/{subject}/{name}").status_code == 404
    assert shell.code("history", subject, name) == ExitCode.NOT_FOUND


def test_what_has_no_history_is_refused(api: Api, shell: Shell) -> None:
    assert api.get("/audit/history/policy/1").status_code == 404
    assert shell.code("history", "policy", "1") == ExitCode.USAGE
    assert shell.code("history", "loan", "1", "--json", "--csv") != ExitCode.OK


@pytest.mark.parametrize(
    ("path", "faults"),
    [
        (
            "/audit/facts?amount_from=2&amount_to=1.99&occurred_from=2026-01-02"
            "&occurred_to=2026-01-01&recorded_from=2026-01-02T00:00:00Z"
            "&recorded_to=2026-01-02T05:00:00%2B05:30",
            ["amount", "occurred", "recorded"],
        ),
        (
            "/audit/export?recorded_from=2026-01-02T00:00:00Z&recorded_to=2026-01-01T00:00:00Z",
            ["recorded"],
        ),
    ],
)
def test_a_range_that_ends_before_it_begins_is_a_fault_and_no_empty_page(
    api: Api, path: str, faults: list[str]
) -> None:
    answered = api.get(path)
    assert answered.status_code == 422
    assert [(fault["location"], fault["pointer"]) for fault in answered.json["errors"]] == [
        ("query", f"/{field}_to") for field in faults
    ]
    for field, fault in zip(faults, answered.json["errors"], strict=True):
        assert f"before {field}_from: exchange the two" in fault["detail"]


def test_a_range_of_one_day_and_one_amount_is_one(api: Api) -> None:
    one = "amount_from=1&amount_to=1.00&occurred_from=2026-01-01&occurred_to=2026-01-01"
    assert api.get(f"/audit/facts?{one}").status_code == 200
