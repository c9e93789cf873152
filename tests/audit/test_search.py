"""Facts found by who, what, when, about whom, how much and why, from an index behind the log."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import structlog
from typer.testing import CliRunner

from credit_es.application import By, Lending
from credit_es.audit.search import Page, UnknownKindError, find, topic_of
from credit_es.cli.main import app
from credit_es.domain.events import CustomerRegistered, RepaymentReversed
from credit_es.domain.repaying import Repay
from credit_es.servicing import Servicing
from credit_es.store.database import in_schema
from credit_es.store.log import Log
from credit_es.store.mapper import TOPICS, topic
from credit_es.store.recorder import Tailed
from projections.facts import MOVE, FactIndex, Wanted
from projections.rebuild import rebuilder
from tests.api.client import Api, environment_of, settings_of
from tests.domain.facts import registered
from tests.processes import until
from tests.store.given import ASHA, asks, person, settings

OFFICER = By(actor="officer", correlation_id="a")
CLERK = By(actor="clerk", correlation_id="b")


@pytest.fixture
def lending(database_url: str, schema: str) -> Iterator[Lending]:
    one = Lending(settings(database_url, schema), pool_size=2)
    who = one.register(ASHA, OFFICER).customer_number
    one.apply_for_loan(asks(who, "5000000.00"), OFFICER)
    loan = one.apply_for_loan(asks(who, "10000.00"), CLERK).decision.loan_number
    assert loan
    servicing = Servicing(one)
    money = Repay(loan_number=loan, amount=Decimal("100.50"), paid_on=one.today())
    repaid = servicing.repay(money, CLERK)
    servicing.reverse(loan, repaid.repayment_id, "typed twice", OFFICER)
    one.register(person(first_name="Bela"), CLERK)
    yield one
    one.close()


@pytest.fixture
def index(lending: Lending, database_url: str, schema: str) -> Iterator[FactIndex]:
    with psycopg.connect(database_url, autocommit=True) as conn:
        one = FactIndex(conn, lending.reader, schema)
        while one.step():
            pass
        yield one


def ask(lending: Lending, **wanted: Any) -> list[str]:
    return [fact.kind for fact in page(lending, **wanted).facts]


def page(lending: Lending, *, before: int | None = None, limit: int = 50, **wanted: Any) -> Page:
    log = lending.reader
    return find(log, log, Wanted(**wanted), before=before, limit=limit)


@pytest.mark.usefixtures("index")
def test_facts_are_found_by_each_of_their_features(lending: Lending) -> None:
    everything = ask(lending)
    assert len(everything) == sum(len(batch) for batch in lending.reader.tail(0))
    assert everything[0] == "CustomerRegistered"
    assert ask(lending, actor="clerk", customer_number=10_000_001) == [
        "RepaymentReceived",
        "LoanOpened",
        "LoanApproved",
    ]
    assert ask(lending, topic=topic_of("LoanDeclined")) == ["LoanDeclined"]
    assert ask(lending, reason="OVER_LIMIT") == ["LoanDeclined"]
    assert ask(lending, reason="typed twice") == ["RepaymentReversed"]
    assert ask(lending, amount_from=Decimal("100.50"), amount_to=Decimal("100.50")) == [
        "LoanBurdenRaised",
        "RepaymentReversed",
        "RepaymentReceived",
    ]
    today = lending.today()
    assert ask(lending, occurred_from=today, occurred_to=today) == everything
    assert ask(lending, occurred_from=today + timedelta(days=1)) == []
    first = page(lending, topic=topic_of("CustomerRegistered")).facts[-1].recorded_at
    assert ask(lending, recorded_to=first) == []
    assert ask(lending, recorded_from=first) == everything


@pytest.mark.usefixtures("index")
def test_pages_follow_each_other_and_end(lending: Lending) -> None:
    whole = [fact.position for fact in page(lending).facts]
    found: list[int] = []
    before = None
    while True:
        one = page(lending, before=before, limit=3)
        found += [fact.position for fact in one.facts]
        if one.before is None:
            break
        before = one.before
    assert found == whole


def test_the_index_says_how_far_it_is_behind_and_is_fed_again_when_emptied(
    lending: Lending, index: FactIndex
) -> None:
    assert page(lending).lag.events == 0
    before = ask(lending)
    lending.register(ASHA, CLERK)
    assert page(lending).lag.events == 1
    index.empty()
    assert page(lending).lag.events == len(before) + 1
    assert index.step() == len(before) + 1
    assert ask(lending)[1:] == before
    assert index.step() == 0


def test_two_that_feed_at_once_feed_each_fact_once(
    lending: Lending, index: FactIndex, database_url: str, schema: str
) -> None:
    batch = next(lending.reader.tail(0))
    index.empty()
    with psycopg.connect(database_url, autocommit=True) as conn:
        FactIndex(conn, lending.reader, schema).feed(0, batch[:3])
    index.feed(0, batch)  # read before the other had moved on: nothing of it is taken
    assert len(ask(lending)) == 3
    assert index.step() == len(batch) - 3
    assert len(ask(lending)) == len(batch)


def test_who_empties_waits_for_who_feeds_and_finds_all_of_it(
    lending: Lending, index: FactIndex, database_url: str, schema: str
) -> None:
    reached = index.reached()
    lending.register(ASHA, CLERK)
    (fact,) = next(lending.reader.tail(reached))
    with psycopg.connect(database_url) as feeding, ThreadPoolExecutor(1) as pool:
        feeding.execute(in_schema(MOVE, schema), (fact.id, reached))
        emptying = pool.submit(index.empty)
        until(lambda: bool(waiting_in(database_url, schema)))
        FactIndex(feeding, lending.reader, schema).feed(fact.id, [fact])
        feeding.commit()
        emptying.result(10)
    assert (index.reached(), index.count()) == (0, 0)


@pytest.mark.usefixtures("index")
def test_a_page_has_at_least_what_its_lag_says_that_it_has(
    lending: Lending, database_url: str, schema: str
) -> None:
    """However late whoever asks how far the index is gets the answer."""
    known = ask(lending)
    lending.register(ASHA, CLERK)
    with psycopg.connect(database_url) as feeding, ThreadPoolExecutor(1) as pool:
        feeding.execute(f"LOCK TABLE {schema}.fact_index".encode())
        asked = pool.submit(page, lending)
        until(lambda: bool(waiting_in(database_url, schema)))
        assert FactIndex(feeding, lending.reader, schema).step() == 1
        feeding.commit()
        found = asked.result(10)
    assert (len(found.facts), found.lag.events) == (len(known) + 1, 0)


def waiting_in(database_url: str, schema: str) -> int:
    """How many wait for a lock with a statement about this schema."""
    waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
    with psycopg.connect(database_url, autocommit=True) as conn:
        return conn.execute(waits, (f"%{schema}%",)).rowcount


def test_a_damaged_fact_is_passed_by_and_logged(
    lending: Lending, index: FactIndex, database_url: str, schema: str
) -> None:
    before = ask(lending)
    with psycopg.connect(database_url, autocommit=True) as conn:
        insert = f"INSERT INTO {schema}.events VALUES (NULL, gen_random_uuid(), 1, %s, '')"
        conn.execute(insert.encode(), (topic(CustomerRegistered),))
    lending.register(ASHA, CLERK)
    with structlog.testing.capture_logs() as logs:
        assert index.step() == 2
        assert index.step() == 0
    assert [line["event"] for line in logs] == ["fact not indexed"]
    assert len(ask(lending)) == len(before) + 1
    assert index.count() == len(before) + 1


@pytest.mark.parametrize(
    ("number", "actor"), [(10**20, "clerk"), (7, "cl\0erk")], ids=["by the driver", "by the server"]
)
def test_a_fact_that_the_index_cannot_hold_is_passed_by_alone(
    lending: Lending, index: FactIndex, number: int, actor: str
) -> None:
    """The read tables, which may hold it, are fed by the same process, and must go on."""
    before = ask(lending)
    lending.register(ASHA, CLERK)
    lending.record([(1, registered(number))], By(actor=actor, correlation_id="c"))
    position = lending.reader.head().last
    lending.register(ASHA, CLERK)
    with structlog.testing.capture_logs() as logs:
        while index.step():
            pass
    assert [(line["event"], line["position"]) for line in logs] == [("fact not indexed", position)]
    assert len(ask(lending)) == len(before) + 2
    assert page(lending).lag.events == 0


def test_a_fact_of_a_later_release_is_not_passed_by_but_waited_for(
    lending: Lending, index: FactIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release before leads still, and would leave it out for ever."""
    whole = ask(lending)
    index.empty()
    with monkeypatch.context() as earlier:
        earlier.setattr("projections.facts.TOPICS", TOPICS - {topic(RepaymentReversed)})
        while index.step():
            pass
        known = ask(lending)
        assert "RepaymentReversed" not in known
        assert page(lending).lag.events == len(whole) - len(known)
    assert index.step() == len(whole) - len(known)
    assert ask(lending) == whole


def test_what_another_has_fed_meanwhile_is_not_counted_again(
    lending: Lending, index: FactIndex, database_url: str, schema: str
) -> None:
    whole = index.count()
    index.empty()

    class Overtaken(Log):
        """Between its reading and the feeding of it the projector feeds the same."""

        def tail(self, after: int, **limits: Any) -> Iterator[list[Tailed]]:
            for batch in super().tail(after, **limits):
                index.feed(after, batch)
                yield batch

    with psycopg.connect(database_url, autocommit=True) as conn:
        late = FactIndex(conn, Overtaken(lending.recorder), schema)
        assert late.step() > 0
        assert (late.step(), late.count()) == (0, whole)


def test_the_command_fills_the_index_again_and_says_how_much_it_holds(
    lending: Lending, index: FactIndex, database_url: str, schema: str
) -> None:
    whole = ask(lending)
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(f"DELETE FROM {schema}.facts WHERE actor = 'clerk'".encode())
        insert = f"INSERT INTO {schema}.events VALUES (NULL, gen_random_uuid(), 1, %s, '')"
        conn.execute(insert.encode(), (topic(CustomerRegistered),))
    environ = environment_of(database_url, schema, "")
    result = CliRunner().invoke(app, ("projections", "reindex"), env=environ)
    assert result.stdout.endswith(f"The index holds {len(whole)} facts.\n")
    assert ask(lending) == whole
    assert index.step() == 0


def test_an_unknown_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownKindError, match="LoanApproved"):
        topic_of("Nothing")


@pytest.mark.usefixtures("index")
def test_the_command_takes_instants_of_any_time_zone(
    lending: Lending, database_url: str, schema: str
) -> None:
    def found(*options: str) -> list[int]:
        command = ("audit", "search", "--json", *options)
        environ = environment_of(database_url, schema, "")
        result = CliRunner().invoke(app, command, env=environ)
        assert result.exit_code == 0, result.exception
        return [fact["position"] for fact in json.loads(result.stdout)["facts"]]

    middle = page(lending, topic=topic_of("LoanDeclined")).facts[0].recorded_at
    before = [fact.position for fact in page(lending, recorded_to=middle).facts]
    since = [fact.position for fact in page(lending, recorded_from=middle).facts]
    assert before
    for hours in (0, 5.5, -7):
        instant = middle.astimezone(timezone(timedelta(hours=hours))).isoformat()
        assert found("--recorded-to", instant) == before
        assert found("--recorded-from", instant) == since
    assert found("--recorded-to", middle.replace(tzinfo=None).isoformat()) == before  # is UTC
    assert found("--recorded-to", "2020-01-01") == []


@pytest.mark.usefixtures("index")
def test_a_search_over_http_has_pages_and_a_link(
    lending: Lending, database_url: str, schema: str, redis_url: str
) -> None:
    from api.app import connect  # noqa: PLC0415

    with rebuilder(database_url, schema) as one:
        one.prepare()
    services = connect(settings_of(database_url, schema, redis_url), pool_size=2)
    api = Api(services)
    first = api.get("/audit/facts?actor=clerk&limit=3")
    assert first.status_code == 200, first.text
    assert [fact["kind"] for fact in first.json["facts"]] == [
        "CustomerRegistered",
        "RepaymentReceived",
        "LoanOpened",
    ]
    assert first.headers["Link"] == f'<{first.json["next"]}>; rel="next"'
    second = api.get(first.json["next"])
    assert [fact["kind"] for fact in second.json["facts"]] == ["LoanApproved"]
    assert second.json["next"] is None
    assert "Link" not in second.headers
    assert api.get("/audit/facts?amount_from=100.50&amount_to=100.50").json["facts"]
    (middle,) = second.json["facts"]
    instant = datetime.fromisoformat(middle["recorded_at"])
    later = [fact for fact in first.json["facts"] if fact["recorded_at"] > middle["recorded_at"]]
    for hours in (0, 5.5, -7):
        zoned = instant.astimezone(timezone(timedelta(hours=hours)))
        text = quote(zoned.isoformat(timespec="microseconds"))
        earlier = api.get(f"/audit/facts?actor=clerk&recorded_to={text}")
        assert earlier.json["facts"] == [], text
        since = api.get(f"/audit/facts?actor=clerk&recorded_from={text}").json["facts"]
        assert [one["position"] for one in since][: len(later)] == [
            one["position"] for one in later
        ]
        assert middle in since
    for none in ("2026-01-31", "2026-01-31T09:30:00", "2026-01-31T15:00:00+05:30"):  # + is a space
        assert api.get(f"/audit/facts?recorded_from={none}").status_code == 422
    assert api.get("/audit/facts?recorded_to=0001-01-01T00:00:00%2B23:59").status_code == 422
    for name in ("actor", "reason"):  # Postgres stores no NUL, and is not asked for one
        assert api.get(f"/audit/facts?{name}=a%00b").status_code == 422
        assert api.get(f"/audit/facts?{name}=a%0Ab").status_code == 200
    assert api.get("/audit/facts?kind=Nothing").status_code == 422
    assert api.get("/audit/facts?amount_from=x").status_code == 422
    services.close()
