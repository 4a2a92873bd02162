"""hyperfine's JSON (``--export-json``): a session a file, a step a command.

A step's duration is the median of its runs, or their mean where an old hyperfine says no more. The file does
not say when it was measured: the session begins when the file was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perfdb.maintenance.formats.base import Format, document, holds, numbers, one_after_another, session
from perfdb.recording.report_reader import Fields
from perfdb.records import Session


def _read(file: Path) -> Iterator[Session]:
    fields = document(file)
    written = file.stat().st_mtime
    yield session(
        "hyperfine",
        fields.values,
        one_after_another(written, map(_step, fields.objects("results"))),
        pipeline="hyperfine",
        start_time=written,
    )


def _step(fields: Fields) -> dict[str, Any]:
    known = {
        f"{name}_s": fields.number(name, None) for name in ("min", "max", "mean", "stddev", "user", "system")
    }
    failed = [code for code in fields.array("exit_codes") if code not in (0, None)]
    return {
        "step_name": fields.text("command"),
        "duration": fields.number("mean" if fields.values.get("median") is None else "median"),
        "success": not failed,
        "error_message": f"{len(failed)} of its runs ended with exit code {failed[0]}" if failed else None,
        "cpu_s": (known["user_s"] or 0.0) + (known["system_s"] or 0.0)
        if known["user_s"] is not None
        else None,
        "additional_data": numbers(
            {**known, "runs": len(fields.array("times")) or None, **fields.mapping("parameters")}
        ),
    }


HYPERFINE = Format(
    words="JSON of hyperfine",
    fits=holds("results", sign=rb'"results"\s*:\s*\[\s*\{\s*"command"'),
    read=_read,
)
