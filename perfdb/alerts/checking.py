"""Whether anything fires that should stop a release: what `perfdb check` answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

from perfdb.alerts.judging import Judging, evaluate_now
from perfdb.analysis.rules import TABLE
from perfdb.errors import UsageError
from perfdb.filters import OfSeries, fits_series
from perfdb.records import Alert
from perfdb.text import counted
from perfdb.vocabulary import CURRENT_STATES, FIRING, HISTORIC, SEVERITIES, WARNING

if TYPE_CHECKING:
    from perfdb.alerts.against import Against


@dataclass(frozen=True, slots=True)
class Checked:
    """The answer of a check: the alerts that fail it, those that were let pass with the reason, and notes.

    ``historic``: how many alerts of old data there are, which never fail it. ``against``: what came of the
    comparison with another branch, where that was asked.
    """

    failing: tuple[Alert, ...]
    passed: tuple[tuple[Alert, str], ...]
    enough: bool  # some statistical rule had enough history for a verdict
    longest: int  # runs in the longest series
    historic: int = 0
    against: Against | None = None

    @property
    def doubt(self) -> str:
        """Why a quiet answer may say little; empty where it does not."""
        runs = counted(self.longest, "run")
        return "" if self.enough else f"too little history to judge: {runs}; a baseline needs 15"


class Checking(Judging):
    """Whether anything that was found should stop a release."""

    def check(
        self,
        *,
        fail_on: str = WARNING,
        since: float | None = None,
        confirm: int = 1,
        state: str = FIRING,
        **of: Unpack[OfSeries],
    ) -> Checked:
        """Say whether anything fires that should stop a release.

        Args:
            fail_on: the least severity that fails.
            since: only what a session that began at or after it (epoch s) confirmed.
            confirm: how many sessions must have seen it.
            state: alerts in this state fail, as in ``alerts``.
            of: only what fires in this ``pipeline``, ``step``, ``mode`` or ``measure``.

        Raises:
            NotFoundError: nothing is recorded.
        """
        from perfdb.store.alerts import count_by_series, read_alerts
        from perfdb.store.together import together

        settings = self.settings
        known = {rule.name for rule in settings.rules}
        meant = self._meant(of)
        with self._history._recorded() as connection:
            is_open = state in CURRENT_STATES
            others, of_open, of_old, verdicts = together(
                connection,
                lambda: [] if is_open else read_alerts(connection, state),
                lambda: read_alerts(connection, "open"),
                lambda: count_by_series(connection, HISTORIC),
                lambda: evaluate_now(connection, settings.rules),
            )
            wanted = [each for each in others if state == HISTORIC or each.inhibited_by is None]
            if is_open:
                wanted = [each for each in of_open if each.state == state]
                wanted.sort(key=lambda each: (each.opened_at, each.id), reverse=True)
            ids = {alert.id for alert in wanted}
            found = wanted + [each for each in of_open if each.id not in ids]
        if not verdicts and not found:
            raise self._history._nothing_recorded()
        found = [alert for alert in found if fits_series(alert, meant)]
        verdicts = [each for each in verdicts if fits_series(each, meant)]
        failing: list[Alert] = []
        passed: list[tuple[Alert, str]] = []
        for alert in found:
            reason = None
            if alert.id not in ids:
                reason = alert.state
            elif SEVERITIES.index(alert.severity) < SEVERITIES.index(fail_on):
                reason = alert.severity
            elif alert.silenced:
                reason = "silenced"
            elif alert.rule not in known:
                reason = "its rule was removed"
            elif alert.hits < confirm:
                reason = f"seen by {alert.hits} of {confirm} sessions"
            elif since is not None and alert.last_time < since:
                reason = "not seen since"
            if reason is None:
                failing.append(alert)
            else:
                passed.append((alert, reason))
        statistical = [each for each in verdicts if TABLE[each.rule.kind].finds != "breach"]
        return Checked(
            failing=tuple(failing),
            passed=tuple(passed),
            enough=any(each.verdict.enough for each in statistical) or not statistical,
            longest=max((each.verdict.n for each in statistical), default=0),
            historic=sum(each.n for each in of_old if fits_series(each, meant)),
        )

    def check_against(
        self,
        base: str,
        branch: str,
        *,
        fail_on: str = WARNING,
        since: float | None = None,
        confirm: int = 1,
        **of: Unpack[OfSeries],
    ) -> Checked:
        """Say whether the newest runs of a branch are slower than the level of another one.

        Args:
            base: the branch whose level is expected.
            branch: the one that is judged.
            fail_on: the least severity that fails: what is slower is a warning.
            since: only runs that began at or after it (epoch s).
            confirm: how many runs must have shown it.
            of: only this ``pipeline``, ``step`` or ``mode``.

        Raises:
            NotFoundError: nothing is recorded.
            UsageError: a measure is given that is not the duration.
        """
        from perfdb.alerts.against import compare_branches
        from perfdb.analysis.branches import UNKNOWN

        meant = self._meant(of)
        if meant.pop("measure", "duration") != "duration":
            raise UsageError("branches are compared by durations: leave the measure out")
        with self._history._recorded() as connection:
            found = compare_branches(connection, branch, base, since=since, of=meant)
        failing: list[Alert] = []
        passed: list[tuple[Alert, str]] = []
        for alert in found.alerts():
            if SEVERITIES.index(alert.severity) < SEVERITIES.index(fail_on):
                passed.append((alert, alert.severity))
            elif alert.n < confirm:
                passed.append((alert, f"seen by {alert.n} of {confirm} sessions"))
            else:
                failing.append(alert)
        return Checked(
            failing=tuple(failing),
            passed=tuple(passed),
            enough=any(each.verdict != UNKNOWN for each in found.compared),
            longest=max((each.n + each.baseline_n for each in found.compared), default=0),
            against=found,
        )
