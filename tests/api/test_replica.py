"""Lists, reports and audits on a real standby, which may be late: no answer says otherwise."""

import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier
from typer.testing import CliRunner

from api.app import Services, connect
from credit_es.audit.logs import Logs
from credit_es.cli.context import CommandError, ExitCode
from credit_es.cli.main import app
from credit_es.settings import Settings
from credit_es.store.log import Log
from credit_es.store.recorder import LogRecorder
from credit_es.store.replica import Replica, ReplicaRecorder
from tests.api.client import PERSON, Api, environment_of, settings_of
from tests.api.test_ingestions import history, work
from tests.api.test_problems import check_problem
from tests.servers import RunningServer, either, running_standby
from tests.store.given import stored

pytestmark = pytest.mark.slow

FIND = f"/customers?phone_number={PERSON['phone_number']}"
NOT_LATE = {"events": 0, "seconds": 0.0}


class Standby:
    """A standby of the tests' Postgres that a test may hold back."""

    def __init__(self, primary: RunningServer, server: RunningServer) -> None:
        self._primary = primary
        self.server = server
        self.url = server.url
        self.or_primary = either(server, primary)

    def catch_up(self) -> None:
        """Wait until it has all that the primary has."""
        with psycopg.connect(self._primary.url, autocommit=True) as conn:
            row = conn.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        self._wait("SELECT pg_last_wal_replay_lsn() >= %s", row or ())

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """It has all until now, and nothing of what comes."""
        self.catch_up()
        self.server.sql("SELECT pg_wal_replay_pause()")
        self._wait("SELECT pg_get_wal_replay_pause_state() = 'paused'", ())
        try:
            yield
        finally:
            self.server.sql("SELECT pg_wal_replay_resume()")
        self.catch_up()

    def _wait(self, question: str, values: tuple[object, ...]) -> None:
        deadline = time.monotonic() + 20
        with psycopg.connect(self.url, autocommit=True) as conn:
            while conn.execute(question.encode(), values).fetchone() != (True,):
                assert time.monotonic() < deadline, question
                time.sleep(0.01)


@pytest.fixture(scope="module")
def standby(postgres: RunningServer) -> Iterator[Standby]:
    with running_standby(postgres, durable=False) as server:
        yield Standby(postgres, server)


@pytest.fixture
def told(database_url: str, tables: str, redis_url: str, standby: Standby) -> Settings:
    standby.catch_up()
    return settings_of(database_url, tables, redis_url, DATABASE_READ_URL=standby.url)


@pytest.fixture
def services(told: Settings) -> Iterator[Services]:
    one = connect(told, pool_size=4)
    yield one
    one.close()


def asked_of_the_replica(services: Services) -> int:
    """How many connections to it were asked for until now."""
    assert services.replica is not None
    return services.replica.database.pool.get_stats().get("requests_num", 0)


def test_a_list_may_be_late_and_says_how_late(
    api: Api, told: Settings, standby: Standby, project: Callable[[], None]
) -> None:
    several = told_to_read(told, standby.or_primary)
    first = api.register()
    project()
    with standby.held_back():
        second = api.register()
        project()
        answered = api.get(FIND).json
        assert [one["customer_id"] for one in answered["customers"]] == [first]
        assert answered["lag"]["events"] == 1
        assert answered["lag"]["seconds"] > 0
        assert api.get("/reviews").json["lag"]["events"] == 1
        assert Api(several).get(FIND).json["lag"]["events"] == 1  # of the first of its hosts
    several.close()
    answered = api.get(FIND).json
    assert [one["customer_id"] for one in answered["customers"]] == [first, second]
    assert answered["lag"] == api.get("/reviews").json["lag"] == NOT_LATE


def test_what_is_asked_about_one_is_never_late(api: Api, standby: Standby) -> None:
    with standby.held_back():
        customer = api.register()
        granted = api.apply(customer).json
        ingestion = api.upload(history()).json["ingestion_id"]
        for path in (
            f"/customers/{customer}",
            f"/customers/{customer}/decisions",
            f"/view-loans/{customer}",
            f"/view-loan/{granted['loan_id']}",
            f"/decisions/{granted['decision_id']}",
            f"/ingestions/{ingestion}",
        ):
            assert api.get(path).status_code == 200, path
        listed = api.get("/ingestions").json["ingestions"]
        assert [one["ingestion_id"] for one in listed] == [ingestion]


def test_a_report_is_read_on_the_replica_once_that_knows_of_the_end(
    api: Api, standby: Standby, services: Services
) -> None:
    with standby.held_back():
        ingestion = api.upload(history(bad_rows=3)).json["ingestion_id"]
        work(api, ingestion)
        early = api.get(f"/ingestions/{ingestion}/report.xlsx")
        assert early.status_code == 200
    before = asked_of_the_replica(services)
    late = api.get(f"/ingestions/{ingestion}/report.xlsx")
    assert asked_of_the_replica(services) == before + 1
    assert sheets(late.content) == sheets(early.content)


def sheets(workbook: bytes) -> list[bytes]:
    """What stands in a workbook, without the time at which it was made."""
    with zipfile.ZipFile(BytesIO(workbook)) as members:
        return [members.read(name) for name in members.namelist() if "sheet" in name]


def test_without_the_replica_its_answers_are_503_and_all_others_go_on(
    api: Api, told: Settings, standby: Standby
) -> None:
    customer = api.register()
    standby.server.stop()
    try:
        problem = check_problem(api.get(FIND), 503)
        assert problem["detail"].startswith("The read replica does not answer now")
        assert api.get(f"/customers/{customer}").status_code == 200
        ready = api.get("/health/ready")
        assert ready.status_code == 200
        assert "replica" in ready.json["degraded"]
        both = told_to_read(told, standby.or_primary)
        try:
            assert Api(both).get(FIND).status_code == 200  # of the second host, the primary
        finally:
            both.close()
    finally:
        standby.server.start()
    deadline = time.monotonic() + 10
    while api.get(FIND).status_code != 200:
        assert time.monotonic() < deadline
    assert "replica" not in api.get("/health/ready").json["degraded"]


def told_to_read(told: Settings, url: str) -> Services:
    return connect(
        settings_of(told.database_url, told.schema, told.redis_url, DATABASE_READ_URL=url),
        pool_size=1,
    )


def test_an_audit_is_read_on_the_replica_and_what_that_lacks_on_the_primary(
    api: Api,
    told: Settings,
    standby: Standby,
    project: Callable[[], None],
    tmp_path: Path,
) -> None:
    with_replica = environment_of(
        told.database_url, told.schema, told.redis_url, DATABASE_READ_URL=standby.url
    )
    without = {**with_replica, "DATABASE_READ_URL": ""}
    customer = api.register()
    project()
    with standby.held_back(), psycopg.connect(told.database_url, autocommit=True) as conn:
        decision = api.apply(customer).json["decision_id"]
        assert run("explain", decision, "--json", env=with_replica) == ExitCode.OK
        assert run("explain", f"{customer}-3", env=with_replica) == ExitCode.NOT_FOUND
        tampered = SQL("UPDATE {}.customers_v1 SET first_name = 'Eve'")
        conn.execute(tampered.format(Identifier(told.schema)))
        for verify in (("projections", "verify"), ("audit", "verify")):
            assert run(*verify, env=with_replica) == ExitCode.OK
            assert run(*verify, env=without) == ExitCode.VERIFICATION_FAILED
        portfolio = ("audit", "as-of", "2026-01-31", "portfolio")
        assert run(*portfolio, env=with_replica) == ExitCode.OK
        exported = ("audit", "export", str(tmp_path / "export"))
        assert run(*exported, env=with_replica) == ExitCode.OK
        facts = (tmp_path / "export" / "facts.jsonl").read_text()
        assert "CustomerRegistered" in facts
        assert "LoanApproved" not in facts  # which the replica does not know yet
        assert run("audit", "import-check", exported[2], env=with_replica) == ExitCode.OK
    assert run("projections", "verify", env=with_replica) == ExitCode.VERIFICATION_FAILED
    with standby.held_back(), psycopg.connect(told.database_url, autocommit=True) as conn:
        altered = SQL("UPDATE {}.events SET state = '' WHERE topic = 'credit.CustomerRegistered'")
        conn.execute(altered.format(Identifier(told.schema)))
        assert run("explain", "--all", env=without) == ExitCode.VERIFICATION_FAILED
        for whole in (("explain", "--all"), ("audit", "backtest", "literal")):
            assert run(*whole, env=with_replica) == ExitCode.OK


def test_the_index_that_searches_ask_is_kept_on_the_primary(
    api: Api, told: Settings, standby: Standby
) -> None:
    customer = api.register()
    assert api.get(f"/audit/facts?customer_id={customer}").json["facts"] == []
    with_replica = environment_of(
        told.database_url, told.schema, told.redis_url, DATABASE_READ_URL=standby.url
    )
    assert run("projections", "reindex", env=with_replica) == ExitCode.OK
    standby.catch_up()
    answered = api.get(f"/audit/facts?customer_id={customer}").json
    assert [fact["kind"] for fact in answered["facts"]] == ["CustomerRegistered"]
    assert answered["lag"] == NOT_LATE
    with standby.held_back():
        api.register()
        assert api.get("/audit/facts").json["lag"]["events"] == 1


def test_auditors_are_answered_by_the_replica_which_says_how_late_it_is(
    api: Api, services: Services, standby: Standby, project: Callable[[], None]
) -> None:
    customer = api.register()
    granted = api.apply(customer).json
    loan, decision = granted["loan_id"], granted["decision_id"]
    today = services.lending.today()
    about_one = (
        f"/audit/history/customer/{customer}",
        f"/audit/history/loan/{loan}",
        f"/audit/as-of/{today}/customer/{customer}",
        f"/audit/as-of/{today}/loan/{loan}",
        f"/audit/diff/{today}/{today}/customer/{customer}",
        f"/audit/explain/{decision}",
    )
    about_all = (
        "/audit/explain",
        "/audit/backtest?policy=literal",
        f"/audit/as-of/{today}/portfolio",
        "/audit/verify",
    )
    project()
    with standby.held_back():
        known = services.lending.reader.head().safe
        api.apply(customer, 20_000)  # of which the standby knows nothing
        for path in about_one:
            before = asked_of_the_replica(services)
            answered = api.get(path)
            assert answered.status_code == 200, answered.text
            assert answered.json["lag"]["events"] == 2, path
            assert answered.json["lag"]["seconds"] > 0
            assert asked_of_the_replica(services) > before, path
        for path in about_all:
            told = api.get(path).json
            assert told.get("position", told.get("as_known_now", {}).get("position")) == known
        before = asked_of_the_replica(services)
        assert f"credit-es-{known}-" in api.get("/audit/export").headers["Content-Disposition"]
        assert asked_of_the_replica(services) > before
        late = api.register()
        answered = api.get(f"/audit/history/customer/{late}")  # of the primary: it is not late
        assert [fact["kind"] for fact in answered.json["facts"]] == ["CustomerRegistered"]
        assert answered.json["lag"] == NOT_LATE
        assert api.get(f"/audit/history/customer/{late + 1}").status_code == 404
    project()
    standby.catch_up()
    assert api.get(about_one[0]).json["lag"] == NOT_LATE


def test_an_auditor_is_told_at_least_what_the_lag_says_that_is_told(
    api: Api, services: Services, standby: Standby, project: Callable[[], None]
) -> None:
    """Whatever the replica hears of while it answers."""

    def question(log: Log) -> int:
        found = log.head().last
        api.register()
        project()
        standby.catch_up()
        return found

    found, behind = Logs(primary=services.lending.reader, replica=services.replica).ask(question)
    assert (found, behind.events) == (0, 1)


def run(*command: str, env: dict[str, str]) -> int:
    """What a command answers to the shell."""
    result = CliRunner().invoke(app, command, env=env)
    if isinstance(result.exception, CommandError):
        return result.exception.code
    if result.exception:
        raise result.exception
    return result.exit_code


def test_the_log_on_a_replica_ends_where_the_projector_was_so_nothing_is_passed(
    told: Settings, services: Services, standby: Standby, project: Callable[[], None]
) -> None:
    """The control reads up to the standby's own head, and passes what is not there yet."""
    replica = Replica(standby.url, schema=told.schema)
    naive, log = Log(LogRecorder(replica)), Log(ReplicaRecorder(replica))
    recorder = services.lending.recorder
    try:
        with psycopg.connect(told.database_url, autocommit=True) as conn:
            with conn.transaction():
                append(conn, told.schema)
                recorder.insert_events([stored(uuid4(), topic="credit.IngestionRequested")])
                project()
                standby.catch_up()
                assert positions(naive) == [2]
                assert positions(log) == []
            project()
        standby.catch_up()
        assert positions(log) == [1, 2]
        assert log.head().safe == 2
        assert positions(naive, after=2) == []  # the first one is never seen
    finally:
        replica.close()


def append(conn: Connection[TupleRow], schema: str) -> None:
    statement = SQL("SELECT {}.append(%s, %s::int8[], %s, %s)").format(Identifier(schema))
    conn.execute(statement, ([uuid4()], [1], ["credit.IngestionRequested"], [b"{}"]))


def positions(log: Log, after: int = 0) -> list[int]:
    return [event.id for batch in log.tail(after) for event in batch]
