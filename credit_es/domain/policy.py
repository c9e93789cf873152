"""A credit policy is data; judging by it is arithmetic.

A policy is a TOML file, shipped in ``credit_es/policies`` or the lender's own. Its hash is taken
over what it says, not over its comments, and is recorded with its name in every decision.
"""

import hashlib
import tomllib
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from credit_es.domain.customer import Customer
from credit_es.domain.loan import Loan
from credit_es.domain.money import fraction
from credit_es.domain.schedule import installment
from credit_es.domain.score import Score, ScoreRules, score
from credit_es.domain.values import Basis, Reason, Terms, Verdict

SHIPPED: Final = Path(__file__).parent.parent / "policies"
CENT: Final = Decimal("0.01")
WHOLE: Final = 100
"""Of a score and its weights, and of a rate in per cent."""
LARGEST: Final = 1_000_000
"""Of any figure of a policy, so that arithmetic with it neither overflows nor is undefined."""
FINEST: Final = 10
"""Decimals of any figure of a policy: the score is exact, and 1e-999999999 has a billion digits."""
LARGEST_AMOUNT: Final = 10**12
LONGEST_REVIEW_DAYS: Final = 3650


class PolicyError(Exception):
    """A policy that cannot be used; the message says what is wrong with it."""


class Slab(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Scores above ``above`` get at least ``minimum_rate`` per cent a year."""

    above: Decimal
    minimum_rate: Decimal


class ReferRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which applications, approved otherwise, a reviewer decides, and how many days long.

    Those of more than ``amount_above``, those of a score above ``score_above`` and up to
    ``score_up_to``, those of customers who never had a loan; None and False leave a rule out.
    """

    expires_after_days: int
    amount_above: Decimal | None = None
    score_above: Decimal | None = None
    score_up_to: Decimal | None = None
    thin_file: bool = False

    def reasons(self, terms: Terms, scored: Score) -> list[Reason]:
        """Why an application goes to review; empty where it does not."""
        in_band = (
            self.score_above is not None
            and self.score_up_to is not None
            and fraction(self.score_above) < scored.exact <= fraction(self.score_up_to)
        )
        rules = {
            Reason.AMOUNT_REFERRED: self.amount_above is not None
            and terms.amount > self.amount_above,
            Reason.SCORE_REFERRED: in_band,
            Reason.THIN_FILE_REFERRED: self.thin_file and scored.basis is Basis.THIN_FILE,
        }
        return [reason for reason, applies in rules.items() if applies]


# What a policy leaves out is left out of its hash, too: one from before a rule existed keeps its.
class Policy(
    Struct, frozen=True, kw_only=True, dict=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The rules of one lender at one time.

    ``slabs`` go from the highest score down; a score above none of them is declined, and quoted at
    least ``declined_rate``. ``burden_percent`` is how much of the monthly income installments may
    take. The two ``requested_..._counts`` switches say whether the loan asked for counts itself.
    """

    name: str
    version: int
    score: ScoreRules
    slabs: tuple[Slab, ...]
    declined_rate: Decimal
    burden_percent: Decimal
    requested_installment_counts: bool
    requested_amount_counts: bool
    refer: ReferRules | None = None

    @cached_property
    def content(self) -> str:
        """All that the policy says, as canonical JSON: what the log keeps of it."""
        return msgspec.json.encode(self, order="sorted").decode()

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the policy's content, in hexadecimal."""
        return hashlib.sha256(self.content.encode()).hexdigest()


def load_policy(name_or_path: str) -> Policy:
    """Read a shipped policy by name, or a TOML file by path; raises ``PolicyError``."""
    shipped = SHIPPED / f"{name_or_path}.toml"
    path = shipped if shipped.parent == SHIPPED and shipped.is_file() else Path(name_or_path)
    try:
        return parse_policy(path.read_text("utf-8"))
    except OSError as error:
        names = ", ".join(shipped_policies())
        reason = "" if isinstance(error, FileNotFoundError) else f" ({error.strerror})"
        raise PolicyError(
            f"There is no policy {name_or_path!r}{reason}: give the path of a TOML file, "
            f"or one of the shipped ones: {names}."
        ) from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path} is no TOML file: it is not text in UTF-8.") from error
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from error


def shipped_policies() -> list[str]:
    """The names of the policies that come with this release, in order."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def recorded_policy(content: str) -> Policy:
    """The policy whose ``content`` the log keeps; raises ``PolicyError`` where it is none."""
    try:
        return msgspec.json.decode(content, type=Policy)
    except msgspec.MsgspecError as error:
        raise PolicyError(f"The recorded policy cannot be read: {error}.") from error


def parse_policy(text: str) -> Policy:
    """Read a policy from TOML; raises ``PolicyError`` where it is none, or contradicts itself."""
    try:
        policy = msgspec.convert(tomllib.loads(text, parse_float=Decimal), Policy)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise PolicyError(f"The policy cannot be read: {error}.") from error
    rules = policy.score
    bounds = [slab.above for slab in policy.slabs]
    weights = (
        rules.weight_paid_on_time,
        rules.weight_past_loans,
        rules.weight_activity,
        rules.weight_volume,
    )
    rates = [policy.declined_rate, *(slab.minimum_rate for slab in policy.slabs)]
    others = (rules.thin_file, rules.on_time_floor, policy.burden_percent)
    _check_figures((*weights, *bounds, *rates, *others))
    if not (policy.name.strip() and policy.name.isprintable()):
        raise PolicyError("A policy has a name that prints: decisions record it.")
    if sum(weights) != WHOLE or min(weights) < 0:
        raise PolicyError("The weights of a policy's score are not negative and sum to 100.")
    if bounds != sorted(set(bounds), reverse=True) or not bounds:
        raise PolicyError("A policy has slabs, and they go from the highest score down.")
    if any(not 0 <= rate <= WHOLE or rate != rate.quantize(CENT) for rate in rates):
        raise PolicyError("Rates of a policy are 0 to 100 per cent with at most two places.")
    if not 0 <= rules.on_time_floor < 1:
        raise PolicyError("on_time_floor is a share: 0 or more, and below 1.")
    if min(rules.loans_for_full, rules.loans_for_none) < 1:
        raise PolicyError("loans_for_full and loans_for_none are 1 or more.")
    if not 0 <= rules.thin_file <= WHOLE or policy.burden_percent < 0:
        raise PolicyError("thin_file is 0 to 100, and burden_percent is not negative.")
    _check(policy.refer)
    return policy


def _check_figures(figures: Sequence[Decimal]) -> None:
    if not all(figure.is_finite() and abs(figure) <= LARGEST for figure in figures):
        raise PolicyError("The figures of a policy are numbers, and none is beyond a million.")
    if not all(map(_is_written_out, figures)):
        raise PolicyError(f"The figures of a policy have at most {FINEST} decimals.")


def _is_written_out(figure: Decimal) -> bool:
    exponent = figure.as_tuple().exponent
    assert isinstance(exponent, int)
    return -exponent <= FINEST


def _check(refer: ReferRules | None) -> None:
    if refer is None:
        return
    amount, band = refer.amount_above, (refer.score_above, refer.score_up_to)
    if amount is None and band == (None, None) and not refer.thin_file:
        raise PolicyError(
            "refer has a rule: amount_above, score_above with score_up_to, or thin_file = true. "
            "A policy that refers nothing has no such table."
        )
    if not 1 <= refer.expires_after_days <= LONGEST_REVIEW_DAYS:
        raise PolicyError(f"expires_after_days of refer is 1 to {LONGEST_REVIEW_DAYS}.")
    if amount is not None and not (amount.is_finite() and 0 <= amount <= LARGEST_AMOUNT):
        raise PolicyError(f"amount_above of refer is 0 to {LARGEST_AMOUNT}.")
    if band == (None, None):
        return
    above, up_to = band
    if (
        above is None
        or up_to is None
        or not (above.is_finite() and up_to.is_finite())
        or not -LARGEST <= above < up_to <= LARGEST
    ):
        raise PolicyError("refer has both score_above and score_up_to or neither, the lower first.")
    if not (_is_written_out(above) and _is_written_out(up_to)):
        raise PolicyError(f"score_above and score_up_to have at most {FINEST} decimals.")


def judge(
    policy: Policy,
    customer: Customer,
    loans: Sequence[Loan],
    terms: Terms,
    today: date,
    *,
    reviewed: bool = False,
) -> Verdict:
    """Say whether ``policy`` would lend ``terms`` today, at what rate, and why (design, section 6).

    ``loans`` are all of the customer's. The rate that the score asks for is the one that the
    installment, the burden and the granted loan use. An application that is ``reviewed`` is not
    referred again, and everything else holds as for any other.
    """
    scored = score(policy.score, customer, loans, today)
    priced = price(policy, scored, terms)
    ruling = weigh(policy, customer, scored, priced, terms, reviewed=reviewed)
    return Verdict(
        approved=ruling.approved,
        annual_rate=priced.annual_rate,
        installment=priced.installment,
        reasons=ruling.reasons,
        scorecard=scored.card,
        policy=policy.name,
        policy_hash=policy.hash,
    )


class Price(Struct, frozen=True, kw_only=True):
    """What a score asks for; ``slab`` is the one that it lies in, None below all."""

    slab: Slab | None
    annual_rate: Decimal
    installment: Decimal


class Ruling(Struct, frozen=True, kw_only=True):
    """Whether a policy would lend, leaves it to a reviewer, or neither, and why."""

    approved: bool
    referred: bool
    reasons: tuple[Reason, ...]


def price(policy: Policy, scored: Score, terms: Terms) -> Price:
    """The rate that the score asks for, and the installment at that rate."""
    slab = next((slab for slab in policy.slabs if scored.is_above(slab.above)), None)
    minimum_rate = slab.minimum_rate if slab else policy.declined_rate
    annual_rate = max(terms.annual_rate, minimum_rate).quantize(CENT)
    payment = installment(terms.amount, annual_rate, terms.tenure_months)
    return Price(slab=slab, annual_rate=annual_rate, installment=payment)


def weigh(
    policy: Policy,
    customer: Customer,
    scored: Score,
    priced: Price,
    terms: Terms,
    *,
    reviewed: bool = False,
) -> Ruling:
    """What ``judge`` rules, once the customer is scored and the loan priced."""
    conduct = scored.conduct
    amount = conduct.current_amount + terms.amount * policy.requested_amount_counts
    payment = priced.installment * policy.requested_installment_counts
    burden = conduct.current_installments + payment
    against: list[Reason] = []
    if amount > customer.approved_limit:
        against.append(Reason.OVER_LIMIT)
    if burden * WHOLE > customer.monthly_income * policy.burden_percent:
        against.append(Reason.INSTALLMENT_BURDEN)
    if priced.slab is None:
        against.append(Reason.LOW_SCORE)
    refer = policy.refer if not reviewed and not against else None
    referred = refer.reasons(terms, scored) if refer else []
    corrected = [Reason.RATE_CORRECTED] if priced.annual_rate > terms.annual_rate else []
    return Ruling(
        approved=not against and not referred,
        referred=bool(referred),
        reasons=tuple(against or referred + corrected),
    )
