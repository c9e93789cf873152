"""What a backtest came to, gathered for people, machines and a plot."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from credit_es.audit.backtest import Key, Outcome, Question, Tallies, Tally
from credit_es.domain.loan import ZERO
from credit_es.domain.money import to_cents

COLORS: Final = {"approved": "#2a9d8f", "referred": "#e9c46a", "declined": "#e76f51"}


class Line(Struct, frozen=True, kw_only=True):
    """Cases of one kind; rates are weighted by the amounts, in per cent a year.

    ``on_time_share`` is of the installments due since of the loans among them that were granted,
    in per cent; None where none was due.
    """

    what: str
    cases: int
    amount: Decimal
    rate_before: Decimal | None
    rate_after: Decimal | None
    dearer: int
    cheaper: int
    granted: int
    installments_due: int
    installments_on_time: int
    on_time_share: Decimal | None


class Summary(Struct, frozen=True, kw_only=True):
    """A backtest: what would have become of what, by reason, and by slab of the policy under test.

    A case with several reasons is counted under each of them.
    """

    policy: str
    policy_hash: str
    against: str
    cases: int
    changed: int
    changes: list[Line]
    by_reason: list[Line]
    by_slab: list[Line]


def summarized(tallies: Tallies, question: Question) -> Summary:
    """Add the tallies of a question up."""

    def change(key: Key) -> list[str]:
        return [f"{key.kind}: {key.before} -> {key.after}"]

    def slab(key: Key) -> list[str]:
        bound = "below all slabs" if key.slab is None else f"score above {key.slab.normalize():f}"
        return [f"{bound}: {key.after}"]

    return Summary(
        policy=question.policy.name,
        policy_hash=question.policy.hash,
        against=question.against.name if question.against else "as decided",
        cases=sum(tally.cases for tally in tallies.values()),
        changed=sum(t.cases for k, t in tallies.items() if k.before is not k.after)
        + sum(
            t.dearer + t.cheaper
            for k, t in tallies.items()
            if k.before is k.after is Outcome.APPROVED
        ),
        changes=_lines(tallies, change),
        by_reason=_lines(tallies, lambda key: [f"{key.after}: {r}" for r in key.reasons]),
        by_slab=_lines(tallies, slab),
    )


def _lines(tallies: Tallies, names: Callable[[Key], Iterable[str]]) -> list[Line]:
    sums: dict[str, Tally] = {}
    for key, tally in tallies.items():
        for name in names(key):
            sums.setdefault(name, Tally()).add(tally)
    return [_line(name, sums[name]) for name in sorted(sums)]


def _line(what: str, tally: Tally) -> Line:
    def rate(rated: Decimal) -> Decimal | None:
        return to_cents(Fraction(rated) / Fraction(tally.amount)) if tally.amount else None

    share = to_cents(Fraction(100 * tally.on_time, tally.due)) if tally.due else None
    return Line(
        what=what,
        cases=tally.cases,
        amount=tally.amount,
        rate_before=rate(tally.rated_before),
        rate_after=rate(tally.rated_after),
        dearer=tally.dearer,
        cheaper=tally.cheaper,
        granted=tally.granted,
        installments_due=tally.due,
        installments_on_time=tally.on_time,
        on_time_share=share,
    )


def plot(tallies: Tallies, summary: Summary, file: Path) -> None:
    """Draw the amounts by outcome before and after, as .svg or .png after the file's name."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second, which only a plot is worth

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    try:
        _bars(axes, tallies, ["before", "after"])
        axes.set_xticks([0, 1], [summary.against, f"under {summary.policy}"])
        axes.set_ylabel("amount asked for")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_title(f"{summary.cases:,} cases, {summary.changed:,} of them decided otherwise")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        figure.savefig(file)
    finally:
        plt.close(figure)


def _bars(axes: Any, tallies: Tallies, sides: list[str]) -> None:
    below = [ZERO, ZERO]
    for outcome in (Outcome.APPROVED, Outcome.REFERRED, Outcome.DECLINED):
        heights = [
            sum((t.amount for k, t in tallies.items() if getattr(k, side) is outcome), ZERO)
            for side in sides
        ]
        axes.bar(
            [0, 1],
            [float(height) for height in heights],
            bottom=[float(each) for each in below],
            label=outcome,
            color=COLORS[outcome],
        )
        below = [a + b for a, b in zip(below, heights, strict=True)]
