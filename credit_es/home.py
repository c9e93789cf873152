"""The state folder of one checkout: where it is, whose it is, and what runs in it.

A ``Home`` is made as follows, with the account that the embedded servers run under::

    lock            held (flock) for as long as anything of a `credit-es run` lives
    running.json    what runs and where; worth nothing while the lock is free
    postgres/       the data folder          redis/      the append-only file
    postgres.log    what it says             redis.log
    run/            the two sockets          software/   the binaries, copied when root
"""

import errno
import fcntl
import hashlib
import os
import pwd
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

MIB: Final = 1024 * 1024
# Binaries, an empty database and its first write-ahead log; later only room to go on writing.
FIRST_SPACE: Final = 300 * MIB
LATER_SPACE: Final = 64 * MIB
SERVER_ACCOUNTS: Final = ("postgres", "nobody")


class EmbeddedError(Exception):
    """The embedded servers cannot run here; the message says why and what to do."""


class Home(Struct, frozen=True):
    """One folder of state and, when we are root, the lesser account that owns what is in it."""

    path: Path
    account: pwd.struct_passwd | None


class Running(Struct, frozen=True, kw_only=True):
    """What one `credit-es run` tells the commands of other terminals; ``pid`` is its supervisor."""

    pid: int
    api_url: str
    database_url: str
    redis_url: str


def home_of(checkout: Path, environ: Mapping[str, str]) -> Home:
    """Make or find the state folder of ``checkout``.

    ``CREDIT_STATE`` if it is set; else one folder a checkout, under /var/lib for root (the lesser
    account must be able to walk there) and under ``$XDG_STATE_HOME`` for anybody else.
    Raises ``EmbeddedError``.
    """
    path = _state_path(checkout, environ)
    account = _server_account()
    with sentences(path):
        _make_parents(path.parent, account)
        if account:
            _refuse_closed_parents(path, account)
        own_folder(path, owner=None, mode=0o755 if account else 0o700)
    return Home(path, account)


def hold(home: Home, *, patience_s: float) -> int | None:
    """Take the lock of ``home`` for the life of this process; None when another one keeps it.

    Waits ``patience_s`` for a supervisor that was killed: its guardian holds the lock until all
    that it had started is gone. For one that lives it waits only as long as a ``running`` looks.
    """
    with sentences(home.path):
        lock = os.open(home.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    since = time.monotonic()
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            record = _record(home.path)
            limit_s = 0.3 if record and _alive(record.pid) else patience_s
            if time.monotonic() - since > limit_s:
                os.close(lock)
                return None
            time.sleep(0.05)
        else:
            return lock


def write_record(home: Home, record: Running) -> None:
    """Tell the commands of other terminals what runs; only for the eyes of this account."""
    with sentences(home.path):
        aside = home.path / "running.json.new"
        aside.unlink(missing_ok=True)
        aside.touch(mode=0o600)
        aside.write_bytes(msgspec.json.encode(record))
        aside.rename(home.path / "running.json")


def forget_record(home: Home) -> None:
    """Nothing runs any more."""
    (home.path / "running.json").unlink(missing_ok=True)


def running(checkout: Path, environ: Mapping[str, str] = os.environ) -> Running | None:
    """What runs for ``checkout``; None when nothing does, whatever a stale record says."""
    path = _state_path(checkout, environ)
    try:
        lock = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _record(path)
    finally:
        os.close(lock)
    return None


def check_space(home: Home) -> None:
    """Raise ``EmbeddedError`` when the disk of ``home`` is too full to go on."""
    needed = LATER_SPACE if (home.path / "postgres").exists() else FIRST_SPACE
    free = shutil.disk_usage(home.path).free
    if free < needed:
        raise EmbeddedError(
            f"The disk is full: {free // MIB} MiB are free at {home.path} and {needed // MIB} are "
            "needed. Free some, or set CREDIT_STATE to a folder on another disk."
        )


@contextmanager
def sentences(path: Path) -> Iterator[None]:
    """Turn what the system refuses while ``path`` is prepared into a sentence of what to do."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            advice = f"The disk is full at {where}: free some, or set CREDIT_STATE to another disk."
        else:
            advice = (
                f"{where} cannot be used ({error.strerror}): "
                "set CREDIT_STATE to a folder that you may write to."
            )
        raise EmbeddedError(advice) from error


def _state_path(checkout: Path, environ: Mapping[str, str]) -> Path:
    if environ.get("CREDIT_STATE"):
        return Path(environ["CREDIT_STATE"]).absolute()
    key = hashlib.sha256(str(checkout.resolve()).encode()).hexdigest()[:10]
    if os.geteuid() == 0:
        return Path("/var/lib/credit-es") / key
    return Path(environ.get("XDG_STATE_HOME") or _default_state()) / "credit-es" / key


def _default_state() -> Path:
    try:
        return Path.home() / ".local/state"
    except RuntimeError as error:  # in a container, say, that runs under a number without a name
        raise EmbeddedError(
            f"The account with the number {os.geteuid()} has no home folder: set DATABASE_URL, or "
            "CREDIT_STATE to a folder that it may write to."
        ) from error


def _server_account() -> pwd.struct_passwd | None:
    """Postgres refuses to run as root, so root lends it an account that can do less."""
    if os.geteuid() != 0:
        return None
    for name in SERVER_ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedError(
        "Postgres refuses to run as root and there is neither a `postgres` nor a `nobody` account "
        "to run it under: start as another user, or set DATABASE_URL and REDIS_URL to servers."
    )


def _make_parents(path: Path, account: pwd.struct_passwd | None) -> None:
    """Create what is missing; a folder that is there already keeps its mode, whosever it is."""
    if not path.exists():
        _make_parents(path.parent, account)
        own_folder(path, owner=None, mode=0o755 if account else 0o700)


def own_folder(path: Path, *, owner: pwd.struct_passwd | None, mode: int = 0o700) -> Path:
    """Create a folder, or check that the one there is ours: nobody may have put it in our way."""
    try:
        path.mkdir(mode=mode)
        path.chmod(mode)  # mkdir's mode is cut by the umask
    except FileExistsError:
        mine = {os.geteuid(), owner.pw_uid if owner else os.geteuid()}
        if path.is_symlink() or not path.is_dir() or path.stat().st_uid not in mine:
            raise EmbeddedError(
                f"{path} is there already and is not a folder of this account: move it away, or "
                "set CREDIT_STATE to another folder."
            ) from None
    if owner:
        os.chown(path, owner.pw_uid, owner.pw_gid)
    return path


def _refuse_closed_parents(path: Path, account: pwd.struct_passwd) -> None:
    for parent in path.parents:
        status = parent.stat()
        bit = 0o001
        if status.st_uid == account.pw_uid:
            bit = 0o100
        elif status.st_gid == account.pw_gid:
            bit = 0o010
        if not status.st_mode & bit:
            raise EmbeddedError(
                f"{parent} is closed to the account `{account.pw_name}` that Postgres runs under: "
                "set CREDIT_STATE to a folder under /var/lib, or start as another user."
            )


def _record(path: Path) -> Running | None:
    try:
        return msgspec.json.decode((path / "running.json").read_bytes(), type=Running)
    except FileNotFoundError:
        return None  # it is only just starting


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
