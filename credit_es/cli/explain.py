"""``credit-es explain``: why a loan was granted, or an application declined."""

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from credit_es.cli import context, options, output
from credit_es.cli.context import CommandError, ExitCode
from credit_es.domain.values import Basis
from credit_es.settings import Settings

if TYPE_CHECKING:
    from credit_es.audit.decisions import DecisionRecord
    from credit_es.audit.replay import Replay
    from credit_es.domain.values import Scorecard
    from credit_es.store.log import Log


WIDTH: Final = 80
"""Of the lines of a step in words."""


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
    as_json: output.AsJson = False,
    as_csv: output.AsCsv = False,
) -> None:
    """Show what a decision knew, what it came to, and why; make it again, and compare.

    With --all, exits 3 at the first decision that does not come out the same.
    """
    if all_of_them == (loan_or_decision is not None):
        raise CommandError("Give a loan or a decision, or --all.", ExitCode.USAGE)
    options.check_shards(cluster, shards)
    if shards and not all_of_them:
        raise CommandError("--shards goes with --all.", ExitCode.USAGE)
    if loan_or_decision is None:
        _explain_all(cluster, shards, as_json=as_json, as_csv=as_csv)
        return
    from credit_es.audit.decisions import ImportedLoanError  # noqa: PLC0415
    from credit_es.domain.errors import DomainError  # noqa: PLC0415

    try:
        record, again = _find(context.settings(), loan_or_decision)
    except ImportedLoanError as error:
        raise CommandError(
            f"Loan {loan_or_decision} came with a workbook: it was decided before credit-es knew "
            "of it, and nothing here says why.",
            ExitCode.NOT_FOUND,
        ) from error
    except DomainError as error:
        raise CommandError(f"Not found: {error}.", ExitCode.NOT_FOUND) from error
    from credit_es.audit.steps import steps  # noqa: PLC0415

    way = steps(record)
    rows = [(f"step {number}", one.what) for number, one in enumerate(way, 1)]
    output.show(
        msgspec.structs.asdict(record) | {"steps": way, "replay": again},
        ("what", "value"),
        [*rows, *_figures(record), ("made again", _said(again))],
        as_json=as_json,
        as_csv=as_csv,
        people=lambda: _print(record, again),
    )
    if not again.same:
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)


def _explain_all(
    cluster: str | None,
    shards: Path | None,
    *,
    as_json: bool,
    as_csv: bool,
) -> None:
    from credit_es.audit.cluster import replay_shards  # noqa: PLC0415
    from credit_es.audit.replay import replay_log  # noqa: PLC0415
    from credit_es.store.mapper import UndigestedError  # noqa: PLC0415

    with context.progress_bar("replaying") as progress:
        if shards:
            count, failed = replay_shards(cluster, shards, progress)
        else:
            try:
                count, failed = replay_log(context.settings(), progress)
            except UndigestedError as error:
                raise CommandError(
                    f"Not all decisions can be made again: {error}.", ExitCode.VERIFICATION_FAILED
                ) from error
    same = f"Every decision of the log comes out the same: {count} made again."
    told = f"Decision {failed.decision_id}: {_said(failed)}" if failed else same
    output.show(
        {"decisions": count, "first_not_the_same": failed},
        ("decisions", "first not the same", "made again"),
        [(count, failed.decision_id if failed else None, told)],
        as_json=as_json,
        as_csv=as_csv,
        people=lambda: typer.echo(told),
    )
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
    from credit_es.audit.decisions import Audit  # noqa: PLC0415
    from credit_es.audit.replay import replay_of  # noqa: PLC0415
    from credit_es.cli.logs import open_logs  # noqa: PLC0415

    def ask(log: "Log") -> tuple["DecisionRecord", "Replay"]:
        audit = Audit(log)
        is_loan = loan_or_decision.isascii() and loan_or_decision.isdigit()
        record = (
            audit.decision_of_loan(int(loan_or_decision))
            if is_loan
            else audit.decision(loan_or_decision)
        )
        return record, replay_of(log, record)

    with open_logs(settings) as logs:
        found, _ = logs.ask(ask)  # a decision found is never late
    return found


def _print(record: "DecisionRecord", again: "Replay") -> None:
    from credit_es.audit.steps import steps  # noqa: PLC0415

    decision = record.decision
    reasons = ", ".join(decision.verdict.reasons) or "no reasons"
    typer.echo(f"Decision {record.decision_id} of {decision.occurred_on}, {reasons}:")
    for number, one in enumerate(steps(record), 1):
        typer.echo(fill(f"{number}. {one.what}", WIDTH, subsequent_indent="   "))
    output.table(("", " "), _figures(record))
    typer.echo(_said(again))


def _figures(record: "DecisionRecord") -> list[tuple[str, str]]:
    """What stands in a decision, by name."""
    decision = record.decision
    asked, verdict, seen = decision.terms, decision.verdict, decision.seen
    card = verdict.scorecard
    loans = ", ".join(f"{each.loan_number} v{each.version}" for each in seen.loans) or "none"
    return [
        ("customer", f"{decision.customer_number}"),
        ("loan", f"{decision.loan_number or 'none'}"),
        ("application", record.application_id or "none"),
        ("asked for", f"{asked.amount} at {asked.annual_rate} % over {asked.tenure_months} months"),
        ("rate, installment", f"{verdict.annual_rate} %, {verdict.installment} a month"),
        ("income, limit", f"{seen.monthly_income}, {seen.approved_limit}"),
        ("current loans", f"{card.current_amount}, {card.current_installments} a month"),
        ("score", f"{card.score}"),
        *(_components(card) if card.basis is Basis.COMPONENTS else ()),
        ("policy", f"{verdict.policy}, {verdict.policy_hash}"),
        ("versions it saw", f"customer v{seen.customer_version}; loans {loans}"),
        ("recorded", f"{record.recorded_at:%Y-%m-%d %H:%M:%S} UTC by {record.actor}"),
        ("request", record.correlation_id),
    ]


def _components(card: "Scorecard") -> list[tuple[str, str]]:
    """What a score is the sum of; one that a rule sets before the sum is not."""
    return [
        (
            "score: paid on time",
            f"{card.paid_on_time} ({card.installments_on_time} of "
            f"{card.installments_due} installments due)",
        ),
        ("score: past loans", f"{card.past_loans} ({card.closed_loans} closed)"),
        ("score: activity", f"{card.activity} ({card.loans_this_year} loans this year)"),
        ("score: volume in use", f"{card.volume}"),
    ]
