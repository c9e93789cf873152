"""Which applications become loans, at what rate, and what the log then says."""

from datetime import date

import msgspec
import pytest

from credit_es.domain.events import CustomerEvent, LoanEvent, LoanImported
from credit_es.domain.policy import Policy, load_policy
from credit_es.domain.values import Basis, Scorecard
from tests.domain.facts import (
    apply,
    approved,
    card,
    closed_loan,
    declined,
    imported_customer,
    imported_loan,
    loans_imported,
    opened,
    registered,
    saw,
)
from tests.scenario import LITERAL, NEXT, STANDARD, Fact, given

both_policies = pytest.mark.parametrize(
    "policy", [STANDARD, LITERAL], ids=lambda policy: str(policy.name)
)


def aged(on_time: int, amount: str) -> LoanImported:
    """A current loan of 2024 of which 20 installments are due, so many paid on time."""
    return imported_loan(amount=amount, on="2024-05-15", ends="2026-05-15", emis=on_time)


def small_loans() -> list[Fact]:
    """Three loans of today, of 1,000 each: no points for activity are left."""
    return [opened(n, amount="1000", installment="10") for n in (2, 3, 4)]


@both_policies
def test_a_thin_file_is_lent_to_at_12_per_cent_or_more(policy: Policy) -> None:
    given(registered(), policy=policy).when(
        apply(rate="8"),
    ).then(
        approved("RATE_CORRECTED", rate="12", installment="470.73", policy=policy),
        opened(rate="12", installment="470.73"),
    )


@both_policies
def test_a_good_score_is_lent_to_at_the_rate_asked_for(policy: Policy) -> None:
    given(registered(), closed_loan(1), policy=policy).when(
        apply(rate="8"),
    ).then(
        approved(
            card=card("85", past="5", due=12, on_time=12, closed=1),
            seen=saw({1: 1}),
            policy=policy,
        ),
        opened(),
    )


@both_policies
def test_no_interest_asked_for_is_none_lent_at(policy: Policy) -> None:
    asked = apply("10000", rate="0", tenure=24)
    given(registered(), closed_loan(1), policy=policy).when(
        asked,
    ).then(
        approved(
            asked=asked,
            rate="0",
            installment="416.67",
            card=card("85", past="5", due=12, on_time=12, closed=1),
            seen=saw({1: 1}),
            policy=policy,
        ),
        opened(rate="0", installment="416.67"),
    )


@both_policies
@pytest.mark.parametrize(
    ("asked", "rate", "installment", "reasons"),
    [
        ("0", "12", "470.73", ["RATE_CORRECTED"]),
        ("11.99", "12", "470.73", ["RATE_CORRECTED"]),
        ("12", "12", "470.73", []),
        ("14", "14", "480.13", []),
    ],
)
def test_the_minimum_rate_corrects_a_lower_one_only(
    asked: str, rate: str, installment: str, reasons: list[str], policy: Policy
) -> None:
    asking = apply(rate=asked)
    given(registered(), policy=policy).when(
        asking,
    ).then(
        approved(*reasons, asked=asking, rate=rate, installment=installment, policy=policy),
        opened(rate=rate, installment=installment),
    )


# A score on the border of two slabs, and a cent of debt to either side of it: the score shown stays
# the same, for a cent is a 400,000th of a point.


@pytest.mark.parametrize(
    ("owed", "rate", "installment", "reasons"),
    [
        ("399999.99", "8", "452.27", []),
        ("400000.00", "12", "470.73", ["RATE_CORRECTED"]),
        ("400000.01", "12", "470.73", ["RATE_CORRECTED"]),
    ],
)
def test_a_score_of_exactly_50_falls_to_the_lower_slab(
    owed: str, rate: str, installment: str, reasons: list[str]
) -> None:
    given(registered(limit="1000000"), aged(on_time=15, amount=owed)).when(
        apply(rate="8"),
    ).then(
        approved(
            *reasons,
            rate=rate,
            installment=installment,
            card=card(
                "50", paid="20", volume="15", due=20, on_time=15, amount=owed, installments="500"
            ),
            seen=saw({1: 1}),
        ),
        opened(rate=rate, installment=installment),
    )


@pytest.mark.parametrize(
    ("owed", "rate", "installment"),
    [
        ("399999.99", "12", "470.73"),
        ("400000.00", "16", "489.63"),
        ("400000.01", "16", "489.63"),
    ],
)
def test_a_score_of_exactly_30_falls_to_the_lower_slab(
    owed: str, rate: str, installment: str
) -> None:
    given(registered(limit="1000000"), aged(on_time=10, amount=owed)).when(
        apply(rate="8"),
    ).then(
        approved(
            "RATE_CORRECTED",
            rate=rate,
            installment=installment,
            card=card(
                "30", paid="0", volume="15", due=20, on_time=10, amount=owed, installments="500"
            ),
            seen=saw({1: 1}),
        ),
        opened(rate=rate, installment=installment),
    )


def nearly_nothing(owed: str) -> Scorecard:
    return card(
        "10",
        paid="0",
        activity="0",
        volume="10",
        due=20,
        on_time=10,
        this_year=3,
        amount=owed,
        installments="530",
    )


def test_a_score_a_hair_above_10_is_lent_to_at_16_per_cent() -> None:
    given(registered(limit="1000000"), aged(10, "596999.99"), *small_loans()).when(
        apply(rate="8"),
    ).then(
        approved(
            "RATE_CORRECTED",
            rate="16",
            installment="489.63",
            card=nearly_nothing(owed="599999.99"),
            seen=saw({1: 1, 2: 1, 3: 1, 4: 1}),
        ),
        opened(rate="16", installment="489.63"),
    )


@pytest.mark.parametrize(
    ("aged_owes", "owed"), [("597000.00", "600000.00"), ("597000.01", "600000.01")]
)
def test_a_score_of_exactly_10_is_declined(aged_owes: str, owed: str) -> None:
    given(registered(limit="1000000"), aged(10, aged_owes), *small_loans()).when(
        apply(rate="8"),
    ).then(
        declined(
            "LOW_SCORE",
            rate="16",
            installment="489.63",
            card=nearly_nothing(owed),
            seen=saw({1: 1, 2: 1, 3: 1, 4: 1}),
        ),
    )


@both_policies
@pytest.mark.parametrize(
    ("asked", "quoted", "installment"),
    [("0", "16", "489.63"), ("16", "16", "489.63"), ("20", "20", "508.96")],
)
def test_a_decline_for_the_score_quotes_16_per_cent_or_what_was_asked_for(
    asked: str, quoted: str, installment: str, policy: Policy
) -> None:
    asking = apply(rate=asked)
    given(registered(limit="1000000"), aged(10, "597000.00"), *small_loans(), policy=policy).when(
        asking,
    ).then(
        declined(
            "LOW_SCORE",
            asked=asking,
            rate=quoted,
            installment=installment,
            card=nearly_nothing(owed="600000.00"),
            seen=saw({1: 1, 2: 1, 3: 1, 4: 1}),
            policy=policy,
        ),
    )


def test_a_loan_that_uses_the_limit_to_the_cent_is_granted() -> None:
    given(registered(limit="1000000"), imported_loan(amount="990000", emis=12)).when(
        apply("10000.00"),
    ).then(
        approved(card=nearly_all_used(), seen=saw({1: 1})),
        opened(),
    )


def test_a_loan_a_cent_past_the_limit_is_declined_and_the_refusal_recorded() -> None:
    asked = apply("10000.01")
    given(registered(limit="1000000"), imported_loan(amount="990000", emis=12)).when(
        asked,
    ).then(
        declined("OVER_LIMIT", asked=asked, card=nearly_all_used(), seen=saw({1: 1})),
    )


def test_literally_the_amount_asked_for_takes_nothing_of_the_limit() -> None:
    asked = apply("10000.01")
    given(
        registered(limit="1000000"), imported_loan(amount="990000", emis=12), policy=LITERAL
    ).when(
        asked,
    ).then(
        approved(asked=asked, card=nearly_all_used(), seen=saw({1: 1}), policy=LITERAL),
        opened(amount="10000.01"),
    )


def nearly_all_used() -> Scorecard:
    return card("55.25", volume="0.25", due=12, on_time=12, amount="990000", installments="500")


def test_a_limit_of_zero_allows_nothing() -> None:
    asked = apply("0.01")
    given(registered(limit="0")).when(
        asked,
    ).then(
        declined(
            "OVER_LIMIT",
            asked=asked,
            rate="12",
            installment="0",
            card=card("50", Basis.THIN_FILE, volume="0"),
            seen=saw(limit="0"),
        ),
    )


def test_literally_a_limit_of_zero_allows_a_first_loan() -> None:
    given(registered(limit="0"), policy=LITERAL).when(
        apply(),
    ).then(
        approved(
            "RATE_CORRECTED",
            rate="12",
            installment="470.73",
            card=card("50", Basis.THIN_FILE, volume="0"),
            seen=saw(limit="0"),
            policy=LITERAL,
        ),
        opened(rate="12", installment="470.73"),
    )


@both_policies
def test_current_loans_over_the_limit_are_a_score_of_zero(policy: Policy) -> None:
    given(registered(limit="1000000"), aged(20, "1000000.01"), policy=policy).when(
        apply(),
    ).then(
        declined(
            "OVER_LIMIT",
            "LOW_SCORE",
            rate="16",
            installment="489.63",
            card=card(
                "0",
                Basis.OVER_LIMIT,
                volume="0",
                due=20,
                on_time=20,
                amount="1000000.01",
                installments="500",
            ),
            seen=saw({1: 1}),
            policy=policy,
        ),
    )


# An income of 1,000 bears installments of 500.00. What is asked for costs 100.00 a month.

HUNDRED_A_MONTH = apply("1200", rate="0", tenure=12)


@pytest.mark.parametrize(
    ("policy", "installment"),
    [(STANDARD, "400.00"), (LITERAL, "500.00")],
    ids=["standard", "literal"],
)
def test_installments_of_exactly_half_the_income_are_borne(
    policy: Policy, installment: str
) -> None:
    owed = imported_loan(amount="5000", emis=12, installment=installment)
    given(registered(income="1000"), owed, policy=policy).when(
        HUNDRED_A_MONTH,
    ).then(
        approved(
            asked=HUNDRED_A_MONTH,
            rate="0",
            installment="100",
            card=burdened(installment),
            seen=saw({1: 1}, income="1000"),
            policy=policy,
        ),
        opened(amount="1200", rate="0", tenure=12, installment="100", ends="2027-01-15"),
    )


@pytest.mark.parametrize(
    ("policy", "installment"),
    [(STANDARD, "400.01"), (LITERAL, "500.01")],
    ids=["standard", "literal"],
)
def test_installments_a_cent_above_half_the_income_are_not(
    policy: Policy, installment: str
) -> None:
    owed = imported_loan(amount="5000", emis=12, installment=installment)
    given(registered(income="1000"), owed, policy=policy).when(
        HUNDRED_A_MONTH,
    ).then(
        declined(
            "INSTALLMENT_BURDEN",
            asked=HUNDRED_A_MONTH,
            rate="0",
            installment="100",
            card=burdened(installment),
            seen=saw({1: 1}, income="1000"),
            policy=policy,
        ),
    )


def burdened(installment: str) -> Scorecard:
    return card(
        "79.88",  # 79.875, half up
        volume="24.88",
        due=12,
        on_time=12,
        amount="5000",
        installments=installment,
    )


def test_the_installments_of_closed_loans_burden_nobody() -> None:
    given(registered(income="1000"), closed_loan(1), closed_loan(2)).when(
        HUNDRED_A_MONTH,
    ).then(
        approved(
            asked=HUNDRED_A_MONTH,
            rate="0",
            installment="100",
            card=card("90", past="10", due=24, on_time=24, closed=2),
            seen=saw({1: 1, 2: 1}, income="1000"),
        ),
        opened(amount="1200", rate="0", tenure=12, installment="100", ends="2027-01-15"),
    )


def test_the_burden_is_that_of_the_corrected_rate() -> None:
    asked = apply("5630", rate="8", tenure=12)  # 489.74 a month at 8 %, 500.22 at 12 %
    given(registered(income="1000")).when(
        asked,
    ).then(
        declined(
            "INSTALLMENT_BURDEN",
            asked=asked,
            rate="12",
            installment="500.22",
            seen=saw(income="1000"),
        ),
    )
    given(registered(income="1000"), closed_loan(1)).when(
        asked,
    ).then(
        approved(
            asked=asked,
            installment="489.74",
            card=card("85", past="5", due=12, on_time=12, closed=1),
            seen=saw({1: 1}, income="1000"),
        ),
        opened(amount="5630", tenure=12, installment="489.74", ends="2027-01-15"),
    )


def test_who_earns_nothing_bears_no_installment_above_zero() -> None:
    rounded_away = apply("0.01")
    given(registered(income="0")).when(
        apply(),
    ).then(
        declined("INSTALLMENT_BURDEN", rate="12", installment="470.73", seen=saw(income="0")),
    )
    given(registered(income="0")).when(
        rounded_away,
    ).then(
        approved(
            "RATE_CORRECTED",
            asked=rounded_away,
            rate="12",
            installment="0",
            seen=saw(income="0"),
        ),
        opened(amount="0.01", rate="12", installment="0"),
    )


def test_all_that_is_against_a_loan_is_named_in_one_order_and_no_correction_of_the_rate() -> None:
    given(registered(income="900", limit="1000000"), aged(0, "1000000"), *small_loans()).when(
        apply(rate="8"),
    ).then(
        declined(
            "OVER_LIMIT",
            "INSTALLMENT_BURDEN",
            "LOW_SCORE",
            rate="16",
            installment="489.63",
            card=card(
                "0",
                Basis.OVER_LIMIT,
                paid="0",
                activity="0",
                volume="0",
                due=20,
                this_year=3,
                amount="1003000",
                installments="530",
            ),
            seen=saw({1: 1, 2: 1, 3: 1, 4: 1}, income="900"),
        ),
    )


def test_a_decline_for_the_limit_quotes_the_corrected_rate_without_giving_it_as_a_reason() -> None:
    asked = apply("1000000.01", rate="8", tenure=600)
    given(registered(limit="1000000")).when(
        asked,
    ).then(
        declined("OVER_LIMIT", asked=asked, rate="12", installment="10025.60"),
    )


def test_a_loan_granted_here_and_overdue_still_takes_its_part_of_the_limit() -> None:
    asked = apply("10000.01")
    overdue = opened(1, amount="990000", on="2020-01-15", tenure=12, ends="2021-01-15")
    given(registered(limit="1000000"), overdue).when(
        asked,
    ).then(
        declined(
            "OVER_LIMIT",
            asked=asked,
            rate="16",
            installment="489.63",
            card=card(
                "15.25", paid="0", volume="0.25", due=12, amount="990000", installments="452.27"
            ),
            seen=saw({1: 1}),
        ),
    )


def test_an_imported_loan_past_its_end_takes_nothing_of_the_limit() -> None:
    asked = apply("1000000")
    past = imported_loan(amount="990000", emis=6, tenure=12, on="2020-01-15", ends="2021-01-15")
    given(registered(limit="1000000"), past).when(
        asked,
    ).then(
        approved(
            "RATE_CORRECTED",
            asked=asked,
            rate="12",
            installment="47073.47",
            card=card("45", paid="0", past="5", due=12, on_time=6, closed=1),
            seen=saw({1: 1}),
        ),
        opened(amount="1000000", rate="12", installment="47073.47"),
    )


def test_a_loan_approved_after_the_date_is_seen_and_does_not_count() -> None:
    tomorrow = opened(1, amount="1000000", on="2026-01-16", ends="2028-01-16")
    given(registered(limit="1000000"), tomorrow).when(
        apply(rate="12"),
    ).then(
        approved(asked=apply(rate="12"), rate="12", installment="470.73", seen=saw({1: 1})),
        opened(rate="12", installment="470.73"),
    )


def test_a_decision_records_the_version_of_every_stream_it_saw() -> None:
    first: list[Fact] = [
        approved(rate="12", installment="470.73"),
        opened(rate="12", installment="470.73"),
    ]
    given(
        imported_customer(income="90000"),
        loans_imported(1, 2),
        closed_loan(1),
        closed_loan(2),
        *first,
        declined("OVER_LIMIT"),
    ).when(
        apply(),
    ).then(
        approved(
            card=card(
                "84.75",
                past="10",
                activity="10",
                volume="24.75",
                due=24,
                on_time=24,
                closed=2,
                this_year=1,
                amount="10000",
                installments="470.73",
            ),
            seen=saw({1: 1, 2: 1, NEXT: 1}, version=4, income="90000"),
        ),
        opened(),
    )


def test_one_tiny_loan_lifts_a_thin_file_from_50_to_75_on_the_same_day() -> None:
    tiny = apply("1", rate="8")
    given(registered()).when(
        tiny,
    ).then(
        approved("RATE_CORRECTED", asked=tiny, rate="12", installment="0.05"),
        opened(amount="1", rate="12", installment="0.05"),
    )
    given(registered(), opened(1, amount="1", rate="12", installment="0.05")).when(
        apply(rate="8"),
    ).then(
        approved(
            card=card("75", activity="10", this_year=1, amount="1", installments="0.05"),
            seen=saw({1: 1}),
        ),
        opened(),
    )


@pytest.mark.parametrize(
    ("today", "tenure", "installment", "ends"),
    [
        ("2026-01-31", 1, "10100", "2026-02-28"),
        ("2024-01-31", 1, "10100", "2024-02-29"),
        ("2024-02-29", 12, "888.49", "2025-02-28"),
        ("2024-02-29", 48, "263.34", "2028-02-29"),
        ("2025-12-31", 6, "1725.48", "2026-06-30"),
    ],
)
def test_a_loan_ends_when_its_last_installment_is_due(
    today: str, tenure: int, installment: str, ends: str
) -> None:
    asked = apply(rate="12", tenure=tenure)
    given(registered(on="2020-01-15"), today=date.fromisoformat(today)).when(
        asked,
    ).then(
        approved(asked=asked, rate="12", installment=installment, on=today),
        opened(rate="12", tenure=tenure, installment=installment, on=today, ends=ends),
    )


HISTORIES: list[list[Fact]] = [
    [registered()],
    [imported_customer(), loans_imported(1, 2), aged(13, "400000"), closed_loan(2)],
    [registered(income="900"), aged(0, "1000000"), *small_loans()],
]


@both_policies
@pytest.mark.parametrize("history", HISTORIES, ids=["thin", "good", "bad"])
def test_a_decision_replayed_from_the_stored_history_is_the_same_fact(
    history: list[Fact], policy: Policy
) -> None:
    decided = given(*history, policy=policy).when(apply()).facts
    stored = msgspec.json.encode(history)
    replayed = msgspec.json.decode(stored, type=list[CustomerEvent | LoanEvent])
    again = load_policy(policy.name)
    given(*replayed, policy=again).when(apply()).then(*decided)
