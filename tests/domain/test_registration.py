"""Who registers is granted the limit that the income allows."""

import pytest

from tests.domain.facts import register, registered
from tests.scenario import NEXT, given


@pytest.mark.parametrize(
    ("income", "limit"),
    [
        (0, "0"),
        (1_388, "0"),  # 36 times that is 49,968
        (1_389, "100000"),  # 50,004
        (12_499, "400000"),  # 449,964
        (12_500, "500000"),  # 450,000, half of a step: up
        (50_000, "1800000"),
        (10**9, "36000000000"),
    ],
)
def test_the_limit_is_36_months_income_rounded_half_up_to_100_000(income: int, limit: str) -> None:
    given().when(
        register(income=income),
    ).then(
        registered(NEXT, income=str(income), limit=limit),
    )
