"""The same pure folds over an export's Parquet shards, on a Dask cluster.

A shard holds whole customers, so what is asked of each customer is asked of each shard, wherever it
is; only small answers travel. The workers need the same code and the same folder.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

from credit_es.audit.backtest import Question, Tallies, added, backtest
from credit_es.audit.checks import Checked, Place, check_shard, without_policy
from credit_es.audit.dossiers import dossiers_of
from credit_es.audit.export import ExportError, Selection
from credit_es.audit.readback import read_manifest, read_shard
from credit_es.audit.replay import Policies, Replay, first_failing, first_of
from credit_es.audit.verify import MOST, Verified
from credit_es.domain.events import PolicyAdopted
from credit_es.store.mapper import DECODER

T = TypeVar("T")
Progress = Callable[[int, int], None]
IN_FLIGHT: Final = 1_000
"""Positions at the end of an export that may hold half a transaction; an import's are largest."""


class ClusterError(Exception):
    """There is no cluster to ask; the message says what to do."""


def shards_of(folder: Path) -> list[Path]:
    """The Parquet files of an export; raises ``ExportError`` where it is none."""
    manifest = read_manifest(folder)
    if manifest.format != "parquet":
        raise ExportError(f"{folder} is {manifest.format}: export it with --format parquet.")
    return [folder / file.name for file in manifest.files]


def backtest_shards(
    address: str | None, folder: Path, question: Question, progress: Progress
) -> Tallies:
    """Backtest every customer of an export, here or on the cluster at ``address``."""
    return added(_each(address, _backtest_shard, shards_of(folder), question, progress))


def replay_shards(
    address: str | None, folder: Path, progress: Progress
) -> tuple[int, Replay | None]:
    """Make every decision of an export again, here or on the cluster at ``address``.

    Returns how many, and the first that comes out otherwise.
    """
    shards = shards_of(folder)
    contents = {
        fact.policy_hash: fact.content
        for row in read_shard(shards[0])
        if isinstance(fact := DECODER.decode(row.state).fact, PolicyAdopted)
    }
    return first_of(list(_each(address, _replay_shard, shards, contents, progress)))


def verify_shards(address: str | None, folder: Path, progress: Progress) -> Verified:
    """Check the facts of an export, here or on the cluster at ``address``.

    Raises ``ExportError`` where it is a selection, which has holes.
    """
    manifest, shards = read_manifest(folder), shards_of(folder)
    if manifest.selection != Selection():
        raise ExportError(f"{folder} is a selection of the log: export the whole log.")
    whole_up_to = manifest.upto - IN_FLIGHT
    answers = list(_each(address, _verify_shard, shards, whole_up_to, progress))
    adopted = {k: at for one in answers for k, at in one.adopted.items()}
    used: dict[str, int] = {}
    for one in answers:
        used |= {k: min(at, used.get(k, at)) for k, at in one.used.items()}
    faults = [fault for one in answers for fault in one.faults]
    faults = sorted([*faults, *without_policy(adopted, used)], key=lambda one: one.position or 0)
    return Verified(
        position=manifest.upto,
        facts=sum(one.facts for one in answers),
        faults=faults[:MOST],
        complete=len(faults) <= MOST,
    )


def _verify_shard(shard: Path, whole_up_to: int) -> Checked:
    places = (
        Place(UUID(row.stream_id), row.version, row.position, row.topic, row.state.encode())
        for row in read_shard(shard)
    )
    return check_shard(places, whole_up_to=whole_up_to)


def _backtest_shard(shard: Path, question: Question) -> Tallies:
    return backtest(dossiers_of(read_shard(shard)), question)


def _replay_shard(shard: Path, contents: dict[str, str]) -> tuple[int, Replay | None]:
    return first_failing(dossiers_of(read_shard(shard)), Policies(contents.get))


def _each(
    address: str | None,
    ask: Callable[..., T],
    shards: Sequence[Path],
    what: Any,
    progress: Progress,
) -> Iterator[T]:
    if address is None:
        for done, shard in enumerate(shards, 1):
            yield ask(shard, what)
            progress(done, len(shards))
        return
    try:
        from distributed import Client, as_completed  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ClusterError(
            "A cluster needs Dask: pip install 'credit-es[cluster]', or leave --cluster out."
        ) from error
    try:
        client = Client(address)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"No Dask scheduler answers at {address} ({error}): start one with `dask scheduler`, "
            "and give the address that it prints, such as tcp://10.0.0.5:8786."
        ) from error
    with client:
        futures = [client.submit(ask, shard, what, pure=False) for shard in shards]
        for done, future in enumerate(as_completed(futures), 1):  # type: ignore[no-untyped-call]
            yield future.result()
            progress(done, len(shards))
