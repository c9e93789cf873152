"""Money: exact decimals of two places, rounded half up."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Final

CENT: Final = Decimal("0.01")
HALF: Final = Fraction(1, 2)


def to_cents(value: Fraction) -> Decimal:
    """Round an exact non-negative amount half up to two places."""
    return Decimal(int(value * 100 + HALF)).scaleb(-2)


def two_places(value: Decimal) -> Decimal:
    """Write ``value`` with two places, rounding half up where it has more."""
    return value.quantize(CENT, rounding=ROUND_HALF_UP)
