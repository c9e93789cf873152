"""Callers of a served API who send everything again until it is answered, and what they were told.

Each request has an Idempotency-Key of its own, so that whatever is killed meanwhile, all that was
asked is recorded in the end, once, and an answer that was given stays true.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.client import HTTPException
from uuid import UUID

from msgspec import Struct

from credit_es.application import Lending, fold_customer
from credit_es.domain.events import CustomerRegistered, IngestionRequested
from credit_es.domain.values import Counts
from credit_es.importing import Importing
from credit_es.store.ingestions import Report
from credit_es.store.mapper import DECODER, customer_stream
from tests.api.client import PERSON, Answer, form, send
from tests.processes import until
from tests.test_application import assert_some_order_explains
from tests.workers.workbooks import lender

AMOUNTS = itertools.cycle([400_000, 700_000, 900_000])
TERMS = {"interest_rate": 12, "tenure": 360}
GIVE_UP_S = 60
PAUSE_S = 0.02
TURN_S = 1
"""How long the lender waits for a worker before the next workbooks."""
NOT_NOW = {409, 503}
A_WORKBOOK = 10
"""Customers of one upload, each with two loans."""


class Told(Struct, frozen=True, kw_only=True):
    """A request and the answer it got, after being sent so many times."""

    path: str
    body: object
    headers: dict[str, str]
    answer: Answer
    times: int


class Caller:
    """Asks one thing after the other."""

    def __init__(self, port: int, name: str, turn: Callable[["Caller", int], None]) -> None:
        self.name = name
        self.told: list[Told] = []
        self.errors: list[BaseException] = []
        self._port = port
        self._turn = turn
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(2 * GIVE_UP_S)

    def post(self, path: str, body: object, **headers: str) -> Answer:
        keyed = headers | {"Idempotency_Key": f"{self.name}-{len(self.told)}"}
        times, answer = self._until_answered("POST", path, body, **keyed)
        assert answer.status in {200, 201, 202}, (path, answer.content)
        self.told.append(Told(path=path, body=body, headers=keyed, answer=answer, times=times))
        return answer

    def get(self, path: str) -> Answer:
        return self._until_answered("GET", path)[1]

    def _until_answered(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, Answer]:
        give_up = time.monotonic() + GIVE_UP_S
        for times in itertools.count(1):
            try:
                answer = send(self._port, method, path, body, **headers)
            except (OSError, HTTPException):  # nobody is there, or was killed under it
                assert time.monotonic() < give_up, path
            else:
                if answer.status not in NOT_NOW:
                    return times, answer
                assert time.monotonic() < give_up, answer.content
            time.sleep(PAUSE_S)
        raise AssertionError

    def _run(self) -> None:
        try:
            for number in itertools.count():
                if self._stop.is_set():
                    return
                self._turn(self, number)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            self.errors.append(error)


class Callers:
    """Some borrowers, who register and apply, and perhaps a lender, who hands workbooks in."""

    def __init__(self, port: int, *, borrowers: int, uploads: bool) -> None:
        self._port = port
        self.customer: int = send(port, "POST", "/register", PERSON).json["customer_id"]
        self.all = [Caller(port, f"borrower-{n}", self._borrow) for n in range(borrowers)]
        if uploads:
            self.all.append(Caller(port, "lender", self._hand_in))

    def told(self, path: str) -> list[Told]:
        return [one for caller in self.all for one in caller.told if one.path == path]

    def more(self) -> None:
        """Wait until everybody was answered once more."""
        before = [len(caller.told) for caller in self.all]

        def answered() -> bool:
            assert not any(c.errors for c in self.all), [c.errors for c in self.all]
            return all(len(c.told) > was for c, was in zip(self.all, before, strict=True))

        until(answered, timeout_s=GIVE_UP_S)

    def _borrow(self, caller: Caller, turn: int) -> None:
        """Become a customer, borrow, look at it, and compete for the loans of one customer."""
        person = PERSON | {"first_name": f"{caller.name} {turn}"}
        number = caller.post("/register", person).json["customer_id"]
        for customer, amount in ((number, 1000), (self.customer, next(AMOUNTS))):
            asked = TERMS | {"customer_id": customer, "loan_amount": amount}
            told = caller.post("/create-loan", asked).json
            if told["loan_approved"]:
                loan = caller.get(f"/view-loan/{told['loan_id']}")
                assert loan.status == 200, loan.content
                assert (loan.json["customer"]["id"], loan.json["loan_amount"]) == (customer, amount)

    def _hand_in(self, caller: Caller, turn: int) -> None:
        customers, loans = lender(A_WORKBOOK, first=1 + turn * A_WORKBOOK)
        upload = form(customers=customers, loans=loans)
        location = caller.post("/ingestions", upload.raw, **upload.headers).headers["location"]
        patience = time.monotonic() + TURN_S
        while caller.get(location).json["status"] == "queued" and time.monotonic() < patience:
            time.sleep(10 * PAUSE_S)

    def assert_all_is_true(self, lending: Lending) -> None:
        """What was answered is what the log says, neither more nor less; and is answered again."""
        assert [error for caller in self.all for error in caller.errors] == []
        registered, decided = self.told("/register"), self.told("/create-loan")
        requested = self.told("/ingestions")
        facts = [DECODER.decode(e.state).fact for batch in lending.reader.tail(0) for e in batch]
        names = Counter(fact.first_name for fact in facts if isinstance(fact, CustomerRegistered))
        asked = [one.body["first_name"] for one in registered if isinstance(one.body, dict)]
        assert names == Counter([PERSON["first_name"], *asked])
        requests = [fact.ingestion_id for fact in facts if isinstance(fact, IngestionRequested)]
        assert sorted(requests) == sorted(one.answer.json["ingestion_id"] for one in requested)

        # Every decision at its place in the customer's stream, and no other one there.
        ids = [one.answer.json["decision_id"] for one in decided]
        assert len(ids) == len(set(ids))
        customers = {one.answer.json["customer_id"] for one in (*registered, *decided)}
        lengths = {
            number: len(lending.reader.stream(customer_stream(number))) for number in customers
        }
        assert set(ids) == {
            f"{number}-{version}"
            for number, length in lengths.items()
            for version in range(2, length + 1)
        }
        self._assert_within_limits(lending, decided)
        for one in (*registered, *decided, *requested):
            if one.times > 1 or one is decided[-1]:
                again = send(self._port, "POST", one.path, one.body, **one.headers)
                assert (again.status, again.content) == (one.answer.status, one.answer.content)

    def _assert_within_limits(self, lending: Lending, decided: list[Told]) -> None:
        assert_some_order_explains(lending, self.customer)
        granted = {
            one.answer.json["loan_id"]: one.answer.json["customer_id"]
            for one in decided
            if one.answer.json["loan_approved"]
        }
        for number in set(granted.values()):
            who, loans = lending.load(number)
            assert {loan for loan, customer in granted.items() if customer == number} == {
                *who.loans
            }
            assert sum((loan.amount for loan in loans), Decimal(0)) <= who.approved_limit

    def assert_all_is_ingested(self, lending: Lending) -> None:
        """Every workbook that was taken is recorded whole, once; waits for it."""
        importing = Importing(lending)
        requested = [UUID(one.answer.json["ingestion_id"]) for one in self.told("/ingestions")]

        def unfinished() -> list[UUID]:
            found = [importing.ingestions.find(ingestion_id) for ingestion_id in requested]
            return [f.job.ingestion_id for f in found if f and f.finished_at is None]

        until(lambda: not unfinished(), timeout_s=GIVE_UP_S)
        for ingestion_id in requested:
            found = importing.ingestions.find(ingestion_id)
            assert found is not None
            assert (found.status, found.report) == (
                "succeeded",
                Report(
                    customers=Counts(read=A_WORKBOOK, recorded=A_WORKBOOK),
                    loans=Counts(read=2 * A_WORKBOOK, recorded=2 * A_WORKBOOK),
                ),
            )
        for number in range(1, len(requested) * A_WORKBOOK + 1):
            history = lending.reader.stream(customer_stream(number))
            who = fold_customer(history)
            assert who is not None, number
            assert (len(history), len(who.loans)) == (2, 2)


@contextmanager
def calling(port: int, *, borrowers: int = 3, uploads: bool = False) -> Iterator[Callers]:
    """Callers at work; they stop when each was answered."""
    callers = Callers(port, borrowers=borrowers, uploads=uploads)
    for caller in callers.all:
        caller.start()
    try:
        yield callers
    finally:
        for caller in callers.all:
            caller.stop()
