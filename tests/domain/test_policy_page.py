"""What docs/policy.md tells people is what the code computes."""

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import pytest

from credit_es.domain.customer import approved_limit
from credit_es.domain.events import LoanReferred, LoanWrittenOff
from credit_es.domain.lending import ApplyForLoan
from credit_es.domain.loan import evolve
from credit_es.domain.policy import Policy, judge, parse_policy
from credit_es.domain.review import Status, refer, status_of
from credit_es.domain.review import evolve as evolve_application
from credit_es.domain.schedule import installment, schedule
from credit_es.domain.standing import due_and_on_time, repayments_left
from credit_es.domain.values import Reason, Verdict
from tests.domain.facts import CUSTOMER, apply, closed_loan, imported_loan, opened, registered
from tests.scenario import LITERAL, STANDARD, TODAY, Fact, given

PAGE: Final = (Path(__file__).parents[2] / "docs" / "policy.md").read_text("utf-8")
TOML: Final = re.compile(r"```toml\n(.*?)```", re.DOTALL)
DAY: Final = timedelta(days=1)
TEXT: Final = " ".join(PAGE.split())


def judged(asked: ApplyForLoan, *facts: Fact, policy: Policy = STANDARD) -> Verdict:
    """What a policy says today."""
    scenario = given(*facts)
    return judge(policy, scenario.customer, scenario.loans, asked.terms, TODAY)


def test_the_components_have_the_points_told() -> None:
    rules = STANDARD.score
    for name, weight in (
        ("installments paid on time", rules.weight_paid_on_time),
        ("loans closed", rules.weight_past_loans),
        ("activity", rules.weight_activity),
        ("limit still free", rules.weight_volume),
    ):
        assert f"| {name} | 0 to {weight} |" in PAGE
    each = rules.weight_past_loans / rules.loans_for_full
    assert f"{each:.0f} for each closed loan, up to {rules.loans_for_full}" in PAGE
    cost = rules.weight_activity / rules.loans_for_none
    assert f"{rules.weight_activity} less {cost:.0f} for each loan approved in this" in PAGE
    assert f"(share - {rules.on_time_floor}) / {1 - rules.on_time_floor}" in PAGE
    assert f"Who never had a loan has a score of {rules.thin_file}." in TEXT


def test_the_example_comes_out_as_told() -> None:
    running = imported_loan(
        2, amount="300000", on="2024-05-15", ends="2026-05-15", emis=15, installment="13500"
    )
    known = registered(income="50000", limit="1000000"), closed_loan(1), running
    verdict = judged(apply("100000", rate="10", tenure=36), *known)
    card = verdict.scorecard
    used, limit = int(card.current_amount), 1_000_000
    for row in (
        f"| installments paid on time | {card.installments_on_time} of {card.installments_due} |"
        f" {card.paid_on_time} |",
        f"| loans closed | {card.closed_loans} | {card.past_loans} |",
        f"| activity | {card.loans_this_year} loans in {TODAY.year} | {card.activity} |",
        f"| limit still free | {limit - used:,} of {limit:,} | {card.volume} |",
        f"| score | | {card.score} |",
    ):
        assert row in PAGE
    assert verdict.approved
    assert (
        f"approves at {verdict.annual_rate} % with an installment of {verdict.installment:,}"
        in TEXT
    )
    assert f"{used + 100_000:,} fit into the limit" in TEXT
    assert f"{card.current_installments + verdict.installment:,} is not more than half" in TEXT


def test_the_slabs_are_as_told() -> None:
    above, between, low = STANDARD.slabs
    rows = [
        (f"above {above.above}", "approved at the rate asked for", above.minimum_rate),
        (
            f"above {between.above}, up to {above.above}",
            f"approved at {between.minimum_rate} % or more",
            between.minimum_rate,
        ),
        (
            f"above {low.above}, up to {between.above}",
            f"approved at {low.minimum_rate} % or more",
            low.minimum_rate,
        ),
        (
            f"{low.above} or less",
            f"declined, and quoted at {STANDARD.declined_rate} % or more",
            STANDARD.declined_rate,
        ),
    ]
    for score, decision, minimum in rows:
        rate = max(Decimal("8.00"), minimum.quantize(Decimal("0.01")))
        payment = installment(Decimal(10_000), rate, 24)
        assert f"| {score} | {decision} | {rate} %, {payment} a month |" in PAGE
    assert f"exceed {STANDARD.burden_percent} % of the monthly income" in TEXT


def test_installments_of_nothing_are_as_told() -> None:
    def to_pay(amount: str) -> list[int]:
        terms = Decimal(amount), Decimal(0), 600
        rows = schedule(*terms)
        assert {row.principal for row in rows if row.principal} <= {Decimal("0.01"), terms[0]}
        return [row.number for row in schedule(*terms) if row.principal]

    assert f"0 % has {len(to_pay('3.33'))} installments of 0.01" in TEXT
    assert to_pay("1.00") == [600]


def test_the_limits_at_registration_are_as_told() -> None:
    assert (
        f"income of 12,499 gives {approved_limit(12_499):,.0f}, one of 12,500 gives"
        f" {approved_limit(12_500):,.0f}." in TEXT
    )


def test_a_tiny_loan_lifts_a_thin_file_as_told() -> None:
    tiny = opened(1, amount="1", rate="12", installment="0.05")
    before, after = judged(apply(), registered()), judged(apply(), registered(), tiny)
    assert (
        f"without any loan has {before.scorecard.score:.0f}, and gets 10,000 over 24 months at"
        f" {before.annual_rate} %." in TEXT
    )
    assert f"has a score of {after.scorecard.score} and gets them at {after.annual_rate} %:" in TEXT
    lost = before.scorecard.activity - after.scorecard.activity
    assert f"It costs {lost:.0f} points for activity." in TEXT


def test_emis_are_capped_as_told() -> None:
    loan = evolve(None, imported_loan(tenure=24, emis=10, on="2025-10-15", ends="2027-10-15"))
    due, on_time = due_and_on_time(loan, TODAY)
    assert f"10 EMIs paid on time counts as {on_time} of {due} on 15 January 2026" in TEXT
    assert f"what is left: {repayments_left(loan)} of 24 installments" in TEXT


def test_an_overdue_loan_stays_current_as_told() -> None:
    own = opened(1, amount="990000", on="2020-01-15", tenure=12, ends="2021-01-15")
    theirs = imported_loan(1, amount="990000", tenure=12, on="2020-01-15", ends="2021-01-15")
    card = judged(apply(), registered(), own).scorecard
    assert f"still take {card.current_amount:,.0f} of a limit of 1,000,000 today" in TEXT
    assert judged(apply(), registered(), theirs).scorecard.current_amount == 0
    assert judged(apply(), registered(), theirs).scorecard.closed_loans == 1
    assert card.installments_on_time == 0


@pytest.mark.parametrize(
    ("told", "asked", "owed"),
    [
        (
            "has no loan, asks for 1,000,000 over 36 months at 12 %",
            apply("1000000", rate="12", tenure=36),
            "",
        ),
        (
            "has no loan, asks for 5,000,000 over 36 months at 12 %",
            apply("5000000", rate="12", tenure=36),
            "",
        ),
        ("owes 990,000, asks for 10,000", apply("10000"), "990000"),
        ("owes 990,000, asks for 10,000.01", apply("10000.01"), "990000"),
        ("owes 1,000,000.01, asks for 10,000", apply("10000"), "1000000.01"),
    ],
)
def test_the_two_policies_differ_as_told(told: str, asked: ApplyForLoan, owed: str) -> None:
    loans = [imported_loan(amount=owed, emis=12)] if owed else []

    def outcome(policy: Policy) -> str:
        verdict = judged(asked, registered(), *loans, policy=policy)
        return "approved" if verdict.approved else ", ".join(verdict.reasons)

    assert f"| {told} | {outcome(STANDARD)} | {outcome(LITERAL)} |" in PAGE


def test_a_loan_written_off_is_a_loan_closed_as_told() -> None:
    own = opened(1, on="2025-10-15", ends="2026-10-15", tenure=12)
    given_up = LoanWrittenOff(
        occurred_on=TODAY,
        loan_number=1,
        customer_number=CUSTOMER,
        outstanding_principal=Decimal("10000.00"),
        reason="moved abroad",
    )
    card = judged(apply(), registered(), own, given_up).scorecard
    assert card.current_amount == 0
    assert card.closed_loans == 1
    assert f"earns the {card.past_loans:.0f} points of a closed loan" in TEXT
    told = f"{card.installments_on_time} of {card.installments_due}"
    assert f"nothing paid of {card.installments_due} installments due is {told}." in TEXT


def test_the_rules_of_review_to_copy_refer_and_expire_as_told() -> None:
    rules, careful = TOML.findall(PAGE)
    policy = parse_policy(careful + rules)
    assert parse_policy(careful).refer is STANDARD.refer is LITERAL.refer is None
    assert policy.refer is not None
    for reason in ("AMOUNT_REFERRED", "SCORE_REFERRED", "THIN_FILE_REFERRED"):
        assert reason in rules
        assert Reason(reason).value == reason
    (referral,) = given(registered(), policy=policy).when(apply()).facts
    assert isinstance(referral, LoanReferred)
    assert referral.verdict.reasons[0] is Reason.THIN_FILE_REFERRED
    more = str(policy.refer.amount_above + Decimal("0.01")) if policy.refer.amount_above else ""
    assert (
        Reason.AMOUNT_REFERRED
        in judged(apply(more, tenure=60), registered(), policy=policy).reasons
    )

    waits = evolve_application(None, refer(referral, application_id="7-2", asked_by="clerk"))
    until, after = (f"{day.day} {day:%B}" for day in (waits.decide_by, waits.decide_by + DAY))
    asked = f"{TODAY.day} {TODAY:%B %Y}"
    assert f"on {asked} can be decided until {until}; from {after} on it has expired" in TEXT
    assert status_of(waits, waits.decide_by) is Status.PENDING
    assert status_of(waits, waits.decide_by + DAY) is Status.EXPIRED


def test_the_policy_to_copy_is_one() -> None:
    _, found = TOML.findall(PAGE)
    careful = parse_policy(found)
    assert careful.name == "careful"
    assert judged(apply(), registered(), policy=careful).annual_rate == 18
