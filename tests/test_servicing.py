"""Repayments, reversals and applications at once, on a real server."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from credit_es.application import Lending
from credit_es.domain.errors import DomainError, ForbiddenError
from credit_es.domain.events import LoanApproved, LoanBurdenRaised
from credit_es.domain.payoff import payoff
from credit_es.domain.repaying import Repay
from credit_es.domain.standing import is_current, left_to_pay
from credit_es.servicing import Servicing
from credit_es.store.idempotency import Once
from credit_es.store.mapper import customer_stream
from tests.store.given import ASHA, BY, asks, settings

ROUNDS = 8


@pytest.fixture
def lending(database_url: str, schema: str) -> Iterator[Lending]:
    one = Lending(settings(database_url, schema), pool_size=8)
    yield one
    one.close()


def granted(lending: Lending, number: int, amount: str) -> int:
    decision = lending.apply_for_loan(asks(number, amount, tenure=600), BY).decision
    assert isinstance(decision, LoanApproved), decision.verdict.reasons
    return decision.loan_number


def test_a_reversal_cannot_race_an_approval_past_the_limit(lending: Lending) -> None:
    """An approval either comes first, or it has seen that the loan is open again."""
    servicing, today = Servicing(lending), lending.today()
    for _ in range(ROUNDS):
        who = lending.register(ASHA, BY)
        limit = who.approved_limit
        loan = granted(lending, who.customer_number, str(limit - 1000))
        total = payoff(servicing.loan(loan), today).total
        repaid = servicing.repay(
            Repay(loan_number=loan, amount=total, paid_on=today, prepay=True), BY
        )
        with ThreadPoolExecutor(2) as both:
            asked = both.submit(
                lending.apply_for_loan, asks(who.customer_number, "2000.00", tenure=600), BY
            )
            both.submit(servicing.reverse, loan, repaid.repayment_id, "typed twice", BY).result()
        stream = customer_stream(who.customer_number)
        kinds = [type(one.entry.fact) for one in lending.reader.stream(stream)]
        approved_first = kinds[-1] is LoanBurdenRaised
        decision = asked.result().decision
        assert isinstance(decision, LoanApproved) is approved_first
        assert is_current(servicing.loan(loan), today)


def test_clerks_at_once_record_every_repayment_and_none_too_many(lending: Lending) -> None:
    servicing, today = Servicing(lending), lending.today()
    who = lending.register(ASHA, BY)
    loan = granted(lending, who.customer_number, "1000.00")
    before = left_to_pay(servicing.loan(loan))

    def pay(cents: int) -> bool:
        amount = Decimal(cents).scaleb(-2)
        try:
            servicing.repay(Repay(loan_number=loan, amount=amount, paid_on=today), BY)
        except DomainError:
            return False
        return True

    with ThreadPoolExecutor(6) as clerks:
        came = list(clerks.map(pay, [80_000] * 10))
    paid = servicing.loan(loan)
    assert sum(one.amount for one in paid.repayments) == 800 * sum(came)
    assert left_to_pay(paid) == before - 800 * sum(came)
    assert 0 <= left_to_pay(paid) < 800


def test_a_request_sent_again_while_the_first_is_decided_gets_its_answer(
    lending: Lending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the refusal of a repayment that is there already, for it is its own."""
    servicing, today = Servicing(lending), lending.today()
    loan = granted(lending, lending.register(ASHA, BY).customer_number, "1000.00")
    paid = Repay(loan_number=loan, amount=Decimal("1.00"), paid_on=today, reference="slip 1")
    once = Once(actor="clerk", path="/repayments", key="k", digest=b"d" * 32)
    first = servicing.repay(paid, BY, once)
    monkeypatch.setattr(lending.keys, "outcome", _late(lending))
    assert servicing.repay(paid, BY, once) == first
    with pytest.raises(ForbiddenError, match="slip 1"):
        servicing.repay(paid, BY)


def _late(lending: Lending) -> Callable[[Once], bytes | None]:
    """The look-up of a key that finds nothing the first time: what is there comes meanwhile."""
    outcome = lending.keys.outcome
    looked_up: list[Once] = []

    def late(once: Once) -> bytes | None:
        looked_up.append(once)
        return outcome(once) if len(looked_up) > 1 else None

    return late
