"""Say in one plain sentence how things are, and in a few words what an alert is about."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup

from perfdb.alerts.messages import amount
from perfdb.analysis.rules import kind_of
from perfdb.pages.words import change, shown
from perfdb.records import FIRING, SEVERITIES
from perfdb.text import counted, duration_text
from perfdb.vocabulary import COMPLETED, CRITICAL, FAILED, INTERRUPTED, WARNING
from perfdb.web.schemas import AlertRow, Live
from perfdb.web.words import when

INFO = SEVERITIES[0]
_REASONS = ("It explains", "Suspect", "Last error", "Failing too", "Moved together", "No single step")


@dataclass(frozen=True, slots=True)
class HealthSentence:
    """How things are: ``good``, ``warning`` or ``critical``; empty for a history without any run."""

    level: str
    sentence: Markup
    more: Markup


def firing(alerts: Sequence[AlertRow]) -> list[AlertRow]:
    """Return the alerts that somebody should look at now, the gravest first, then the newest."""
    found = [
        alert for alert in alerts if alert.state == FIRING and alert.severity != INFO and not alert.silenced
    ]
    return sorted(found, key=lambda alert: (-SEVERITIES.index(alert.severity), -alert.since_time, -alert.id))


def health(alerts: Sequence[AlertRow], live: Live | None = None) -> HealthSentence:
    """Return the health that open alerts and the newest sessions tell."""
    urgent = firing(alerts)
    known = len([alert for alert in alerts if alert.severity != INFO]) - len(urgent)
    more = [] if live is None else _newest(live)
    if known:
        more.append(
            Markup("{} {} known, silenced or not yet confirmed.").format(
                counted(known, "alert"), "is" if known == 1 else "are"
            )
        )
    if not urgent:
        if live is not None and not live.sessions and not live.running:
            return HealthSentence("", Markup("Nothing is recorded yet"), Markup(""))
        return HealthSentence("good", Markup("All is well: no alert fires"), Markup(" ").join(more))
    first = urgent[0]
    number = "1 alert fires" if len(urgent) == 1 else f"{len(urgent)} alerts fire"
    sentence = Markup("{}: {} since {}").format(number, what_moved(first), when(first.since_time))
    level = CRITICAL if first.severity == CRITICAL else WARNING
    return HealthSentence(level, sentence, Markup(" ").join(more))


def what_moved(alert: AlertRow) -> Markup:
    """Return an alert in a few words: ``Vision Analysis takes 2.3 × as long``."""
    name = shown(alert.pipeline, 60) if alert.step_name is None else shown(alert.step_name)
    kind = kind_of(alert.kind)
    if alert.metric != "duration" and kind.looks_at != "failed":
        name = Markup("{} of {}").format(shown(alert.metric, 60), name)
    if kind.short is not None:
        return Markup("{} {}").format(
            name, kind.short(alert.value, alert.limit, partial(amount, metric=alert.metric))
        )
    if alert.effect is None:
        return Markup("{} is at {}").format(name, amount(alert.value, alert.metric))
    much = change(abs(alert.effect)).lstrip("+")
    if alert.metric == "duration":
        words = (
            f"{much} as long" if "×" in much else f"{much} {'longer' if alert.effect > 0 else 'less long'}"
        )
        return Markup("{} takes {}").format(name, words)
    words = f"at {much} of what it was" if "×" in much else f"{much} {'up' if alert.effect > 0 else 'down'}"
    return Markup("{} is {}").format(name, words)


def judged(value: float, alert: AlertRow) -> str:
    """Return what an alert's rule judged, with its unit."""
    return kind_of(alert.kind).value_text(value, partial(amount, metric=alert.metric))


def judges_shares(alert: AlertRow) -> bool:
    """Say whether an alert's values are shares of its runs, and none of its metric."""
    return kind_of(alert.kind).judges_shares


def sentences(alert: AlertRow) -> list[str]:
    """Return what an alert says, without what a page shows in another way."""
    said = [f"{each.rstrip('.')}." for each in alert.message.split(". ")]
    return [each for each in said if not each.startswith(("Rule ", "Next: "))]


def reasons(alert: AlertRow) -> list[str]:
    """Return the sentences that say what explains an alert, and what changed when it began."""
    return [each for each in sentences(alert) if each.startswith(_REASONS)]


def _newest(live: Live) -> list[Markup]:
    if not live.sessions:
        return []
    newest = live.sessions[0]
    took = "" if newest.total_duration is None else f" after {duration_text(newest.total_duration)}"
    ended = newest.end_time if newest.end_time is not None else newest.start_time
    return [
        Markup("The newest session {} {}{}.").format(
            {
                COMPLETED: "ended well",
                FAILED: "failed",
                INTERRUPTED: "was cut off" if newest.total_duration is None else "was called off",
            }.get(newest.status, "ran"),
            when(ended, "ago", live.now or time.time()),
            took,
        )
    ]
