"""In which slab of its policy each loan was granted: a byte a loan, by the loan's number."""

from decimal import Decimal
from typing import Final

from msgspec import Struct

from credit_es.audit.replay import Policies
from credit_es.domain.loan import Loan
from credit_es.domain.policy import Policy
from credit_es.domain.values import Basis

IMPORTED: Final = "imported"
UNKNOWN: Final = "no decision found"
PAGE: Final = 4096


class Card(Struct, frozen=True):
    """The part of a recorded scorecard that a slab follows from."""

    score: Decimal
    basis: Basis


class Granted(Struct, frozen=True):
    """The part of a recorded verdict that a slab follows from: all else is not decoded."""

    annual_rate: Decimal
    policy: str
    policy_hash: str
    scorecard: Card


class Slabs:
    """The slabs of all granted loans; numbers are dense, so pages of bytes hold them."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._names = [UNKNOWN]
        self._pages: dict[int, bytearray] = {}

    def put(self, loan_number: int, verdict: Granted) -> None:
        """Keep the slab of one loan."""
        name = slab_name(self._policies.find(verdict.policy_hash), verdict)
        if name not in self._names:
            self._names.append(name)
        page, place = divmod(loan_number, PAGE)
        self._pages.setdefault(page, bytearray(PAGE))[place] = self._names.index(name)

    def of(self, loan: Loan) -> str:
        """The slab that a loan was granted in."""
        if loan.emis_on_time is not None:
            return IMPORTED
        page, place = divmod(loan.number, PAGE)
        return self._names[self._pages[page][place]] if page in self._pages else UNKNOWN


def slab_name(policy: Policy | None, verdict: Granted) -> str:
    """What people call the slab that a recorded score lies in.

    A fact has the score rounded. Where that is just a slab's bound the rate tells which side the
    exact one was on: had it been below, the rate would be at least the next slab's.
    """
    if policy is None:
        return f"{verdict.policy}: not known"
    card = verdict.scorecard
    below = [*(slab.minimum_rate for slab in policy.slabs[1:]), policy.declined_rate]
    for slab, next_rate in zip(policy.slabs, below, strict=True):
        rounded_down = card.basis is Basis.COMPONENTS and verdict.annual_rate < next_rate
        if card.score > slab.above or (card.score == slab.above and rounded_down):
            return f"{policy.name}: score above {slab.above.normalize():f}"
    return f"{policy.name}: below all slabs"
