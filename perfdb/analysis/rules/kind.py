"""What a kind of rule is: all that settings, verdicts, alerts, messages, commands and pages know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from perfdb.analysis.rules.base import Frozen, Rule, Verdict
from perfdb.records import Alert
from perfdb.vocabulary import WITHOUT_WAVE

Evaluate = Callable[[Rule, Sequence[float], Frozen | None], Verdict]
Amount = Callable[[float | None], str]
"""How a value is written with the unit of its metric."""


class Told(Protocol):
    """What a few words are about: an alert, or a row of one."""

    @property
    def value(self) -> float:
        """What the rule judged."""

    @property
    def limit(self) -> float | None:
        """What it allows."""

    @property
    def n(self) -> int:
        """How many runs that is of."""


ANY = (-1e300, float("inf"))


def contribution(alert: Alert) -> float:
    """Return by how much it moved, in the metric's unit; over the limit where there is no baseline."""
    base = alert.baseline if alert.baseline is not None else alert.limit
    return alert.value - base if base is not None else 0.0


def percent_text(effect: float | None) -> str:
    """Return an effect in brackets."""
    return "" if effect is None or abs(effect) > 1e6 else f" ({effect:+.0f} %)"


def worse(alert: Alert) -> str:
    """Return which way is worse: slower, higher, faster or lower."""
    slow = alert.metric == "duration"
    if alert.direction == "up":
        return "slower" if slow else "higher"
    return "faster" if slow else "lower"


def became(alert: Alert, amount: Amount, *, verb: str = "", before: str = "", runs: str = "") -> str:
    """Say that the level moved, from what to what."""
    moved = contribution(alert)
    since = "1 run" if alert.n == 1 else f"{alert.n:,} runs since"
    return (
        f"{verb or f'became {worse(alert)}'}: from {amount(alert.baseline)} "
        f"({before or f'median of {alert.baseline_n:,} runs'}) "
        f"to {amount(alert.value)} ({runs or since}), "
        f"{'+' if moved > 0 else ''}{amount(moved)}{percent_text(alert.effect)}"
        f"{f',{WITHOUT_WAVE}' if alert.details.get('in_wave') else ''}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of rule.

    Attributes:
        name: as settings and alerts have it; summary: what it fires at, in a few words.
        evaluate: returns the verdict on the newest of so many runs.
        window: how many runs it looks at.
        finds: ``breach``: a run beyond a limit; ``share``: many runs beyond a limit; ``failures``: many that
            failed; ``level``: runs since some session that lie higher than those before; ``loss``: runs that
            lie above a pinned baseline; ``run``: one wild run; ``drift``: a slow move; ``modes``: two
            levels by turns.
        looks_at: which of a session's runs of the step it looks at, or whether it failed, or what its day had
            come to.
        settings: numbers that a rule may have beside what every rule has, with the lowest and the highest.
        choices: words that a rule may have likewise, the first where none is given.
        needs: those of them that must be given; defaults: what a rule has where nothing is given.
        sided: a person may say that less is worse.
        information: it never fails a check and never notifies alone.
        limit_is: what an alert's limit is: a ``value`` of the metric, a ``share`` of runs, or of a ``test``.
        by_change_points: its moves are placed more exactly when more runs are known.
        looks_back: it goes on to see a move that is over.
        default: the rule of this kind that is on without any settings.
        says: what an alert says of its subject; short: the same in a page's few words, where they are not
            just by how much it moved.
    """

    name: str
    summary: str
    evaluate: Evaluate
    window: int
    finds: Literal["breach", "share", "failures", "level", "loss", "run", "drift", "modes"]
    looks_at: Literal["mean", "highest", "lowest", "failed", "day"] = "mean"
    settings: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    sided: bool = True
    information: bool = False
    limit_is: Literal["value", "share", "test"] = "test"
    by_change_points: bool = False
    looks_back: bool = False
    default: Rule | None = None
    says: Callable[[Alert, Amount], str] = became
    short: Callable[[Told, Amount], str] | None = None

    @property
    def compares(self) -> bool:
        """Whether runs before are compared with runs since."""
        return self.finds in ("level", "loss", "drift")

    @property
    def shifts(self) -> bool:
        """Whether its alerts tell of runs that lie elsewhere than those just before."""
        return self.finds in ("level", "drift")

    @property
    def draws_limit(self) -> bool:
        """Whether a person set a limit that can be drawn beside the runs."""
        return "limit" in self.needs and self.looks_at != "day"

    @property
    def judges_shares(self) -> bool:
        """Whether what it evaluates is a share of the runs, and no value of the metric."""
        return self.finds in ("share", "failures")

    def limit_text(self, rule: Rule, amount: Amount) -> str:
        """Return what a rule allows, for people; empty where that is not one number."""
        if "percent" in self.settings:
            return f"+{rule.percent:g} %"
        if rule.limit is None:
            return ""
        if self.limit_is == "share":
            return f"{100 * rule.limit:g} %"
        return f"{amount(rule.limit)}{f' a {rule.per}' if self.looks_at == 'day' else ''}"

    def effect_text(self, effect: float | None) -> str:
        """Return by how much an alert's value lies over its baseline: in percent, of shares in points.

        Of a breach it is over the limit, and says so: beside what was before it would be taken for a change.
        """
        if effect is None:
            return ""
        if self.finds == "breach":
            return f"{abs(effect):.0f} % {'under' if self.looks_at == 'lowest' else 'over'} limit"
        return f"{effect:+.0f} {'points' if self.judges_shares else '%'}"

    def value_text(self, value: float, amount: Amount) -> str:
        """Return what a verdict is about, for people: a share of the runs, or a value of the metric."""
        return f"{100 * value:.0f} %" if self.judges_shares else amount(value)
