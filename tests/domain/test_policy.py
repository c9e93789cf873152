"""A policy is read from TOML or refused in a sentence, and its hash is that of what it says."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from credit_es.domain.policy import (
    SHIPPED,
    Policy,
    PolicyError,
    load_policy,
    parse_policy,
    recorded_policy,
)
from tests.scenario import LITERAL, STANDARD

TEXT = (SHIPPED / "standard.toml").read_text("utf-8")

REORDERED = """
requested_amount_counts   = true
requested_installment_counts = true
[score]
loans_for_none = 3   # three loans of this year
loans_for_full = 4
on_time_floor = 0.5
weight_volume = 25
weight_activity = 15
weight_past_loans = 20
weight_paid_on_time = 40
thin_file = 50

[[slabs]]
minimum_rate = 0
above = 50
[[slabs]]
minimum_rate = 12
above = 30
[[slabs]]
minimum_rate = 16
above = 10
"""


def with_line(old: str, new: str) -> str:
    """The standard policy with one line changed, the first such."""
    assert f"\n{old}\n" in f"\n{TEXT}"
    return TEXT.replace(f"{old}\n", f"{new}\n", 1)


def test_a_hash_does_not_depend_on_comments_white_space_or_the_order_of_keys() -> None:
    head = 'burden_percent = 50\ndeclined_rate=16\nversion = 1\nname = "standard" # ours'
    assert parse_policy(head + REORDERED).hash == STANDARD.hash


def test_the_shipped_policies_are_the_ones_that_decisions_have_recorded() -> None:
    """Whoever changes a figure raises ``version``, and tells it under Policy in the CHANGELOG."""
    assert (STANDARD.name, STANDARD.version, STANDARD.hash) == (
        "standard",
        1,
        "6a6f1d905474e0167da682b973e9867eab0e719ed24118c4a6c880e185190b85",
    )
    assert (LITERAL.name, LITERAL.version, LITERAL.hash) == (
        "literal",
        1,
        "6fc016319b72304488cf781002d0be4e2474fbe3383099fc5a69cf2eb0de53b4",
    )


def content_of(policy: Policy) -> Any:
    """A policy as JSON has it: figures are text."""
    return msgspec.json.decode(msgspec.json.encode(policy))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every figure, name and switch."""
    if isinstance(value, dict):
        return [leaf for key in value for leaf in leaves(value[key], (*path, key))]
    if isinstance(value, list):
        return [leaf for i, item in enumerate(value) for leaf in leaves(item, (*path, i))]
    return [path]


@pytest.mark.parametrize("path", leaves(content_of(STANDARD)), ids=str)
def test_a_hash_depends_on_every_figure(path: tuple[Any, ...]) -> None:
    content = content_of(STANDARD)
    holder = content
    for step in path[:-1]:
        holder = holder[step]
    before = holder[path[-1]]
    holder[path[-1]] = not before if isinstance(before, bool) else before + type(before)(1)
    changed = msgspec.convert(content, Policy)
    assert changed != STANDARD
    assert changed.hash != STANDARD.hash


def test_a_hash_depends_on_the_order_of_slabs_and_on_there_being_one() -> None:
    fewer = msgspec.structs.replace(STANDARD, slabs=STANDARD.slabs[:2])
    turned = msgspec.structs.replace(STANDARD, slabs=STANDARD.slabs[::-1])
    assert len({STANDARD.hash, fewer.hash, turned.hash}) == 3


def test_a_hash_depends_on_what_is_referred_and_one_that_refers_nothing_keeps_its() -> None:
    content = content_of(STANDARD)
    assert "refer" not in content
    kinds: list[dict[str, object]] = [
        {"amount_above": "500000"},
        {"amount_above": "500000.01"},
        {"score_above": "40", "score_up_to": "55"},
        {"thin_file": True},
    ]
    hashes = {
        msgspec.convert(content | {"refer": kind | {"expires_after_days": days}}, Policy).hash
        for days in (13, 14)
        for kind in kinds
    }
    assert len(hashes | {STANDARD.hash}) == 9


def test_the_two_shipped_policies_differ_in_their_name_and_two_switches_only() -> None:
    standard, literal = content_of(STANDARD), content_of(LITERAL)
    assert {key for key in standard if standard[key] != literal[key]} == {
        "name",
        "requested_installment_counts",
        "requested_amount_counts",
    }


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("version = 1", "version 1", "cannot be read: Expected '='"),
        ("version = 1", "", "missing required field `version`"),
        ("version = 1", "version = 1\nmargin = 2", "unknown field `margin`"),
        ("thin_file = 50", "thin_flie = 50", "unknown field `thin_flie`"),
        ("above = 50", "above = 50\nceiling = 100", "unknown field `ceiling`"),
        ("version = 1", 'version = "one"', r"Expected `int`, got `str` - at `\$.version`"),
        ("requested_amount_counts = true", "requested_amount_counts = 1", "Expected `bool`"),
        ("loans_for_full = 4", "loans_for_full = 4.5", "Expected `int`"),
        ("weight_volume = 25", "weight_volume = 24.99", "sum to 100"),
        ("weight_volume = 25", "weight_volume = 25.01", "sum to 100"),
        ("weight_volume = 25\n", "weight_volume = 115\n", "sum to 100"),
        ("above = 50", "above = 30", "from the highest score down"),
        ("above = 50", "above = 29", "from the highest score down"),
        ("declined_rate = 16", "declined_rate = 100.01", "0 to 100 per cent"),
        ("declined_rate = 16", "declined_rate = -0.01", "0 to 100 per cent"),
        ("declined_rate = 16", "declined_rate = 16.005", "at most two places"),
        ("minimum_rate = 12", "minimum_rate = 100.01", "0 to 100 per cent"),
        ("minimum_rate = 12", "minimum_rate = -1", "0 to 100 per cent"),
        ("minimum_rate = 12", "minimum_rate = 12.345", "at most two places"),
        ("on_time_floor = 0.5", "on_time_floor = 1", "on_time_floor is a share"),
        ("on_time_floor = 0.5", "on_time_floor = -0.1", "on_time_floor is a share"),
        ("loans_for_full = 4", "loans_for_full = 0", "1 or more"),
        ("loans_for_none = 3", "loans_for_none = 0", "1 or more"),
        ("thin_file = 50", "thin_file = 100.01", "thin_file is 0 to 100"),
        ("thin_file = 50", "thin_file = -1", "thin_file is 0 to 100"),
        ("burden_percent = 50", "burden_percent = -1", "burden_percent is not negative"),
        ("burden_percent = 50", "burden_percent = inf", "none is beyond a million"),
        ("burden_percent = 50", "burden_percent = 1000001", "none is beyond a million"),
        ("burden_percent = 50", "burden_percent = nan", "figures of a policy are numbers"),
        ("thin_file = 50", "thin_file = nan", "figures of a policy are numbers"),
        ("on_time_floor = 0.5", "on_time_floor = nan", "figures of a policy are numbers"),
        ("weight_volume = 25", "weight_volume = nan", "figures of a policy are numbers"),
        ("declined_rate = 16", "declined_rate = nan", "figures of a policy are numbers"),
        ("minimum_rate = 12", "minimum_rate = nan", "figures of a policy are numbers"),
        ("above = 10", "above = -inf", "figures of a policy are numbers"),
        ("above = 50", "above = inf", "figures of a policy are numbers"),
        ("above = 10", "above = 1e-999999999", "at most 10 decimals"),
        ("on_time_floor = 0.5", "on_time_floor = 1e-999999999", "at most 10 decimals"),
        ("thin_file = 50", "thin_file = 50.00000000001", "at most 10 decimals"),
        (
            "weight_volume = 25",
            "weight_volume = 25.0000000000000000000000000000000001",
            "at most 10 decimals",
        ),
        *(
            ("minimum_rate = 16", f"minimum_rate = 16\n[refer]\n{rules}", complaint)
            for rules, complaint in (
                ("thin_file = true", "missing required field `expires_after_days`"),
                ("expires_after_days = 14", "refer has a rule"),
                ("expires_after_days = 14\nthin_file = false", "refer has a rule"),
                ("expires_after_days = 0\nthin_file = true", "is 1 to 3650"),
                ("expires_after_days = 3651\nthin_file = true", "is 1 to 3650"),
                ("expires_after_days = 1.5\nthin_file = true", "Expected `int`"),
                ("expires_after_days = 9\namount_above = -1", "amount_above of refer is 0 to"),
                ("expires_after_days = 9\namount_above = nan", "amount_above of refer is 0 to"),
                ("expires_after_days = 9\namount_above = 1e13", "amount_above of refer is 0 to"),
                ("expires_after_days = 9\nscore_above = 9", "both score_above and score_up_to"),
                ("expires_after_days = 9\nscore_up_to = 9", "both score_above and score_up_to"),
                ("expires_after_days = 9\nscore_above = 9\nscore_up_to = 9", "the lower first"),
                ("expires_after_days = 9\nscore_above = 9\nscore_up_to = inf", "lower first"),
                (
                    "expires_after_days = 9\nscore_above = 1e-999999999\nscore_up_to = 9",
                    "at most 10 decimals",
                ),
                ("expires_after_days = 9\nthin_flie = true", "unknown field `thin_flie`"),
            )
        ),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(old: str, new: str, complaint: str) -> None:
    with pytest.raises(PolicyError, match=complaint):
        parse_policy(with_line(old.strip(), new.strip()))


def test_negative_weights_are_refused_though_they_sum_to_100() -> None:
    text = with_line("weight_volume = 25", "weight_volume = -25")
    with pytest.raises(PolicyError, match="not negative and sum to 100"):
        parse_policy(text.replace("weight_past_loans = 20", "weight_past_loans = 70"))


def test_a_policy_without_slabs_lends_nothing_and_is_refused() -> None:
    text = TEXT[: TEXT.index("[[slabs]]")].replace("[score]", "slabs = []\n[score]")
    with pytest.raises(PolicyError, match="has slabs"):
        parse_policy(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("declined_rate = 16", "declined_rate = 100"),
        ("minimum_rate = 12", "minimum_rate = 12.25"),
        ("on_time_floor = 0.5", "on_time_floor = 0"),
        ("loans_for_full = 4", "loans_for_full = 1"),
        ("thin_file = 50", "thin_file = 0"),
        ("burden_percent = 50", "burden_percent = 0"),
        ("above = 10", "above = -1"),
    ],
)
def test_the_edge_of_what_can_be_meant_is_taken(old: str, new: str) -> None:
    assert parse_policy(with_line(old, new)).hash != STANDARD.hash


@pytest.mark.parametrize("policy", [STANDARD, LITERAL])
def test_a_policy_is_read_back_from_the_content_that_its_hash_is_of(policy: Policy) -> None:
    again = recorded_policy(policy.content)
    assert again == policy
    assert (again.content, again.hash) == (policy.content, policy.hash)
    assert hashlib.sha256(policy.content.encode()).hexdigest() == policy.hash


def test_content_that_says_more_or_less_than_a_policy_is_refused() -> None:
    for content in ("{}", "{", STANDARD.content.replace('"version"', '"edition"')):
        with pytest.raises(PolicyError, match="cannot be read"):
            recorded_policy(content)


@pytest.mark.parametrize("name", ["standrad", "policies/none.toml", "..", ""])
def test_an_unknown_policy_is_refused_with_the_names_of_those_there_are(name: str) -> None:
    with pytest.raises(PolicyError) as refused:
        load_policy(name)
    assert f"no policy '{name}'" in str(refused.value)
    assert str(refused.value).endswith("one of the shipped ones: literal, standard.")


@pytest.mark.parametrize("name", ["", " ", r"a\u0000", r"a\u202eb"])
def test_a_policy_without_a_name_is_refused(name: str) -> None:
    with pytest.raises(PolicyError, match="has a name"):
        parse_policy(with_line('name = "standard"', f'name = "{name}"'))


def test_a_path_is_read_and_one_in_another_folder_is_no_shipped_name(tmp_path: Path) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(with_line('name = "standard"', 'name = "ours"'), "utf-8")
    ours = load_policy(str(path))
    assert (ours.name, ours.slabs) == ("ours", STANDARD.slabs)
    with pytest.raises(PolicyError, match="no policy"):
        load_policy(str(tmp_path / "ours"))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ours.toml"
    path.write_bytes(b"name = \xff")
    with pytest.raises(PolicyError, match="not text in UTF-8"):
        load_policy(str(path))
