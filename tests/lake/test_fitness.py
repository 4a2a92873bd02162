"""A piece is taken in only when every reader can make something of each of its columns.

Of: lake/fitness.py, lake/pieces.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from math import inf, nan
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import perfdb
from perfdb.cli import main
from perfdb.lake.inspection import examine
from perfdb.lake.pieces import room_of, why_unfit
from perfdb.lake.place import INBOX, Place
from perfdb.lake.rows import conformed, schema, series_of
from perfdb.lake.sealing import seal

DAY = date(2026, 1, 1)
BEGAN = 1_767_225_600_000_000
ATTEMPT = {"start_time": 1.0, "duration": 1.0, "wait": 0.0, "success": True, "error_message": None}
EVENT: dict[str, Any] = {"name": "e", "time": 1.0, "data": {}}
TOO_DEEP = '{"a":' * 150 + "1" + "}" * 150
TEXTS = (
    *(
        None,
        "",
        "{bad",
        "5",
        "null",
        "[1]",
        "{}",
        "[]",
        '{"a":1e999}',
        "\0",
        "\x1b[2J",
        "x" * 30_000,
        "../../x",
    ),
    *("x" * 200_000, "[" * 5_000, '{"a":' * 5_000, TOO_DEEP, '{"a":' + "9" * 5_000 + "}", '{"a":"\\ud800"}'),
    *('["t", 5]', '["t", "t"]', '[""]', '["t"]'),
    json.dumps({"a": "9" * 5_000}),
)
WRONG = (None, "x", 5, nan, 1e300, -1, [1])
LISTS: dict[str, tuple[Any, ...]] = {
    "attempts": tuple([ATTEMPT | {name: value}] for name in ATTEMPT for value in WRONG),
    "events": (
        *([EVENT | {name: value}] for name in EVENT for value in WRONG),
        *([EVENT | {"data": {"a": value}}] for value in (inf, nan, 10**400, json.loads(TOO_DEEP))),
    ),
    "samples": (
        *(
            [1],
            [[1.0, 2.0]],
            [[1.0, 2.0, 3], [1.0, 2.0, 3]],
            [["1", 2.0, 3]],
            [[nan, 2.0, 3]],
            [[1e30, 2.0, 3]],
        ),
        *([[1.0, -1.0, 3]], [[1.0, 2.0, 1 << 70]], [[1.0, None, None]]),
    ),
}
WHOLE = (None, -1, 0, 4, 9, 127, -128, 86_400, (1 << 31) - 1, (1 << 63) - 1, -(1 << 63))
REAL = (None, nan, inf, -inf, -1.0, 0.0, 1e30, 1e308)
DAYS = (None, date(1, 1, 1), date(9999, 12, 31))
ANYTHING = {  # that their type holds, as in the tables
    *("success", "fast_mode", "excluded", "pid", "product_count", "rss_peak_bytes", "rss_mean_bytes"),
    "error_message",
}
VERBS = (
    *("sessions", "steps", "trends", "trends --by day", "trends --by all", "bottlenecks", "failures"),
    *("regressions", "export --format json", "export --format csv", "show last", "compare last~1 last"),
    "doctor",
)


def rows_of(session_id: str, **of: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a session and its step, with other values in one of them."""
    both = {
        "session_id": session_id,
        "pipeline": "p",
        "mode": "{}",
        "day": DAY,
        "began_us": BEGAN,
        "start_us": BEGAN,
        "duration_us": 1_000_000,
        "status": 1,
        "counted": True,
        "excluded": False,
    }
    session = {"series": series_of("p", None, "{}"), "source": 0, "utc_offset": 0, **of.get("session", {})}
    step = {"step_name": "s", "seq": 0, "lane": 0, "series": series_of("p", "s", "{}"), **of.get("step", {})}
    return [both | session, both | step]


def written(place: Place, rows: list[dict[str, Any]], name: str = "aa-bb.0-5.parquet") -> str:
    content = pa.BufferOutputStream()
    pq.write_table(conformed(pa.Table.from_pylist(rows, schema=schema())), content)
    place.write(content.getvalue().to_pybytes(), INBOX, name)
    return name


def hostile() -> Iterator[tuple[str, str, Any]]:
    """Yield a kind of row, a column, and a value that somebody may put there."""
    for field in schema():
        values: tuple[Any, ...] = TEXTS + tuple(map(json.dumps, LISTS.get(field.name, ())))
        if pa.types.is_integer(field.type):
            limit = 1 << (field.type.bit_width - 1)
            values = tuple(each for each in WHOLE if each is None or -limit <= each < limit)
        elif pa.types.is_floating(field.type):
            values = REAL
        elif pa.types.is_boolean(field.type):
            values = (None,)
        elif pa.types.is_date(field.type):
            values = DAYS
        for value in values:
            yield from ((kind, field.name, value) for kind in ("session", "step"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(str(tmp_path / "lake"))
    place.create()
    return place


def test_whatever_a_column_holds_it_is_left_out_or_all_can_be_asked(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    fit: list[dict[str, Any]] = rows_of("good")
    taken: list[str] = ["good"]
    left: set[str] = set()
    for number, (kind, column, value) in enumerate(hostile()):
        rows = rows_of(f"s{number}", **{kind: {column: value}})
        if room_of(place, written(place, rows)) is None:
            left.add(column)
        else:
            fit += rows
            taken.append(f"s{number}")
    assert {field.name for field in schema()} - left == ANYTHING
    written(place, fit)
    assert seal(place).sessions == len(taken)
    lake = str(place.local)
    for verb in (*VERBS, *(f"show {name}" for name in taken)):
        with pytest.raises(SystemExit) as ended:
            main([*verb.split(), "-d", lake])
        assert ended.value.code in (0, 1), (verb, capsys.readouterr())


def test_what_perfdb_records_is_fit(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    digits = "9" * 2_000
    said = f'"{digits}\\'
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline()
    with tracker.step("s", digits=digits, said=said, large=10**400, real=1e308) as step:
        step.event("e", digits=digits, large=10**400, real=inf)
    tracker.end_pipeline()
    lake = str(place.local)
    with pytest.raises(SystemExit) as ended:
        main(["archive", lake, "--seal"])
    assert ended.value.code == 0, capsys.readouterr()
    (found,) = perfdb.History(lake).steps()["additional_data"]
    assert (found["digits"], found["said"]) == (digits, said)


def alone(place: Place, *rows: dict[str, Any]) -> str | None:
    return why_unfit(place, written(place, list(rows)))


def test_rows_that_are_of_no_one_session_are_left_and_the_doctor_says_why(place: Place) -> None:
    session, step = rows_of("one")
    assert alone(place, session, step) is None
    assert alone(place, session) is None
    for rows, column in (
        ((step,), "session_id"),
        ((session, session, step), "session_id"),
        ((session, step | {"began_us": BEGAN + 1}), "session_id"),
        ((session, step, step), "seq"),
        ((session, step | {"series": 5}), "series"),
        ((session, step | {"events": json.dumps([{"name": 5, "time": 1.0}])}), "events"),
    ):
        assert alone(place, *rows) == f"its {column} is not as perfdb writes it"
        said = next(found for check, found, _ in examine(place) if check == "pieces")
        assert said.endswith(f"'aa-bb.0-5.parquet' first: its {column} is not as perfdb writes it")
