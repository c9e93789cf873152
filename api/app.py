"""The application: every route and middleware on one page."""

from importlib.metadata import version

import falcon
from msgspec import Struct

from api.middleware import RequestLog
from api.openapi import Described, document
from api.problems import add_error_handlers
from api.resources.audit import History, Search
from api.resources.backtests import Backtest
from api.resources.customers import Corrections, Customers, OneCustomer, Register
from api.resources.decisions import Decisions, OneDecision
from api.resources.docs import Docs, Document
from api.resources.exports import Export
from api.resources.health import Live, Readiness
from api.resources.ingestions import AllIngestions, IngestionReport, OneIngestion
from api.resources.loans import CheckEligibility, CreateLoan, ViewLoan, ViewLoans
from api.resources.past import Changes, PastCustomer, PastLoan
from api.resources.portfolio import PastPortfolio, PortfolioReport, Turn
from api.resources.repayments import LoanPayoff, LoanSchedule, Repayments, Reversal, WriteOff
from api.resources.replays import Explain, ExplainAll
from api.resources.reviews import Approve, Decline, OneReview, Reviews
from api.resources.statements import CustomerStatement, StatementWorkbook
from api.resources.verification import Verify
from credit_es.application import Lending
from credit_es.audit.decisions import Audit
from credit_es.audit.logs import Logs
from credit_es.audit.then import Past
from credit_es.importing import Importing
from credit_es.reviewing import Reviewing
from credit_es.servicing import Servicing
from credit_es.settings import Settings
from credit_es.store.ingestions import Ingestions
from credit_es.store.log import Log
from credit_es.store.replica import replica_log
from projections.reading import ReadModel
from workers.broker import Broker


class Services(Struct, frozen=True, kw_only=True):
    """What the routes call; ``upload_limit`` is that of one workbook, in bytes.

    ``replica`` is where lists and reports are read, None where that is the primary.
    """

    lending: Lending
    read_model: ReadModel
    importing: Importing
    audit: Audit
    broker: Broker
    upload_limit: int
    replica: Log | None

    def close(self) -> None:
        """Close what is connected."""
        self.lending.close()
        if self.replica:
            self.replica.database.close()


def connect(settings: Settings, *, pool_size: int) -> Services:
    """The services of one process; they connect when first used. After a fork, never before."""
    lending = Lending(settings, pool_size=pool_size)
    replica = replica_log(settings, pool_size=pool_size)
    return Services(
        lending=lending,
        read_model=ReadModel(lending.database, replica.database if replica else None),
        importing=Importing(lending),
        audit=Audit(lending.reader),
        broker=Broker(settings.redis_url, settings.schema),
        upload_limit=settings.upload_limit,
        replica=replica,
    )


def create_app(services: Services) -> "falcon.App[falcon.Request, falcon.Response]":
    """The WSGI application. Every path works with and without a trailing slash."""
    lending, read_model, importing = services.lending, services.read_model, services.importing
    broker, ingestions = services.broker, services.importing.ingestions
    replica = services.replica.database if services.replica else None
    reports = [Ingestions(replica), ingestions] if replica else [ingestions]
    all_ingestions = AllIngestions(importing, broker.enqueue, upload_limit=services.upload_limit)
    servicing, reviewing = Servicing(lending), Reviewing(lending)
    account = CustomerStatement(lending, read_model)
    logs = Logs(primary=lending.reader, replica=services.replica)
    turn = Turn()

    def past(log: Log) -> Past:
        return Past(log, lending.policy, lending.today, whole=logs.whole)

    routes: list[tuple[str, Described]] = [
        ("/register", Register(lending)),
        ("/check-eligibility", CheckEligibility(lending)),
        ("/create-loan", CreateLoan(lending)),
        ("/view-loan/{loan_id}", ViewLoan(lending, read_model)),
        ("/view-loans/{customer_id}", ViewLoans(lending, read_model)),
        ("/customers", Customers(read_model)),
        ("/customers/{customer_id}", OneCustomer(lending, read_model)),
        ("/customers/{customer_id}/decisions", Decisions(services.audit)),
        ("/decisions/{decision_id}", OneDecision(services.audit)),
        ("/customers/{customer_id}/corrections", Corrections(servicing)),
        ("/customers/{customer_id}/statement", account),
        ("/customers/{customer_id}/statement.xlsx", StatementWorkbook(account)),
        ("/reviews", Reviews(lending, read_model)),
        ("/reviews/{application_id}", OneReview(lending, read_model)),
        ("/reviews/{application_id}/approve", Approve(reviewing)),
        ("/reviews/{application_id}/decline", Decline(reviewing)),
        ("/loans/{loan_id}/schedule", LoanSchedule(lending, read_model)),
        ("/loans/{loan_id}/repayments", Repayments(servicing, read_model)),
        ("/loans/{loan_id}/repayments/{repayment_id}/reversal", Reversal(servicing)),
        ("/loans/{loan_id}/payoff", LoanPayoff(lending, read_model)),
        ("/loans/{loan_id}/write-off", WriteOff(servicing)),
        ("/audit/facts", Search(logs.whole, lending.reader)),
        ("/audit/explain", ExplainAll(logs.whole)),
        ("/audit/explain/{decision_id}", Explain(logs)),
        ("/audit/history/{subject}/{subject_id}", History(logs)),
        ("/audit/as-of/{on}/customer/{customer_id}", PastCustomer(logs, past)),
        ("/audit/as-of/{on}/loan/{loan_id}", PastLoan(logs, past)),
        ("/audit/as-of/{on}/portfolio", PastPortfolio(past(logs.whole), turn)),
        ("/audit/portfolio-report.xlsx", PortfolioReport(past(logs.whole), turn)),
        ("/audit/backtest", Backtest(logs.whole, turn, lending.today)),
        ("/audit/export", Export(logs.whole, turn)),
        ("/audit/verify", Verify(logs.whole, turn)),
        ("/audit/diff/{before}/{after}/{aggregate}/{aggregate_id}", Changes(logs, past)),
        ("/ingestions", all_ingestions),
        ("/ingestions/{ingestion_id}", OneIngestion(ingestions)),
        ("/ingestions/{ingestion_id}/report.xlsx", IngestionReport(ingestions, reports)),
        ("/health/live", Live()),
        ("/health/ready", Readiness(lending.database, broker, replica)),
    ]
    app = falcon.App(middleware=[RequestLog()])
    app.req_options.strip_url_path_trailing_slash = True
    add_error_handlers(app)
    for path, resource in routes:
        app.add_route(path, resource)
    app.add_route("/openapi.json", Document(document(routes, version("credit-es"))))
    docs = Docs()
    app.add_route("/docs", docs)
    app.add_route("/docs/{name}", docs)
    return app
