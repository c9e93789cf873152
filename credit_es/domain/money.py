"""Money: exact decimals of two places, rounded half up."""

from decimal import Decimal
from fractions import Fraction


def cents(numerator: int, denominator: int) -> Decimal:
    """The non-negative quotient in currency units, rounded half up to two places.

    Integers, because a reduced fraction of an annuity costs more than the rest of a decision.
    """
    return Decimal((200 * numerator + denominator) // (2 * denominator)).scaleb(-2)


def to_cents(value: Fraction | Decimal) -> Decimal:
    """Round an exact non-negative amount half up to two places."""
    return cents(*value.as_integer_ratio())
