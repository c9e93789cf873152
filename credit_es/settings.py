"""The environment, read once into one frozen ``Settings``."""

import os
import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

REDIS_SCHEMES: Final = {"redis", "rediss"}
SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,40}")
MIB: Final = 1024 * 1024


class SettingsError(Exception):
    """A variable that cannot be used; the message says which, and what would be right."""


class Settings(Struct, frozen=True, kw_only=True):
    """What one process is told; the field's name in capitals is the variable's, save for a prefix.

    ``database_read_url`` is empty where everything is read on the primary. ``first_number`` is the
    first customer and loan number given out here; lower ones are the lender's own. Sizes are bytes,
    times seconds.
    """

    database_url: str
    database_direct_url: str
    redis_url: str
    schema: str = "credit"
    policy: str = "standard"
    timezone: ZoneInfo = ZoneInfo("UTC")
    first_number: int = 10_000_001
    upload_limit: int = 32 * MIB
    prepared_statements: bool | None = None
    database_read_url: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    api_workers: int = 2
    api_threads: int = 8
    sample_data: bool = True

    def today(self) -> date:
        """The business date."""
        return datetime.now(self.timezone).date()


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read ``environ``; raises ``SettingsError`` at the first variable that cannot be used."""
    database_url = environ.get("DATABASE_URL", "").strip()
    if not database_url:
        raise SettingsError(
            "DATABASE_URL is not set and no service of this checkout is running: start one with "
            "`make run`, or set DATABASE_URL to a Postgres URL."
        )
    return Settings(
        database_url=database_url,
        database_direct_url=environ.get("DATABASE_DIRECT_URL") or database_url,
        database_read_url=environ.get("DATABASE_READ_URL", ""),
        redis_url=_redis_url(environ.get("REDIS_URL", "")),
        schema=_schema(environ.get("CREDIT_SCHEMA", "credit")),
        policy=environ.get("CREDIT_POLICY") or "standard",
        timezone=read_timezone(environ),
        first_number=_whole(environ, "CREDIT_FIRST_NUMBER", default=10_000_001, most=10**12),
        upload_limit=_whole(environ, "CREDIT_UPLOAD_LIMIT_MIB", default=32, most=1024) * MIB,
        prepared_statements=_switch(environ, "CREDIT_PREPARED_STATEMENTS"),
        host=environ.get("HOST") or "127.0.0.1",
        port=_whole(environ, "PORT", default=8000, most=65535),
        api_workers=_whole(environ, "CREDIT_API_WORKERS", default=2, most=64),
        api_threads=_whole(environ, "CREDIT_API_THREADS", default=8, most=64),
        sample_data=_sample_data(environ.get("CREDIT_SAMPLE_DATA") or "1"),
    )


def _redis_url(url: str) -> str:
    """It is not repeated where it is refused: it may hold a password."""
    try:
        parts = urlsplit(url)
        told = parts.scheme == "unix" or (parts.scheme in REDIS_SCHEMES and parts.port != 0)
    except ValueError:  # of a port that is no number
        told = False
    if url and not told:
        raise SettingsError(
            "REDIS_URL cannot be read: write redis://user:password@host:6379/0, rediss://... with "
            "TLS, or unix:///path/of/the.socket; with %40 for an @ inside of a part."
        )
    return url


def _schema(name: str) -> str:
    if not SCHEMA.fullmatch(name):
        raise SettingsError(
            f"CREDIT_SCHEMA is {name!r}: use up to 41 lower-case letters, digits and underscores."
        )
    return name


def read_timezone(environ: Mapping[str, str] = os.environ) -> ZoneInfo:
    """Whose date "today" is, for what needs no database; raises ``SettingsError``."""
    name = environ.get("CREDIT_TIMEZONE") or "UTC"
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise SettingsError(
            f"CREDIT_TIMEZONE is {name!r}: use an IANA name such as Asia/Kolkata or UTC."
        ) from None


def _whole(environ: Mapping[str, str], name: str, *, default: int, most: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise SettingsError(f"{name} is {text!r}: use a whole number from 1 to {most}.")
    return int(text)


def _sample_data(text: str) -> bool:
    """What is recorded stays, so that a `no` must not pass for a yes."""
    if text not in {"0", "1"}:
        raise SettingsError(f"CREDIT_SAMPLE_DATA is {text!r}: use 0 for no sample workbooks, or 1.")
    return text == "1"


def _switch(environ: Mapping[str, str], name: str) -> bool | None:
    text = environ.get(name, "").lower()
    if text not in {"", "on", "off"}:
        raise SettingsError(f"{name} is {text!r}: use on, off, or nothing to have it recognised.")
    return {"on": True, "off": False}.get(text)
