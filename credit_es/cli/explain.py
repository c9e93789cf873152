"""``credit-es explain``: why a loan was granted, or an application declined."""

from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from credit_es.cli import context, options
from credit_es.cli.context import CommandError, ExitCode
from credit_es.settings import Settings

if TYPE_CHECKING:
    from credit_es.audit.decisions import DecisionRecord
    from credit_es.audit.replay import Replay


def explain(
    loan_or_decision: Annotated[
        str | None,
        typer.Argument(help="A loan id, such as 10000001, or a decision id: 10000001-2."),
    ] = None,
    *,
    all_of_them: Annotated[
        bool, typer.Option("--all", help="Make every decision of the log again.")
    ] = False,
    cluster: options.Cluster = None,
    shards: options.Shards = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Show what a decision knew, what it came to, and why; make it again, and compare.

    With --all, exits 3 at the first decision that does not come out the same.
    """
    settings = context.settings()
    if all_of_them == (loan_or_decision is not None):
        raise CommandError("Give a loan or a decision, or --all.", ExitCode.USAGE)
    options.check_shards(cluster, shards)
    if shards and not all_of_them:
        raise CommandError("--shards goes with --all.", ExitCode.USAGE)
    if loan_or_decision is None:
        _explain_all(settings, cluster, shards, as_json=as_json)
        return
    from credit_es.audit.decisions import ImportedLoanError  # noqa: PLC0415
    from credit_es.domain.errors import DomainError  # noqa: PLC0415

    try:
        record, again = _find(settings, loan_or_decision)
    except ImportedLoanError as error:
        raise CommandError(
            f"Loan {loan_or_decision} came with a workbook: it was decided before credit-es knew "
            "of it, and nothing here says why.",
            ExitCode.NOT_FOUND,
        ) from error
    except DomainError as error:
        raise CommandError(f"Not found: {error}.", ExitCode.NOT_FOUND) from error
    if as_json:
        from credit_es.audit.steps import steps  # noqa: PLC0415

        context.print_json(
            msgspec.structs.asdict(record) | {"steps": steps(record), "replay": again}
        )
    else:
        _print(record)
        typer.echo(_said(again))
    if not again.same:
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)


def _explain_all(
    settings: Settings, cluster: str | None, shards: Path | None, *, as_json: bool
) -> None:
    from credit_es.audit.cluster import replay_shards  # noqa: PLC0415
    from credit_es.audit.replay import replay_log  # noqa: PLC0415
    from credit_es.store.mapper import UndigestedError  # noqa: PLC0415

    with context.progress_bar("replaying") as progress:
        if shards:
            count, failed = replay_shards(cluster, shards, progress)
        else:
            try:
                count, failed = replay_log(settings, progress)
            except UndigestedError as error:
                raise CommandError(
                    f"Not all decisions can be made again: {error}.", ExitCode.VERIFICATION_FAILED
                ) from error
    if as_json:
        context.print_json({"decisions": count, "first_not_the_same": failed})
    else:
        same = f"All {count} decisions of the log come out the same."
        typer.echo(f"Decision {failed.decision_id}: {_said(failed)}" if failed else same)
    if failed:
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)


def _said(again: "Replay") -> str:
    """What a replay came to, in words."""
    if again.same is None:
        return f"It cannot be made again: {again.problem}."
    if again.same:
        return "Made again from what it saw, by the policy that decided, it comes out the same."
    lines = [
        f"  {each.field}: recorded {each.recorded}, made again {each.replayed}"
        for each in again.differences
    ]
    return "\n".join(["Made again from what it saw, it comes out otherwise:", *lines])


def _find(settings: Settings, loan_or_decision: str) -> tuple["DecisionRecord", "Replay"]:
    """The decision as the read replica has it; what that lacks is asked of the primary."""
    from credit_es.application import Lending  # noqa: PLC0415
    from credit_es.audit.decisions import Audit  # noqa: PLC0415
    from credit_es.audit.replay import policies_of, replay  # noqa: PLC0415
    from credit_es.domain.errors import UnknownDecisionError, UnknownLoanError  # noqa: PLC0415
    from credit_es.store.log import Log  # noqa: PLC0415
    from credit_es.store.replica import replica_log  # noqa: PLC0415

    def ask(log: Log) -> tuple["DecisionRecord", "Replay"]:
        audit = Audit(log)
        with closing(log.database):
            is_loan = loan_or_decision.isascii() and loan_or_decision.isdigit()
            record = (
                audit.decision_of_loan(int(loan_or_decision))
                if is_loan
                else audit.decision(loan_or_decision)
            )
            number, version = map(int, record.decision_id.split("-"))
            return record, replay(log, policies_of(log), number, version)

    if replica := replica_log(settings, pool_size=2):
        with suppress(UnknownDecisionError, UnknownLoanError):
            return ask(replica)
    return ask(Lending(settings, pool_size=2).reader)


def _print(record: "DecisionRecord") -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from credit_es.audit.steps import steps  # noqa: PLC0415

    decision, console = record.decision, Console(highlight=False, markup=False)
    asked, verdict, seen = decision.terms, decision.verdict, decision.seen
    card = verdict.scorecard
    reasons = ", ".join(verdict.reasons) or "no reasons"
    console.print(f"Decision {record.decision_id} of {decision.occurred_on}, {reasons}:")
    for number, one in enumerate(steps(record), 1):
        console.print(f"{number}. {one.what}")
    loan = decision.loan_number or "none"
    seen_loans = ", ".join(f"{each.loan_number} v{each.version}" for each in seen.loans) or "none"
    table = Table(show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in (
        ("customer", decision.customer_number),
        ("loan", loan),
        ("application", record.application_id or "none"),
        ("asked for", f"{asked.amount} at {asked.annual_rate} % over {asked.tenure_months} months"),
        ("rate, installment", f"{verdict.annual_rate} %, {verdict.installment} a month"),
        ("income, limit", f"{seen.monthly_income}, {seen.approved_limit}"),
        ("current loans", f"{card.current_amount}, {card.current_installments} a month"),
        ("score", card.score),
        (
            "  paid on time",
            f"{card.paid_on_time} ({card.installments_on_time} of "
            f"{card.installments_due} installments due)",
        ),
        ("  past loans", f"{card.past_loans} ({card.closed_loans} closed)"),
        ("  activity", f"{card.activity} ({card.loans_this_year} loans this year)"),
        ("  volume in use", card.volume),
        ("policy", f"{verdict.policy}, {verdict.policy_hash}"),
        ("versions it saw", f"customer v{seen.customer_version}; loans {seen_loans}"),
        ("recorded", f"{record.recorded_at:%Y-%m-%d %H:%M:%S} UTC by {record.actor}"),
        ("request", record.correlation_id),
    ):
        table.add_row(name, str(value))
    console.print(table)
