"""The environment into settings: what is left out has a default, what is wrong is told."""

from zoneinfo import ZoneInfo

import pytest

from credit_es.settings import MIB, Settings, SettingsError, read_settings

URL = "postgresql://somewhere/credit"


def test_a_database_url_is_all_that_is_needed() -> None:
    assert read_settings({"DATABASE_URL": URL}) == Settings(
        database_url=URL,
        database_direct_url=URL,
        redis_url="",
        schema="credit",
        policy="standard",
        timezone=ZoneInfo("UTC"),
        first_number=10_000_001,
        upload_limit=32 * MIB,
        prepared_statements=None,
        host="127.0.0.1",
        port=8000,
        api_workers=2,
        api_threads=8,
    )


def test_every_variable_is_read() -> None:
    environ = {
        "DATABASE_URL": URL,
        "DATABASE_DIRECT_URL": "postgresql://direct/credit",
        "DATABASE_READ_URL": "postgresql://replica/credit",
        "REDIS_URL": "redis://there",
        "CREDIT_SCHEMA": "tenant_1",
        "CREDIT_POLICY": "literal",
        "CREDIT_TIMEZONE": "Asia/Kolkata",
        "CREDIT_FIRST_NUMBER": "500",
        "CREDIT_UPLOAD_LIMIT_MIB": "1",
        "CREDIT_PREPARED_STATEMENTS": "ON",
        "HOST": "0.0.0.0",
        "PORT": "9000",
        "CREDIT_API_WORKERS": "4",
        "CREDIT_API_THREADS": "16",
        "CREDIT_SAMPLE_DATA": "0",
    }
    assert read_settings(environ) == Settings(
        database_url=URL,
        database_direct_url="postgresql://direct/credit",
        database_read_url="postgresql://replica/credit",
        redis_url="redis://there",
        schema="tenant_1",
        policy="literal",
        timezone=ZoneInfo("Asia/Kolkata"),
        first_number=500,
        upload_limit=MIB,
        prepared_statements=True,
        host="0.0.0.0",
        port=9000,
        api_workers=4,
        api_threads=16,
        sample_data=False,
    )


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    empty = dict.fromkeys(
        ("DATABASE_DIRECT_URL", "CREDIT_POLICY", "CREDIT_TIMEZONE", "PORT", "HOST"), ""
    )
    assert read_settings({"DATABASE_URL": URL, **empty}) == read_settings({"DATABASE_URL": URL})


def test_without_a_database_it_says_how_to_get_one() -> None:
    with pytest.raises(SettingsError, match="`make run`, or set DATABASE_URL"):
        read_settings({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CREDIT_SCHEMA", "Credit"),
        ("CREDIT_SCHEMA", 'x"; DROP SCHEMA public; --'),
        ("CREDIT_SCHEMA", "x" * 42),
        ("CREDIT_TIMEZONE", "Mars/Olympus"),
        ("CREDIT_TIMEZONE", "../etc/passwd"),
        ("CREDIT_FIRST_NUMBER", "0"),
        ("CREDIT_FIRST_NUMBER", "-5"),
        ("CREDIT_FIRST_NUMBER", str(10**12 + 1)),
        ("CREDIT_FIRST_NUMBER", "\u0661"),
        ("CREDIT_UPLOAD_LIMIT_MIB", "1025"),
        ("CREDIT_PREPARED_STATEMENTS", "perhaps"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("CREDIT_API_WORKERS", "1.5"),
        ("CREDIT_API_THREADS", "65"),
        ("CREDIT_SAMPLE_DATA", "no"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named_with_what_would_be_right(
    name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is .*: use ") as caught:
        read_settings({"DATABASE_URL": URL, name: value})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    "url", ["secret", "localhost:6379", "http://secret@there", "redis://:secret@there:port/0"]
)
def test_a_redis_url_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^REDIS_URL cannot be read: write redis://") as caught:
        read_settings({"DATABASE_URL": URL, "REDIS_URL": url})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["redis://there", "rediss://me:a%40b@there:1/2", "unix://%2Frun%2Fredis.sock?db=0", "redis://"],
)
def test_a_redis_url_is_kept_as_it_is(url: str) -> None:
    assert read_settings({"DATABASE_URL": URL, "REDIS_URL": url}).redis_url == url


@pytest.mark.parametrize(("text", "value"), [("off", False), ("Off", False), ("", None)])
def test_prepared_statements_are_a_switch_with_three_places(text: str, value: bool | None) -> None:
    environ = {"DATABASE_URL": URL, "CREDIT_PREPARED_STATEMENTS": text}
    assert read_settings(environ).prepared_statements is value
