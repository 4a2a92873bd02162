"""The formats of imported files: one entry each, by which a file is recognised and read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perfdb.history.history import History
from perfdb.maintenance import formats
from perfdb.maintenance.formats.base import Format
from perfdb.records import Session, Step
from tests.given import SEED_REPORT


def test_the_help_names_every_format(perfdb: Callable[..., Any]) -> None:
    said = " ".join(perfdb("import", "--help").out.split()).replace("- ", "-")  # a line may end at a hyphen
    for each in formats.FORMATS:
        assert each.words in said


def test_a_file_is_told_by_its_content(perfdb: Callable[..., Any], recorded: Any, folder: Path) -> None:
    (folder / "report.json").write_text(json.dumps(SEED_REPORT))
    (folder / "export.txt").write_text(perfdb("export", "--format", "json").out)
    perfdb("report", "-o", "page.html")
    found = [formats.format_of(folder / name) for name in ("report.json", "export.txt", "page.html")]
    assert found == [formats.REPORT, formats.EXPORT, formats.PAGE]


def test_a_format_of_another_tool_takes_its_entry(
    perfdb: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(file: Path) -> Iterator[Session]:
        spans = json.loads(file.read_text())["spans"]
        yield Session(
            session_id=file.stem,
            pipeline="other",
            start_time=100.0,
            total_duration=sum(spans.values()),
            status="completed",
            success=True,
            steps=tuple(
                Step(step_name=name, start_time=100.0, duration=seconds, success=True, seq=seq)
                for seq, (name, seconds) in enumerate(spans.items())
            ),
        )

    other = Format(
        words="a trace of another tool", fits=lambda _, start: start.startswith(b'{"spans"'), read=read
    )
    monkeypatch.setattr(formats, "FORMATS", (other, *formats.FORMATS))
    (folder / "trace.json").write_text('{"spans": {"load": 1.5, "draw": 0.5}}')
    (folder / "old.json").write_text(json.dumps(SEED_REPORT))
    assert perfdb("import", "trace.json", "old.json").out == "Imported 2 sessions.\n"
    assert History().session("trace").step_durations == {"load": 1.5, "draw": 0.5}
