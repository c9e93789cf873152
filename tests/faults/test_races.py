"""Two API processes, as on two machines, decide for one customer at the same time."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from decimal import Decimal

import pytest

from credit_es.application import Lending
from credit_es.domain.events import LoanApproved
from credit_es.domain.values import Reason
from tests.api.client import PERSON, Answer, Server, environment_of, prepare, serving
from tests.faults.holds import appends_held, appends_waiting
from tests.processes import until
from tests.store.given import BY, settings
from tests.test_application import assert_some_order_explains

pytestmark = pytest.mark.fault

LIMIT = Decimal(3_600_000)
TERMS = {"interest_rate": 12, "tenure": 360}
AMOUNTS = [*[900_000] * 6, *[1_000] * 6, *[700_000] * 4, *[250] * 4]
HEADSTRONG = """
from eventsourcing.persistence import IntegrityError
from credit_es.application import Lending
from credit_es.domain.events import Decision

record = Lending.record

def append_anyway(lending, facts, by, **more):
    try:
        record(lending, facts, by, **more)
    except IntegrityError:  # somebody else was faster: so what
        facts = [(version + isinstance(fact, Decision), fact) for version, fact in facts]
        append_anyway(lending, facts, by, **more)

Lending.record = append_anyway
"""
"""What an API process does that appends at the next version what it decided at the last."""


class House:
    """A customer, two API processes, and the log that both write to."""

    def __init__(self, lending: Lending, servers: list[Server]) -> None:
        self.lending = lending
        self.servers = servers
        self.customer = servers[0].send("POST", "/register", PERSON).json["customer_id"]

    def apply(self, turn: int, amount: int) -> Answer:
        body = TERMS | {"customer_id": self.customer, "loan_amount": amount}
        return self.servers[turn % 2].send("POST", "/create-loan", body)

    def at_once(self, *amounts: int) -> list[Answer]:
        """Each process has decided on its application before either is recorded."""
        url, schema = self.lending.env["DATABASE_URL"], self.lending.database.schema
        with ThreadPoolExecutor(len(amounts)) as pool:
            with appends_held(url, schema):
                sent = [pool.submit(self.apply, *turn) for turn in enumerate(amounts)]
                until(lambda: appends_waiting(url, schema) == len(amounts))
            return [one.result(20) for one in sent]

    def lent(self) -> Decimal:
        _, loans = self.lending.load(self.customer)
        return sum((loan.amount for loan in loans), Decimal(0))


@contextmanager
def two_processes(
    database_url: str, schema: str, redis_url: str, *, first: str = ""
) -> Iterator[House]:
    prepare(database_url, schema)
    environment = environment_of(database_url, schema, redis_url, CREDIT_API_WORKERS="1")
    lending = Lending(settings(database_url, schema))
    # Else the first two decisions would compete to record their policy, not for the customer.
    lending.record(lending.adoption(), BY)
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(environment, first=first)) for _ in range(2)]
        yield House(lending, servers)
    lending.close()


def test_two_processes_never_lend_more_than_the_limit_between_them(
    database_url: str, schema: str, redis_url: str
) -> None:
    with two_processes(database_url, schema, redis_url) as house:
        answers = house.at_once(2_000_000, 2_000_000)
        assert sorted(answer.status for answer in answers) == [200, 201]
        (declined,) = [one.json for one in answers if one.status == 200]
        assert Reason.OVER_LIMIT in declined["reasons"]
        assert house.lent() == 2_000_000

        start = threading.Barrier(len(AMOUNTS))

        def apply(turn: int) -> Answer:
            start.wait(10)
            return house.apply(turn, AMOUNTS[turn])

        with ThreadPoolExecutor(len(AMOUNTS)) as pool:
            answers += pool.map(apply, range(len(AMOUNTS)))
        assert {answer.status for answer in answers} == {200, 201}
        assert 2_000_000 < house.lent() <= LIMIT

        # The versions of the stream, one after the other, each explained by those before it.
        decisions = assert_some_order_explains(house.lending, house.customer)
        told = {answer.json["decision_id"]: answer.json["loan_id"] for answer in answers}
        assert told == {
            f"{house.customer}-{version}": one.loan_number
            if isinstance(one, LoanApproved)
            else None
            for version, one in enumerate(decisions, start=2)
        }


def test_two_processes_that_do_not_mind_each_other_lend_more_than_the_limit(
    database_url: str, schema: str, redis_url: str
) -> None:
    """The control: it is the version of the customer's stream that both compete for."""
    with two_processes(database_url, schema, redis_url, first=HEADSTRONG) as house:
        answers = house.at_once(2_000_000, 2_000_000)
        assert [answer.status for answer in answers] == [201, 201]
        assert house.lent() > LIMIT
