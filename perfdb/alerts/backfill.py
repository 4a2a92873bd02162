"""Open alerts for what moved in sessions that came late: an import, or journals of dead processes.

What is opened is written a few alerts at a time, so that other writers hardly wait; a kill in between leaves
some without their group, until the next look. No pandas, because the worker takes in old sessions too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from perfdb.alerts.causes import as_details
from perfdb.alerts.config import AlertSettings
from perfdb.alerts.evaluation import LEAST_NEW, MOST_OPENED
from perfdb.alerts.events import with_causes
from perfdb.alerts.lifecycle import of_measure
from perfdb.alerts.messages import headline, message
from perfdb.alerts.moves import moves_of
from perfdb.alerts.places import alert_of
from perfdb.alerts.transactions import write_in_pieces
from perfdb.alerts.verdicts import fingerprint
from perfdb.analysis.regressions import Move, find_moves
from perfdb.analysis.rules import Rule
from perfdb.analysis.rules.base import SHIFT_PERCENT, bound_between
from perfdb.analysis.rules.change import CHANGE_POINT, change_text
from perfdb.analysis.series import SeriesName
from perfdb.errors import NotFoundError
from perfdb.records import Alert
from perfdb.store import alerts as store
from perfdb.store.database import Database
from perfdb.store.series import kinds_of
from perfdb.vocabulary import HISTORIC

if TYPE_CHECKING:
    from sqlalchemy import Connection


def moves_around(connection: Connection, session_ids: Sequence[str]) -> list[Move]:
    """Return, with causes, the moves in the whole history of the pipelines that these sessions came to.

    What the rules would have opened, with the figures that `regressions` and the trend tell of it.
    """
    found: dict[tuple[SeriesName, str], Move] = {}
    for (pipeline, mode), count in kinds_of(connection, session_ids).items():
        if count < LEAST_NEW:
            continue
        told: dict[SeriesName, list[Move]] = {}
        for move in moves_of(connection, pipeline=pipeline, mode=mode):
            name = move.runs.name
            if name not in told:
                told[name] = list(find_moves(move.runs, looking_back=True))
            same = [each for each in told[name] if move.is_one_with(each)]
            move = min(same, key=lambda each: abs(each.change.index - move.change.index), default=move)
            found[name, move.since_session_id] = move
    return with_causes(connection, found.values())


def open_historic(database: Database, moves: Iterable[Move], settings: AlertSettings, now: float) -> None:
    """Open a ``historic`` alert for each move that has no alert yet.

    A move that has an alert already is that alert, and a historic one follows its boundary. Only the
    newest move of a series, if it lasts, is looked at by the next verdicts. Nobody is notified.
    """
    rules = [rule for rule in settings.rules if rule.kind == CHANGE_POINT.name and rule.metric == "duration"]
    moves = sorted(moves, key=lambda move: move.since_time)
    known: dict[SeriesName, list[Alert]] = {}
    with database.reading() as connection:
        for each in store.read_alerts(connection, "all", of_any={move.runs.name for move in moves}):
            known.setdefault(SeriesName(each.pipeline, each.step_name, each.mode), []).append(each)
    opening = _Opening(rules, now)
    due = []
    for place, move in enumerate(moves):
        alert = alert_of(move, known.get(move.runs.name, ()))
        if alert is None or _is_to_follow(alert, move):
            due.append((place, move))
        elif opening.rule_for(move) is not None:
            opening.add(place, move, alert)
    write_in_pieces(database, due, opening.open)
    write_in_pieces(database, opening.grouped(), _regroup)


class _Opening:
    """The alerts that one call opens, and which of them are of one event."""

    def __init__(self, rules: Sequence[Rule], now: float) -> None:
        self._rules = rules
        self._now = now
        self._opened = 0
        self._events: dict[str, list[tuple[int, Alert]]] = {}

    def rule_for(self, move: Move) -> Rule | None:
        return next((rule for rule in self._rules if rule.is_about(move.runs.name)), None)

    def add(self, place: int, move: Move, alert: Alert) -> None:
        self._events.setdefault(move.event_session_id, []).append((place, alert))

    def open(self, connection: Connection, due: tuple[int, Move]) -> None:
        """Open an alert for a move, or have a historic one follow it; others may have done so by now."""
        place, move = due
        rule = self.rule_for(move)
        if rule is None or self._opened >= MOST_OPENED:
            return
        known = store.read_alerts(connection, "all", of_series=move.runs.name)
        alert = alert_of(move, known)
        if alert is None:
            taken = any(each.active and _is_of(each, rule, move) for each in known)
            alert = replace(_alert_of_move(rule, move, self._now), active=move.lasts and not taken)
            alert = _save(connection, alert, "opened historic", self._now)
            self._opened += 1
        elif _is_to_follow(alert, move):
            alert = _save(connection, _follow(alert, rule, move), "moved", self._now)
        self.add(place, move, alert)

    def grouped(self) -> Iterator[Alert]:
        """Yield the alerts whose group is not seen to yet, with it and with their texts."""
        for event in self._events.values():
            yield from _grouped([alert for _, alert in sorted(event, key=lambda each: each[0])])


def _is_to_follow(alert: Alert, move: Move) -> bool:
    if alert.state != HISTORIC or alert.since_session_id != move.since_session_id:
        return alert.state == HISTORIC
    change = move.change
    last = move.runs.session_ids[change.index + change.after_n - 1]
    figures = alert.last_session_id, alert.baseline_n, alert.n
    return alert.kind == CHANGE_POINT.name and figures != (last, change.before_n, change.after_n)


def _is_of(alert: Alert, rule: Rule, move: Move) -> bool:
    series = (alert.pipeline, alert.mode) == (move.runs.pipeline, move.runs.mode)
    return series and fingerprint(alert) == (rule.name, move.runs.step_name, rule.metric, rule.direction)


def _follow(alert: Alert, rule: Rule, move: Move) -> Alert:
    """Return a historic alert where its move is now known to be; one of this kind with its figures, too."""
    made = _alert_of_move(rule, move, alert.updated_at)
    figures = (
        "value", "baseline", "effect", "bound", "n", "baseline_n", "last_session_id", "last_time", "hits",
    )  # fmt: skip
    own = alert.kind == rule.kind
    changed = {name: getattr(made, name) for name in figures} if own else {}
    kept = {name: each for name, each in alert.details.items() if name != "until" or not own}
    details = made.details if own else {name: made.details[name] for name in made.details if name == "cause"}
    return replace(
        alert, since_session_id=made.since_session_id, since_time=made.since_time, **changed,
        details={**kept, **details},
    )  # fmt: skip


def _alert_of_move(rule: Rule, move: Move, now: float) -> Alert:
    runs, change = move.runs, move.change
    end = change.index + change.after_n
    arithmetic = change_text(change, len(runs))
    details: dict[str, object] = {"found": arithmetic, "arithmetic": arithmetic, **of_measure(rule)}
    if change.without_wave:
        details["in_wave"] = True
    if not move.lasts:
        details["until"] = runs.session_ids[end]
    if move.cause is not None:
        details["cause"] = as_details(move.cause)
    return Alert(
        rule=rule.name,
        kind=rule.kind,
        severity=rule.severity,
        state=HISTORIC,
        pipeline=runs.pipeline,
        step_name=runs.step_name,
        metric=rule.metric,
        mode=runs.mode,
        direction=rule.direction,
        value=change.after_median,
        baseline=change.before_median,
        effect=change.effect_percent,
        limit=SHIFT_PERCENT,
        bound=bound_between(change.before_median, change.after_median),
        n=change.after_n,
        baseline_n=change.before_n,
        since_session_id=move.since_session_id,
        since_time=move.since_time,
        last_session_id=runs.session_ids[end - 1],
        last_time=runs.start_times[end - 1],
        opened_at=now,
        updated_at=now,
        hits=change.after_n,
        details=details,
    )


def _save(connection: Connection, alert: Alert, event: str, now: float) -> Alert:
    saved = replace(alert, id=store.save_alert(connection, alert))
    store.add_event(connection, saved.id, event, now, session_id=saved.since_session_id)
    worded = _worded(saved, ())
    store.save_alert(connection, worded)
    return worded


def _grouped(group: Sequence[Alert]) -> Iterator[Alert]:
    """Let one alert speak for the historic ones of its event: a known one, or the step that moved most."""
    head = max(
        group,
        key=lambda each: (
            each.state != HISTORIC,
            each.step_name is not None,
            each.value - (each.baseline or 0.0),
        ),
    )
    spoken_for = head.inhibited_by or head.id
    others = [each for each in group if each.id != head.id]
    spoken = [replace(each, inhibited_by=spoken_for) if each.state == HISTORIC else each for each in others]
    if spoken != others:
        yield _worded(head, spoken)
        yield from (_worded(each, (head,)) for each in spoken if each.state == HISTORIC)


def _regroup(connection: Connection, alert: Alert) -> None:
    """Write who speaks for an alert, and its texts; what else is in its row may have moved on."""
    try:
        current = store.read_alert(connection, alert.id)
    except NotFoundError:
        return
    said = {name: getattr(alert, name) for name in ("inhibited_by", "headline", "message")}
    store.save_alert(connection, replace(current, **said))


def _worded(alert: Alert, others: Sequence[Alert]) -> Alert:
    return replace(alert, headline=headline(alert), message=message(alert, others))
