"""``credit-es projections status`` names who holds the tail, as far as the server tells."""

import psycopg
import pytest

from credit_es.cli.projections import status as status_command
from tests.api.client import prepare
from tests.servers import RunningServer

pytestmark = pytest.mark.slow

INSERT = b"INSERT INTO credit.events VALUES (NULL, gen_random_uuid(), 1, 't', '')"
ROLES = (
    "CREATE ROLE clerk LOGIN",
    "CREATE ROLE another LOGIN",
    "GRANT USAGE ON SCHEMA credit TO clerk, another",
    "GRANT ALL ON ALL TABLES IN SCHEMA credit TO clerk, another",
    "GRANT ALL ON ALL SEQUENCES IN SCHEMA credit TO clerk, another",
)


@pytest.fixture
def server(private_postgres: RunningServer, monkeypatch: pytest.MonkeyPatch) -> RunningServer:
    prepare(private_postgres.url, "credit")
    monkeypatch.setenv("DATABASE_URL", private_postgres.url)
    return private_postgres


def test_of_another_roles_writer_the_process_is_named(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.sql(*ROLES)
    monkeypatch.setenv("DATABASE_URL", server.url.replace("credit@", "clerk@"))
    with psycopg.connect(server.url.replace("credit@", "another@")) as writer:
        writer.execute(INSERT)
        status_command(as_json=False)
        writer.rollback()
        pid = writer.info.backend_pid
    assert f"waits for process {pid} of another role (pg_read_all" in capsys.readouterr().out


def test_a_prepared_transaction_is_named_though_it_has_no_process(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.sql("ALTER SYSTEM SET max_prepared_transactions = 1")
    server.stop()
    server.start()
    with psycopg.connect(server.url) as conn:
        conn.execute(INSERT)
        conn.execute("PREPARE TRANSACTION 'left alone'")
    status_command(as_json=False)
    assert "waits for a prepared transaction of pg_prepared_xacts" in capsys.readouterr().out
