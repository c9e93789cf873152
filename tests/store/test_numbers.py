"""Numbers: each is handed out once, over threads and processes, and imports are passed by."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from credit_es.store.database import Database
from credit_es.store.numbers import BLOCK, Numbers

FIRST = 10_000_001


@pytest.fixture
def numbers(database: Database) -> Numbers:
    return Numbers(database, FIRST)


@pytest.fixture
def others(database: Database) -> Numbers:
    """Those of another process of the same schema."""
    return Numbers(database, FIRST)


def test_they_begin_at_the_first_and_go_on_without_a_hole(numbers: Numbers) -> None:
    taken = [numbers.take("customer") for _ in range(2 * BLOCK + 1)]
    assert taken == list(range(FIRST, FIRST + 2 * BLOCK + 1))
    assert numbers.take("loan") == FIRST


def test_another_process_takes_a_block_of_its_own(numbers: Numbers, others: Numbers) -> None:
    assert numbers.take("loan") == FIRST
    assert others.take("loan") == FIRST + BLOCK
    assert numbers.take("loan") == FIRST + 1
    assert Numbers(numbers._database, FIRST).take("loan") == FIRST + 2 * BLOCK


def test_none_is_handed_out_twice_over_threads_and_processes(
    numbers: Numbers, others: Numbers
) -> None:
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda n: (numbers, others)[n % 2].take("loan"), range(600)))
    assert len(set(taken)) == 600
    assert min(taken) == FIRST


def test_numbers_of_an_import_are_passed_by(numbers: Numbers, others: Numbers) -> None:
    assert numbers.take("customer") == FIRST
    numbers.pass_by("customer", FIRST + 1_000)
    assert numbers.take("customer") == FIRST + 1_001
    assert others.take("customer") == FIRST + 1_001 + BLOCK
    assert numbers.take("loan") == FIRST


def test_a_schema_that_has_handed_out_none_passes_by_too(numbers: Numbers) -> None:
    numbers.pass_by("loan", FIRST)
    assert numbers.take("loan") == FIRST + 1


def test_numbers_below_the_first_and_the_next_are_no_reason_to_skip(numbers: Numbers) -> None:
    numbers.pass_by("customer", FIRST - 1)
    assert numbers.take("customer") == FIRST
    numbers.take("customer")
    numbers.pass_by("customer", FIRST)
    assert numbers.take("customer") == FIRST + BLOCK  # the rest of the block is given up
