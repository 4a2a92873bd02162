"""What changes in a source after it was pushed is so in the lake; what is gone from it stays, unless asked.

Of: lake/changes.py, lake/following.py, store/upkeep/archiving.py.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pandas.testing import assert_frame_equal

import perfdb
from perfdb.errors import NotFoundError, StoreError
from perfdb.lake import archive, engine, following, rollups, sealing
from perfdb.lake.archive import push
from perfdb.lake.changes import add_changes, change_of
from perfdb.lake.place import ANNOTATIONS, CHANGES, HISTORY, INBOX, SOURCES, Place
from perfdb.lake.sealing import seal
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions
from perfdb.store.upkeep import archiving
from perfdb.testing import make_session

TAGS = ("ignore", "warmup", "red", "Zoo")


class Fleet:
    """A database and a lake that follows it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.place = url, Place(str(folder / "lake"))

    def record(self, *numbers: int) -> None:
        made = [
            make_session(
                n,
                {"load": 1.0 + n, "save": 0.5},
                success=n % 5 != 3,
                attributes={"cached": True} if n % 7 == 6 else {},
            )
            for n in numbers
        ]
        with Database(self.url) as database, database.writing() as connection:
            insert_sessions(connection, made)

    def push(self, **more: int) -> int:
        with Database(self.url, migrates=False) as database:
            return push(self.place, database, **more).tags

    @property
    def source(self) -> perfdb.History:
        return perfdb.History(self.url)

    @property
    def lake(self) -> perfdb.History:
        return perfdb.History(str(self.place.local))

    def same(self) -> None:
        """Compare what the lake says with what its source does."""
        lake, source = self.lake, self.source
        assert_frame_equal(lake.sessions(), source.sessions())
        assert_frame_equal(lake.steps(), source.steps())
        assert_frame_equal(lake.bottlenecks(), source.bottlenecks())


@pytest.fixture
def fleet(database_url: str, tmp_path: Path) -> Fleet:
    return Fleet(database_url, tmp_path)


def test_tags_follow_at_random_moments(fleet: Fleet) -> None:
    chance = random.Random(7)
    recorded = 0
    for _ in range(8):
        fleet.record(*range(recorded, recorded + 6))
        recorded += 6
        names = [f"run-{n:04d}" for n in range(recorded)]
        for _ in range(5):
            name, tag = chance.choice(names), chance.choice(TAGS)
            if tag in fleet.source.session(name).tags:
                fleet.source.untag(name, tag)
            else:
                fleet.source.tag(name, tag)
            if chance.random() < 0.3:
                fleet.push()
        fleet.push(sessions=4)
        if chance.random() < 0.6:
            seal(fleet.place, today=True)
            fleet.same()
    seal(fleet.place)
    fleet.same()
    assert_frame_equal(fleet.lake.trends(by="all"), fleet.source.trends(by="all"))
    assert (fleet.push(), fleet.place.names(CHANGES)) == (0, [])


def test_tags_that_went_with_their_sessions_are_not_sent_again(fleet: Fleet) -> None:
    fleet.record(0, 1)
    fleet.source.tag("run-0001", "red")
    assert (fleet.push(), fleet.place.names(CHANGES)) == (0, [])


def lost_track(fleet: Fleet) -> None:
    for folder in (SOURCES, INBOX):
        for name in fleet.place.names(folder):
            fleet.place.remove(folder, name)


def nothing(fleet: Fleet) -> None: ...


@pytest.mark.parametrize("happens", [lost_track, nothing])
def test_a_tag_is_given_also_when_a_source_loses_track(
    fleet: Fleet, happens: Callable[[Fleet], None]
) -> None:
    fleet.record(0, 1)
    fleet.push()
    seal(fleet.place)
    happens(fleet)
    fleet.source.tag("run-0001", "ignore")
    fleet.push()
    seal(fleet.place)
    fleet.same()


def test_the_lake_keeps_its_own_tags_beside_those_of_the_source(fleet: Fleet) -> None:
    fleet.record(0)
    fleet.push()
    seal(fleet.place)
    fleet.lake.tag("run-0000", "mine")
    fleet.source.tag("run-0000", "yours")
    fleet.push()
    assert fleet.lake.session("run-0000").tags == ("mine", "yours")
    fleet.source.untag("run-0000", "yours")
    fleet.push()
    seal(fleet.place)
    assert fleet.lake.session("run-0000").tags == ("mine",)


def test_what_is_gone_from_the_source_stays_with_its_tags(fleet: Fleet) -> None:
    fleet.record(0, 1)
    fleet.source.tag("run-0001", "red")
    fleet.push()
    seal(fleet.place)
    fleet.source.delete("run-0000", "run-0001")
    assert fleet.push() == 0
    seal(fleet.place)
    assert fleet.lake.session("run-0001").tags == ("red",)
    assert len(fleet.lake.sessions()) == 2


def test_what_the_lake_deleted_does_not_come_back(fleet: Fleet) -> None:
    fleet.record(0, 1)
    fleet.push()
    seal(fleet.place)
    fleet.lake.delete("run-0000")
    seal(fleet.place)
    lost_track(fleet)
    fleet.push()
    seal(fleet.place)
    assert fleet.lake.sessions()["session_id"].tolist() == ["run-0001"]


def piece_that_is_late(fleet: Fleet) -> tuple[str, bytes]:
    """Seal run-0000, push a piece each of run-0001 and run-0002, and take the first out of the inbox."""
    fleet.record(0)
    fleet.push()
    seal(fleet.place)
    fleet.record(1, 2)
    fleet.push(sessions=1)
    first, _ = fleet.place.names(INBOX)
    content = fleet.place.read(INBOX, first)
    assert content is not None
    fleet.place.remove(INBOX, first)
    return first, content


def test_a_change_waits_for_a_session_that_waits_for_another_piece(fleet: Fleet) -> None:
    first, content = piece_that_is_late(fleet)
    fleet.source.tag("run-0002", "red")
    fleet.source.tag("run-0000", "red")
    fleet.push()
    seal(fleet.place)
    assert fleet.lake.session("run-0000").tags == ("red",)
    fleet.place.write(content, INBOX, first)
    seal(fleet.place)
    fleet.same()


def test_changes_are_ordered_where_clocks_are_not(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.record(0)
    fleet.push()
    seal(fleet.place)
    began = make_session(0, {}).start_time
    for clock, what in ((2_000, "tag"), (1_000, "untag"), (500, "tag"), (700, "untag")):
        monkeypatch.setattr("time.time_ns", lambda clock=clock: clock)
        add_changes(fleet.place, [change_of("run-0000", began, what, "red")])
    assert fleet.lake.session("run-0000").tags == ()
    seal(fleet.place)
    assert fleet.lake.session("run-0000").tags == ()


def meanwhile(monkeypatch: pytest.MonkeyPatch, where: object, name: str, *work: Callable[[], object]) -> None:
    """Have others do some work just before a function is called for the first time."""
    usual, left = getattr(where, name), list(work)

    def hooked(*arguments: Any, **more: Any) -> Any:
        while left:
            left.pop(0)()
        return usual(*arguments, **more)

    monkeypatch.setattr(where, name, hooked)


def killed(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("phase", ["_rewrite", "settle"])
def test_a_sealer_applies_nothing_that_another_settled_meanwhile(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    first, content = piece_that_is_late(fleet)
    for name in ("run-0000", "run-0002"):  # one in the history, one that waits for the first piece
        fleet.source.tag(name, "red")
    fleet.push()

    def others() -> None:
        fleet.place.write(content, INBOX, first)
        seal(fleet.place)
        for name in ("run-0000", "run-0002"):
            fleet.source.untag(name, "red")
        fleet.push()
        seal(fleet.place)

    meanwhile(monkeypatch, sealing, phase, others)
    seal(fleet.place)
    seal(fleet.place)
    fleet.same()
    assert fleet.place.names(CHANGES) == []


def test_a_change_stays_whose_session_another_sealer_takes_in_meanwhile(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, content = piece_that_is_late(fleet)
    fleet.source.tag("run-0002", "red")
    fleet.push()
    kept = {name: fleet.place.read(CHANGES, name) for name in fleet.place.names(CHANGES)}

    def others() -> None:  # who dies before it applies the change
        fleet.place.write(content, INBOX, first)
        with pytest.MonkeyPatch.context() as dying:
            meanwhile(dying, sealing, "put_in_order", killed)
            with pytest.raises(KeyboardInterrupt):
                seal(fleet.place)
        assert (kept.keys(), fleet.place.names(INBOX)) == ({*fleet.place.names(CHANGES)}, [])

    meanwhile(monkeypatch, rollups, "by_day", others)
    seal(fleet.place)
    seal(fleet.place)
    fleet.same()


@pytest.mark.parametrize("phase", ["pieces", "changes"])
def test_what_an_archiver_sent_that_died_is_taken_back(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    fleet.record(0)
    fleet.push()
    seal(fleet.place)
    fleet.source.tag("run-0000", "red")
    fleet.record(1)
    fleet.source.tag("run-0001", "red")

    def sent(*arguments: Any) -> None:
        add_changes(*arguments)
        killed()

    with monkeypatch.context() as dying:
        dying.setattr(
            *((archive, "follow", killed) if phase == "pieces" else (following, "add_changes", sent))
        )
        with pytest.raises(KeyboardInterrupt):
            fleet.push()
    seal(fleet.place)
    for name in ("run-0000", "run-0001"):
        fleet.source.untag(name, "red")
    fleet.push()
    seal(fleet.place)
    fleet.same()
    assert len(fleet.place.names(f"{following.TAGS}/{archive.source_of(fleet.url)}")) == 1


def test_what_is_sent_again_gets_the_tags_that_it_has_now(fleet: Fleet) -> None:
    for number in (0, 1):
        fleet.record(number)
        fleet.push()
        seal(fleet.place)
        if number == 0:
            (name,) = fleet.place.names(SOURCES)
            content = fleet.place.read(SOURCES, name)
    assert content is not None
    fleet.source.tag("run-0001", "red")
    fleet.place.write(content, SOURCES, name)  # by a sealer that was slower than another one
    fleet.push()
    seal(fleet.place)
    fleet.same()


def test_one_archives_a_database_at_a_time(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiving, "_WAIT_S", 0.0)
    fleet.record(0)
    with archiving.sole_archiver(fleet.url), pytest.raises(StoreError, match="another program archives"):
        fleet.push()
    fleet.push()
    assert len(fleet.place.names(INBOX)) == 1


def test_annotations_follow_and_go(fleet: Fleet) -> None:
    fleet.record(0)
    first = fleet.source.annotate("deploy 1.4")
    fleet.source.annotate("new disks", at="2026-01-02")
    fleet.push()
    seal(fleet.place)
    lake = fleet.lake
    assert [each.text for each in lake.annotations()] == ["new disks", "deploy 1.4"]
    fleet.source.remove_annotation(first.id)
    fleet.push()
    assert [each.text for each in fleet.lake.annotations()] == ["new disks"]
    fleet.place.write(b"[[[", following.ANNOTATIONS, "strange.json")
    fleet.place.write(b'{"annotations": [5, {"at": "x"}]}', following.ANNOTATIONS, "other.json")
    assert [each.text for each in fleet.lake.annotations()] == ["new disks"]


def test_to_erase_everywhere_is_to_erase_in_the_lake(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from perfdb.cli import main

    fleet.record(0, 1, 2)
    fleet.push()
    seal(fleet.place)
    fleet.record(3)
    (tmp_path / "perfdb.toml").write_text(f'[archive]\nlake = "{fleet.place.local}"\n')
    monkeypatch.setenv("PERFDB_CONFIG", str(tmp_path / "perfdb.toml"))
    for name, *more in (["run-0000"], ["run-0001", "--everywhere"], ["run-0003", "--everywhere"]):
        with pytest.raises(SystemExit) as ended:
            main(["delete", name, "--yes", "-d", fleet.url, *more])
        assert not ended.value.code
    assert "lake" in capsys.readouterr().err
    fleet.push()
    seal(fleet.place)
    found = engine.ask(
        fleet.place,
        engine.files_of(fleet.place.open(HISTORY)),
        "SELECT DISTINCT session_id FROM h ORDER BY 1",
    )
    assert found.column(0).to_pylist() == ["run-0000", "run-0002"]
    shutil.rmtree(tmp_path / "lake")
    with pytest.raises(SystemExit) as ended:  # nothing was ever pushed
        main(["delete", "run-0002", "--yes", "-d", fleet.url, "--everywhere"])
    assert not ended.value.code
    with pytest.raises(NotFoundError):
        fleet.source.session("run-0002")


def test_a_session_is_pushed_that_was_committed_after_one_with_a_later_number(
    create_database: Callable[..., str], tmp_path: Path
) -> None:
    from perfdb.store.schema import ensure_schema

    url = create_database()
    ensure_schema(url)
    fleet = Fleet(url, tmp_path)
    fleet.record(3)  # a series of its own would lock the others out
    with Database(url) as slow, slow.writing() as connection:
        insert_sessions(connection, [make_session(0, {"load": 1.0, "save": 0.5})])
        fleet.record(1, 2)
        fleet.push()
        seal(fleet.place)
        assert fleet.lake.sessions()["session_id"].tolist() == ["run-0001", "run-0002", "run-0003"]
    fleet.push()
    seal(fleet.place)
    assert fleet.lake.sessions()["session_id"].tolist() == [f"run-{n:04d}" for n in range(4)]


def test_what_others_wrote_beside_the_history_neither_closes_a_lake_nor_stops_a_push(fleet: Fleet) -> None:
    fleet.record(0, 1)
    fleet.source.annotate("moved")
    fleet.push()
    seal(fleet.place)
    one = change_of("run-0000", 1.0, "tag", "red")
    spoiled = [one | {key: value} for key in ("session_id", "tag") for value in ("\ud800", "\0", "", 5)]
    for number, change in enumerate(spoiled):
        fleet.place.write(json.dumps({"changes": [change]}).encode(), CHANGES, f"{number}.json")
    said = {"at": 1.0, "text": "x", "pipeline": None, "created_at": 1.0}
    wrong = [
        ("at", float("nan")),
        ("at", 1e300),
        ("created_at", -1.0),
        ("text", "\ud800"),
        ("pipeline", "\ud800"),
    ]
    listed = [said | {key: value} for key, value in wrong]
    fleet.place.write(json.dumps({"annotations": listed}).encode(), ANNOTATIONS, "x.json")
    (source,) = {name.partition("-")[0] for name in fleet.place.names(ANNOTATIONS)} - {"x.json"}
    told: list[Any] = [5, [], [1.0], [1.0, 5], [1.0, [5]], ["x", ["\ud800"]], None]
    for number, each in enumerate(told):
        content = json.dumps({"run-0000": each}).encode()
        fleet.place.write(content, "tags", source, f"0-{number}.json")
    unknown = json.dumps({"\ud800": [1.0, ["x"]], "a\0b": [1.0, ["x"]], "": [1.0, ["x"]]})
    fleet.place.write(unknown.encode(), "tags", source, "0-y.json")
    fleet.place.write(b"[[[", "tags", source, "0-x.json")
    fleet.source.tag("run-0001", "red")
    fleet.push()
    for _ in range(2):
        assert fleet.lake.sessions()["session_id"].tolist() == ["run-0000", "run-0001"]
        assert [fleet.lake.session(f"run-000{n}").tags for n in range(2)] == [(), ("red",)]
        assert [each.text for each in fleet.lake.annotations()] == ["moved"]
        seal(fleet.place)
