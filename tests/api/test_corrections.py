"""``POST /customers/{customer_id}/corrections``: what was wrong, since when, and what follows."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.api.client import Api


@pytest.fixture
def body(shared: Api) -> dict[str, object]:
    return {"effective_on": shared.services.lending.today().isoformat(), "reason": "a typo"}


def test_a_correction_is_recorded_and_every_view_follows(
    shared: Api, body: dict[str, object]
) -> None:
    number = shared.register()
    path = f"/customers/{number}/corrections"
    answered = shared.post(path, body | {"monthly_income": 50_000, "phone_number": 5_550_001})
    assert answered.status_code == 201
    corrected = answered.json
    assert (corrected["correction_id"], corrected["customer_id"]) == (f"{number}-2", number)
    assert corrected["was"] == {
        "phone_number": 9_876_543_210,
        "monthly_income": 100_000,
        "approved_limit": 3_600_000,
    }
    assert corrected["is"] == {
        "phone_number": 5_550_001,
        "monthly_income": 50_000,
        "approved_limit": 1_800_000,
    }
    shown = shared.get(f"/customers/{number}").json
    assert corrected["customer"].items() <= shown.items()
    assert (shown["approved_limit"], shown["phone_number"]) == (1_800_000, 5_550_001)
    declined = shared.apply(number, 1_800_001, tenure=600).json
    assert "OVER_LIMIT" in declined["reasons"]
    assert shared.post(path, body | {"monthly_income": 50_000}).status_code == 409


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"age": 17}, "/age"),
        ({"age": 40, "effective_on": "2100-01-01"}, "/effective_on"),
        ({"age": 40, "effective_on": "2000-01-01"}, "/effective_on"),
        ({"age": 40, "reason": ""}, "/reason"),
        ({"first_name": " "}, "/first_name"),
        ({}, ""),
    ],
)
def test_a_correction_that_cannot_be_says_what_would_be_right(
    shared: Api, body: dict[str, object], fields: dict[str, object], pointer: str
) -> None:
    answered = shared.post(f"/customers/{shared.register()}/corrections", body | fields)
    assert answered.status_code == 422
    assert [fault["pointer"] for fault in answered.json["errors"]] == [pointer]


@pytest.mark.parametrize("number", ["99999999", "x"])
def test_an_unknown_customer_is_404(shared: Api, body: dict[str, object], number: str) -> None:
    assert shared.post(f"/customers/{number}/corrections", body | {"age": 40}).status_code == 404


def test_corrections_at_once_are_all_recorded_in_some_order(
    shared: Api, body: dict[str, object]
) -> None:
    number = shared.register()
    path = f"/customers/{number}/corrections"
    bodies = [body | {"age": age} for age in range(40, 44)]
    with ThreadPoolExecutor(4) as clerks:
        answers = list(clerks.map(lambda one: shared.post(path, one), bodies))
    assert {answered.status_code for answered in answers} == {201}
    ids = {answered.json["correction_id"] for answered in answers}
    assert ids == {f"{number}-{version}" for version in range(2, 6)}
