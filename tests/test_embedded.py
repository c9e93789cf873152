"""The state folder and the embedded servers in it: what they refuse, and what they leave alone."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from credit_es import embedded
from credit_es.home import (
    EmbeddedError,
    Home,
    Running,
    hold,
    home_of,
    own_folder,
    running,
    sentences,
    write_record,
)
from tests.servers import RunningServer, temporary_home

pytestmark = pytest.mark.slow

RECORD = Running(pid=1, api_url="http://x", database_url="postgresql://x", redis_url="redis://x")


@pytest.fixture
def home() -> Iterator[Home]:
    with temporary_home() as home:
        yield home


def environ(home: Home) -> dict[str, str]:
    return {"CREDIT_STATE": str(home.path)}


def test_a_folder_that_is_there_keeps_its_mode(home: Home) -> None:
    parent = home.path.parent
    parent.chmod(0o751)
    home_of(parent, {"CREDIT_STATE": str(parent / "new" / "state")})
    assert parent.stat().st_mode & 0o777 == 0o751
    assert (parent / "new/state").is_dir()


def test_each_checkout_has_a_folder_of_its_own(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() or 1000)  # root's are under /var/lib
    told = {"XDG_STATE_HOME": str(home.path)}
    one, other = (home_of(home.path.parent / name, told) for name in ("one", "other"))
    assert one.path.parent == other.path.parent == home.path / "credit-es"
    assert one.path != other.path


def test_an_account_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 54_321)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # as in a container run under any number
    monkeypatch.delenv("HOME", raising=False)
    with pytest.raises(EmbeddedError, match="54321 has no home folder: set DATABASE_URL, or"):
        home_of(Path("checkout"), {})


def test_a_folder_that_somebody_put_in_the_way_is_refused(home: Home) -> None:
    (home.path / "elsewhere").mkdir()
    (home.path / "run").symlink_to(home.path / "elsewhere")
    with pytest.raises(EmbeddedError, match="is not a folder of this account"):
        own_folder(home.path / "run", owner=home.account)


def test_what_runs_is_told_only_while_the_lock_is_held(home: Home) -> None:
    write_record(home, RECORD)
    assert running(home.path, environ(home)) is None  # a stale record
    lock = hold(home, patience_s=0)
    assert lock is not None
    assert running(home.path, environ(home)) == RECORD
    assert (home.path / "running.json").stat().st_mode & 0o777 == 0o600
    os.close(lock)
    assert running(home.path, environ(home)) is None


def test_only_one_holds_the_lock_and_one_that_ends_is_waited_for(home: Home) -> None:
    holds = (
        "import sys, time; from pathlib import Path; from credit_es.home import Home, hold;"
        "assert hold(Home(Path(sys.argv[1]), None), patience_s=0); print('held', flush=True);"
        "time.sleep(float(sys.argv[2]))"
    )
    argv = [sys.executable, "-c", holds, str(home.path), "1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert hold(home, patience_s=0) is None
        lock = hold(home, patience_s=20)
        assert lock is not None
        os.close(lock)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "The disk is full at /there: free some, or set CREDIT_STATE"),
        (errno.EROFS, "/there cannot be used .*: set CREDIT_STATE to a folder that you may write"),
    ],
)
def test_what_the_system_refuses_becomes_a_sentence(number: int, sentence: str) -> None:
    with pytest.raises(EmbeddedError, match=sentence), sentences(Path("/somewhere")):
        raise OSError(number, os.strerror(number), "/there")


def test_data_of_another_major_version_are_left_alone(home: Home) -> None:
    embedded.postgres(home, durable=False)
    (home.path / "postgres/PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedError, match="made by Postgres 17 and this release brings 18"):
        embedded.postgres(home)


def test_an_interrupted_initdb_is_begun_anew_and_a_deep_folder_has_its_socket_elsewhere(
    home: Home,
) -> None:
    deep = home_of(home.path, {"CREDIT_STATE": str(home.path / ("deep" * 25))})
    half = deep.path / "postgres.new"
    half.mkdir()
    (half / "half").touch()
    server = RunningServer(embedded.postgres(deep, durable=False))
    server.start()
    try:
        with psycopg.connect(server.url) as connection:
            row = connection.execute("SELECT current_setting('data_checksums')").fetchone()
            folder = Path(connection.info.host)
    finally:
        server.stop()
    assert row == ("on",)
    assert not half.exists()
    assert deep.path not in folder.parents
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends the servers another account")
def test_the_servers_account_may_run_what_root_installed_for_itself_alone(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "closed"
    package.mkdir(mode=0o700)
    (package / "__init__.py").touch(mode=0o600)
    (package / "server").touch(mode=0o700)
    (tmp_path / "closed-1.dist-info").mkdir()
    (tmp_path / "closed-1.dist-info/METADATA").write_text("Name: closed\nVersion: 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    copy = embedded._software(home, "closed")
    made = (copy, copy / "__init__.py", copy / "server")
    assert [path.stat().st_mode & 0o777 for path in made] == [0o755, 0o644, 0o755]


def test_it_is_found_whatever_postgres_the_shell_is_set_up_for(
    private_postgres: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in {"PGHOST": "db", "PGPORT": "6000", "PGUSER": "me"}.items():
        monkeypatch.setenv(variable, value)
    assert embedded.postgres_problem(private_postgres.url) is None


def test_the_server_in_earnest_flushes_and_listens_on_its_socket_alone(
    private_postgres: RunningServer,
) -> None:
    with psycopg.connect(private_postgres.url) as connection:
        settings = {
            name: connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
            for name in ("fsync", "synchronous_commit", "full_page_writes", "listen_addresses")
        }
    assert settings == {
        "fsync": ("on",),
        "synchronous_commit": ("on",),
        "full_page_writes": ("on",),
        "listen_addresses": ("",),
    }
