"""A decision in words: a sentence with its figures for every reason, and one for who applied."""

from credit_es.audit.decisions import in_words, message, score_in_words
from credit_es.domain.values import Basis, Reason
from tests.domain.facts import apply, approved, card, declined, saw

SOME = card(
    "53.33",
    paid="13.33",
    past="10",
    activity="15",
    volume="15",
    due=30,
    on_time=20,
    closed=2,
    amount="400000",
    installments="500",
)


def test_every_reason_against_is_said_in_the_order_recorded() -> None:
    decision = declined(
        "OVER_LIMIT",
        "INSTALLMENT_BURDEN",
        "LOW_SCORE",
        asked=apply("600000.01"),
        rate="16",
        installment="29377.87",
        card=SOME,
        seen=saw(income="900"),
    )
    assert in_words(decision) == [
        (
            Reason.OVER_LIMIT,
            "Current loans are 400000.00 and 600000.01 is asked for: by policy standard that is too"
            " much for the approved limit of 1000000.00.",
        ),
        (
            Reason.INSTALLMENT_BURDEN,
            "Current installments are 500.00 and this loan's would be 29377.87: by policy"
            " standard that is too much for the monthly income of 900.00.",
        ),
        (
            Reason.LOW_SCORE,
            f"{score_in_words(decision)} Policy standard lends nothing at such a score.",
        ),
    ]
    assert message(decision) == (
        "The loan is declined: the approved limit does not cover it, and the installments would"
        " take too much of the monthly income, and the credit score is too low."
    )


def test_a_corrected_rate_is_said_with_both_rates() -> None:
    decision = approved("RATE_CORRECTED", rate="12", installment="470.73")
    assert in_words(decision) == [
        (
            Reason.RATE_CORRECTED,
            "The score is 50.00: there is no loan yet to judge by its components. At such a score"
            " policy standard lends at 12.00 % or more, and 8.00 % was asked for.",
        )
    ]
    assert message(decision) == (
        "The loan is approved at 12.00 % a year, with a monthly installment of 470.73."
    )


def test_a_decision_as_asked_for_needs_no_reason() -> None:
    assert in_words(approved(card=SOME)) == []


def test_a_score_of_components_is_said_with_its_counts() -> None:
    assert score_in_words(approved(card=SOME)) == (
        "The score is 53.33: 13.33 for 20 of 30 installments paid on time, 10.00 for 2 closed"
        " loans, 15.00 for 0 loans this year, 15.00 for the part of the limit still free."
    )


def test_a_score_of_zero_over_the_limit_is_said_with_what_is_owed() -> None:
    over = card("0", Basis.OVER_LIMIT, volume="0", amount="1000000.01")
    assert score_in_words(declined("OVER_LIMIT", "LOW_SCORE", card=over)) == (
        "The score is 0.00: current loans of 1000000.01 exceed the approved limit of 1000000.00."
    )
