"""github-action-benchmark's ``data.js``, or its JSON: a session a commit and suite, a step a benchmark.

What is measured in a unit of time, or in operations a second, is the step's duration; any other number is
``value`` in its data, with its unit beside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perfdb.maintenance.formats.base import Format, document, holds, numbers, one_after_another, session
from perfdb.recording.report_reader import Fields
from perfdb.records import Session

_ASSIGNED = b"window.BENCHMARK_DATA"
_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "ms": 1e-3, "msec": 1e-3, "us": 1e-6, "μs": 1e-6, "µs": 1e-6}
_SECONDS |= {"usec": 1e-6, "ns": 1e-9, "nsec": 1e-9, "seconds": 1.0, "milliseconds": 1e-3}
_SECONDS |= {"microseconds": 1e-6, "nanoseconds": 1e-9, "min": 60.0, "ps": 1e-12}  # in small letters
_RATE = re.compile(
    r"(?:ops?|iter|iters|iterations|calls?|req|requests)\s*/\s*(?:s|sec|second)", re.IGNORECASE
)


def _read(file: Path) -> Iterator[Session]:
    fields = document(file, _ASSIGNED)
    suites = Fields(fields.mapping("entries"), fields.name, "entries.")
    for suite in suites.values:
        for entry in suites.objects(suite):
            commit = Fields(entry.mapping("commit"), entry.name, f"{entry.prefix}commit.")
            measured = entry.number("date", high=2.5e14) / 1000.0
            yield session(
                "github-action-benchmark",
                [suite, entry.values],
                one_after_another(measured, map(_step, entry.objects("benches"))),
                pipeline=suite,
                start_time=measured,
                attributes=numbers(
                    {"runner": entry.text("tool", None), "message": commit.text("message", None)}
                ),
                git_commit=commit.text("id", None),
            )


def _step(fields: Fields) -> dict[str, Any]:
    value, unit = fields.number("value", low=-1e300, high=1e300), fields.text("unit", "")
    seconds = _SECONDS.get(re.split(r"[/ ]", unit.strip().lower())[0])
    rate = _RATE.fullmatch(unit.strip()) is not None and value > 0
    duration = value * seconds if seconds and value >= 0 else 1.0 / value if rate else 0.0
    data = {
        "value": value,
        "unit": unit,
        "range": fields.values.get("range"),
        "extra": fields.values.get("extra"),
    }
    return {"step_name": fields.text("name"), "duration": duration, "additional_data": numbers(data)}


GITHUB_BENCHMARK = Format(
    words="data.js of github-action-benchmark",
    fits=holds("entries", "lastUpdate", sign=rb'BENCHMARK_DATA|"lastUpdate"|"benches"', after=_ASSIGNED),
    read=_read,
    suffixes=(".js",),
)
