"""``credit-es ingest``: give two workbooks to the worker, and watch what becomes of them."""

import getpass
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID, uuid4

import typer
from msgspec import structs

from credit_es.cli import context, output
from credit_es.cli.context import CommandError, ExitCode
from credit_es.settings import Settings

if TYPE_CHECKING:
    from credit_es.domain.cells import Finding
    from credit_es.importing import Importing
    from credit_es.store.ingestions import QueuedIngestion

SAMPLES: Final = ("customer_data.xlsx", "loan_data.xlsx")
POLL_S: Final = 0.1
WAITING: Final = "waiting for a worker"
QUIET_S: Final = 10
SHOWN: Final = 20
PAGE: Final = 1000


def ingest(
    customers: Annotated[Path, typer.Argument(help="The workbook of customers, .xlsx.")],
    loans: Annotated[Path, typer.Argument(help="The workbook of loans, .xlsx.")],
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Say what it would do, and record nothing.")
    ] = False,
    restate: Annotated[
        bool,
        typer.Option("--restate", help="Record what they say anew of known customers and loans."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout, with every finding.")
    ] = False,
) -> None:
    """Record what two workbooks say of customers and their loans."""
    settings = context.settings()
    importing = _importing(settings)
    ingestion_id = _request(
        importing, settings, customers, loans, check_only=check, restate=restate
    )
    ended = _watch(importing, ingestion_id)
    (_print_json if as_json else _print)(importing, ended)
    if ended.status == "failed":
        raise CommandError(ended.problem or "The ingestion failed.", ExitCode.FAILURE)


def ingest_sample(settings: Settings) -> None:
    """Give the sample workbooks to the worker; returns at once."""
    folder = context.CHECKOUT / "data"
    customers, loans = (folder / name for name in SAMPLES)
    _request(_importing(settings), settings, customers, loans, check_only=False)


def _importing(settings: Settings) -> "Importing":
    from credit_es.application import Lending  # noqa: PLC0415
    from credit_es.importing import Importing  # noqa: PLC0415

    return Importing(Lending(settings, pool_size=1))


def _request(
    importing: "Importing",
    settings: Settings,
    customers: Path,
    loans: Path,
    *,
    check_only: bool,
    restate: bool = False,
) -> UUID:
    from credit_es.application import By  # noqa: PLC0415
    from credit_es.store.ingestions import Upload  # noqa: PLC0415
    from workers.broker import Broker  # noqa: PLC0415

    uploads = []
    for path in (customers, loans):
        try:
            uploads.append(Upload(name=path.name, content=path.read_bytes()))
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
        if len(uploads[-1].content) > settings.upload_limit:
            limit = settings.upload_limit // 2**20
            raise CommandError(
                f"{path} is larger than {limit} MiB: divide it, or raise CREDIT_UPLOAD_LIMIT_MIB."
            )
    by = By(actor=f"cli/{_who()}", correlation_id=str(uuid4()))
    ingestion_id = importing.request(
        uploads[0], uploads[1], check_only=check_only, restate=restate, by=by
    )
    Broker(settings.redis_url, settings.schema).enqueue(ingestion_id)
    return ingestion_id


def _who() -> str:
    """The account that gave the command; its number where it has no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the latter from Python 3.13 on
        return str(os.getuid())


def _watch(importing: "Importing", ingestion_id: UUID) -> "QueuedIngestion":
    """Show the progress on stderr until the ingestion is over; Ctrl-C leaves it to the worker."""
    started = time.monotonic()
    told = False
    with context.progress_bar(WAITING) as progress:
        while True:
            ingestion = importing.ingestions.find(ingestion_id)
            assert ingestion is not None
            if ingestion.finished_at:
                return ingestion
            running = ingestion.status == "running"
            rows = "rows" if ingestion.total else "reading the workbooks"
            progress(ingestion.done, ingestion.total or None, rows if running else WAITING)
            if not (running or told) and time.monotonic() - started > QUIET_S:
                typer.echo(
                    "No worker has taken it yet. It is queued and will not be lost: is `make run`, "
                    "or `credit-es worker`, running?",
                    err=True,
                )
                told = True
            time.sleep(POLL_S)


def _print_json(importing: "Importing", ended: "QueuedIngestion") -> None:
    findings: list[Finding] = []
    while page := importing.ingestions.findings(
        ended.job.ingestion_id, after=len(findings), limit=PAGE
    ):
        findings += page
    document = {
        "ingestion_id": str(ended.job.ingestion_id),
        "check": ended.job.check_only,
        "restate": ended.job.restate,
        "status": ended.status,
        "counts": ended.report,
        "problem": ended.problem,
        "findings": findings,
    }
    context.print_json(document)


def _print(importing: "Importing", ended: "QueuedIngestion") -> None:
    if ended.report is None:
        return
    what = "A check: nothing was recorded" if ended.job.check_only else "Ingestion"
    typer.echo(f"{what} {ended.job.ingestion_id}")
    customers, loans = structs.asdict(ended.report.customers), structs.asdict(ended.report.loans)
    output.table(("", *customers), [("customers", *customers.values()), ("loans", *loans.values())])
    findings = importing.ingestions.findings(ended.job.ingestion_id, after=0, limit=SHOWN + 1)
    for finding in findings[:SHOWN]:
        column = f", {finding.column}" if finding.column else ""
        typer.echo(
            f"{finding.workbook} row {finding.row}{column}: {finding.message} ({finding.code})"
        )
    if len(findings) > SHOWN:
        typer.echo(f"... and more: see /ingestions/{ended.job.ingestion_id}/report.xlsx")
