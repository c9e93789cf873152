"""The API killed with -9 between what it recorded and what it would have answered."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException

import pytest

from credit_es.application import Lending
from credit_es.domain.events import CustomerRegistered, Decision, Event
from credit_es.store.mapper import DECODER
from tests.api.client import PERSON, Answer, Server, environment_of, prepare, serving
from tests.faults.holds import appends_held, appends_waiting
from tests.processes import LISTED, processes_with, stopped, until
from tests.store.given import settings

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(not LISTED, reason="only Linux lists processes with their parents"),
]


class House:
    """One API process with one worker, and its log."""

    def __init__(self, server: Server, lending: Lending) -> None:
        self.server = server
        self.lending = lending

    def facts(self) -> list[Event]:
        return [DECODER.decode(e.state).fact for b in self.lending.reader.tail(0) for e in b]

    def workers(self) -> list[int]:
        master = self.server.process.pid
        return [p.pid for p in processes_with("credit-es api") if p.parent == master]

    def killed_before_it_answers(self, path: str, body: object, **headers: str) -> None:
        """Let the only worker record what is asked, and kill it before it can say so."""
        database = self.lending.reader.database
        url, schema = self.lending.env["DATABASE_URL"], database.schema
        until(lambda: len(self.workers()) == 1)
        (worker,) = self.workers()
        before = len(self.facts())
        with ThreadPoolExecutor(1) as pool:
            with appends_held(url, schema):
                sent = pool.submit(self.server.send, "POST", path, body, **headers)
                until(lambda: appends_waiting(url, schema) == 1)
                stopped(worker)
            until(lambda: len(self.facts()) > before)
            os.kill(worker, signal.SIGKILL)
            with pytest.raises((OSError, HTTPException)):
                sent.result(10)


@pytest.fixture
def house(database_url: str, schema: str, redis_url: str) -> Iterator[House]:
    prepare(database_url, schema)
    environment = environment_of(database_url, schema, redis_url, CREDIT_API_WORKERS="1")
    with serving(environment) as server:
        lending = Lending(settings(database_url, schema))
        yield House(server, lending)
        lending.close()


def asked(customer: int) -> list[tuple[str, object]]:
    loan = {"customer_id": customer, "loan_amount": 1000, "interest_rate": 12, "tenure": 12}
    return [("/register", PERSON), ("/create-loan", loan)]


def recorded(house: House) -> Counter[str]:
    kinds = (CustomerRegistered, Decision)
    return Counter(type(fact).__name__ for fact in house.facts() if isinstance(fact, kinds))


def test_what_a_killed_worker_had_recorded_is_answered_when_it_is_sent_again(
    house: House,
) -> None:
    customer = house.server.send("POST", "/register", PERSON).json["customer_id"]
    before = recorded(house)
    answers: list[Answer] = []
    for path, body in asked(customer):
        house.killed_before_it_answers(path, body, Idempotency_Key="k")
        first, again = (
            house.server.send("POST", path, body, Idempotency_Key="k") for _ in range(2)
        )
        assert (first.status, first.content) == (again.status, again.content)
        assert first.status == 201
        answers.append(first)
    assert recorded(house) - before == {"CustomerRegistered": 1, "LoanApproved": 1}
    registered, granted = answers
    new = house.server.send("GET", f"/view-loans/{registered.json['customer_id']}")
    assert (new.status, new.json) == (200, [])
    loan = house.server.send("GET", f"/view-loan/{granted.json['loan_id']}")
    assert loan.json["customer"]["id"] == customer


def test_without_a_key_what_a_killed_worker_had_recorded_is_doubled(house: House) -> None:
    """The control: it is the Idempotency-Key that tells a request sent again."""
    customer = house.server.send("POST", "/register", PERSON).json["customer_id"]
    before = recorded(house)
    for path, body in asked(customer):
        house.killed_before_it_answers(path, body)
        assert house.server.send("POST", path, body).status == 201
    assert recorded(house) - before == {"CustomerRegistered": 2, "LoanApproved": 2}


def test_the_workers_of_a_killed_master_answer_what_runs_and_are_gone(house: House) -> None:
    database = house.lending.reader.database
    url, schema = house.lending.env["DATABASE_URL"], database.schema
    until(lambda: len(house.workers()) == 1)
    (worker,) = house.workers()
    with ThreadPoolExecutor(1) as pool:
        with appends_held(url, schema):
            sent = pool.submit(house.server.send, "POST", "/register", PERSON)
            until(lambda: appends_waiting(url, schema) == 1)
            house.server.process.kill()
        assert sent.result(10).status == 201
    assert recorded(house) == {"CustomerRegistered": 1}
    until(lambda: worker not in {p.pid for p in processes_with("credit-es api")}, timeout_s=10)
