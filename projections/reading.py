# ruff: noqa: S608 - statements put together from constants
"""The GETs' queries. A read never lies, however late the projector is.

Each statement fetches rows and, in the same snapshot, the events of their streams beyond the
version that a row holds; the same fold brings them up to date. A row that is not there yet is its
stream folded from nothing. With no projector at all the answers are still right.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Composed, Identifier

from credit_es.domain.customer import Customer
from credit_es.domain.errors import (
    UnknownApplicationError,
    UnknownCustomerError,
    UnknownLoanError,
)
from credit_es.domain.loan import Loan
from credit_es.domain.review import Application, Status
from credit_es.store import arrays
from credit_es.store.calls import Call
from credit_es.store.database import Database
from credit_es.store.mapper import application_stream, customer_stream, loan_stream
from projections.applications import APPLICATIONS
from projections.customers import CUSTOMERS
from projections.loans import LOANS
from projections.projection import PoisonError, Projection
from projections.status import Lag, lag
from projections.tables import live_table, view_of

TAIL: Final = (
    "SELECT array_agg(e.state ORDER BY e.version) AS tail FROM {schema}.events e"
    " WHERE e.stream_id = "
)
LOAN: Final = SQL(
    "SELECT {loan_columns}, lt.tail, {customer_columns}, ct.tail"
    " FROM (SELECT $1::int8 AS number, $2::uuid AS stream_id) k"
    " LEFT JOIN {loans} l ON l.number = k.number"
    " LEFT JOIN {customers} c ON c.number = l.customer_number"
    " CROSS JOIN LATERAL (" + TAIL + "k.stream_id AND e.version > coalesce(l.version, 0)) lt"
    " CROSS JOIN LATERAL (" + TAIL + "c.stream_id AND e.version > c.version) ct"
)
CUSTOMER: Final = (
    "SELECT {customer_columns}, ct.tail FROM (SELECT $1::int8 AS number, $2::uuid AS stream_id) k"
    " LEFT JOIN {customers} c ON c.number = k.number"
    " CROSS JOIN LATERAL (" + TAIL + "k.stream_id AND e.version > coalesce(c.version, 0)) ct"
)
# Two kinds of rows, the customer's own once: joined, a long tail would come with every loan.
CUSTOMER_AND_LOANS: Final = SQL(
    "SELECT c.*, {no_loan} FROM (" + CUSTOMER + ") c"
    " UNION ALL SELECT {no_customer}, {loan_columns}, lt.tail FROM {loans} l"
    " CROSS JOIN LATERAL (" + TAIL + "l.stream_id AND e.version > l.version) lt"
    " WHERE l.customer_number = $1::int8"
)
LOANS_BY_NUMBER: Final = SQL(
    "SELECT k.number, {loan_columns}, lt.tail"
    " FROM unnest($1::int8[], $2::uuid[]) k (number, stream_id)"
    " LEFT JOIN {loans} l ON l.number = k.number"
    " CROSS JOIN LATERAL (" + TAIL + "k.stream_id AND e.version > coalesce(l.version, 0)) lt"
)
BY_PHONE: Final = SQL(
    "SELECT {customer_columns} FROM {customers} c"
    " WHERE c.phone_number = %s AND c.number > %s ORDER BY c.number LIMIT %s"
)

APPLICATION: Final = SQL(
    "SELECT {application_columns}, t.tail"
    " FROM (SELECT $1::text AS application_id, $2::uuid AS stream_id) k"
    " LEFT JOIN {applications} a ON a.application_id = k.application_id"
    " CROSS JOIN LATERAL (" + TAIL + "k.stream_id AND e.version > coalesce(a.version, 0)) t"
)
STREAMS: Final[Mapping[str, Callable[[Any], UUID]]] = {
    CUSTOMERS.name: customer_stream,
    LOANS.name: loan_stream,
    APPLICATIONS.name: application_stream,
}
CHOSEN: Final = {
    Status.PENDING: SQL("a.approved IS NULL AND a.decide_by >= %(today)s"),
    Status.EXPIRED: SQL("a.approved IS NULL AND a.decide_by < %(today)s"),
    Status.APPROVED: SQL("a.approved"),
    Status.DECLINED: SQL("NOT a.approved"),
    None: SQL("true"),
}
APPLICATION_PAGE: Final = SQL(
    "SELECT {application_columns} FROM {applications} a"
    " WHERE {chosen} AND (a.decide_by, a.application_id) > (%(day)s, %(last)s)"
    " ORDER BY a.decide_by, a.application_id LIMIT %(limit)s"
)


class ApplicationPage(Struct, frozen=True, kw_only=True):
    """Some applications, and how far the list may be behind the log."""

    applications: Sequence[Application]
    lag: Lag


class CustomerPage(Struct, frozen=True, kw_only=True):
    """Some customers, and how far the list may be behind the log."""

    customers: Sequence[Customer]
    lag: Lag


class ReadModel:
    """What readers ask of one schema.

    One customer, one loan: of ``database``, always up to date. Lists over many: of ``lists``, which
    may be a replica's and late, and say how late.
    """

    def __init__(self, database: Database, lists: Database | None = None) -> None:
        self._database = database
        self._lists = lists or database
        self._loan = Call(self._statement(LOAN))
        self._customer = Call(self._statement(SQL(CUSTOMER)))
        self._customer_and_loans = Call(self._statement(CUSTOMER_AND_LOANS))
        self._loans_by_number = Call(self._statement(LOANS_BY_NUMBER))
        self._by_phone = self._statement(BY_PHONE)
        self._application = Call(self._statement(APPLICATION))
        self._application_pages = {
            status: self._statement(APPLICATION_PAGE, chosen) for status, chosen in CHOSEN.items()
        }

    def loan(self, loan_number: int) -> tuple[Loan, Customer]:
        """A loan and its customer; raises ``UnknownLoanError``."""
        row = self._row(self._loan, arrays.INT8.pack(loan_number), loan_stream(loan_number))
        at = len(LOANS.columns)
        loan = _caught_up(LOANS, row[:at], loan_number)
        if loan is None:
            raise UnknownLoanError(loan_number)
        customer = _caught_up(CUSTOMERS, row[at:], loan.customer_number)
        return loan, customer or self._customer_alone(loan.customer_number)

    def customer(self, customer_number: int) -> tuple[Customer, list[Loan]]:
        """A customer and all of their loans, by number; raises ``UnknownCustomerError``.

        Loans that only the tail of the customer's stream names take a second statement.
        """
        values = (arrays.INT8.pack(customer_number), customer_stream(customer_number).bytes)
        rows = self._database.run(lambda conn: self._customer_and_loans.rows(conn, values))
        at = len(CUSTOMERS.columns)
        own = next(row for row in rows if row[at] is None)
        customer = _caught_up(CUSTOMERS, own[:at], customer_number)
        if customer is None:
            raise UnknownCustomerError(customer_number)
        projected = (_caught_up(LOANS, row[at:], row[at]) for row in rows if row[at] is not None)
        loans = {loan.number: loan for loan in projected if loan is not None}
        late = [number for number in customer.loans if number not in loans]
        loans |= {loan.number: loan for loan in self._late(late)}
        return customer, [loans[number] for number in sorted(customer.loans)]

    def by_phone(self, phone_number: int, *, after: int, limit: int) -> CustomerPage:
        """Customers with this phone, by number, as far as they are projected."""
        values = (phone_number, after, limit)
        rows, behind = self._listed(CUSTOMERS, self._by_phone, values)
        return CustomerPage(customers=[CUSTOMERS.of(row) for row in rows], lag=behind)

    def application(self, application_id: str) -> Application:
        """An application referred to review; raises ``UnknownApplicationError``."""
        stream = application_stream(application_id)
        row = self._row(self._application, application_id.encode("ascii"), stream)
        application: Application | None = _caught_up(APPLICATIONS, row, application_id)
        if application is None:
            raise UnknownApplicationError(application_id)
        return application

    def applications(
        self, status: Status | None, *, today: date, after: tuple[date, str], limit: int
    ) -> ApplicationPage:
        """Applications of one status or all, those to be decided first first, as projected.

        ``after`` is the last day and the id of the one that they follow.
        """
        values = {"today": today, "day": after[0], "last": after[1], "limit": limit}
        statement = self._application_pages[status]
        rows, behind = self._listed(APPLICATIONS, statement, values)
        return ApplicationPage(applications=[APPLICATIONS.of(row) for row in rows], lag=behind)

    def _listed(
        self, projection: Projection[Any], statement: bytes, values: Any
    ) -> tuple[list[TupleRow], Lag]:
        """Rows as far as they are projected, and how far that is behind."""
        schema = self._database.schema

        def read(conn: Connection[TupleRow]) -> tuple[int, list[TupleRow]]:
            live = live_table(conn, projection, schema)
            rows = conn.execute(statement, values, prepare=True).fetchall()
            return live.position if live else 0, rows

        position, rows = self._lists.run(read)
        # A replica cannot tell a quiet primary from one it no longer hears: ask the primary itself.
        return rows, self._database.run(lambda conn: lag(conn, schema, position))

    def _row(self, call: Call, key: bytes, stream: UUID) -> TupleRow:
        """One stream's row and the tail behind it; there always is one, of nulls if need be."""
        (row,) = self._database.run(lambda conn: call.rows(conn, (key, stream.bytes)))
        return row

    def _customer_alone(self, customer_number: int) -> Customer:
        key = arrays.INT8.pack(customer_number)
        row = self._row(self._customer, key, customer_stream(customer_number))
        customer: Customer | None = _caught_up(CUSTOMERS, row, customer_number)
        if customer is None:
            raise UnknownCustomerError(customer_number)
        return customer

    def _late(self, numbers: Sequence[int]) -> Iterable[Loan]:
        if not numbers:
            return
        values = (arrays.int8s(numbers), arrays.uuids(map(loan_stream, numbers)))
        rows = self._database.run(lambda conn: self._loans_by_number.rows(conn, values))
        for number, *row in rows:
            loan = _caught_up(LOANS, row, number)
            if loan is None:
                raise PoisonError(LOANS.name, loan_stream(number), 1)
            yield loan

    def _statement(self, statement: SQL, chosen: SQL | None = None) -> bytes:
        schema = self._database.schema
        return statement.format(
            schema=Identifier(schema),
            loans=view_of(LOANS, schema),
            customers=view_of(CUSTOMERS, schema),
            applications=view_of(APPLICATIONS, schema),
            application_columns=_columns(APPLICATIONS, "a"),
            chosen=chosen,
            loan_columns=_columns(LOANS, "l"),
            customer_columns=_columns(CUSTOMERS, "c"),
            no_loan=_nulls(LOANS),
            no_customer=_nulls(CUSTOMERS),
        ).as_bytes(None)


def _columns(projection: Projection[Any], alias: str) -> Composed:
    return SQL(", ").join(Identifier(alias, name) for name in projection.columns[1:])


def _nulls(projection: Projection[Any]) -> Composed:
    """In the place of a projection's columns and the tail behind them."""
    return SQL(", ").join(SQL("NULL") for _ in projection.columns)


def _caught_up(projection: Projection[Any], values: Sequence[Any], key: int | str) -> Any:
    """A row from its columns and the tail behind them, folded up to date."""
    *columns, tail = values
    row = projection.of(columns) if columns[0] is not None else None
    if not tail:
        return row
    return projection.catch_up(row, STREAMS[projection.name](key), tail)
