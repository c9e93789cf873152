"""Manual review: what a policy refers, who may decide, how long, and that two people lend."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import given as for_any
from hypothesis import strategies as st
from msgspec.structs import replace

from credit_es.audit.decisions import in_words, message
from credit_es.domain.errors import ForbiddenError, FourEyesError
from credit_es.domain.events import (
    ApplicationApproved,
    ApplicationDeclined,
    ApplicationEvent,
    ApplicationReferred,
    LoanOpened,
    LoanReferred,
)
from credit_es.domain.policy import Policy, ReferRules
from credit_es.domain.review import (
    Application,
    Review,
    Status,
    decide_approval,
    decide_decline,
    evolve,
    judge_again,
    refer,
    status_of,
)
from credit_es.domain.values import Basis, Reason, Scorecard
from tests.domain.facts import (
    CUSTOMER,
    THIN_FILE,
    apply,
    approved,
    card,
    declined,
    imported_loan,
    money,
    opened,
    registered,
    saw,
)
from tests.scenario import NEXT, PROPERTY, STANDARD, TODAY, Decided, Scenario, given

ID: Final = "7-2"
DAYS: Final = 14
LAST_DAY: Final = date(2026, 1, 29)
AT_12: Final[dict[str, Any]] = {"rate": "12", "installment": "470.73"}


def referring(**rules: object) -> Policy:
    """The standard policy with rules that refer."""
    return replace(STANDARD, refer=ReferRules(expires_after_days=DAYS, **rules))  # type: ignore[arg-type]


THIN: Final = referring(thin_file=True)


def referred(
    *reasons: str, policy: Policy, asked: str = "10000", card: Scorecard = THIN_FILE, **quoted: str
) -> LoanReferred:
    """A decision left to a reviewer."""
    declining = declined(*reasons, asked=apply(asked), policy=policy, card=card, **quoted)  # type: ignore[arg-type]
    return LoanReferred(
        occurred_on=TODAY,
        customer_number=CUSTOMER,
        terms=declining.terms,
        verdict=declining.verdict,
        seen=declining.seen,
        decide_by=LAST_DAY,
    )


def application(policy: Policy = THIN, *, asked: str = "10000", on: date = TODAY) -> Application:
    """One that ``clerk`` brought, referred by ``policy``."""
    (referral,) = given(registered(), policy=policy, today=on).when(apply(asked)).facts
    assert isinstance(referral, LoanReferred)
    return evolve(None, refer(referral, application_id=ID, asked_by="clerk"))


def approve(
    one: Application, scenario: Scenario, *, by: str = "officer", policy: Policy = THIN
) -> tuple[object, LoanOpened, ApplicationApproved]:
    review = Review(application_id=ID, reviewer=by, note="known for years")
    who, loans, today = scenario.customer, scenario.loans, scenario.today
    return decide_approval(one, who, loans, review, policy, loan_number=NEXT, today=today)


# What is referred.


@pytest.mark.parametrize(
    ("amount", "sent"), [("50000.00", False), ("50000.01", True), ("990000", False)]
)
def test_more_than_an_amount_goes_to_review_unless_it_is_declined(amount: str, sent: bool) -> None:
    policy = referring(amount_above=Decimal(50_000))
    (decision, *_) = given(registered(), policy=policy).when(apply(amount, tenure=12)).facts
    assert isinstance(decision, LoanReferred) is sent


@pytest.mark.parametrize(
    ("above", "up_to", "sent"), [(49, 50, True), (40, 49.99, False), (50, 60, False)]
)
def test_a_band_of_scores_has_its_upper_end_and_not_its_lower(
    above: float, up_to: float, sent: bool
) -> None:
    policy = referring(score_above=Decimal(str(above)), score_up_to=Decimal(str(up_to)))
    (decision, *_) = given(registered(), policy=policy).when(apply()).facts
    assert isinstance(decision, LoanReferred) is sent
    assert (Reason.SCORE_REFERRED in decision.verdict.reasons) is sent  # type: ignore[union-attr]


def test_a_referral_says_every_rule_that_applied_and_the_rate_it_would_get() -> None:
    policy = referring(
        amount_above=Decimal(9_999), score_above=Decimal(0), score_up_to=Decimal(50), thin_file=True
    )
    reasons = ("AMOUNT_REFERRED", "SCORE_REFERRED", "THIN_FILE_REFERRED", "RATE_CORRECTED")
    referral = referred(*reasons, policy=policy, **AT_12)
    given(registered(), policy=policy).when(apply()).then(referral)
    assert referral.verdict.referred
    assert [code for code, _ in in_words(referral)] == list(reasons)
    assert message(referral) == (
        "The application is left to a reviewer, who decides by 2026-01-29."
    )


def test_who_had_a_loan_is_no_thin_file() -> None:
    given(registered(), imported_loan(emis=12), policy=THIN).when(apply()).then(
        approved(
            policy=THIN,
            card=card(
                "79.75", volume="24.75", due=12, on_time=12, amount="10000", installments="500"
            ),
            seen=saw({1: 1}),
        ),
        opened(),
    )


def test_a_clear_decline_is_not_referred() -> None:
    policy = referring(amount_above=Decimal(0), thin_file=True)
    given(registered(), policy=policy).when(apply("1000000.01", tenure=600)).then(
        declined(
            "OVER_LIMIT",
            asked=apply("1000000.01", tenure=600),
            rate="12",
            installment="10025.60",
            policy=policy,
        )
    )


# Who decides, and what then is recorded.


def test_an_approval_opens_the_loan_and_closes_the_application() -> None:
    approval = replace(
        approved("RATE_CORRECTED", policy=THIN, seen=saw(version=2), **AT_12),
        application_id=ID,
        note="known for years",
    )
    known = given(registered(), referred(policy=THIN), policy=THIN)
    decision, loan, closed = approve(application(), known)
    Decided(decision, loan).then(approval, opened(**AT_12))  # type: ignore[arg-type]
    assert closed == ApplicationApproved(
        occurred_on=TODAY,
        application_id=ID,
        customer_number=CUSTOMER,
        decision_id="7-3",
        loan_number=NEXT,
        decided_by="officer",
        note="known for years",
    )
    assert judge_again(THIN, known.customer, [], approval) == approval.verdict


def test_a_decline_has_its_note_and_what_the_policy_has_against_it() -> None:
    review = Review(application_id=ID, reviewer="officer", note="moves abroad")
    decline = declined()
    for limit, against in (("1000000", ()), ("5000", ("OVER_LIMIT",))):
        known = given(registered(limit=limit), policy=THIN)
        decline, closed = decide_decline(
            application(), known.customer, [], review, THIN, today=LAST_DAY
        )
        expected = declined(
            *against, "DECLINED_IN_REVIEW", policy=THIN, seen=saw(limit=limit), **AT_12
        )
        assert decline == replace(
            expected, occurred_on=LAST_DAY, application_id=ID, note="moves abroad"
        )
        assert closed == ApplicationDeclined(
            occurred_on=LAST_DAY,
            application_id=ID,
            customer_number=CUSTOMER,
            decision_id="7-2",
            decided_by="officer",
            note="moves abroad",
        )
        assert judge_again(THIN, known.customer, [], decline) == decline.verdict
    assert in_words(decline)[-1] == (
        Reason.DECLINED_IN_REVIEW,
        "A reviewer declined: moves abroad",
    )
    assert message(decline).endswith("and a reviewer decided against it.")


def test_limits_are_judged_again_and_what_fails_leaves_the_application_as_it_was() -> None:
    full = given(registered(), imported_loan(amount="995000", emis=12), policy=THIN)
    with pytest.raises(ForbiddenError, match=r"7-2 is to be declined today \(OVER_LIMIT\)") as no:
        approve(application(), full)
    assert str(no.value).endswith("until 2026-01-29")


@pytest.mark.parametrize("actor", ["clerk", "anonymous"])
def test_who_asked_may_not_decide(actor: str) -> None:
    one = replace(application(), asked_by=actor)
    known = given(registered(), policy=THIN)
    with pytest.raises(FourEyesError, match=f"7-2 was asked for by {actor}, and somebody"):
        approve(one, known, by=actor)
    review = Review(application_id=ID, reviewer=actor, note="no")
    with pytest.raises(FourEyesError):
        decide_decline(one, known.customer, [], review, THIN, today=TODAY)


def test_what_is_decided_is_decided_once_and_says_so() -> None:
    known = given(registered(), policy=THIN)
    *_, closed = approve(application(), known)
    decided = evolve(application(), closed)
    assert status_of(decided, date.max) is Status.APPROVED
    with pytest.raises(ForbiddenError, match="7-2 was approved by officer on 2026-01-15: decision"):
        approve(decided, known, by="another")


# How long.


@pytest.mark.parametrize(
    ("days", "referred_on", "last"),
    [
        (1, "2026-01-31", "2026-02-01"),
        (28, "2026-01-31", "2026-02-28"),
        (14, "2028-02-15", "2028-02-29"),
        (14, "2027-02-15", "2027-03-01"),
        (366, "2028-02-29", "2029-03-01"),
        (31, "2026-12-31", "2027-01-31"),
    ],
)
def test_it_may_be_decided_on_the_last_of_its_days_and_not_after(
    days: int, referred_on: str, last: str
) -> None:
    policy = replace(STANDARD, refer=ReferRules(expires_after_days=days, thin_file=True))
    one = application(policy, on=date.fromisoformat(referred_on))
    end = date.fromisoformat(last)
    assert one.decide_by == end
    assert status_of(one, end) is Status.PENDING
    assert status_of(one, end + timedelta(days=1)) is Status.EXPIRED
    approve(one, given(registered(), policy=policy, today=end), policy=policy)
    late = given(registered(), policy=policy, today=end + timedelta(days=1))
    with pytest.raises(ForbiddenError, match=f"by {last} and has expired: .* applies again"):
        approve(one, late, policy=policy)


# Whatever happens.


people = st.sampled_from(["clerk", "officer", "anonymous", "boss"])
tries = st.lists(st.tuples(people, st.booleans(), st.integers(0, DAYS + 3)), max_size=6)


@PROPERTY
@for_any(asked_by=people, tries=tries, amount=st.integers(1, 1_200_000))
def test_a_referred_application_lends_once_at_most_and_only_by_a_second_person_in_time(
    asked_by: str, tries: list[tuple[str, bool, int]], amount: int
) -> None:
    policy = referring(amount_above=Decimal(0))
    known = given(registered(), policy=policy)
    asked = apply(str(amount), tenure=60)
    (referral, *rest) = known.when(asked).facts
    if not isinstance(referral, LoanReferred):
        assert not referral.verdict.approved  # type: ignore[union-attr]
        return
    assert rest == []
    one = evolve(None, refer(referral, application_id=ID, asked_by=asked_by))
    decided: list[ApplicationEvent] = []
    for reviewer, yes, days in sorted(tries, key=lambda each: each[2]):
        review = Review(application_id=ID, reviewer=reviewer, note="so")
        today = TODAY + timedelta(days=days)
        closed: ApplicationEvent
        try:
            if yes:
                *_, closed = decide_approval(
                    one, known.customer, [], review, policy, loan_number=NEXT, today=today
                )
            else:
                _, closed = decide_decline(one, known.customer, [], review, policy, today=today)
        except ForbiddenError:
            assert decided or days > DAYS
        except FourEyesError:
            assert reviewer == asked_by
        else:
            assert reviewer != asked_by
            assert days <= DAYS
            one = evolve(one, closed)
            decided.append(closed)
    assert len(decided) <= 1
    assert one.version == 1 + len(decided)


def test_the_fold_says_what_the_facts_said() -> None:
    one = application()
    assert one == Application(
        application_id=ID,
        version=1,
        customer_number=CUSTOMER,
        terms=apply().terms,
        verdict=referred("THIN_FILE_REFERRED", "RATE_CORRECTED", policy=THIN, **AT_12).verdict,
        asked_by="clerk",
        referred_on=TODAY,
        decide_by=LAST_DAY,
    )
    assert one.verdict.scorecard.basis is Basis.THIN_FILE
    assert one.terms.amount == money("10000")
    assert isinstance(
        refer(referred(policy=THIN), application_id=ID, asked_by="clerk"), ApplicationReferred
    )
