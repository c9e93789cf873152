"""A fact that no fold of this release digests, before real projectors; the next release's does."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from credit_es.domain.events import LoanOpened
from credit_es.store.mapper import DECODER, UndigestedError, customer_stream, loan_stream
from credit_es.store.recorder import Tailed
from credit_es.store.snapshots import EVERY
from projections import projector
from projections.customers import CUSTOMERS
from projections.loans import LOANS
from projections.projection import PoisonError, Projection
from projections.projector import fold
from projections.rebuild import RebuildError
from projections.status import ProjectionStatus, status
from projections.tables import PROJECTIONS
from projections.verify import VerifyError, verify
from tests.domain.facts import CUSTOMER, loans_imported, registered
from tests.processes import until
from tests.projections import mended_release
from tests.projections.conftest import ROOT, House, Process
from tests.projections.history import happen
from tests.store.given import BY, asks

pytestmark = pytest.mark.slow

MENDED = "tests.projections.mended_release"


def stand(house: House, projection: str) -> ProjectionStatus:
    return next(s for s in status(house.conn, house.schema) if s.projection == projection)


def command(house: House, *words: str) -> str:
    """What ``credit-es projections`` says on a narrow terminal."""
    environ = {**os.environ, "DATABASE_URL": house.url, "CREDIT_SCHEMA": house.schema}
    environ |= {"COLUMNS": "80"}
    environ.pop("DATABASE_DIRECT_URL", None)
    argv = [sys.executable, "-m", "credit_es.cli.main", "projections", *words]
    done = subprocess.run(
        argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def open_again(house: House, loan_number: int) -> int:
    """Record what no release writes; returns the position."""
    stream = loan_stream(loan_number)
    ((state,),) = house.sql("SELECT state FROM {s}.events WHERE stream_id = %s", stream)
    opened = DECODER.decode(state).fact
    assert isinstance(opened, LoanOpened)
    house.lending.record([(2, replace(opened, amount=Decimal("5.00")))], BY)
    return house.log.head().last


@pytest.mark.fault
def test_a_poisoned_projection_waits_for_a_release_that_digests_the_fact(
    house: House, start: Callable[..., Process]
) -> None:
    ill, well = happen(house.lending, 1)
    first = start()
    until(lambda: first.said("projector leads"))
    loan = house.reads.customer(ill)[1][0]
    position = open_again(house, loan.number)
    happen(house.lending, 1)

    # It stops there, and says so; the other projection goes on, and so does the process.
    until(lambda: stand(house, "loans").problem is not None)
    until(lambda: stand(house, "customers").position == house.log.head().last)
    assert first.said("projection poisoned")
    assert first.said(f'"position":{position},') or first.said(f'"position": {position},')
    problem = f"position {position}: loans cannot digest version 2 of stream"
    assert (stand(house, "loans").problem or "").startswith(problem)
    assert stand(house, "loans").position < position
    with pytest.raises(PoisonError):
        house.reads.loan(loan.number)
    assert house.reads.customer(well)[1]
    told = command(house, "status")
    assert f"loans has stopped at {problem} {loan_stream(loan.number)}. Deploy code" in told
    assert {p.name for p in PROJECTIONS} <= set(told.split())

    # A retry by code that cannot digest it either stops in the same place.
    assert command(house, "retry", "loans") == "loans goes on\n"
    until(lambda: stand(house, "loans").problem is not None)
    assert stand(house, "loans").position < position

    first.child.send_signal(signal.SIGTERM)
    assert first.child.wait(10) == 0
    mended = start(MENDED)
    until(lambda: mended.said("projector leads"))
    assert stand(house, "loans").problem is not None  # which nobody but the operator takes back
    assert command(house, "retry", "loans") == "loans goes on\n"
    until(lambda: stand(house, "loans").position == house.log.head().last)
    assert stand(house, "loans").problem is None
    rows = house.sql("SELECT version, amount FROM {s}.{loans} WHERE number = %s", loan.number)
    assert rows == [(2, loan.amount + 5)]
    assert house.sql("SELECT count(*) FROM {s}.{loans}") == [(12,)]


def test_a_projector_that_skips_a_fact_would_not_pass_verification(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: neither before the release that digests the fact nor after."""

    def skip(projection: Projection[Any], rows: dict[UUID, Any], events: Sequence[Tailed]) -> None:
        for event in events:
            with suppress(PoisonError):
                fold(projection, rows, [event])

    number, _ = happen(house.lending, 1)
    loan = house.reads.customer(number)[1][0]
    position = open_again(house, loan.number)
    with monkeypatch.context() as patch:
        patch.setattr(projector, "fold", skip)
        house.project()
    assert stand(house, "loans").problem is None
    assert stand(house, "loans").position == position
    with pytest.raises(VerifyError, match="loans cannot digest version 2 of stream"):
        house.differences()
    digesting = replace(LOANS, fold=mended_release.evolve)
    (difference,) = verify(house.conn, house.log, house.schema, digesting)
    assert difference.stored == {"version": 1, "amount": loan.amount}
    assert difference.folded == {"version": 2, "amount": loan.amount + 5}


def test_a_row_that_its_table_does_not_take_is_poison(house: House) -> None:
    happen(house.lending, 1)
    house.project()
    house.sql("UPDATE {s}.read_tables SET position = 0 WHERE projection = 'loans'")
    house.project()
    ((position,),) = house.sql(
        "SELECT min(position) FROM {s}.events WHERE topic = ANY(%s)", [*LOANS.topics]
    )
    assert (stand(house, "loans").problem or "").startswith(f"position {position}: duplicate key")
    assert stand(house, "loans").position < position
    assert stand(house, "customers").position == house.log.head().last
    with house.rebuilder() as builder:
        builder.rebuild(LOANS)
    assert stand(house, "loans").problem is None
    assert house.differences() == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"phone_number": 10**20}, "customers cannot digest version 1 of stream"),
        ({"first_name": "A\0"}, "invalid byte sequence"),
    ],
    ids=["by the driver", "by the server"],
)
def test_a_value_that_its_column_cannot_hold_is_poison(
    house: House, changes: dict[str, object], told: str
) -> None:
    happen(house.lending, 1)
    house.lending.record([(1, replace(registered(1), **changes))], BY)
    position = house.log.head().last
    happen(house.lending, 1)
    house.project()
    assert (stand(house, "customers").problem or "").startswith(f"position {position}: {told}")
    assert stand(house, "customers").position < position
    assert stand(house, "loans").position == house.log.head().last
    who, _ = house.reads.customer(1)
    assert {name: getattr(who, name) for name in changes} == changes


@pytest.mark.parametrize("number", [0, 2**63, -(2**64)])
@pytest.mark.parametrize("fed_before", [False, True])
def test_a_loan_whose_number_no_table_holds_is_poison_to_whoever_reads_its_customer(
    house: House, number: int, *, fed_before: bool
) -> None:
    house.lending.record([(1, registered(CUSTOMER))], BY)
    if fed_before:
        house.project()
    house.lending.record([(2, loans_imported(number))], BY)
    position = house.log.head().last
    told = f"customers cannot digest version 2 of stream {customer_stream(CUSTOMER)}"
    with pytest.raises(PoisonError, match=told):
        house.reads.customer(CUSTOMER)
    with pytest.raises(UndigestedError, match="version 2 of stream"):
        house.lending.check_eligibility(asks(CUSTOMER))
    house.project()
    assert stand(house, "customers").problem == f"position {position}: {told}"


@pytest.mark.parametrize("fed_before", [False, True])
def test_a_loan_that_its_customer_names_and_the_log_has_lost_is_told_to_whoever_asks(
    house: House, *, fed_before: bool
) -> None:
    house.lending.record([(1, registered(CUSTOMER)), (2, loans_imported(77))], BY)
    if fed_before:
        house.project()
    told = f"version 1 of stream {loan_stream(77)}"
    with pytest.raises(PoisonError, match=f"loans cannot digest {told}"):
        house.reads.customer(CUSTOMER)
    with pytest.raises(UndigestedError, match=told):
        house.lending.check_eligibility(asks(CUSTOMER))


@pytest.mark.parametrize(
    ("shards", "changes"),
    [(1, {"phone_number": 10**20}), (1, {"first_name": "A\0"}), (2, {"first_name": "A\0"})],
    ids=["driver", "server", "server, two shards"],
)
def test_a_rebuild_tells_the_place_of_a_value_that_its_column_cannot_hold(
    house: House, shards: int, changes: dict[str, object]
) -> None:
    happen(house.lending, 3)
    house.lending.record([(1, replace(registered(1), **changes))], BY)
    place = f"^position {house.log.head().last}: customers cannot digest version 1 of stream"
    with pytest.raises(RebuildError, match=place), house.rebuilder() as builder:
        builder.rebuild(CUSTOMERS, shards=shards)


def test_no_decision_is_made_on_a_fact_that_cannot_be_read(house: House) -> None:
    number, _ = happen(house.lending, 1)
    stream = customer_stream(number)
    damage = "UPDATE {s}.events SET state = '{{}}' WHERE stream_id = %s AND version = %s"
    for _ in range(EVERY):
        house.lending.apply_for_loan(asks(number, "99000000.00"), BY)
    house.lending.load(number)  # which leaves a snapshot behind, below what comes next
    assert house.sql("SELECT count(*) FROM {s}.snapshots WHERE stream_id = %s", stream) == [(1,)]
    house.lending.apply_for_loan(asks(number, "99000000.00"), BY)
    last = house.log.head().last
    ((version,),) = house.sql("SELECT max(version) FROM {s}.events WHERE stream_id = %s", stream)
    house.sql(damage, stream, version)
    told = f"version {version} of stream {stream}"
    with pytest.raises(UndigestedError, match=told):
        house.lending.apply_for_loan(asks(number), BY)
    with pytest.raises(UndigestedError, match=told):
        house.lending.check_eligibility(asks(number))
    assert house.log.head().last == last
