"""Money: exact decimals of two places, rounded half up."""

from decimal import Decimal
from fractions import Fraction
from functools import lru_cache


def cents(numerator: int, denominator: int) -> Decimal:
    """The non-negative quotient in currency units, rounded half up to two places.

    Integers, because a reduced fraction of an annuity costs more than the rest of a decision.
    """
    return Decimal((200 * numerator + denominator) // (2 * denominator)).scaleb(-2)


def to_cents(value: Fraction | Decimal) -> Decimal:
    """Round an exact non-negative amount half up to two places."""
    return cents(*value.as_integer_ratio())


@lru_cache(maxsize=1024)
def fraction(figure: Decimal) -> Fraction:
    """A figure of a policy, exactly. There are few, and every decision asks for all of them."""
    return Fraction(figure)
