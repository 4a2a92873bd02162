"""Say in one plain sentence how things are, and in a few words what an alert is about."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from markupsafe import Markup

from perfdb.alerts.messages import amount_of
from perfdb.analysis.rules import kind_of
from perfdb.pages.words import change, shown
from perfdb.records import Alert
from perfdb.text import counted, duration_text, inert
from perfdb.vocabulary import COMPLETED, CRITICAL, FAILED, FIRING, INTERRUPTED, SEVERITIES, WARNING
from perfdb.web.schemas import AlertRow, Live, PipelineNow, SeriesNow, SessionRow
from perfdb.web.words import link, when

INFO = SEVERITIES[0]
WORSE_PERCENT, WORSE_WITH_ALERT_PERCENT = 15.0, 5.0  # by which newest runs must lie higher to be called worse
MOST_OPEN = 1_000  # open alerts that are looked at: the gravest, then the newest
FAR_FROM_USUAL = 2.0  # times: of the newest session it is said
ENOUGH = 30  # runs, of which the newest would have a past among the others
MANY_FAILURES, MANY_FAIL = 3, 0.15  # of the newest runs: all is not well
LONG_SILENCE_S = 7 * 86_400.0  # without a run, after which nobody knows whether all is well
_REASONS = (
    "It explains", "The total's", "The total has", "So it was", "Suspect", "Last error", "Failing too",
    "Moved together", "No single step",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class HealthSentence:
    """How things are: ``good``, ``warning`` or ``critical``; empty for a history without any run."""

    level: str
    sentence: Markup
    more: Markup


Shown = TypeVar("Shown", Alert, AlertRow)


def firing(alerts: Sequence[Shown]) -> list[Shown]:
    """Return the alerts that somebody should look at now, the gravest first, then the newest."""
    found = [
        alert for alert in alerts if alert.state == FIRING and alert.severity != INFO and not alert.silenced
    ]
    return sorted(found, key=lambda alert: (-SEVERITIES.index(alert.severity), -alert.since_time, -alert.id))


def health(
    alerts: Sequence[AlertRow],
    live: Live | None = None,
    series: Sequence[SeriesNow] | None = None,
    *,
    of_lake: bool = False,
    of_window: bool = False,
    moved: Sequence[AlertRow] = (),
) -> HealthSentence:
    """Return the health that open alerts, the newest sessions and the newest runs of each series tell.

    Of ``MOST_OPEN`` alerts it says that there may be more.
    That all is well is only said where the runs were looked at, too, where alerts are judged (of a lake
    that is nowhere), where something ran of late, and where nothing ``moved`` in the past of which nobody
    said that it is meant to be so.
    """
    quiet = Markup("No alert is judged here") if of_lake else Markup("No alert fires")
    at_least = "" if len(alerts) < MOST_OPEN else "at least "
    if at_least:
        quiet = Markup("None of the {} gravest alerts fires").format(len(alerts))
    urgent = firing(alerts)
    told = sum(alert.severity == INFO for alert in alerts)
    more = [] if live is None else _newest(live, series or ())
    for known, what in (
        (len(alerts) - told - len(urgent), "known, silenced or not yet confirmed"),
        (told, "for information"),
    ):
        if known:
            more.append(
                Markup("{}{} {} {}.").format(
                    at_least.capitalize(), counted(known, "alert"), "is" if known == 1 else "are", what
                )
            )
    if not urgent:
        if live is not None and not live.sessions and not live.running:
            nothing = Markup("Nothing is recorded yet")
            return HealthSentence(
                "", Markup("Nothing ran in this window") if of_window else nothing, Markup("")
            )
        if series is None:
            return HealthSentence("" if of_lake or at_least else "good", quiet, Markup(" ").join(more))
        failing = [each for each in series if fails(each)]
        if failing:
            worst = max(failing, key=lambda each: each.failures / each.runs)
            name = shown(worst.pipeline, 60) if worst.step_name is None else shown(worst.step_name)
            text = Markup('{}, but <a href="{}">{} of the newest {} runs of {} failed</a>').format(
                quiet,
                link("/sessions", status=FAILED, pipeline=worst.pipeline, mode=worst.mode),
                worst.failures,
                worst.runs,
                name,
            )
            text += _and_moved(moved)
            return HealthSentence(WARNING, text, Markup(" ").join(more))
        slower = [each for each in series if is_worse(each)]
        if slower:
            worst = max(slower, key=lambda each: each.change_percent or 0.0)
            name = shown(worst.pipeline, 60) if worst.step_name is None else shown(worst.step_name)
            text = Markup("{}; {} takes {} of late").format(quiet, name, _longer(worst.change_percent or 0.0))
            text += _and_moved([each for each in moved if each.step_name != worst.step_name])
            return HealthSentence("", text, Markup(" ").join(more))
        if all(each.baseline is None for each in series) and not moved:
            text = Markup("{}; there are {} to say more").format(quiet, _too_few(series, " yet"))
            return HealthSentence("", text, Markup(" ").join(more))
        if of_lake:
            text = Markup("{}; no step is slower than usual").format(quiet)
            return HealthSentence("", text, Markup(" ").join(more))
        if moved:
            text = quiet + _and_moved(moved, "")
            return HealthSentence("", text, Markup(" ").join(more))
        if at_least:
            return HealthSentence("", quiet, Markup(" ").join(more))
        if live is not None and not of_window and (silence := _silence(live)) >= LONG_SILENCE_S:
            text = Markup("{}, but nothing has run for {} days").format(quiet, int(silence // 86_400))
            return HealthSentence("", text, Markup(" ").join(more))
        return HealthSentence("good", Markup("All is well: no alert fires"), Markup(" ").join(more))
    first = urgent[0]
    number = "1 alert fires" if len(urgent) == 1 else f"{len(urgent):,} alerts fire"
    number = f"{at_least}{number}".capitalize()
    sentence = Markup("{}: {} since {}").format(number, _linked(first), when(first.since_time))
    level = CRITICAL if first.severity == CRITICAL else WARNING
    return HealthSentence(level, sentence, Markup(" ").join(more))


def worse_over(row: SeriesNow | PipelineNow) -> float:
    """Return from how many percent on a change is shown as one: where an alert says so, less is enough."""
    if row.alert_id is not None:
        return WORSE_WITH_ALERT_PERCENT
    return WORSE_PERCENT if row.clear else math.inf


def is_worse(row: SeriesNow) -> bool:
    """Say whether the newest runs of a series are shown as worse: an alert says so, or they clearly are."""
    return row.change_percent is not None and row.change_percent >= worse_over(row)


def fails(row: SeriesNow) -> bool:
    """Say whether so many of the newest runs of a series failed that all is not well."""
    return row.failures >= MANY_FAILURES and row.failures >= MANY_FAIL * row.runs


def _and_moved(moved: Sequence[AlertRow], word: str = "and ") -> Markup:
    """Return the newest move that lasts, as the end of a sentence; of failures others have told."""
    newest = next((each for each in moved if not word or kind_of(each.kind).looks_at != "failed"), None)
    if newest is None:
        return Markup("")
    return Markup("; {}{} since {}").format(word, _linked(newest), when(newest.since_time))


def _linked(alert: AlertRow) -> Markup:
    return Markup('<a href="{}">{}</a>').format(link(f"/alerts/{alert.id}"), what_moved(alert))


State = Literal["critical", "warning", "failing", "slower", "new", "good"]
STATES: tuple[State, ...] = ("critical", "warning", "failing", "slower", "new", "good")  # worst first


def state_of(rows: Sequence[SeriesNow], alerts: Sequence[AlertRow]) -> tuple[State, str]:
    """Return how the series of a pipeline and mode do, and why, as ``health`` says it of all together."""
    if urgent := firing(alerts):
        first = urgent[0]
        words = str(what_moved(first).striptags())
        more = f" and {len(urgent) - 1} more" if len(urgent) > 1 else ""
        return (CRITICAL if first.severity == CRITICAL else WARNING), words + more  # type: ignore[return-value]
    if failing := [each for each in rows if fails(each)]:
        worst = max(failing, key=lambda each: each.failures / each.runs)
        return "failing", f"{worst.failures} of {counted(worst.runs, 'run')} failed{_in(worst)}"
    if slower := [each for each in rows if is_worse(each)]:
        worst = max(slower, key=lambda each: each.change_percent or 0.0)
        name = "it" if worst.step_name is None else inert(worst.step_name)
        return "slower", f"{name} takes {_longer(worst.change_percent or 0.0)}"
    if all(each.baseline is None for each in rows):
        return "new", f"{_too_few(rows)} to say more"
    return "good", "as usual"


def _too_few(rows: Sequence[SeriesNow], yet: str = "") -> str:
    """Return what is missing to say more: of a window with runs enough those before it."""
    enough = any(each.n >= ENOUGH for each in rows)
    return "too few runs before this window" if enough else f"too few runs{yet}"


def _in(row: SeriesNow) -> str:
    return "" if row.step_name is None else f" in {inert(row.step_name)}"


def _longer(percent: float) -> str:
    much = change(abs(percent)).lstrip("+")
    return f"{much} as long" if "×" in much else f"{much} {'longer' if percent > 0 else 'less long'}"


def what_moved(alert: AlertRow) -> Markup:
    """Return an alert in a few words: ``Vision Analysis takes 2.3 × as long``."""
    name = shown(alert.pipeline, 60) if alert.step_name is None else shown(alert.step_name)
    kind = kind_of(alert.kind)
    if alert.metric != "duration" and kind.looks_at != "failed":
        name = Markup("{} of {}").format(shown(alert.label, 60), name)
    if kind.short is not None:
        return Markup("{} {}").format(name, kind.short(alert, partial(amount_of, alert)))
    if alert.effect is None:
        return Markup("{} is at {}").format(name, amount_of(alert, alert.value))
    if alert.metric == "duration":
        return Markup("{} takes {}").format(name, _longer(alert.effect))
    much = change(abs(alert.effect)).lstrip("+")
    words = f"at {much} of what it was" if "×" in much else f"{much} {'up' if alert.effect > 0 else 'down'}"
    return Markup("{} is {}").format(name, words)


def judged(value: float, alert: AlertRow) -> str:
    """Return what an alert's rule judged, with its unit."""
    return kind_of(alert.kind).value_text(value, partial(amount_of, alert))


def effect_of(alert: AlertRow) -> str:
    """Return by how much an alert's value moved: as a change, of shares in points, or over a limit."""
    if alert.effect is None:
        return "–"
    if judges_shares(alert):
        return f"{'−' if alert.effect < 0 else '+'}{abs(alert.effect):.0f} percentage points"
    if kind_of(alert.kind).finds == "breach":
        return kind_of(alert.kind).effect_text(alert.effect)
    return change(alert.effect)


def judges_shares(alert: AlertRow) -> bool:
    """Say whether an alert's values are shares of its runs, and none of its metric."""
    return kind_of(alert.kind).judges_shares


def sentences(alert: AlertRow) -> list[str]:
    """Return what an alert says, without what a page shows in another way."""
    bare = [each.rstrip(".") for each in alert.message.split(". ")]
    said = [each if each.endswith(("?", "!")) else f"{each}." for each in bare]
    return [each for each in said if not each.startswith(("Rule ", "Next: "))]


def reasons(alert: AlertRow) -> list[str]:
    """Return the sentences that say what explains an alert, and what changed when it began."""
    return [each for each in sentences(alert) if each.startswith(_REASONS)]


def _silence(live: Live) -> float:
    """Return for how many seconds nothing has run."""
    if live.running:
        return 0.0
    return (live.now or time.time()) - max(_ended(each) for each in live.sessions)


def _ended(session: SessionRow) -> float:
    return session.start_time if session.end_time is None else session.end_time


def _newest(live: Live, series: Sequence[SeriesNow]) -> list[Markup]:
    if not live.sessions:
        return []
    newest = live.sessions[0]
    took = "" if newest.total_duration is None else f" after {duration_text(newest.total_duration)}"
    of_it = (each for each in series if each.step_name is None and each.pipeline == newest.pipeline)
    usual = next((each.baseline for each in of_it if each.mode == newest.mode), None)
    if newest.total_duration is not None and usual and newest.total_duration >= FAR_FROM_USUAL * usual:
        took += f", {newest.total_duration / usual:.1f} × as long as usual"
    return [
        Markup("The newest session {} {}{}.").format(
            {
                COMPLETED: "ended well",
                FAILED: "failed",
                INTERRUPTED: "was cut off" if newest.total_duration is None else "was called off",
            }.get(newest.status, "ran"),
            when(_ended(newest), "ago", live.now or time.time()),
            took,
        )
    ]
