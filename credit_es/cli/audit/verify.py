"""``credit-es audit verify``: is the log what it must be, and all that is derived from it?"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from credit_es.cli import context, options, output
from credit_es.cli.context import CommandError, ExitCode

if TYPE_CHECKING:
    from credit_es.audit.verify import Verified

HEADINGS: Final = ("check", "subject", "position", "what")
SHOWN: Final = 20


def verify(
    *,
    cluster: options.Cluster = None,
    shards: options.Shards = None,
    as_json: output.AsJson = False,
    as_csv: output.AsCsv = False,
) -> None:
    """Check the log, the read tables and the snapshots; names what is wrong, and exits 3."""
    options.check_shards(cluster, shards)
    found = _of_shards(cluster, shards) if shards else _of_log()
    rows = ((each.check, each.subject, each.position, each.what) for each in found.faults)
    output.show(found, HEADINGS, rows, as_json=as_json, as_csv=as_csv, people=lambda: _print(found))
    if found.faults:
        count = f"{len(found.faults)}" if found.complete else f"More than {len(found.faults)}"
        raise CommandError(f"{count} faults.", ExitCode.VERIFICATION_FAILED)


def _print(found: "Verified") -> None:
    for fault in found.faults[:SHOWN]:
        place = f"position {fault.position}: " if fault.position is not None else ""
        typer.echo(f"{fault.check}: {fault.subject}: {place}{fault.what}")
    if len(found.faults) > SHOWN:
        typer.echo(f"{len(found.faults) - SHOWN} more are in --json and --csv.")
    if not found.faults:
        typer.echo(f"{found.facts} facts, up to position {found.position}: all is well.")


def _of_log() -> "Verified":
    """On the replica, where there is one: it is work, and how far it was read is told."""
    settings = context.settings()
    from credit_es.audit.verify import verify as check  # noqa: PLC0415
    from credit_es.cli.logs import open_logs  # noqa: PLC0415

    with open_logs(settings) as logs, context.progress_bar("verifying") as progress:
        return check(logs.whole, progress)


def _of_shards(cluster: str | None, folder: Path) -> "Verified":
    from credit_es.audit.cluster import verify_shards  # noqa: PLC0415

    with context.progress_bar("verifying") as progress:
        return verify_shards(cluster, folder, progress)
