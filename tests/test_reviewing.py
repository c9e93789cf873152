"""Reviewing: what is recorded together, and who wins a race."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from credit_es.application import By, Lending
from credit_es.domain.errors import ForbiddenError, FourEyesError, UnknownApplicationError
from credit_es.domain.events import LoanApproved, LoanReferred
from credit_es.domain.policy import SHIPPED
from credit_es.reviewing import Reviewing
from credit_es.store.idempotency import Once
from credit_es.store.mapper import application_stream, customer_stream, loan_stream, topic
from tests.store.given import ASHA, BY, asks, settings

ONE, TWO = (By(actor=name, correlation_id=name) for name in ("ada", "bea"))
LIMIT_LEFT = "900000.00"
"""Twice that is the limit of the customer, who has an income to pay for both."""
ONCE = Once(actor="ada", path="/reviews", key="k", digest=b"d" * 32)


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """The standard one, that refers what is above half a million."""
    path = tmp_path / "careful.toml"
    rules = "\n[refer]\namount_above = 500000\nexpires_after_days = 14\n"
    path.write_text((SHIPPED / "standard.toml").read_text("utf-8") + rules, "utf-8")
    return str(path)


@pytest.fixture
def lending(database_url: str, schema: str, policy: str) -> Iterator[Lending]:
    one = Lending(settings(database_url, schema, policy=policy))
    yield one
    one.close()


@pytest.fixture
def another_process(database_url: str, schema: str, policy: str) -> Iterator[Lending]:
    one = Lending(settings(database_url, schema, policy=policy))
    yield one
    one.close()


def refer(lending: Lending, amount: str = LIMIT_LEFT) -> str:
    """An application that waits, of a new customer."""
    number = lending.register(ASHA, BY).customer_number
    outcome = lending.apply_for_loan(asks(number, amount, tenure=600), BY)
    assert isinstance(outcome.decision, LoanReferred)
    return outcome.decision_id


def kinds(lending: Lending, application_id: str) -> list[str]:
    """What the customer's and the application's stream hold."""
    number = int(application_id.partition("-")[0])
    streams = (customer_stream(number), application_stream(application_id))
    return [topic(r.entry.fact) for s in streams for r in lending.reader.stream(s)]


def test_an_approval_is_recorded_on_three_streams_at_once_and_once(lending: Lending) -> None:
    application_id = refer(lending)
    reviewing = Reviewing(lending)
    approved = reviewing.approve(application_id, "known", ONE, ONCE)
    assert reviewing.approve(application_id, "known", ONE, ONCE) == approved
    decision = approved.decision
    assert isinstance(decision, LoanApproved)
    assert (decision.application_id, decision.note) == (application_id, "known")
    assert kinds(lending, application_id) == [
        "credit.CustomerRegistered",
        "credit.LoanReferred",
        "credit.LoanApproved",
        "credit.ApplicationReferred",
        "credit.ApplicationApproved",
    ]
    (opened,) = lending.reader.stream(loan_stream(decision.loan_number))
    assert opened.entry.actor == "ada"
    _, loans = lending.load(decision.customer_number)
    assert [loan.amount for loan in loans] == [decision.terms.amount]


def test_nobody_decides_alone_and_what_is_not_there_is_unknown(lending: Lending) -> None:
    application_id = refer(lending)
    reviewing = Reviewing(lending)
    for decide in (reviewing.approve, reviewing.decline):
        with pytest.raises(FourEyesError):
            decide(application_id, "mine", BY)
        with pytest.raises(UnknownApplicationError):
            decide("10000001-1", "whose", ONE)
    assert len(kinds(lending, application_id)) == 3


def test_of_two_reviewers_at_once_one_wins_and_the_other_is_told(
    lending: Lending, another_process: Lending, monkeypatch: pytest.MonkeyPatch
) -> None:
    application_id = refer(lending)
    load, ahead = lending.load, [Reviewing(another_process)]

    def load_and_be_overtaken(number: int) -> object:
        known = load(number)
        while ahead:
            ahead.pop().decline(application_id, "no", TWO)
        return known

    monkeypatch.setattr(lending, "load", load_and_be_overtaken)
    with pytest.raises(ForbiddenError, match="was declined by bea"):
        Reviewing(lending).approve(application_id, "yes", ONE)
    assert kinds(lending, application_id)[2:] == [
        "credit.LoanDeclined",
        "credit.ApplicationReferred",
        "credit.ApplicationDeclined",
    ]


def test_an_approval_that_a_loan_overtakes_lends_nothing_past_the_limit(
    lending: Lending, another_process: Lending, monkeypatch: pytest.MonkeyPatch
) -> None:
    application_id = refer(lending)
    number = int(application_id.partition("-")[0])
    other = refer_again(another_process, number)
    load, ahead = lending.load, [Reviewing(another_process)]

    def load_and_be_overtaken(customer_number: int) -> object:
        known = load(customer_number)
        while ahead:
            another_process.apply_for_loan(asks(number, "1000.00"), BY)
            ahead.pop().approve(other, "first", TWO)
        return known

    monkeypatch.setattr(lending, "load", load_and_be_overtaken)
    with pytest.raises(ForbiddenError, match=r"is to be declined today \(OVER_LIMIT"):
        Reviewing(lending).approve(application_id, "second", ONE)
    who, loans = another_process.load(number)
    assert sum(loan.amount for loan in loans) == 901_000 <= who.approved_limit
    # It waits on, and may be declined.
    assert Reviewing(lending).decline(application_id, "too late", ONE).decision.loan_number is None


def refer_again(lending: Lending, number: int) -> str:
    """Another application of the same customer, that the limit covers as long as it is alone."""
    outcome = lending.apply_for_loan(asks(number, LIMIT_LEFT, tenure=600), BY)
    assert isinstance(outcome.decision, LoanReferred)
    return outcome.decision_id
