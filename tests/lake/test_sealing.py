"""What hosts push is in the history once, whoever sends it again, seals it or dies meanwhile.

Of: lake/archive.py, lake/inspection.py, lake/pieces.py, lake/place.py, lake/rows.py,
store/upkeep/archiving.py.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

import perfdb
from benchmarks.lake import survive
from perfdb.analysis.series import PERCENTILES
from perfdb.cli import main
from perfdb.errors import StoreError
from perfdb.lake import engine, rollups, sealing, statistics
from perfdb.lake.archive import Pushed, push, source_of
from perfdb.lake.inspection import examine, status
from perfdb.lake.pieces import read_piece, room_of, state_of
from perfdb.lake.place import (
    ANNOTATIONS,
    CHANGES,
    DELETED,
    FOLDERS,
    HISTORY,
    INBOX,
    MARKER,
    SOURCES,
    TAGS,
    Place,
)
from perfdb.lake.rows import lean
from perfdb.lake.sealing import put_in_order, seal
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import ensure_schema
from perfdb.testing import make_session


class Source:
    """A database and a lake of it."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/source.sqlite3"
        self.file = folder / "source.sqlite3"
        self.place = Place(str(folder / "lake"))
        ensure_schema(self.url)

    def record(self, *numbers: int, source: str = "import") -> None:
        with Database(self.url) as database, database.writing() as connection:
            insert_sessions(connection, [make_session(n, {"load": 1.0 + n}) for n in numbers], source=source)

    def push(self, **more: Any) -> Pushed:
        with Database(self.url, migrates=False) as database:
            return push(self.place, database, **more)

    def ids(self) -> list[str]:
        """Return the sessions in the lake, each as often as it is there."""
        files = engine.files_of(self.place.open(HISTORY))
        sql = "SELECT session_id FROM h WHERE step_name IS NULL ORDER BY ALL"
        return [str(each) for each in engine.ask(self.place, files, sql).column(0).to_pylist()]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


def lost_track(source: Source) -> None:
    for name in source.place.names(SOURCES):
        source.place.remove(SOURCES, name)


def pushed_before(source: Source) -> None:
    """Leave the piece where it was, as a sealer does that dies after its commit."""
    for name, content in source.kept.items():  # type: ignore[attr-defined]
        source.place.write(content, INBOX, name)


def another_database(source: Source) -> None:
    """Put a copy in the place of the database, whose rows have other numbers."""
    with closing(sqlite3.connect(source.file)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM sessions")
    source.record(3, 2, 1, 0)


@pytest.mark.parametrize("happens", [lost_track, pushed_before, another_database])
def test_what_is_sent_again_is_there_once(source: Source, happens: Callable[[Source], None]) -> None:
    source.record(0, 1)
    assert source.push().sessions == 2
    source.kept = {name: source.place.read(INBOX, name) for name in source.place.names(INBOX)}  # type: ignore[attr-defined]
    assert seal(source.place).sessions == 2
    assert source.push() == Pushed(0, 0, 0, 0)
    happens(source)
    source.record(2, 3)
    source.push(sessions=3)
    seal(source.place)
    assert source.ids() == [f"run-{n:04d}" for n in range(4)]
    assert source.place.names(INBOX) == []


def test_what_is_open_waits_for_its_end(source: Source) -> None:
    source.record(0, 1, 2)
    with closing(sqlite3.connect(source.file)) as connection, connection:
        connection.execute(
            "UPDATE sessions SET status = 0, total_duration = NULL WHERE session_id = 'run-0001'"
        )
    assert (source.push().held, seal(source.place).sessions) == (1, 2)
    with closing(sqlite3.connect(source.file)) as connection, connection:
        connection.execute("UPDATE sessions SET status = 1, total_duration = 2 WHERE session_id = 'run-0001'")
    assert source.push() == Pushed(1, 1, 1, 0)
    assert seal(source.place).sessions == 1
    assert source.ids() == ["run-0000", "run-0001", "run-0002"]


def test_a_piece_waits_for_the_one_before_it(source: Source) -> None:
    source.record(*range(4))
    source.push(sessions=2)
    (first, second) = source.place.names(INBOX)
    content = source.place.read(INBOX, first)
    assert content is not None
    source.place.remove(INBOX, first)
    assert seal(source.place).waiting == 1
    source.place.write(content, INBOX, first)
    assert (seal(source.place).pieces, source.place.names(INBOX)) == (2, [])
    assert len(source.ids()) == 4
    assert second != first


def test_two_sources_of_one_session_make_one(source: Source, tmp_path: Path) -> None:
    source.record(0, 1)
    other = Source(tmp_path / "other") if (tmp_path / "other").mkdir() is None else source
    other.place = source.place
    other.record(1, 2)
    source.push()
    other.push()
    seal(source.place)
    assert source.ids() == ["run-0000", "run-0001", "run-0002"]


def test_tags_and_deletions_are_answered_at_once_and_applied_by_the_pass(source: Source) -> None:
    source.record(*range(6))
    source.push()
    seal(source.place)
    lake = perfdb.History(str(source.place.local))
    lake.tag("run-0002", "ignore")
    lake.tag("run-0003", "Zoo")
    lake.untag("run-0003", "Zoo")
    lake.delete("run-0004")
    shown = lake.sessions()[["session_id", "counted"]].to_numpy().tolist()
    trend = lake.trends()
    before = examined(source)
    assert seal(source.place).days == 1
    after = perfdb.History(str(source.place.local))
    assert after.sessions()[["session_id", "counted"]].to_numpy().tolist() == shown
    assert shown == [[f"run-{n:04d}", n != 2] for n in range(6) if n != 4]
    assert after.trends().equals(trend)
    assert after.trends(by="all")["n"].tolist() == [4, 4]
    assert source.place.names(CHANGES) == []
    assert (before, examined(source)) == ([], ["orphans"])


def examined(source: Source) -> list[str]:
    return [check for check, _, advice in examine(source.place) if advice]


def test_days_are_dropped_whole_and_their_trends_stay(source: Source) -> None:
    source.record(0, 1)
    with Database(source.url) as database, database.writing() as connection:
        later = make_session(2, {"load": 9.0}, start_time=make_session(0, {}).start_time + 5 * 86_400)
        insert_sessions(connection, [later])
    source.push()
    seal(source.place)
    lake = perfdb.History(str(source.place.local))
    by_day = lake.trends(by="day")
    assert sealing.drop_days(source.place, date(2026, 1, 3)) == 1
    assert sealing.vacuum(source.place, older_than=timedelta(0)) >= 1
    again = perfdb.History(str(source.place.local))
    assert again.sessions()["session_id"].tolist() == ["run-0002"]
    left = again.trends(by="day")
    assert left["n"].tolist() == by_day["n"].tolist()
    assert left["p50"].to_numpy() == pytest.approx(by_day["p50"].to_numpy(), rel=0.005)
    assert examined(source) == []


@pytest.mark.parametrize("lasts_s", [1.0, 40_000.0])
def test_a_step_after_midnight_is_of_its_own_day(source: Source, lasts_s: float) -> None:
    made = [
        make_session(n, {"load": lasts_s * (1 + n % 3), "save": 1.0 + n}, every_s=30_000.0) for n in range(12)
    ]
    with Database(source.url) as database, database.writing() as connection:
        insert_sessions(connection, made)
    source.push()
    seal(source.place)
    lake, database_of_it = perfdb.History(str(source.place.local)), perfdb.History(source.url)
    files = engine.files_of(source.place.open(HISTORY))
    assert rollups.keep_to_their_days(files) is (lasts_s == 1.0)
    for by in ("day", "week"):
        assert_frame_equal(lake.trends(by=by), database_of_it.trends(by=by))  # type: ignore[arg-type]
    summed = statistics.statistics(source.place, list(PERCENTILES.values()), by="day", exactly=False)
    exact = statistics.statistics(source.place, list(PERCENTILES.values()), by="day")
    assert {(each.name, each.first_day, each.n) for each in summed} == {
        (each.name, each.first_day, each.n) for each in exact
    }


def test_a_later_column_is_added_and_older_readers_go_on(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa

    from perfdb.lake import archive, rows

    source.record(0)
    source.push()
    seal(source.place)
    old = archive.to_arrow

    def newer(*columns: Any) -> Any:
        table = old(*columns)
        nested = pa.array([{"a": 1, "b": [1]}] * len(table))
        return table.add_column(0, "more", nested).append_column("gpu_s", pa.array([1.5] * len(table)))

    source.record(1)
    monkeypatch.setattr(archive, "to_arrow", newer)
    source.push()
    seal(source.place, today=True)
    assert "gpu_s" not in rows.schema().names
    lake = perfdb.History(str(source.place.local))
    assert (len(lake.sessions()), lake.trends(by="all")["n"].tolist()) == (2, [2, 2])
    put_in_order(source.place, until=date.max)
    files = engine.files_of(source.place.open(HISTORY))
    found = engine.ask(source.place, files, "SELECT DISTINCT gpu_s FROM h ORDER BY ALL", whole=True)
    assert set(found.column(0).to_pylist()) == {1.5, None}


def test_the_status_says_what_is_there(source: Source) -> None:
    source.record(0, 1)
    source.push(sessions=1)
    waiting = dict(status(source.place))
    seal(source.place)
    sealed = dict(status(source.place))
    assert (waiting["rows"], waiting["pieces_waiting"]) == (0, 2)
    assert (sealed["rows"], sealed["days_summed_up"], sealed["pieces_waiting"]) == (4, 1, 0)
    assert json.dumps(sealed)


def test_archivers_and_sealers_that_die_lose_and_double_nothing(tmp_path: Path) -> None:
    found = survive(str(tmp_path / "lake"), tmp_path, kills=2, roles=("archive", "seal", "seal"))
    assert found["sessions"] > 0
    assert {name: found[name] for name in ("lost", "doubled", "cut", "orphans", "waiting")} == dict.fromkeys(
        ("lost", "doubled", "cut", "orphans", "waiting"), 0
    )


def test_what_is_no_piece_or_change_holds_nothing_up_and_is_named(source: Source) -> None:
    source.record(0, 1)
    source.push()
    for name in ("aa-bb.0-5.parquet", "aa-bb.5-9.parquet", "../../x", "notes.txt", "\x1b[2J.0-1.parquet"):
        source.place.write(b"PAR1", INBOX, name.replace("/", "%2f"))
    others = pa.BufferOutputStream()
    pq.write_table(pa.table({"evil": [1]}), others)
    source.place.write(others.getvalue().to_pybytes(), INBOX, "cc-dd.0-5.parquet")
    change = {"session_id": "run-0000", "day": "2026-01-01", "what": "tag", "tag": None}
    strange = (
        json.dumps(each).encode() for each in (change, change | {"session_id": None, "what": "delete"})
    )
    source.place.write(b'{"annotations": 5}', ANNOTATIONS, "dd-1.json")
    source.place.write(b'{"generation": "x", "to": "1"}', SOURCES, f"{source_of(source.url)}.json")
    for number, content in enumerate((b"[[[", b"[" * 100_000, b'{"session_id": 5}', b"\xff", *strange)):
        source.place.write(content, CHANGES, f"{number}.json")
    assert (seal(source.place).sessions, source.ids()) == (2, ["run-0000", "run-0001"])
    assert len(perfdb.History(str(source.place.local)).sessions()) == 2
    assert set(examined(source)) >= {"changes", "pieces"}


def changed_to(rows: pa.Table, column: str, *values: object) -> pa.Table:
    place = rows.schema.get_field_index(column)
    return rows.set_column(place, rows.schema.field(place), pa.array(values, rows.schema.field(place).type))


def hostile(rows: pa.Table) -> Iterator[pa.Table]:
    """Yield what no archiver pushes: too much of something, or what every later reader would stumble over."""
    yield pa.table({str(number): [1] for number in range(2_000)})
    yield rows.append_column("x" * (5 << 20), [[1]])
    equal = lean(rows).take(pa.array(np.zeros(1_500_000, dtype="int64")))
    yield equal
    text = pa.array(['{"a": "' + "x" * 60_000 + '"}'])
    repeated = pa.DictionaryArray.from_arrays(pa.array(np.zeros(3_000, dtype="int32")), text)
    yield equal.slice(0, 3_000).set_column(equal.schema.get_field_index("data"), "data", repeated)
    yield rows.drop_columns(["mode"])
    yield rows.append_column("mode", rows.column("mode"))
    for name, kind in (
        ("start_us", pa.string()),
        ("data", pa.list_(pa.string())),
        ("day", pa.timestamp("us")),
    ):
        place = rows.schema.get_field_index(name)
        yield rows.set_column(place, name, pa.nulls(1, kind))
    for name, value in (
        *(("session_id", "../../x"), ("session_id", None), ("pipeline", None), ("series", None), ("seq", 5)),
        *(
            ("day", date(9999, 1, 1)),
            ("began_us", 1 << 62),
            ("start_us", -1),
            ("status", 9),
            ("data", "{bad"),
            *(
                ("data", "[1]"),
                ("tags", "5"),
                ("tags", '["t", 5]'),
                ("duration_us", -5),
                ("utc_offset", 86_400),
            ),
            *((name, "x" * 30_000) for name in ("pipeline", "mode")),
        ),
    ):
        yield changed_to(rows, name, value)


def test_hostile_pieces_are_left_before_they_take_room_and_named(source: Source) -> None:
    source.record(0)
    source.push()
    (piece,) = source.place.names(INBOX)
    with source.place.files.open_input_file(source.place.own(INBOX, piece)) as file:
        rows = pq.read_table(file).slice(0, 1)
    assert room_of(source.place, piece) is not None
    for number, table in enumerate(hostile(rows)):
        content = pa.BufferOutputStream()
        pq.write_table(table, content, compression="zstd", store_schema=False)
        source.place.write(content.getvalue().to_pybytes(), INBOX, f"aa-b{number}.0-5.parquet")
        assert room_of(source.place, f"aa-b{number}.0-5.parquet") is None, number
    true, false = (each.to_bytes(8, "little", signed=True) for each in (7_777_777_777_777, -1))
    content = pa.BufferOutputStream()
    honest = changed_to(rows, "start_us", 7_777_777_777_777)
    pq.write_table(honest, content, compression="none", use_dictionary=False)
    parts = content.getvalue().to_pybytes().split(true)  # the value is after four of its page's statistics
    for value in (true, false):
        lying = true.join(parts[:5]) + value + true.join(parts[5:])
        source.place.write(lying, INBOX, "aa-lie.0-5.parquet")
        assert (room_of(source.place, "aa-lie.0-5.parquet") is None) is (value == false)
    assert seal(source.place).sessions == 1
    assert "pieces" in examined(source)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("generation", "../../../../planted/x"), ("generation", "a/b"), ("generation", ""),
        ("generation", "x" * 300), ("generation", "a\nb"), ("to", 10**18), ("to", -1),
        ("last", 10**30), ("held", [10**30]),
    ],
)  # fmt: skip
def test_what_others_note_of_a_source_leads_its_pieces_nowhere(source: Source, name: str, value: Any) -> None:
    source.record(0)
    source.push()
    seal(source.place)
    (noted,) = source.place.names(SOURCES)
    note = source.place.document(SOURCES, noted) or {}
    source.place.write(json.dumps(note | {name: value}).encode(), SOURCES, noted)
    source.record(1)
    source.push()
    assert seal(source.place).sessions == 1
    assert source.place.names(INBOX) == []
    assert not list(Path(source.place.path()).parent.glob("planted*"))


def test_nothing_is_made_outside_of_a_lake(source: Source) -> None:
    source.record(0)
    source.push()
    with pytest.raises(StoreError, match="no file of its own"):
        source.place.write(b"x", INBOX, "a-../../../../planted/x")
    assert not list(Path(source.place.path()).parent.glob("planted*"))


def pushed(source: Source) -> tuple[str, bytes]:
    """Push the first session; return the name of its piece, and what is in it."""
    source.record(0)
    source.push()
    (piece,) = source.place.names(INBOX)
    return piece, Path(source.place.own(INBOX, piece)).read_bytes()


@pytest.mark.parametrize("how", ["cut off", "a link", "empty"])
@pytest.mark.parametrize("bounds", ["0-1", "0-9"])
def test_what_is_no_piece_and_named_like_one_that_was_sealed_stops_nobody(
    source: Source, tmp_path: Path, how: str, bounds: str
) -> None:
    piece, content = pushed(source)
    source.record(1)
    source.push()
    assert seal(source.place).sessions == 2
    strange = Path(source.place.path(INBOX, f"{piece.rpartition('.0-')[0]}.{bounds}.parquet"))
    if how == "a link":
        (tmp_path / "elsewhere").write_bytes(content)
        strange.symlink_to(tmp_path / "elsewhere")
    else:
        strange.write_bytes(content[:-100] if how == "cut off" else b"")
    source.record(2)
    source.push()
    assert seal(source.place).sessions == 1
    assert os.path.lexists(strange)
    assert "pieces" in examined(source)


def test_a_piece_that_says_it_goes_far_takes_no_later_one_away(source: Source) -> None:
    piece, content = pushed(source)
    seal(source.place)
    for bounds in ("1-2", f"2-{10**17}"):
        source.place.write(content, INBOX, f"{piece.rpartition('.0-')[0]}.{bounds}.parquet")
        assert seal(source.place).sessions == 0
    for number in (1, 2):
        source.record(number)
        source.push()
        assert seal(source.place).sessions == 1
    assert source.ids() == ["run-0000", "run-0001", "run-0002"]
    assert source.place.names(INBOX) == []


def test_what_was_taken_in_is_no_news_to_the_history(source: Source) -> None:
    piece, content = pushed(source)
    seal(source.place)
    version = source.place.open(HISTORY).version()
    source.place.write(content, INBOX, piece)
    assert seal(source.place).sessions == 0
    assert (source.place.names(INBOX), source.place.open(HISTORY).version()) == ([], version)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems name files in texts only")
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_name_that_is_no_text_stops_nobody(source: Source, folder: str) -> None:
    source.record(0)
    source.push()
    seal(source.place)
    below = f"{folder}/{source_of(source.url)}" if folder == TAGS else folder
    Path(source.place.path(below), os.fsdecode(b"0-\xff.parquet")).write_bytes(b"x")
    source.record(1)
    source.push()
    assert seal(source.place).sessions == 1
    assert len(perfdb.History(source.place.path()).sessions()) == 2
    assert dict(status(source.place))["pieces_waiting"] == 0
    assert list(examine(source.place))


def test_a_folder_where_a_file_of_the_lake_belongs_is_put_aside(source: Source) -> None:
    name = source_of(source.url)
    for below in (f"{SOURCES}/{name}.json", f"{DELETED}/00000000000000000001-x.json"):
        Path(source.place.path(below), "within").mkdir(parents=True)
    source.place.write(b'{"format": 1}', MARKER)
    source.record(0)
    source.push()
    deletion = {"session_id": "run-0009", "day": "2026-01-01", "what": "delete"}
    source.place.write(json.dumps(deletion).encode(), CHANGES, "00000000000000000001-x.json")
    assert seal(source.place).sessions == 1
    assert source.place.names(SOURCES) == [f"{name}.json"]
    assert source.place.names(DELETED) == ["00000000000000000001-x.json"]
    assert len(list(Path(source.place.path()).rglob("within"))) == 2


@pytest.mark.parametrize("how", ["exchanged", "written over", "there and back"])
def test_a_piece_that_is_exchanged_after_it_was_looked_at_is_not_read(source: Source, how: str) -> None:
    source.record(0)
    source.push()
    (name,) = source.place.names(INBOX)
    piece = Path(source.place.own(INBOX, name))
    aside = piece.with_name(".aside")
    seen, times = state_of(source.place, name), os.stat(piece).st_mtime_ns
    assert room_of(source.place, name)
    assert len(read_piece(source.place, name, seen) or ()) > 1
    if how == "exchanged":
        aside.write_bytes(piece.read_bytes())
        os.replace(aside, piece)
    elif how == "written over":
        piece.write_bytes(piece.read_bytes())
    else:
        os.rename(piece, aside)
        os.rename(aside, piece)
    os.utime(piece, ns=(times, times))
    assert read_piece(source.place, name, seen) is None
    piece.unlink()
    assert read_piece(source.place, name, state_of(source.place, name)) is None


def test_texts_beyond_all_measure_are_neither_read_nor_put_in_order(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (0, 1):
        source.record(number)
        source.push()
        seal(source.place)
    perfdb.History(str(source.place.local)).tag("run-0000", "kept")
    with monkeypatch.context() as small:
        small.setattr(engine, "_ROOM", 0)
        small.setattr(engine, "TIMES", 0)
        with pytest.raises(StoreError, match="the most"):
            perfdb.History(str(source.place.local)).sessions()
        assert seal(source.place, today=True).days == 0
    assert perfdb.History(str(source.place.local)).sessions(tag="kept")["session_id"].tolist() == ["run-0000"]
    assert (seal(source.place, today=True).days, status(source.place)[-1]) == (1, ("changes_waiting", 0))


def test_what_repeats_a_long_text_is_pushed_in_smaller_pieces(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    from perfdb.lake import archive

    source.record(*range(8))
    monkeypatch.setattr(archive, "allowed_room", lambda size: 1_000)
    pushed = source.push()
    assert (pushed.sessions, pushed.pieces > 1, source.push().sessions) == (8, True, 0)
    assert seal(source.place).sessions == 8


def test_a_lake_of_one_user_is_closed_to_others(source: Source, tmp_path: Path) -> None:
    lakes = tmp_path / "new", tmp_path / "made", tmp_path / "shared"
    for lake, mode in zip(lakes[1:], (0o755, 0o775), strict=True):
        lake.mkdir()
        lake.chmod(mode)
    source.record(0)
    is_open = []
    for lake in lakes:
        source.place = Place(str(lake))
        source.push()
        seal(source.place)
        within = [each for each in lake.iterdir() if each.is_dir()]
        is_open.append(
            (bool(lake.stat().st_mode & 0o077), any(each.stat().st_mode & 0o077 for each in within))
        )
    assert is_open == [(False, False), (True, False), (True, True)]


def test_a_damaged_mark_and_damaged_rows_are_said_in_words(source: Source) -> None:
    source.record(0)
    source.push()
    seal(source.place)
    local = source.place.local
    assert local is not None
    (file,) = local.glob("history/**/*.parquet")
    rows = pq.read_table(file, partitioning=None)
    place = rows.schema.get_field_index("data")
    pq.write_table(rows.set_column(place, rows.schema.field(place), pa.array(["{bad"] * len(rows))), file)
    with pytest.raises(SystemExit) as ended:
        main(["steps", "-d", str(local)])
    assert ended.value.code == 2
    source.place.write(b"[" * 100_000, MARKER)
    with pytest.raises(StoreError, match="damaged"):
        source.place.require()


def a_link_to_a_folder(place: Place, elsewhere: Path) -> None:
    (place.local / HISTORY / "more").symlink_to(elsewhere)  # type: ignore[operator]


def a_link_to_a_file(place: Place, elsewhere: Path) -> None:
    (place.local / HISTORY / "more.parquet").symlink_to(elsewhere / "thesis.parquet")  # type: ignore[operator]


def a_pipe(place: Place, elsewhere: Path) -> None:
    os.mkfifo(place.local / HISTORY / "_delta_log" / "_last_checkpoint")  # type: ignore[operator]


def the_table_elsewhere(place: Place, elsewhere: Path) -> None:
    history = place.local / HISTORY  # type: ignore[operator]
    history.rename(elsewhere / HISTORY)
    history.symlink_to(elsewhere / HISTORY)


@pytest.mark.parametrize("plant", [a_link_to_a_folder, a_link_to_a_file, a_pipe, the_table_elsewhere])
def test_nothing_outside_of_a_lake_is_removed_or_written(
    source: Source, tmp_path: Path, plant: Callable[[Place, Path], None]
) -> None:
    source.record(1)
    source.push()
    seal(source.place)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.parquet").write_text("years of work")
    os.utime(elsewhere / "thesis.parquet", (0, 0))
    plant(source.place, elsewhere)
    before = sorted(elsewhere.rglob("*"))
    for work in (lambda: sealing.vacuum(source.place, older_than=timedelta(0)), lambda: seal(source.place)):
        with pytest.raises(StoreError, match="no file of its own"):
            work()
    assert sorted(elsewhere.rglob("*")) == before


@pytest.mark.parametrize("kept", ["log", "checkpoint"])
def test_a_deletion_vector_elsewhere_is_not_followed(source: Source, tmp_path: Path, kept: str) -> None:
    source.record(1)
    source.push()
    seal(source.place)
    (tmp_path / "secret.txt").write_text("of somebody else")
    (log,) = (tmp_path / "lake" / HISTORY / "_delta_log").glob("*.json")
    vector = {"storageType": "p", "pathOrInlineDv": f"file://{tmp_path}/secret.txt", "offset": 1}
    rows = [json.loads(row) for row in log.read_text().splitlines()]
    for row in rows:
        if "add" in row:
            row["add"]["deletionVector"] = vector | {"sizeInBytes": 36, "cardinality": 2}
    log.write_text("\n".join(map(json.dumps, rows)))
    if kept == "checkpoint":
        source.place.open(HISTORY).create_checkpoint()
        log.write_text(log.read_text().replace("deletionVector", "other"))
    for work in (lambda: seal(source.place, today=True), lambda: sealing.drop_days(source.place, date.max)):
        with pytest.raises(StoreError, match="no file of its own"):
            work()


def test_a_damaged_log_is_told_in_words_by_whatever_needs_it(source: Source, tmp_path: Path) -> None:
    source.record(1)
    source.push()
    seal(source.place)
    (log,) = (tmp_path / "lake" / HISTORY / "_delta_log").glob("*.json")
    log.write_text(log.read_text().replace('"partitionValues":{"day":"', '"partitionValues":{"day":"x'))
    for work in (lambda: seal(source.place), lambda: sealing.vacuum(source.place, older_than=timedelta(0))):
        with pytest.raises(StoreError, match="lake cannot be"):
            work()


@pytest.mark.parametrize("how", ["log", "link", "pipe", "glob"])
def test_a_lake_says_nothing_of_files_outside_of_it(source: Source, tmp_path: Path, how: str) -> None:
    source.record(1)
    source.push()
    seal(source.place)
    history = tmp_path / "lake" / HISTORY
    (file,) = history.glob("day=*/*.parquet")
    elsewhere = file.rename(tmp_path / "elsewhere.parquet")
    if how == "link":
        file.symlink_to(elsewhere)
    elif how == "pipe":
        os.mkfifo(file)
    else:
        named = {"log": "../../elsewhere.parquet", "glob": "../../else*.parquet"}[how]
        (log,) = (history / "_delta_log").glob("*.json")
        log.write_text(log.read_text().replace(f"{file.parent.name}/{file.name}", named))
    with pytest.raises(StoreError, match=r"lake.*no file of its own"):
        source.ids()


def test_a_lake_whose_files_hold_more_than_its_log_says_is_not_read_whole(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.record(1)
    source.push()
    seal(source.place)
    (file,) = (tmp_path / "lake" / HISTORY).glob("day=*/*.parquet")
    one = pq.read_table(file, partitioning=None)
    pq.write_table(pa.concat_tables([one] * 60_000), file)
    with pytest.raises(StoreError, match="more rows than its log says"):
        perfdb.History(str(tmp_path / "lake")).sessions()


@pytest.mark.parametrize("column", ["pipeline", "mode", "data"])
def test_a_file_of_the_history_that_repeats_a_long_text_is_left_before_it_takes_room(
    source: Source, tmp_path: Path, column: str
) -> None:
    """To limit or join its rows, or those of files together, the text would be written out for each."""
    source.record(1)
    source.push()
    seal(source.place)
    (file,) = (tmp_path / "lake" / HISTORY).glob("day=*/*.parquet")
    rows = pq.read_table(file, partitioning=None)
    rows = rows.take(pa.array(np.arange(400_000) % len(rows)))
    text = pa.array(["x" * 1_000_000])
    repeated = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), dtype="int32")), text)
    pq.write_table(rows.set_column(rows.schema.get_field_index(column), column, repeated), file)
    assert file.stat().st_size < 1_000_000
    history = perfdb.History(str(tmp_path / "lake"))
    for ask in (history.sessions, history.steps, history.bottlenecks):
        with pytest.raises(StoreError, match=r"perfdb never writes|the most"):
            ask()


@pytest.mark.parametrize(
    "name",
    [
        MARKER,
        f"{CHANGES}/x.json",
        f"{HISTORY}/_delta_log/{1:020d}.json",
        f"{HISTORY}/_delta_log/_last_checkpoint",
    ],
)
def test_a_file_that_is_mostly_a_hole_is_not_read_into_memory(
    source: Source, tmp_path: Path, name: str
) -> None:
    source.record(1)
    source.push()
    seal(source.place)
    path = tmp_path / "lake" / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.truncate(path, 1 << 40)
    again = Place(str(tmp_path / "lake"))
    if name.startswith(CHANGES):
        assert seal(again).sessions == 0
        assert "changes" in [found[0] for found in examine(again)]
        return
    with pytest.raises(StoreError, match=r"1,099,511,627,776 bytes, which perfdb never writes"):
        seal(again)
    with pytest.raises(StoreError, match="never writes"):
        perfdb.History(str(tmp_path / "lake")).sessions()
