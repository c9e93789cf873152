"""``credit-es migrate --citus``: what it asks of Citus, in which order, with which arguments.

No Citus is here. A stand-in extension has functions and tables with the names and arguments of the
real one's (12 to 14) that keep a record of what was called: it shows our calls, and that they
parse. What ran on a real Citus is said in docs/scaling.md.
"""

import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import psycopg
import pytest
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from typer.testing import CliRunner

from credit_es.cli import context
from credit_es.cli.main import app
from credit_es.store.citus import PREPARE, require_citus
from credit_es.store.migrations import MigrationError, lacking
from tests.api.client import prepare
from tests.servers import running_postgres

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text("utf-8")
STAND_IN = """
CREATE SCHEMA stand_in;
CREATE TABLE stand_in.calls (n serial, call text);
CREATE TABLE pg_catalog.pg_dist_schema (schemaid oid PRIMARY KEY, colocationid int);
CREATE TABLE pg_catalog.citus_shards (table_name regclass, nodename text, nodeport int);
CREATE FUNCTION pg_catalog.citus_schema_distribute(schemaname regnamespace) RETURNS void
LANGUAGE plpgsql AS $f$ BEGIN
    IF current_setting('citus.enable_unsafe_triggers', true) IS DISTINCT FROM 'on' THEN
        RAISE EXCEPTION 'cannot distribute relation because it has triggers';
    END IF;
    INSERT INTO stand_in.calls (call) VALUES (format('distribute %s', schemaname));
    INSERT INTO pg_catalog.pg_dist_schema VALUES (schemaname::oid, 1);
    INSERT INTO pg_catalog.citus_shards
        SELECT c.oid::regclass, '@node@', @port@ FROM pg_class c
        WHERE c.relnamespace = schemaname::oid AND c.relkind = 'r';
END $f$;
CREATE FUNCTION pg_catalog.create_distributed_function(
    function_name regprocedure, distribution_arg_name text DEFAULT NULL,
    colocate_with text DEFAULT 'default', force_delegation bool DEFAULT NULL
) RETURNS void LANGUAGE plpgsql AS $f$ BEGIN
    PERFORM colocate_with::regclass;
    INSERT INTO stand_in.calls (call)
        VALUES (format('delegate %s with %s', function_name, colocate_with));
END $f$;
"""


class Cluster:
    """A coordinator and a node that are two databases of one server; dropped with the test."""

    def __init__(self, url: str, node: str) -> None:
        self.url = url
        self.node = node
        self.schema = f"test_{secrets.token_hex(6)}"

    def calls(self) -> list[str]:
        with self.coordinator() as conn:
            rows = conn.execute("SELECT call FROM stand_in.calls ORDER BY n").fetchall()
        return [call.replace(self.schema, "credit") for (call,) in rows]

    def coordinator(self) -> Connection[TupleRow]:
        return psycopg.connect(self.url, autocommit=True)


@pytest.fixture
def plain(database_url: str) -> Iterator[str]:
    """A database without anything."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
        yield make_conninfo(database_url, dbname=name)
        conn.execute(f"DROP DATABASE {name} (FORCE)".encode())


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the server's account may read."""
    with tempfile.TemporaryDirectory(prefix="credit-es-tests-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def cluster(plain: str, folder: Path) -> Cluster:
    """The stand-in; the node that holds the schema is the server itself."""
    given = conninfo_to_dict(plain)
    node = unquote(str(given["host"]))
    return install(plain, folder, node, version="13.0-1")


def install(url: str, folder: Path, node: str, *, version: str) -> Cluster:
    where = folder / "extension"
    where.mkdir(mode=0o755)
    script = STAND_IN.replace("@node@", node).replace("@port@", "5432")
    (where / f"citus--{version}.sql").write_text(script)
    (where / "citus.control").write_text(f"default_version = '{version}'\nschema = 'pg_catalog'\n")
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"SET extension_control_path = '{folder}:$system'".encode())
        conn.execute("SET allow_system_table_mods = on")
        conn.execute("CREATE EXTENSION citus")
    return Cluster(url, node)


def migrate(url: str, schema: str) -> tuple[int, str]:
    environment = {"DATABASE_URL": url, "DATABASE_DIRECT_URL": "", "CREDIT_SCHEMA": schema}
    with pytest.MonkeyPatch.context() as patch:
        # What a process of its own does to itself, and this one must not do.
        patch.setattr(context, "log_as", lambda _: None)
        patch.setattr(context, "entitle", lambda _: None)
        ran = CliRunner().invoke(app, ["migrate", "--citus"], env=environment)
    return ran.exit_code, ran.output if ran.exception is None else str(ran.exception)


def test_without_citus_it_says_what_to_do_and_changes_nothing(plain: str) -> None:
    code, said = migrate(plain, "credit")
    assert code == 1
    for where, step in PREPARE:
        assert where in said
        assert step in said
    with psycopg.connect(plain) as conn:
        assert conn.execute("SELECT to_regnamespace('credit')").fetchone() == (None,)


def test_it_migrates_then_distributes_then_delegates_what_is_called(cluster: Cluster) -> None:
    code, said = migrate(cluster.url, cluster.schema)
    assert code == 0, said
    with cluster.coordinator() as conn:
        assert lacking(conn, cluster.schema) == []
    calls = cluster.calls()
    assert calls[0] == "distribute credit"
    assert "delegate credit.append(uuid[],bigint[],text[],bytea[]) with credit.events" in calls
    assert "delegate credit.safe_position(bigint) with credit.events" in calls
    assert not [call for call in calls if "events_floor" in call or "events_number" in call]
    assert all(call.startswith("delegate credit.") for call in calls[1:])


def test_again_it_distributes_nothing_twice(cluster: Cluster) -> None:
    migrate(cluster.url, cluster.schema)
    first = cluster.calls()
    code, _ = migrate(cluster.url, cluster.schema)
    assert code == 0
    assert cluster.calls()[len(first) :] == first[1:]


def test_what_it_prints_is_what_it_runs_and_what_the_docs_say(cluster: Cluster) -> None:
    _, said = migrate(cluster.url, cluster.schema)
    plainly = said.replace(f'"{cluster.schema}"', "credit").replace(cluster.schema, "credit")
    printed = re.findall(r"^(?:coordinator|\S+:\d+): (.*;)$", plainly, re.MULTILINE)
    written = re.search(r"prints\neach statement .*?```sql\n(.*?)```", PAGE, re.DOTALL)
    assert written
    assert printed == written[1].splitlines()
    calls = [text for text in printed if "create_distributed_function" in text]
    assert len(calls) == len(cluster.calls()) - 1
    for _, step in PREPARE:
        assert step.removesuffix(";") in PAGE


def test_triggers_of_a_distributed_log_keep_out_of_replication(cluster: Cluster) -> None:
    """A move copies rows by logical replication, and they keep their positions."""
    migrate(cluster.url, cluster.schema)
    question = "SELECT tgenabled FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal"
    with cluster.coordinator() as conn:
        found = conn.execute(question, (f"{cluster.schema}.events",)).fetchall()
    assert found == [("O",), ("O",)]


def test_a_schema_that_is_distributed_from_its_birth_gets_its_triggers(cluster: Cluster) -> None:
    """With ``citus.enable_schema_based_sharding`` on, where Citus refuses triggers at once."""
    with cluster.coordinator() as conn:
        conn.execute(
            "CREATE FUNCTION stand_in.refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF current_setting('citus.enable_unsafe_triggers', true) IS DISTINCT FROM 'on' THEN"
            " RAISE EXCEPTION 'triggers are not supported on distributed tables'; END IF; END $$"
        )
        conn.execute(
            "CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE TRIGGER')"
            " EXECUTE FUNCTION stand_in.refuse()"
        )
        code, said = migrate(cluster.url, cluster.schema)
        assert code == 0, said
        with pytest.raises(psycopg.errors.RaiseException, match="not supported"):  # the control
            conn.execute(
                f"CREATE TRIGGER more BEFORE INSERT ON {cluster.schema}.events"
                f" FOR EACH ROW EXECUTE FUNCTION {cluster.schema}.events_number()".encode()
            )


def test_the_sequence_of_the_owning_node_goes_forward_only(cluster: Cluster) -> None:
    insert = f"INSERT INTO {cluster.schema}.events VALUES (NULL, gen_random_uuid(), 1, 't', '')"
    last = f"SELECT last_value FROM {cluster.schema}.log_position"
    migrate(cluster.url, cluster.schema)
    with cluster.coordinator() as conn:
        for _ in range(3):
            conn.execute(insert.encode())
        # As on a node that the schema has just been moved to, whose own sequence knows nothing.
        conn.execute(f"DROP SEQUENCE {cluster.schema}.log_position".encode())
        migrate(cluster.url, cluster.schema)
        assert conn.execute(last.encode()).fetchone() == (3,)
        assert conn.execute(insert.encode() + b" RETURNING position").fetchone() == (4,)
        # A rebuild recorded the head, beyond the last event: what comes must come after it.
        conn.execute(f"UPDATE {cluster.schema}.read_tables SET position = 7".encode())
        conn.execute(f"DROP SEQUENCE {cluster.schema}.log_position".encode())
        migrate(cluster.url, cluster.schema)
        assert conn.execute(insert.encode() + b" RETURNING position").fetchone() == (8,)
        conn.execute(f"ALTER SEQUENCE {cluster.schema}.log_position RESTART 900".encode())
        migrate(cluster.url, cluster.schema)
        assert conn.execute(last.encode()).fetchone() == (900,)


def test_the_owning_node_gives_out_what_comes_after_all_that_was_given_out_here(
    plain: str, folder: Path
) -> None:
    """Numbers that an append took and rolled back stand in no table: a reader may be past them."""
    with running_postgres(durable=False) as node:
        there = make_conninfo(plain, host=conninfo_to_dict(node.url)["host"])
        node.sql(f"CREATE DATABASE {conninfo_to_dict(plain)['dbname']}")
        cluster = install(plain, folder, str(conninfo_to_dict(node.url)["host"]), version="13.0-1")
        prepare(cluster.url, cluster.schema)
        with cluster.coordinator() as conn, psycopg.connect(there, autocommit=True) as owning:
            for _ in range(5):
                conn.execute(f"SELECT nextval('{cluster.schema}.log_position')".encode())
            owning.execute(f"CREATE SCHEMA {cluster.schema}".encode())
            code, said = migrate(cluster.url, cluster.schema)
            assert code == 0, said
            given = f"SELECT nextval('{cluster.schema}.log_position')"
            assert owning.execute(given.encode()).fetchone() == (6,)


def test_a_node_that_cannot_be_reached_is_named_with_what_to_run_there(
    plain: str, folder: Path
) -> None:
    cluster = install(plain, folder, "/nowhere", version="14.1-1")
    code, said = migrate(cluster.url, cluster.schema)
    assert code == 1
    assert "does not answer" in said
    assert f'CREATE SEQUENCE IF NOT EXISTS "{cluster.schema}".log_position CACHE 1;' in said


def test_a_citus_without_distributed_schemas_is_refused(plain: str, folder: Path) -> None:
    install(plain, folder, "here", version="11.3-2")
    with pytest.raises(MigrationError, match="update it to 12 or newer"):
        require_citus(plain)


def test_the_stand_in_refuses_triggers_as_citus_does(cluster: Cluster) -> None:
    """The control of the order."""
    migrate(cluster.url, cluster.schema)
    with (
        cluster.coordinator() as conn,
        pytest.raises(psycopg.errors.RaiseException, match="has triggers"),
    ):
        conn.execute("SELECT citus_schema_distribute('public')")
