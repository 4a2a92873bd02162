"""pytest-benchmark's JSON (``--benchmark-json``, ``--benchmark-autosave``): a session a file, a step a test.

A step's duration is the median of its rounds, which noise moves least; the others stand in its data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perfdb.maintenance.formats.base import (
    Format,
    document,
    holds,
    instant,
    numbers,
    one_after_another,
    session,
)
from perfdb.recording.report_reader import Fields
from perfdb.records import Session

# What it writes outside of a repository, and where no branch is checked out.
_UNKNOWN = ("", "unversioned", "(unknown)", "(detached head)")


def _read(file: Path) -> Iterator[Session]:
    fields = document(file)
    commit, machine = fields.mapping("commit_info"), fields.mapping("machine_info")
    start_time = instant(fields, "datetime")
    yield session(
        "pytest-benchmark",
        _measured(fields),
        one_after_another(start_time, map(_step, fields.objects("benchmarks"))),
        pipeline=str(commit.get("project") or "pytest-benchmark"),
        start_time=start_time,
        attributes=numbers({"machine": machine.get("machine")}),
        host=_text(machine.get("node")),
        python_version=_text(machine.get("python_version")),
        git_commit=_text(commit.get("id")),
        git_branch=_text(commit.get("branch")),
    )


def _measured(fields: Fields) -> list[Any]:
    """Return what identifies a run: with both options two files are written of it, seconds apart."""
    stats = [
        (each.values.get("fullname"), dict(each.mapping("stats"))) for each in fields.objects("benchmarks")
    ]
    for _, of_test in stats:
        of_test.pop("data", None)  # in one of them
    return [fields.values["machine_info"], fields.values.get("commit_info"), stats]


def _step(fields: Fields) -> dict[str, Any]:
    stats = Fields(fields.mapping("stats"), fields.name, f"{fields.prefix}stats.")
    known = {f"{name}_s": stats.number(name, None) for name in ("min", "max", "mean", "stddev", "iqr")}
    return {
        "step_name": fields.text("fullname", None) or fields.text("name"),
        "duration": stats.number("median"),
        "additional_data": numbers(
            {
                **known,
                "rounds": stats.whole("rounds", None),
                "iterations": stats.whole("iterations", None),
                "group": fields.values.get("group"),
                "params": fields.values.get("params"),
                **fields.mapping("extra_info"),
            }
        ),
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value not in _UNKNOWN else None


PYTEST_BENCHMARK = Format(
    words="JSON of pytest-benchmark",
    fits=holds("benchmarks", "machine_info", sign=rb'"(?:benchmarks|machine_info)"'),
    read=_read,
)
