"""What a check says to a CI service: GitHub's annotations and summary, GitLab's code quality, JUnit's XML.

Names that were recorded may be hostile: nothing in them is obeyed in any of these forms.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import click

from perfdb.alerts.messages import amount_of, subject
from perfdb.analysis.rules import kind_of
from perfdb.cli.text import inert
from perfdb.records import Alert
from perfdb.text import duration_text, shortened
from perfdb.vocabulary import CRITICAL, WARNING

if TYPE_CHECKING:
    from perfdb.alerts.against import Against
    from perfdb.analysis.branches import Compared

MOST_SUMMARY = 1_024_000  # bytes: GitHub drops the summary of a step that is longer than 1,024 kB
_SPECIAL = str.maketrans(
    {each: f"\\{each}" for each in "\\`*_{}[]()#+-.!|~"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
)


def print_github(failing: Sequence[Alert], summary: str, against: Against | None = None) -> None:
    """Print annotations, and append to the summary of the step where GitHub says where that is."""
    for alert in failing:
        click.echo(annotation(alert))
    if against is not None and not failing:
        click.echo(f"::notice title=perfdb check::{_escaped(summary)}")
    if path := os.environ.get("GITHUB_STEP_SUMMARY", "").strip():
        try:
            with open(path, "ab") as file:
                before = b"\n\n" if file.tell() else b""  # what others wrote may end within a line or table
                room = MOST_SUMMARY - file.tell() - len(before)
                if not (text := step_summary(failing, summary, room, against)):
                    raise OSError(f"{path} is full")
                file.write(before + text)
        except OSError as error:
            click.echo(f"perfdb: the summary was not written: {error}", err=True)


def annotation(alert: Alert) -> str:
    """Return an alert as a workflow command of GitHub, its texts escaped."""
    level = "error" if alert.severity == CRITICAL else "warning"
    title = _escaped(f"perfdb: {subject(alert)} [{alert.rule}]").replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={title}::{_escaped(alert.message)}"


def _escaped(text: str) -> str:
    text = "".join(each if each in "\r\n" else inert(each) for each in text)
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def step_summary(failing: Sequence[Alert], summary: str, most: int, against: Against | None = None) -> bytes:
    """Return the Markdown of a summary in at most so many bytes; it says how many rows it left out.

    Below what fails stand the medians of all else that was compared ``against`` a branch.
    """
    head = f"### perfdb check\n\n{_markdown(summary)}\n"
    rows = [_row(alert) for alert in failing]
    now, before = "now", "before"
    if against is not None:
        now, before = (_markdown(name) for name in (against.branch, against.base))
        told = {(alert.pipeline, alert.step_name, alert.mode) for alert in failing}
        rows += [_row_of(each) for each in against.compared if each.series not in told]
    if rows:
        head += f"\n| severity | what | {now} | {before} | change | since | rule |\n"
        head += "|---|---|--:|--:|--:|---|---|\n"
    parts, left = [head.encode()], most - len(head.encode()) - 100
    if left < 0:
        return b""
    for number, text in enumerate(rows):
        row = text.encode()
        if len(row) > left:
            parts.append(f"\n{len(rows) - number:,} more are in the log.\n".encode())
            break
        left -= len(row)
        parts.append(row)
    return b"".join([*parts, b"\n"])


def _row(alert: Alert) -> str:
    kind = kind_of(alert.kind)
    now, before = (
        "" if value is None else kind.value_text(value, partial(amount_of, alert))
        for value in (alert.value, alert.baseline)
    )
    return _cells(
        alert.severity, shortened(subject(alert), 200), now, before, kind.effect_text(alert.effect),
        alert.since_session_id, alert.rule,
    )  # fmt: skip


def _row_of(each: Compared) -> str:
    name = each.series.step_name or f"{each.series.pipeline} (total)"
    now, before = (duration_text(value) for value in (each.value, each.baseline))
    since = each.session_ids[0]
    change = "" if each.effect is None else f"{each.effect:+.0f} %"
    return _cells(each.verdict, shortened(name, 200), now, before, change, since, "against")


def _cells(first: str, what: str, now: str, before: str, change: str, since: str, rule: str) -> str:
    return f"| {' | '.join(map(_markdown, (first, what, now, before, change, since, rule)))} |\n"


def _markdown(text: str) -> str:
    return inert(text).translate(_SPECIAL)


def code_quality(failing: Sequence[Alert]) -> str:
    """Return GitLab's code quality report, which the merge request compares with that of its target."""
    rows = []
    for alert in failing:
        about = [alert.rule, alert.pipeline, alert.step_name, alert.mode, alert.metric]
        rows.append(
            {
                "description": inert(alert.message),
                "check_name": f"perfdb: {inert(alert.rule)}",
                "fingerprint": sha256(json.dumps(about).encode()).hexdigest(),
                "severity": {CRITICAL: "critical", WARNING: "major"}.get(alert.severity, "info"),
                "location": {"path": _file_of(alert), "lines": {"begin": 1}},
            }
        )
    return json.dumps(rows, indent=2)


def _file_of(alert: Alert) -> str:
    """Return the file of a test that is a step; of anything else the settings, where the rules stand."""
    file, colons, _ = (alert.step_name or "").partition("::")
    is_inside = file.endswith(".py") and not file.startswith("/") and ".." not in file.split("/")
    return inert(file) if colons and is_inside else "perfdb.toml"


def junit(failing: Sequence[Alert], summary: str, *, enough: bool) -> str:
    """Return JUnit's XML: a failed case per alert, or one that passed, or was skipped for want of history.

    It has all that the strictest of the schemas in use (Ant's) demands, in its order.
    """
    suite = ElementTree.Element("testsuite", name="perfdb check", errors="0", skipped="0")
    suite.attrib |= {"package": "perfdb", "id": "0", "hostname": "localhost", "time": "0"}
    suite.set("timestamp", time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()))
    ElementTree.SubElement(suite, "properties")
    suite.set("tests", str(max(1, len(failing))))
    suite.set("failures", str(len(failing)))
    for alert in failing:
        case = _case(
            suite, f"perfdb.{inert(alert.pipeline)}", f"{inert(subject(alert))} [{inert(alert.rule)}]"
        )
        failure = ElementTree.SubElement(case, "failure", type=alert.severity)
        failure.set("message", inert(alert.headline or alert.message))
        failure.text = inert(alert.message)
    if not failing:
        case = _case(suite, "perfdb", "check")
        if not enough:
            suite.set("skipped", "1")
            ElementTree.SubElement(case, "skipped", message=inert(summary))
    ElementTree.SubElement(suite, "system-out").text = inert(summary)
    ElementTree.SubElement(suite, "system-err")
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(suites, encoding="unicode")}'


def _case(suite: ElementTree.Element, of: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=of, name=name, time="0")
