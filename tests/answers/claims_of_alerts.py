"""What alerts, rules, their pictures and causes may claim."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from tests.answers.histories import DAY
from tests.answers.numbers import number, numbers
from tests.answers.questions import frame_rows
from tests.answers.surfaces import Asked

Wrong = Iterator[str]

# --- units and alerts -----------------------------------------------------------------------------------


def rates_are_not_times(asked: Asked) -> Wrong:
    """The value of an error rate is a share, in a page as in a message; no step's usual seconds are one."""
    for row in asked.api("alerts", state="all", limit=200)["rows"]:
        if row["kind"] == "error_rate":
            page = asked.page(f"/alerts/{row['id']}")
            for name in ("value", "before"):
                shown = number(page.tiles.get(name, "0 %"))
                if shown is None or shown.unit != "%":
                    yield f"alert {row['id']}: {name} is {page.tiles[name]}"
    for row in asked.api("overview")["series"]:
        good = row["baseline"] is None or row["p50"] is None or 0.1 < row["baseline"] / row["p50"] < 10
        if not good:
            yield f"overview: {row['step_name']} takes {row['p50']:.2f} s, usually {row['baseline']:.3f}"


def a_message_agrees_with_itself(asked: Asked) -> Wrong:
    """What a message says twice is the same: failures of the last 20 runs, a change in percent."""
    for row in frame_rows(asked.history.alerts("open")):
        message = row["message"]
        rates = set(re.findall(r"(\d+) of (?:the last )?(20)\b(?! before)", message))
        if len(rates) > 1:
            yield f"alert {row['id']}: {sorted(rates)} failures of the last 20 runs: {message[:200]}"
        changes = {
            round(float(each)) for each in re.findall(r"\+(\d+(?:\.\d+)?) %\)? (?:\(pipeline|>=)", message)
        }
        if len(changes) > 1:
            yield f"alert {row['id']}: it became slower by {sorted(changes)} %"


def alerts_and_regressions_agree(asked: Asked) -> Wrong:
    """A move has one size: that of its alert and that of the regression which names the alert."""
    alerts = {row["id"]: row for row in frame_rows(asked.history.alerts("all"))}
    for row in frame_rows(asked.history.regressions()):
        alert = alerts.get(row["alert_id"])
        if alert and abs(alert["effect"] - row["effect"]) > (0.5 if alert["state"] == "resolved" else 1e-6):
            sizes = f"{row['effect']:+.1f} %, and {alert['effect']:+.1f} % as its alert says"
            yield f"{row['step_name']}: {sizes}"


def pictures_span_the_move(asked: Asked) -> Wrong:
    """The picture of an alert begins before the run that the alert begins with."""
    for row in asked.api("alerts", state="all", limit=200)["rows"]:
        html = asked.page(f"/alerts/{row['id']}").html
        times = re.search(r'axis-times"><span><time datetime="([^"]*)"', html)
        since = asked.api(f"alerts/{row['id']}")["alert"]["since_time"]
        if times is None:
            yield f"alert {row['id']} of rule {row['rule']} has no picture"
        elif _epoch(times[1]) > since - 1:
            late = (_epoch(times[1]) - since) / DAY
            yield f"alert {row['id']}: the picture begins {late:.0f} days after it"


def a_message_does_not_deny_its_own_move(asked: Asked) -> Wrong:
    """No alert says of the total that it moved, and that it did not."""
    for row in frame_rows(asked.history.alerts("all")):
        if row["kind"] in ("fast_shift", "change_point") and "has not moved" in row["message"]:
            yield f"alert {row['id']}: {row['message']}"


def signs_of_a_picture_are_explained(asked: Asked) -> Wrong:
    """What an alert's picture draws stands in the words below it."""
    for row in asked.api("alerts", state="all", limit=5)["rows"]:
        html = asked.page(f"/alerts/{row['id']}").html
        for drawn, key in (("event", "what happened"), ("pause", "nothing ran")):
            if re.search(rf'<(?:path|rect|line|g) class="{drawn}', html) and key not in html:
                yield f"alert {row['id']}: {drawn} without {key!r}"


def what_comes_and_goes_is_no_move(asked: Asked) -> Wrong:
    """A series between two known levels is not said to have moved, to drift or to be steady."""
    known = {(row["pipeline"], row["step_name"]) for row in frame_rows(asked.history.switches())}
    assert known
    for row in frame_rows(asked.history.alerts("all")):
        if (
            row["kind"] in ("fast_shift", "change_point", "trend")
            and (row["pipeline"], row["step_name"]) in known
        ):
            yield f"alert {row['id']}: {row['headline']}"
    said = asked.command("trends").out
    if said.count("switches: ") != len(known):
        yield said


def _epoch(iso: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(iso).timestamp()


def axes_are_of_the_runs(asked: Asked) -> Wrong:
    """A picture by time shows the time of its runs, and no line goes on through a week without any."""
    axes = asked.chart("trend", by="time").axes[0]
    starts = [each.start_time for each in asked.sessions]
    first, last = axes.get_xlim()
    if last - first > 1.5 * (max(starts) - min(starts)) / DAY + 1:
        yield f"an axis of {last - first:,.0f} days for runs of {(max(starts) - min(starts)) / DAY:,.1f}"
    longest = max((b - a for a, b in pairwise(starts)), default=0.0) / DAY
    for line in axes.lines:
        x = [float(each) for each in line.get_xdata()]
        if line.get_linestyle() != "None" and len(x) > 2 and longest > 2:
            reach = max(b - a for a, b in pairwise(x))  # a break is a point that is no number
            if reach > 0.9 * longest:
                yield f"{line.get_label()} is drawn through {reach:.0f} days without a run"


def what_is_beyond_the_scale_is_said(asked: Asked) -> Wrong:
    """A run that is longer than the scale is marked with its value, in a page as in a picture."""
    longest = max(each.total_duration or 0.0 for each in asked.sessions)
    top = asked.api("trends")["top"]
    if top < longest and not any(each.fits(longest) for each in numbers(asked.page("/trends").visible)):
        yield f"the page's scale ends at {top:.2f} s, and {longest:.2f} s is not named"
    axes = asked.chart("trend").axes[0]
    legend = " ".join(str(line.get_label()) for line in axes.lines)
    if axes.get_ylim()[1] < longest and not any(each.fits(longest) for each in numbers(legend)):
        yield f"the picture's scale ends at {axes.get_ylim()[1]:.2f} s, and {longest:.2f} s is not named"


def what_is_historic_is_said(asked: Asked) -> Wrong:
    """Rules and check, when they say quiet, name the historic alerts that they pass over."""
    alerts = frame_rows(asked.history.alerts("all"))
    if any(row["state"] == "historic" for row in alerts):
        if "historic" not in asked.command("check").err:
            yield f"check: {asked.command('check').err}"
        if "historic" not in asked.command("rules").out:
            yield "rules: no word of historic alerts"


def check_rules_and_alerts_agree(asked: Asked) -> Wrong:
    """Check fails exactly when an alert of warning or more fires, as the list, the rules and the page say."""
    firing = [row for row in asked.json("alerts") if row["state"] == "firing" and row["severity"] != "info"]
    said = asked.command("check")
    if (said.code == 1) != bool(firing):
        yield f"check ends with {said.code}, {len(firing)} alerts fire"
    if {row["id"] for row in asked.json("check")} != {row["id"] for row in firing}:
        yield "check names other alerts than the list"
    rules = {
        row["rule"] for row in asked.json("rules") if row["state"] == "firing" and row["severity"] != "info"
    }
    if not {row["rule"] for row in firing} <= rules:
        yield f"rules say that {rules} fire"
    match = re.match(r"(\d+) alerts? fires?", asked.page("/").heading)
    if int(match[1] if match else 0) != len(firing):
        yield f"overview: {asked.page('/').heading}, {len(firing)} fire"


def rules_see_the_runs_before_a_failure(asked: Asked) -> Wrong:
    """A newest run that failed does not blind the rules of level: there are enough runs before it."""
    for row in asked.json("rules"):
        if row["kind"] in ("fast_shift", "change_point", "anomaly") and row["state"] == "no data":
            yield f"{row['rule']}: no data of {len(asked.sessions)} runs"


def help_counts_the_default_rules(asked: Asked) -> Wrong:
    """The help of rules says how many are on by themselves."""
    words = {"three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
    match = re.search(r"(\w+) are on by\s+default", asked.help("rules"))
    there = sum(row["default"] for row in asked.json("rules"))
    if match is None or words.get(match[1]) != there:
        yield f"the help says {match and match[1]}, there are {there}"


# --- causes ---------------------------------------------------------------------------------------------


def causes_name_the_step_that_moved(asked: Asked) -> Wrong:
    """Who is notified of a regression reads the name of the innermost step that moved."""
    for words in (("regressions",), ("check",)):
        said = asked.command(*words).out
        reason = said[said.find("Since ") :] if words[0] == "regressions" else said
        if reason and "Deduplicate" not in reason:
            yield f"{words[0]}: {' '.join(reason.split())[:150]}"


def a_split_is_hinted_at(asked: Asked) -> Wrong:
    """One customer's move that is mixed with the others' is hinted at."""
    for words in (("regressions",), ("trends",)):
        said = asked.command(*words)
        if "customer" not in said.out + said.err:
            yield f"{words[0]}: {' '.join((said.out + said.err).split())[:200]}"
