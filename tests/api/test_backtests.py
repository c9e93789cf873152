"""A backtest over HTTP: shipped policies by name, the same as on the command line."""

import msgspec
import pytest

from tests.api.client import Api
from tests.api.test_audit import Shell, shell
from tests.api.test_problems import check_problem
from tests.domain.facts import imported_customer, imported_loan, loans_imported
from tests.store.given import BY

pytestmark = pytest.mark.slow

__all__ = ["shell"]


@pytest.fixture
def judged(api: Api) -> Api:
    """Applications of which the literal policy would approve one more, and an imported loan."""
    customer = api.register(monthly_income=20_000)
    api.apply(customer, 100_000)
    api.apply(customer, 100_000)
    record = api.services.lending.record
    record([(1, imported_customer()), (2, loans_imported(1)), (1, imported_loan(1))], BY)
    return api


def counted(api: Api, query: str) -> dict[str, int]:
    answered = api.get(f"/audit/backtest?{query}")
    assert answered.status_code == 200, answered.text
    return {line["what"]: line["cases"] for line in answered.json["changes"]}


def test_a_policy_against_itself_changes_nothing(judged: Api) -> None:
    for policy in ("standard", "literal"):
        answered = judged.get(f"/audit/backtest?policy={policy}&against={policy}").json
        assert (answered["cases"], answered["changed"]) == (3, 0)
        assert (answered["policy"], answered["against"]) == (policy, policy)


def test_it_says_what_the_command_says(judged: Api, shell: Shell) -> None:
    head = judged.services.lending.reader.head()
    told = judged.get("/audit/backtest/?policy=literal").json
    assert told.pop("position") == head.safe
    assert told["against"] == "as decided"
    said = msgspec.json.decode(shell.run("backtest", "literal", "--json"))
    assert told == numbers(said)
    assert judged.services.lending.reader.head() == head  # records nothing


def numbers(document: object) -> object:
    """The document with amounts as numbers, where a command writes texts."""
    match document:
        case dict():
            amounts = {"amount", "rate_before", "rate_after", "on_time_share"}
            return {
                name: float(value) if name in amounts and value else numbers(value)
                for name, value in document.items()
            }
        case list():
            return [numbers(one) for one in document]
        case _:
            return document


def test_days_are_those_of_the_decisions(judged: Api) -> None:
    today = judged.services.lending.today()
    assert sum(counted(judged, f"policy=literal&from={today}").values()) == 2
    assert counted(judged, "policy=standard&to=2025-12-31") == {"imported: approved -> approved": 1}
    assert counted(judged, "policy=standard&to=2001-01-01") == {}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "policy=nobody",
        "policy=/etc/passwd",
        "policy=../policies/standard",
        "policy=standard&against=x",
        "policy=standard&from=2026-02-30",
        "policy=standard&from=2026-01-02&to=2026-01-01",
    ],
)
def test_what_is_no_shipped_policy_and_no_day_is_refused(api: Api, query: str) -> None:
    check_problem(api.get(f"/audit/backtest?{query}"), 422)


def test_a_history_with_a_hole_is_said_to_wait_for_repair(judged: Api) -> None:
    database = judged.services.lending.database
    statement = f"DELETE FROM {database.schema}.events WHERE topic = 'credit.LoanOpened'"
    database.run(lambda conn: conn.execute(statement.encode()))
    problem = check_problem(judged.get("/audit/backtest?policy=literal"), 503)
    assert problem["detail"].startswith("The history of customer 10000001")
