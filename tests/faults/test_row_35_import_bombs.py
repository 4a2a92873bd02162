"""Row 35: a file that would cost memory or time, or is only half there, is refused and changes nothing."""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import shutil
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import perfdb
from perfdb.cli import main
from perfdb.maintenance.formats.base import LARGEST_EXPORT_BYTES
from perfdb.maintenance.importer import Imported, import_reports
from perfdb.recording.report_reader import MAX_BYTES
from perfdb.settings import load_for_reading

REPORT = {
    "session_id": "old",
    "timestamp": "2025-07-30T14:30:22",
    "total_duration": 1.0,
    "steps": [{"step_name": "load", "start_time": 1.0, "duration": 1.0, "success": True}],
}
TEXT = json.dumps(REPORT)
EXPORT = '{"schema_version": 1, "rows": ['
MB = 1 << 20


def with_attributes(value: str) -> str:
    return f'{TEXT[:-1]}, "attributes": {{"a": {value}}}}}'


BOMBS: dict[str, tuple[Callable[[], str], str]] = {
    "depth": (lambda: with_attributes("[" * 100_000 + "]" * 100_000), "levels deep"),
    "depth of objects": (lambda: with_attributes('{"a":' * 90 + "1" + "}" * 90), "levels deep"),
    "depth unclosed": (lambda: "[" * MB, "levels deep"),
    "more depth": (lambda: "[" * 3 * MB, "values"),
    "digits": (lambda: with_attributes("9" * 5_000), "too many digits"),
    "a million digits": (lambda: with_attributes("1" * MB), "too many digits"),
    "exponent": (lambda: with_attributes("1e400"), "too large"),
    "NaN": (lambda: with_attributes("NaN"), "NaN is not JSON"),
    "infinity": (lambda: with_attributes("-Infinity"), "Infinity is not JSON"),
    "duplicate keys": (lambda: TEXT[:-1] + ', "session_id": "new"}', "appears twice"),
    "duplicate keys below": (lambda: with_attributes('{"b": 1, "b": 2}'), "appears twice"),
    "many values": (lambda: with_attributes("[" + "{}," * 3 * MB + "{}]"), "values"),
    "half a file": (lambda: TEXT[: len(TEXT) // 2], "not JSON"),
    "nothing": (lambda: "", "not JSON"),
    "binary": (lambda: "\x00\x01\x02" * 1_000, "not JSON"),
    "a list": (lambda: f"[{TEXT}]", "top level is an array"),
    "export: half a file": (lambda: f"{EXPORT}{TEXT},{TEXT[:50]}", "not a whole JSON document"),
    "export: no end": (lambda: f"{EXPORT}{TEXT}", "not a whole JSON document"),
    "export: half a text": (lambda: f'{EXPORT}{TEXT[:-1]}, "a": "' + "\\\\" * 2 * MB, "not a whole"),
    "export: depth": (lambda: EXPORT + '{"a":' + "[" * MB, "levels deep"),
    "export: a bad row": (lambda: f'{EXPORT}{TEXT},{{"session_id": "../x", "steps": []}}]}}', "row 2: .*id"),
    "export: empty rows": (lambda: EXPORT + "{}," * MB + "{}]}", "row 1: .*no 'session_id'"),
    "export: no objects": (lambda: EXPORT + "1," * MB + "1]}", "not a whole JSON document"),
    "export: many values": (
        lambda: f"{EXPORT}{with_attributes('[' + '[],' * MB + '[]]')}]}}",
        "holds more than 500000 objects",
    ),
    "export: a large row": (
        lambda: f"{EXPORT}{with_attributes(chr(34) + 'x' * MAX_BYTES + chr(34))}]}}",
        "larger than",
    ),
}
PACKED: dict[str, tuple[Callable[[], bytes], str]] = {
    "zeros": (lambda: gzip.compress(b"\0" * 2 * MAX_BYTES), "larger than"),
    "an export": (lambda: gzip.compress(EXPORT.encode() + b" " * 2 * MAX_BYTES), "larger than"),
    "traces": (lambda: gzip.compress(b"\n" + b"\x01" * 2 * MAX_BYTES), "larger than"),
    "half a packed file": (lambda: gzip.compress(TEXT.encode())[:-20], "is cut off"),
    "its first bytes": (lambda: gzip.compress(TEXT.encode())[:2], "is cut off"),
    "damaged": (lambda: b"\x1f\x8b" + b"\x01" * MB, "is not gzip, or damaged"),
    "its sum is wrong": (lambda: gzip.compress(TEXT.encode())[:-8] + bytes(8), "is not gzip, or damaged"),
    "members": (lambda: gzip.compress(b"") * 100_000, "more than 16 members"),
    "twice": (lambda: gzip.compress(gzip.compress(TEXT.encode())), "not UTF-8"),
}
TOO_LARGE = {"report": (TEXT, 100 * MB), "export": (EXPORT + TEXT, LARGEST_EXPORT_BYTES + 1)}
REFUSED_S = 1.0
SLACK_S = 2.0  # the processor serves others, and runs slower for it


def imported(*paths: Path) -> list[Imported]:
    return list(import_reports(paths, load_for_reading()))


@pytest.fixture(autouse=True)
def limited_memory() -> Iterator[None]:
    """Give this process 2 GB more than it has: a bomb that goes off is an error."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + 2048 * MB, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(autouse=True)
def prepared(home: Path, migrated_file: Path) -> None:
    """Give a database with its tables, and load what an import needs."""
    home.mkdir(mode=0o700)
    shutil.copy(migrated_file, home / "perfdb.sqlite3")
    imported()


@pytest.fixture
def good(home: Path) -> Path:
    """Give a report that stands beside the bombs."""
    path = home.parent / "good.json"
    path.write_text(json.dumps(REPORT | {"session_id": "good"}))
    return path


def test_a_page_that_holds_a_thousand_times_its_size_is_refused(good: Path) -> None:
    bomb = good.with_name("bomb.html")
    packed = b64encode(gzip.compress(EXPORT.encode() + b" " * 2 * MAX_BYTES)).decode()
    bomb.write_text(f'<script id="perfdb-sessions">"{packed}"</script>')
    refused, taken = imported(bomb, good)
    assert refused.error is not None
    assert f"more than {MAX_BYTES} bytes" in refused.error
    assert taken.added == 1


@pytest.mark.parametrize("name", [*BOMBS, *PACKED])
def test_a_bomb_is_refused_with_its_reason_and_changes_nothing(name: str, good: Path) -> None:
    make, reason = BOMBS.get(name) or PACKED[name]
    bomb = good.with_name("bomb.json")
    made = make()
    bomb.write_bytes(made.encode() if isinstance(made, str) else made)
    begun = time.process_time()
    refused, taken = imported(bomb, good)
    assert time.process_time() - begun < REFUSED_S + SLACK_S
    assert (refused.added, taken.added) == (0, 1)
    assert refused.error is not None
    assert re.search(reason, refused.error), refused.error
    assert str(bomb) in refused.error
    assert len(refused.error) < 400
    assert list(perfdb.History().sessions()["session_id"]) == ["good"]


@pytest.mark.parametrize("kind", TOO_LARGE)
def test_what_is_too_large_is_refused_unread(kind: str, good: Path) -> None:
    head, size = TOO_LARGE[kind]
    bomb = good.with_name("bomb.json")
    bomb.write_text(head)
    os.truncate(bomb, size)  # takes no room on the disk
    before = bytes_read()
    refused, taken = imported(bomb, good)
    assert bytes_read() - before < MB
    assert (refused.added, taken.added) == (0, 1)
    assert "larger than" in str(refused.error)


def bytes_read() -> int:
    """Return how many bytes this process has read."""
    return int(re.findall(r"rchar: (\d+)", Path("/proc/self/io").read_text())[0])


def test_a_file_given_twice_is_a_no_op(home: Path) -> None:
    path = home.parent / "old.json"
    path.write_text(TEXT)
    assert [each.added for each in imported(path, path)] == [1, 0]
    before = (home / "perfdb.sqlite3").stat().st_size
    assert [(each.added, each.known) for each in imported(path)] == [(0, 1)]
    assert len(perfdb.History().steps()) == 1
    assert (home / "perfdb.sqlite3").stat().st_size == before


def test_a_session_of_the_same_id_and_other_content_changes_nothing(home: Path) -> None:
    path = home.parent / "old.json"
    path.write_text(TEXT)
    imported(path)
    path.write_text(json.dumps(REPORT | {"total_duration": 99.0, "steps": []}))
    assert [(each.added, each.known) for each in imported(path)] == [(0, 1)]
    assert perfdb.History().session("old").total_duration == 1.0
    assert len(perfdb.History().steps()) == 1


@pytest.mark.parametrize("verb", ["import in.json", "restore in.json", "sessions -d in.json"])
def test_a_file_of_the_kernel_that_never_ends_is_not_read(verb: str, home: Path) -> None:
    if not Path("/proc/kmsg").exists() or os.geteuid():
        pytest.skip("only root may read it")
    Path("folder").mkdir()
    for link in (Path("in.json"), Path("folder/a.json")):
        link.symlink_to("/proc/kmsg")
    with pytest.raises(SystemExit) as ended:
        main(verb.split())
    assert ended.value.code == 2
