"""Every decision made again from what it saw comes out the same, and a tampered one does not."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal

import pytest

from credit_es.application import Lending
from credit_es.audit.dossiers import dossiers
from credit_es.audit.replay import Policies, Replay, policies_of, replay, replay_log, replays
from credit_es.domain.errors import UnknownDecisionError
from credit_es.domain.events import LoanApproved
from credit_es.domain.repaying import Repay
from credit_es.servicing import Servicing
from credit_es.store.mapper import UndigestedError
from projections import spread
from tests.store.given import ASHA, BY, asks, settings

pytestmark = pytest.mark.slow

ALTER = (
    "UPDATE {s}.events SET state = convert_to(replace(convert_from(state, 'UTF8'), %s, %s), 'UTF8')"
    " WHERE topic = %s"
)


@pytest.fixture
def lending(database_url: str, schema: str) -> Iterator[Lending]:
    """Applications, some declined, between repayments that the later ones have seen."""
    one = Lending(settings(database_url, schema), pool_size=2)
    who = one.register(ASHA, BY).customer_number
    for amount in ("10000.00", "9000000.00", "20000.00"):
        decision = one.apply_for_loan(asks(who, amount), BY).decision
        if isinstance(decision, LoanApproved):
            today = one.today()
            money = Repay(loan_number=decision.loan_number, amount=Decimal(100), paid_on=today)
            Servicing(one).repay(money, BY)
    one.register(ASHA, BY)
    yield one
    one.close()


def everything(lending: Lending) -> list[Replay]:
    policies = policies_of(lending.reader)
    return [one for whole in dossiers(lending.reader) for one in replays(whole, policies)]


def alter(lending: Lending, was: str, now: str, topic: str) -> None:
    statement = ALTER.format(s=lending.database.schema).encode()
    lending.database.run(lambda conn: conn.execute(statement, (was, now, topic)))


def run(lending: Lending, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {"DATABASE_URL": url, "CREDIT_SCHEMA": lending.database.schema}
    command = [sys.executable, "-m", "credit_es.cli.main", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def test_every_decision_comes_out_the_same_whatever_came_after(lending: Lending) -> None:
    found = everything(lending)
    assert [one.decision_id for one in found] == [f"10000001-{v}" for v in (2, 3, 4)]
    assert {one.same for one in found} == {True}
    policies = policies_of(lending.reader)
    assert replay(lending.reader, policies, 10_000_001, 3) == found[1]
    with pytest.raises(UnknownDecisionError):
        replay(lending.reader, policies, 10_000_001, 1)


@pytest.mark.parametrize(
    ("was", "now", "topic", "field"),
    [
        ('"score":"50.00"', '"score":"99.00"', "credit.LoanApproved", "/verdict/scorecard/score"),
        ('"approved":false', '"approved":true', "credit.LoanDeclined", "/verdict/approved"),
        (
            '"monthly_income":"50000.00"',
            '"monthly_income":"60000.00"',
            "credit.CustomerRegistered",
            "/seen/monthly_income",
        ),
        ('"amount":"10000.00"', '"amount":"10001.00"', "credit.LoanOpened", "/loan/amount"),
        ('"ends_on":"20', '"ends_on":"30', "credit.LoanOpened", "/loan/ends_on"),
        ('"occurred_on":"20', '"occurred_on":"19', "credit.LoanOpened", "/loan/occurred_on"),
        ("credit.LoanApproved", "credit.LoanDeclined", "credit.LoanApproved", "/kind"),
    ],
)
def test_a_tampered_figure_is_caught(
    lending: Lending, was: str, now: str, topic: str, field: str
) -> None:
    alter(lending, was, now, topic)
    wrong = [one for one in everything(lending) if not one.same]
    assert field in [each.field for one in wrong for each in one.differences]


def test_a_tampered_policy_is_not_taken_for_the_one_that_decided(lending: Lending) -> None:
    alter(lending, "burden_percent", "burden_Percent", "credit.PolicyAdopted")
    assert {one.same for one in everything(lending)} == {True}  # the shipped one has the hash
    kept = {"a" * 64: "{}", "b" * 64: "", "c" * 64: lending.policy.content}
    policies = Policies(kept.get)
    assert [policies.find(policy_hash) for policy_hash in kept] == [None, None, None]


def test_a_decision_by_a_policy_that_nobody_has_cannot_be_made_again(lending: Lending) -> None:
    policy_hash = lending.policy.hash
    alter(lending, policy_hash, "f" * 64, "credit.LoanDeclined")
    (one,) = [one for one in everything(lending) if one.same is None]
    assert one.problem is not None
    assert "neither in the log, as it was, nor shipped" in one.problem


@pytest.mark.parametrize(
    ("topic", "version", "same"),
    [
        ("credit.CustomerRegistered", 1, [None, None, None]),
        ("credit.LoanApproved", 2, [None, None]),
        ("credit.LoanOpened", 1, [False, None, None]),
        ("credit.RepaymentReceived", 2, [True, None, None]),
        ("credit.LoanDeclined", 3, [True, None]),
        ("credit.PolicyAdopted", 1, [True, True, True]),
    ],
)
def test_where_the_log_has_a_hole_it_is_said_what_cannot_be_made_again(
    lending: Lending, topic: str, version: int, same: list[bool | None]
) -> None:
    """The first fact of its kind is gone; what was decided without it comes out the same."""
    decided = [int(one.decision_id.partition("-")[2]) for one in everything(lending)]
    delete = (
        "DELETE FROM {s}.events WHERE position ="
        " (SELECT min(position) FROM {s}.events WHERE topic = %s AND version = %s)"
    )
    statement = delete.format(s=lending.database.schema).encode()
    lending.database.run(lambda conn: conn.execute(statement, (topic, version)))
    found = []
    for each in decided:
        with suppress(UnknownDecisionError):  # the one that is gone itself
            found.append(replay(lending.reader, policies_of(lending.reader), 10_000_001, each))
    assert [one.same for one in found] == same
    assert {one.problem for one in found if one.same is None} <= {
        "the log does not hold all the versions that it saw"
    }
    assert everything(lending) == found


@pytest.mark.parametrize("topic", ["credit.RepaymentReceived", "credit.PolicyAdopted"])
def test_where_a_fact_cannot_be_read_it_is_named(lending: Lending, topic: str) -> None:
    alter(lending, '"type":', '"typ":', topic)
    one = replay(lending.reader, policies_of(lending.reader), 10_000_001, 2)
    if topic == "credit.PolicyAdopted":
        assert one.same  # by the shipped policy, which has the hash
    else:
        assert one.same is None
        assert one.problem is not None
        assert one.problem.startswith("the fact at version 2 of stream ")


def test_what_was_made_nonsense_of_cannot_be_made_again(lending: Lending) -> None:
    alter(lending, '"tenure_months":24', '"tenure_months":0', "credit.LoanDeclined")
    (one,) = [one for one in everything(lending) if not one.same]
    assert one.problem is not None
    assert one.problem.startswith("what it saw cannot be judged")


def test_the_command_explains_one_or_all_and_exits_3(lending: Lending, database_url: str) -> None:
    one = run(lending, database_url, "explain", "10000001-2")
    assert one.returncode == 0, one.stderr
    assert "it comes out the same" in one.stdout
    assert "1. On " in one.stdout
    assert "7. The loan is approved at 12.00 % a year" in one.stdout
    document = json.loads(run(lending, database_url, "explain", "10000001-2", "--json").stdout)
    assert [each["step"] for each in document["steps"]][-1] == "outcome"
    assert document["replay"]["same"] is True
    whole = run(lending, database_url, "audit", "explain", "--all", "--json")
    assert whole.returncode == 0, whole.stderr
    assert json.loads(whole.stdout) == {"decisions": 3, "first_not_the_same": None}
    alter(lending, '"score":"50.00"', '"score":"99.00"', "credit.LoanApproved")
    assert run(lending, database_url, "explain", "10000001-2").returncode == 3
    failed = run(lending, database_url, "explain", "--all")
    assert failed.returncode == 3
    assert "10000001-2" in failed.stdout
    assert "99.00" in failed.stdout
    assert run(lending, database_url, "explain").returncode == 2


def test_a_fact_that_cannot_be_read_is_named_from_another_process_too(
    lending: Lending, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "SMALL", 0)
    monkeypatch.setattr(spread, "CORES", 2)
    alter(lending, '"customer_number":', '"customer_number": ', "credit.RepaymentReceived")
    told = settings(database_url, lending.database.schema)
    with pytest.raises(UndigestedError, match="the fact at version 2 of stream"):
        replay_log(told, lambda _at, _head: None)


def test_the_commands_say_in_a_sentence_what_the_log_does_not_let_them(
    lending: Lending, database_url: str
) -> None:
    alter(lending, '"type":', '"typ":', "credit.RepaymentReceived")
    for command, code in ((("explain", "--all"), 3), (("audit", "backtest", "literal"), 1)):
        done = run(lending, database_url, *command)
        assert done.returncode == code
        assert "the fact at version 2 of stream" in done.stderr
        assert "Traceback" not in done.stderr
    alone = run(lending, database_url, "explain", "10000001-2")
    assert "It cannot be made again: the fact at version 2 of stream" in alone.stdout
    assert alone.returncode == 3
