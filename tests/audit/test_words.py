"""Every fact has a sentence with its figures."""

import pytest

from credit_es.audit.words import in_words
from credit_es.domain.events import Event
from credit_es.store.mapper import topic
from tests.domain.facts import declined, received, registered
from tests.golden.test_events import EXPECTED


@pytest.mark.parametrize("fact", EXPECTED, ids=topic)
def test_every_fact_has_a_sentence_with_its_amount(fact: Event) -> None:
    words = in_words(fact)
    assert "None" not in words
    assert str(getattr(fact, "amount", "")) in words


def test_the_sentences_say_who_what_and_why() -> None:
    assert in_words(registered()) == (
        "Registered Ada Lovelace: monthly income 100000.00, approved limit 1000000.00"
    )
    assert in_words(declined("OVER_LIMIT", "LOW_SCORE")) == (
        "Declined 10000.00 at 8.00 % over 24 months: OVER_LIMIT, LOW_SCORE"
    )
    assert in_words(received("500", reference="A-1", paid=(2, 3))) == (
        "Received 500.00 (A-1), which filled installments 2 to 3"
    )
    assert in_words(received("1")) == "Received 1.00"
