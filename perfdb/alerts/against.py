"""A branch judged by the history of another: what `perfdb check --against main` asks.

The baseline is the level of the other branch's last runs; the newest runs of this branch are held against it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from perfdb.analysis.branches import LEAST_BASE, LEAST_RUNS, MOST_BASE, SAME, SLOWER, UNKNOWN, Compared, judge
from perfdb.analysis.rules.base import SHIFT_PERCENT, percent_over
from perfdb.analysis.rules.shift import RECENT
from perfdb.analysis.series import SeriesName
from perfdb.filters import OfSeries, fits_series
from perfdb.records import Alert
from perfdb.text import counted, duration_text, mode_text
from perfdb.vocabulary import FIRING, WARNING

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfdb.analysis.series import Series

RULE = "against"
_READ = 100  # runs of the other branch in which its level is looked for
_MOST_TOTALS = 3  # in the sentence


@dataclass(frozen=True, slots=True)
class Against:
    """What came of it: every series that the branch has, and the two branches."""

    branch: str
    base: str
    compared: tuple[Compared, ...]

    @property
    def sentence(self) -> str:
        """How much could be told, with the number of runs of both sides."""
        if not self.compared:
            return f"No run of {self.branch} that counts: nothing to compare with {self.base}."
        here, there = (max(getattr(each, name) for each in self.compared) for name in ("n", "baseline_n"))
        verdicts = Counter(each.verdict for each in self.compared)
        told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items() if verdict != UNKNOWN)
        said = (
            f"{self.branch} against {self.base}: {counted(here, 'run')} here, {there:,} there, "
            f"{len(self.compared)} series: {told or 'none can be judged yet'}."
        )
        if (few := verdicts[UNKNOWN]) and told:
            said += f" Too few runs to tell of {few}."
        if few:
            said += f" {LEAST_RUNS} runs of {self.branch} and {LEAST_BASE} of {self.base} are needed,"
            said += " fewer for what is far off."
        totals = [each for each in self.compared if each.series.step_name is None and each.baseline_n]
        return " ".join([said, *(f"{self._moved(each)}." for each in totals[:_MOST_TOTALS])])

    def rows(self) -> list[dict[str, Any]]:
        """Return every series as a row: the columns of an alert, the verdict, and both numbers of runs.

        What is not slower has no ``severity`` and no ``state``.
        """
        alerts = {SeriesName(each.pipeline, each.step_name, each.mode): each for each in self.alerts()}
        return [
            (
                alerts[each.series].as_dict()
                if each.series in alerts
                else {
                    "id": 0, "rule": RULE, "severity": None, "state": None, "pipeline": each.series.pipeline,
                    "step_name": each.series.step_name, "metric": "duration", "mode": each.series.mode,
                    "value": each.value, "baseline": each.baseline, "effect": each.effect,
                    "since_session_id": each.session_ids[0], "message": f"{self._moved(each)}.",
                }
            )
            | {"verdict": each.verdict, "n": each.n, "baseline_n": each.baseline_n}
            for each in self.compared
        ]  # fmt: skip

    def _moved(self, each: Compared) -> str:
        name = each.series.step_name or f"{each.series.pipeline} (total)"
        mode = mode_text(each.series.mode)
        if each.value is None or each.baseline is None:
            return f"{name} has no run on {self.base}"
        effect = each.effect or 0
        chance = ", may be chance" if each.verdict == SAME and abs(effect) >= SHIFT_PERCENT else ""
        return (
            f"{name}{f' ({mode})' if mode else ''} takes {duration_text(each.value)} on {self.branch}, "
            f"{duration_text(each.baseline)} on {self.base} ({effect:+.0f} %{chance})"
        )

    def alerts(self) -> Iterator[Alert]:
        """Yield what became slower, in the shape of an alert that no database has: its ``id`` is 0."""
        for each in self.compared:
            if each.verdict != SLOWER or each.value is None:
                continue
            moved = self._moved(each)
            runs = f"{counted(each.n, 'run')} here, {each.baseline_n} there"
            yield Alert(
                rule=RULE, kind="fast_shift", severity=WARNING, state=FIRING, direction="up",
                metric="duration",
                pipeline=each.series.pipeline, step_name=each.series.step_name, mode=each.series.mode,
                value=each.value, baseline=each.baseline, effect=each.effect, n=each.n,
                baseline_n=each.baseline_n, hits=each.n,
                since_session_id=each.session_ids[0], since_time=each.start_times[0],
                last_session_id=each.session_ids[-1], last_time=each.start_times[-1],
                opened_at=each.start_times[-1], updated_at=each.start_times[-1],
                headline=moved,
                message=f"{moved}, pipeline {each.series.pipeline}: {runs}; {each.arithmetic}. "
                f"Next: perfdb show {each.session_ids[-1]}",
            )  # fmt: skip


def compare_branches(
    connection: Connection, branch: str, base: str, *, since: float | None, of: OfSeries
) -> Against:
    """Return how the newest runs of ``branch`` compare with the level of ``base``.

    Args:
        connection: of any role.
        branch: whose newest 5 runs of a series are judged.
        base: whose level is what is expected.
        since: only runs of ``branch`` that began at or after it (epoch s).
        of: only these series.
    """
    from perfdb.store.series import read_past

    new: dict[SeriesName, Series] = {}
    for runs in read_past(connection, pipeline=of.get("pipeline"), branch=branch, since=since):
        new[runs.name] = runs
    found: list[Compared] = []
    for total in [name for name in new if name.step_name is None]:
        past = read_past(connection, pipeline=total.pipeline, mode=total.mode, branch=base, last=_READ)
        levels = {runs.name: _level_of(runs.values) for runs in past}
        newest = new[total].session_ids[-1]
        own = [
            name
            for name, runs in new.items()
            if name[::2] == total[::2]
            and runs.session_ids[-1] == newest  # what it still has
            and fits_series(runs, of)
        ]
        found += (_compared(new[name], levels.get(name, [])) for name in own)
    found.sort(key=lambda each: -(each.effect or 0.0))
    return Against(branch, base, tuple(found))


def _level_of(values: Iterable[float]) -> list[float]:
    """Return the runs of the level that a history ended with."""
    from perfdb.analysis.change_points import find_change_points

    runs = [float(value) for value in values]
    for change in find_change_points(runs)[-1:]:
        if len(runs) - change.index >= LEAST_BASE:
            runs = runs[change.index :]
    return runs[-MOST_BASE:]


def _compared(runs: Series, base: list[float]) -> Compared:
    newest = runs.between(max(0, len(runs) - RECENT))
    verdict, arithmetic = judge(newest.values, base)
    value, baseline = median(newest.values), median(base) if base else None
    return Compared(
        runs.name,
        verdict,
        len(newest),
        len(base),
        value,
        baseline,
        percent_over(value, baseline),
        arithmetic,
        newest.session_ids,
        newest.start_times,
    )
