"""The JSON report of a session, perfdb's or the seed's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from perfdb.maintenance.formats.base import Format
from perfdb.recording.report_reader import read_report
from perfdb.records import Session


def _read(file: Path) -> Iterator[Session]:
    yield read_report(file)


REPORT = Format(words="a report", fits=lambda file, beginning: True, read=_read)
