"""A customer's rooms go with their session, and nothing else does, whatever a database says.

Of: store/session_files.py.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import perfdb
from perfdb import recorder
from perfdb.cli import main
from perfdb.cli.prune import command as prune
from perfdb.errors import StoreError
from perfdb.filters import DAY_S
from perfdb.recording.health import Health
from perfdb.settings import load
from perfdb.store.database import Database
from perfdb.store.session_files import folders_for, folders_of, remember_folder, remove_pictures
from perfdb.store.upkeep.pruning import Policy
from perfdb.worker.upkeep import Upkeep


def pictures_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def design(pathway: Any, room: bytes) -> str:
    """Make one design and return its session's id."""
    report = pathway.generate(room)["data"]["performance_report"]
    return Path(report).stem.removeprefix("performance_report_")


def prune_all(*options: str) -> None:
    result = CliRunner().invoke(prune, ["--keep-last", "1", "--yes", *options])
    assert result.exit_code == 0, result.output


def test_a_session_names_its_pictures(pathway: Any, room: bytes, home: Path) -> None:
    session_id = design(pathway, room)

    files = perfdb.History().session(session_id).attributes["files"]
    assert {Path(file).name for file in files} == {f"{session_id}.png", f"{session_id}_composite.jpg"}
    assert all(Path(file).is_file() for file in files)


@pytest.mark.parametrize("format_", ["png", "jpeg", "webp"])
def test_pictures_go_with_their_session_and_those_of_others_stay(
    make_pathway: Any, room: bytes, home: Path, format_: str
) -> None:
    pathway = make_pathway(image_format=format_)
    gone, kept = design(pathway, room), design(pathway, room)

    perfdb.History().delete(gone)

    assert pictures_in(home / "designs") == {f"{kept}.{format_}", f"{kept}_composite.jpg"}


def test_the_command_deletes_pictures(pathway: Any, room: bytes, home: Path, monkeypatch: Any) -> None:
    design(pathway, room)
    monkeypatch.setattr(sys, "argv", ["perfdb", "delete", "last", "--yes"])
    with pytest.raises(SystemExit) as ended:
        sys.exit(main())

    assert not ended.value.code
    assert pictures_in(home / "designs") == set()


def test_pruned_reports_take_the_pictures_along(pathway: Any, room: bytes, home: Path) -> None:
    first, second = design(pathway, room), design(pathway, room)

    prune_all("--reports")

    assert not (home / "designs" / f"{first}.png").exists()
    assert pictures_in(home / "designs") == {f"{second}.png", f"{second}_composite.jpg"}


def test_without_reports_the_pictures_stay(pathway: Any, room: bytes, home: Path) -> None:
    design(pathway, room)
    design(pathway, room)

    prune_all()

    assert len(pictures_in(home / "designs")) == 4


def kept_by_retention(days: float) -> str:
    """Let the background thread of a program that records prune; return the id of the session it recorded."""
    Path("perfdb.toml").write_text('[retention]\nolder_than = "90d"\n')
    tracker = perfdb.create_tracker(console=False, pipeline="other")
    tracker.start_pipeline()
    tracker.end_pipeline()
    recorder.close(60.0)
    with closing(sqlite3.connect("performance_tracking/perfdb.sqlite3")) as database, database:
        database.execute(
            "UPDATE sessions SET start_time = start_time - ? WHERE session_id <> ?",
            (days * DAY_S, tracker.session_id),
        )
    home = Path("performance_tracking").absolute()
    settings = load()
    store = Database(settings.database_url, 10.0)
    upkeep = Upkeep(
        home,
        Policy(90 * DAY_S),
        store,
        Health(strict=True),
        lambda: folders_for(settings, settings.database_url),
    )
    while upkeep.turn(idle=True):
        pass
    store.forget()
    return str(tracker.session_id)


def aged(folder: Path, session_id: str, days: float) -> str:
    """Let a session's pictures be older, in their names and dates; return the id that they name."""
    then = time.time() - days * DAY_S
    old = time.strftime("%Y%m%d_%H%M%S", time.localtime(then)) + session_id[15:]
    for file in list(folder.glob(f"{session_id}*")):
        moved = file.rename(folder / file.name.replace(session_id, old))
        os.utime(moved, (then, then))
    return old


def test_what_a_recording_host_prunes_takes_its_pictures_along(
    make_pathway: Any, room: bytes, home: Path, tmp_path: Path
) -> None:
    gallery = tmp_path / "gallery"
    design(make_pathway(), room)
    design(make_pathway(output_dir=gallery), room)
    (gallery / "cat.png").write_bytes(b"mine")

    kept = kept_by_retention(days=91)

    assert set(perfdb.History().sessions()["session_id"]) == {kept}
    assert pictures_in(home / "designs") == set()
    assert pictures_in(gallery) == {"cat.png"}
    assert len(list(home.glob("performance_report_*.json"))) == 2, "reports stay"


def test_the_background_thread_of_a_program_knows_the_folders(
    make_pathway: Any, room: bytes, home: Path, tmp_path: Path
) -> None:
    gallery = tmp_path / "gallery"
    session_id = design(make_pathway(output_dir=gallery), room)
    recorder.close(60.0)
    with closing(sqlite3.connect(home / "perfdb.sqlite3")) as database, database:
        database.execute("UPDATE sessions SET start_time = 0")
    (tmp_path / "perfdb.toml").write_text('[retention]\nolder_than = "90d"\n')

    program = (
        "import os, sys, time, perfdb\n"
        "with perfdb.track('other'): pass\n"
        "give_up = time.monotonic() + 60\n"
        "while os.listdir(sys.argv[1]) and time.monotonic() < give_up: time.sleep(0.05)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(gallery)], check=True)

    assert pictures_in(gallery) == set()
    assert session_id not in set(perfdb.History().sessions()["session_id"])


@pytest.mark.parametrize(("days", "goes"), [(89, False), (91, True)])
def test_pictures_whose_session_another_host_pruned_go_in_their_time(
    pathway: Any, room: bytes, home: Path, days: float, goes: bool
) -> None:
    session_id = design(pathway, room)
    with perfdb.track("other"):
        pass
    prune_all("--pipeline", "other")
    old = aged(home / "designs", session_id, days)  # a session that is in no database
    theirs = home / "designs" / "20010101_holidays.png"
    theirs.write_bytes(b"mine")
    os.utime(theirs, (0, 0))

    kept_by_retention(days=0)

    assert (f"{old}.png" in pictures_in(home / "designs")) is not goes
    assert theirs.exists()


def test_old_pictures_of_a_session_that_stays_stay(pathway: Any, room: bytes, home: Path) -> None:
    session_id = design(pathway, room)
    recorder.close(60.0)
    old = aged(home / "designs", session_id, 200)
    with closing(sqlite3.connect(home / "perfdb.sqlite3")) as database, database:
        database.execute("UPDATE sessions SET session_id = ?", (old,))

    kept_by_retention(days=0)

    assert len(pictures_in(home / "designs")) == 2


def test_a_picture_that_cannot_be_removed_holds_up_no_other(
    pathway: Any, room: bytes, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = design(pathway, room), design(pathway, room)
    real = os.unlink

    def refuse(name: Any, **where: Any) -> None:
        if str(name).startswith(first):
            raise PermissionError(13, "Permission denied")
        real(name, **where)

    monkeypatch.setattr(os, "unlink", refuse)
    kept_by_retention(days=91)

    assert pictures_in(home / "designs") == {f"{first}.png", f"{first}_composite.jpg"}
    assert second


@pytest.mark.parametrize("linked", [False, True])
def test_pictures_are_found_where_the_code_wrote_them(
    make_pathway: Any, room: bytes, home: Path, tmp_path: Path, linked: bool
) -> None:
    folder = tmp_path / "gallery"
    if linked:
        (tmp_path / "disk").mkdir()
        folder.symlink_to(tmp_path / "disk")
    session_id = design(make_pathway(output_dir=folder), room)
    assert len(pictures_in(folder)) == 2

    perfdb.History().delete(session_id)

    assert pictures_in(folder) == set()


def test_pictures_are_found_where_the_settings_say(
    home: Path, tmp_path: Path, pathway: Any, room: bytes
) -> None:
    session_id = design(pathway, room)
    moved = tmp_path / "elsewhere"
    (home / "designs").rename(moved)
    (tmp_path / "perfdb.toml").write_text("[pathway]\noutput_dir = 'elsewhere'\n")

    perfdb.History().delete(session_id)

    assert pictures_in(moved) == set()


def test_paths_of_a_database_are_not_believed(pathway: Any, room: bytes, home: Path, tmp_path: Path) -> None:
    session_id = design(pathway, room)
    other = design(pathway, room)
    treasures = [tmp_path / "treasure.png", home / "designs" / f"{other}.png", home / "perfdb.sqlite3"]
    treasures[0].write_bytes(b"mine")
    named = [str(each) for each in treasures] + ["../../treasure.png", f"../designs/{other}.png"]
    with sqlite3.connect(home / "perfdb.sqlite3") as database:
        database.execute(
            "UPDATE sessions SET attributes = json_object('files', json(?))", (repr(named).replace("'", '"'),)
        )
    database.close()

    perfdb.History().delete(session_id)
    prune_all("--reports")

    assert all(treasure.exists() for treasure in treasures)


@pytest.mark.parametrize(
    "hostile", ["../treasure", "/etc/passwd", "a/../../treasure", "..", "", "\0", "x" * 500]
)
def test_hostile_ids_remove_nothing(tmp_path: Path, hostile: str) -> None:
    folder = tmp_path / "designs"
    folder.mkdir()
    (tmp_path / "treasure.png").write_bytes(b"mine")

    assert remove_pictures([folder], [hostile]) == 0
    assert (tmp_path / "treasure.png").exists()


def test_links_are_neither_followed_nor_removed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.png").write_bytes(b"mine")
    home = tmp_path / "home"
    (home / "designs").mkdir(parents=True)
    (home / "designs" / "b.png").symlink_to(outside / "a.png")
    (home / "designs" / "c.png").mkdir()
    os.mkfifo(home / "designs" / "d.png")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "designs").symlink_to(outside)

    assert remove_pictures(folders_of(home), ["a", "b", "c", "d"]) == 0
    assert remove_pictures(folders_of(linked), ["a"]) == 0
    assert (outside / "a.png").read_bytes() == b"mine"
    assert pictures_in(home / "designs") == {"b.png", "c.png", "d.png"}


def test_a_database_from_elsewhere_takes_no_picture_of_this_home(
    make_pathway: Any, room: bytes, home: Path, tmp_path: Path
) -> None:
    gallery = tmp_path / "gallery"
    session_id = design(make_pathway(output_dir=gallery), room)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    perfdb.History().backup(foreign / "copy.sqlite3")
    (foreign / "picture_folders.jsonl").write_text(f'"{gallery}"\n')

    perfdb.History(foreign / "copy.sqlite3").delete(session_id)

    assert len(pictures_in(gallery)) == 2
    perfdb.History().delete(session_id)
    assert pictures_in(gallery) == set()


@pytest.mark.parametrize(
    "line", [b"\xff\n", b"{}\n", b'"relative"\n', b'"/with\\u0000"\n', b"3\n", b'"/nowhere"\n', b"\n"]
)
def test_a_broken_list_of_folders_is_passed_by(tmp_path: Path, line: bytes) -> None:
    folder = tmp_path / "gallery"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"")
    (tmp_path / "picture_folders.jsonl").write_bytes(line)
    remember_folder(tmp_path, folder)
    remember_folder(tmp_path, folder)

    assert remove_pictures(folders_of(tmp_path), ["a"]) == 1
    assert (tmp_path / "picture_folders.jsonl").read_bytes().count(b"gallery") == 1


def test_a_picture_that_cannot_be_removed_keeps_its_session(
    pathway: Any, room: bytes, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = design(pathway, room)

    def refuse(name: str, **where: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(StoreError, match=r"cannot be removed \(Permission denied\): no session was deleted"):
        perfdb.History().delete(session_id)
    monkeypatch.undo()

    assert perfdb.History(home=home).session(session_id).session_id == session_id
