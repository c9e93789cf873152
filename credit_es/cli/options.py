"""Options that several commands take, and how their texts are read."""

from pathlib import Path
from typing import Annotated

import typer

from credit_es.cli.context import CommandError, ExitCode

Cluster = Annotated[
    str | None,
    typer.Option(metavar="URL", help="A Dask scheduler, tcp://..., that asks --shards."),
]
Shards = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="A Parquet export to ask, in place of the log."),
]


def check_shards(cluster: str | None, shards: Path | None) -> None:
    """Refuse a cluster that is given nothing to read."""
    if cluster and not shards:
        raise CommandError(
            "A cluster reads an export: give --shards DIR, written by "
            "`credit-es audit export DIR --format parquet`.",
            ExitCode.USAGE,
        )
