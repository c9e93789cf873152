"""What stands in two streams must be told the same in both: the server compares, in one statement.

A decision names the loan that it opens, and the loan its customer; a workbook's loans are named on
the customer's stream; a reversal is told there, too. Both sides are joined on the server, which
spills to its disk: memory here does not grow with the log.
"""

from collections.abc import Collection, Iterator
from typing import Final

from msgspec import Struct
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from credit_es.domain.events import (
    LoanApproved,
    LoanBurdenRaised,
    LoanImported,
    LoanOpened,
    LoansImported,
    RepaymentReversed,
)
from credit_es.store.database import in_schema
from credit_es.store.mapper import topic
from projections.streams import streamed

PAIRS: Final = SQL(
    "WITH facts AS MATERIALIZED (SELECT f ->> 'type' AS topic, position, f FROM"
    " (SELECT position, convert_from(state, 'UTF8')::jsonb -> 'fact' AS f FROM {schema}.events"
    " WHERE position <> ALL(%(unreadable)s) AND topic = ANY(%(topics)s)) e),"
    " told AS (SELECT position, topic = ANY(%(by_customer)s) AS by_customer,"
    " f ->> 'customer_number' AS customer,"
    " CASE WHEN topic = ANY(%(reversals)s)"
    " THEN 'reversal of ' || (f ->> 'loan_number') || '-' || (f ->> 'repayment')"
    " ELSE 'loan ' || coalesce(f ->> 'loan_number', l ->> 'loan_number') END AS what,"
    " CASE WHEN topic = ANY(%(reversals)s) THEN f ->> 'amount'"
    " WHEN topic = ANY(%(imported)s) THEN 'imported'"
    " WHEN topic = %(approved)s THEN (f #>> '{{terms,amount}}') || ' at '"
    " || (f #>> '{{verdict,annual_rate}}') || ' %%'"
    " ELSE (f ->> 'amount') || ' at ' || (f ->> 'annual_rate') || ' %%' END AS said"
    " FROM facts LEFT JOIN LATERAL jsonb_array_elements(f -> 'loans') l ON true),"
    " sides AS (SELECT what, by_customer, min(customer) AS customer, min(said) AS said,"
    " min(position) AS position, count(*) AS times FROM told GROUP BY what, by_customer)"
    " SELECT coalesce(c.what, s.what), c.customer, c.said, c.times, s.customer, s.said, s.times,"
    " coalesce(s.position, c.position)"
    " FROM (SELECT * FROM sides WHERE by_customer) c"
    " FULL JOIN (SELECT * FROM sides WHERE NOT by_customer) s ON s.what = c.what"
    " WHERE ((c.customer, c.said, c.times) IS DISTINCT FROM (s.customer, s.said, s.times)"
    " OR c.times > 1) AND least(s.position, c.position) <= %(head)s ORDER BY 8"
)
BY_CUSTOMER: Final = tuple(topic(one) for one in (LoanApproved, LoansImported, LoanBurdenRaised))
BY_LOAN: Final = tuple(topic(one) for one in (LoanOpened, LoanImported, RepaymentReversed))


class Told(Struct, frozen=True, kw_only=True):
    """What one side says: of which customer, what, and how often."""

    customer: str
    said: str
    times: int = 1


class Unpaired(Struct, frozen=True, kw_only=True):
    """Something that the customer's stream and the loan's do not say alike; None: not at all."""

    what: str
    position: int
    by_customer: Told | None
    by_loan: Told | None


def unpaired(
    conn: Connection[TupleRow], schema: str, *, head: int, unreadable: Collection[int]
) -> Iterator[Unpaired]:
    """What differs up to ``head``; facts at ``unreadable`` positions are left out.

    The other half of what one transaction recorded may stand beyond the head, and is looked for
    there, too: one snapshot has both or none.
    """
    values = {
        "head": head,
        "unreadable": list(unreadable),
        "topics": [*BY_CUSTOMER, *BY_LOAN],
        "by_customer": list(BY_CUSTOMER),
        "reversals": [topic(LoanBurdenRaised), topic(RepaymentReversed)],
        "imported": [topic(LoansImported), topic(LoanImported)],
        "approved": topic(LoanApproved),
    }
    with streamed(conn, in_schema(PAIRS, schema), values) as rows:
        for what, customer, said, times, customer_2, said_2, times_2, position in rows:
            yield Unpaired(
                what=what,
                position=position,
                by_customer=_told(customer, said, times),
                by_loan=_told(customer_2, said_2, times_2),
            )


def _told(customer: str | None, said: str | None, times: int | None) -> Told | None:
    if times is None:
        return None
    return Told(customer=str(customer), said=str(said), times=times)
