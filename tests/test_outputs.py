"""Files that are written where somebody said: nothing that is no file is ever replaced."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from perfdb.outputs import HIDDEN, place_of, take_place, write_output, write_own

NULL, FULL = os.makedev(1, 3), os.makedev(1, 7)
WRITES = "import sys; from perfdb.outputs import write_output; write_output(sys.argv[1], [b'new'])"


def node(path: Path, device: int) -> Path:
    """Make a character device of our own."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, device)
        os.close(os.open(path, os.O_WRONLY))
    except PermissionError:
        pytest.skip("devices can be made by root only, and not on every disk")
    return path


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    write_output(tmp_path / "new", [b"one", b"two"])
    assert (tmp_path / "new").read_bytes() == b"onetwo"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o400, 0o755])
@pytest.mark.parametrize("nameless", [True, False])
def test_an_existing_file_keeps_its_mode(
    mode: int, nameless: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE")
    path = tmp_path / "old"
    path.write_text("old")
    path.chmod(mode)
    write_output(path, [b"new"])
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", mode)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_an_existing_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_text("old")
    os.chown(path, 12345, 23456)
    path.chmod(0o4640)
    write_output(path, [b"new"])
    found = path.stat()
    assert (path.read_bytes(), found.st_uid, found.st_gid) == (b"new", 12345, 23456)
    assert stat.S_IMODE(found.st_mode) == 0o4640


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_a_file_of_others_that_may_be_written_is_written_over() -> None:
    """Its name cannot go to another file of theirs, nor can the folder take one."""
    write = (
        "import os, sys, tempfile; from perfdb.outputs import write_output; os.setgroups([]); "
        "os.setgid(23456); os.setuid(12345); write_output(sys.argv[1], [b'new'])"
    )
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder, "theirs")
        path.write_text("a longer text than the new one")
        path.chmod(0o666)
        subprocess.run([sys.executable, "-c", write, path], check=True)
        found = path.stat()
        assert (path.read_bytes(), found.st_uid, stat.S_IMODE(found.st_mode)) == (b"new", 0, 0o666)
        assert list(Path(folder).iterdir()) == [path]


@pytest.mark.parametrize("hops", [1, 3])
def test_a_link_is_followed_and_stays(hops: int, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    target = tmp_path / "below" / "target"
    target.write_text("old")
    target.chmod(0o640)
    link = target
    for hop in range(hops):
        new = tmp_path / f"link{hop}"
        new.symlink_to(os.path.relpath(link, tmp_path))
        link = new
    write_output(link, [b"new"])
    assert link.is_symlink()
    assert (target.read_bytes(), stat.S_IMODE(target.stat().st_mode)) == (b"new", 0o640)
    assert list((tmp_path / "below").iterdir()) == [target]


def test_a_link_to_nothing_makes_its_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    write_output(tmp_path / "link", [b"new"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_links_in_a_circle_and_folders_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        write_output(tmp_path / "a", [b"new"])
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_output(tmp_path / "folder", [b"new"])
    assert (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("linked", [True, False])
def test_a_device_is_written_to_and_stays(linked: bool, tmp_path: Path) -> None:
    path = node(tmp_path / "null", NULL)
    name = path
    if linked:
        name = tmp_path / "link"
        name.symlink_to("null")
    before = path.stat()
    write_output(name, [b"new"])
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_rdev) == (before.st_ino, before.st_mode, before.st_rdev)
    assert place_of(name) is None


def test_a_device_that_is_full_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        write_output(node(tmp_path / "full", FULL), [b"new"])


def test_a_fifo_is_written_to_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    write_output(path, [b"n" * 200_000])
    reader.join()
    assert (read, path.is_fifo()) == ([b"n" * 200_000], True)


def test_a_fifo_without_a_reader_is_waited_for_only_by_the_patient(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="No such device"):
        write_output(tmp_path / "fifo", [b"new"], patient=False)


def test_a_socket_is_an_error_and_stays(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "socket"))
        with pytest.raises(OSError, match="socket"):
            write_output(tmp_path / "socket", [b"new"])
    assert (tmp_path / "socket").is_socket()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_an_open_file_is_written_to_where_it_stands(name: str, tmp_path: Path) -> None:
    """Neither its name nor what is in it already is touched."""
    if name == "link":
        (tmp_path / "link").symlink_to("/dev/stdout")
    path = tmp_path / "log"
    path.write_text("old ")
    program = [sys.executable, "-c", f"print('printed', end=' '); {WRITES}", name]
    with path.open("ab") as log:
        subprocess.run(program, stdout=log, check=True, cwd=tmp_path)
    assert path.read_text() == "old printed new"
    piped = subprocess.run(program, capture_output=True, check=True, cwd=tmp_path)
    assert piped.stdout == b"printed new"


def test_a_descriptor_that_is_not_open_or_not_for_writing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError, match="Bad file descriptor"):
        write_output("/dev/fd/987", [b"new"])
    with (tmp_path / "file").open("rb") as file, pytest.raises(OSError, match="descriptor"):
        write_output(f"/dev/fd/{file.fileno()}", [b"new"])
    assert (tmp_path / "file").read_text() == "old"


def test_an_answer_that_fails_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("no more")

    (tmp_path / "old").write_text("old")
    for name in ("old", "new"):
        with pytest.raises(RuntimeError):
            write_output(tmp_path / name, pieces())
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old", "old")]


def test_what_is_no_file_of_ours_is_not_replaced_in_a_folder_of_ours(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "socket"))
    (tmp_path / "folder").mkdir()
    for name in ("fifo", "socket", "folder"):
        mode = (tmp_path / name).stat().st_mode
        with pytest.raises(OSError, match=r"not a regular file|directory"):
            write_own(tmp_path / name, b"new")
        assert (tmp_path / name).stat().st_mode == mode
    write_own(tmp_path / "file", b"new")
    assert not list(tmp_path.glob(f"{HIDDEN}*"))


def test_a_finished_file_does_not_take_the_place_of_a_device(tmp_path: Path) -> None:
    path = node(tmp_path / "null", NULL)
    (tmp_path / "finished").write_text("new")
    with pytest.raises(OSError, match="not a regular file"):
        take_place(tmp_path / "finished", path)
    assert stat.S_ISCHR(path.stat().st_mode)


def without(name: str) -> Callable[..., Any]:
    real = getattr(os, name)

    def refuse(source: Any, *given: Any, **options: Any) -> Any:
        if str(source).startswith("/proc/"):
            raise OSError("no /proc")
        return real(source, *given, **options)

    return refuse


@pytest.mark.parametrize("old", [True, False])
def test_where_a_nameless_file_can_have_no_name_it_is_copied(
    old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", without("link"))
    path = tmp_path / "file"
    if old:
        path.write_text("old")
    write_output(path, [b"new"])
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


MALLORY, GROUP = 45678, 45679


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """Give a folder such as ``/tmp``."""
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o1777)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
@pytest.mark.parametrize("deep", [False, True])
def test_a_link_in_a_folder_that_another_user_put_where_everybody_may_is_not_followed(
    deep: bool, everybodys: Path, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("old")
    planted = everybodys / "x"
    folder = planted / "y" if deep else planted
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(precious)
    (folder / "second").hardlink_to(precious)
    for path in (planted, folder, folder / "link"):
        os.lchown(path, MALLORY, MALLORY)
    for name in ("link", "second"):
        with pytest.raises(PermissionError):
            write_output(folder / name, [b"new"])
    assert precious.read_text() == "old"
    write_output(folder / "file", [b"new"])
    assert (folder / "file").read_bytes() == b"new"


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
@pytest.mark.parametrize("kind", ["link", "dangling", "link to a folder", "link to theirs", "file", "fifo"])
def test_what_another_user_put_where_everybody_may_is_not_written_to(
    kind: str, everybodys: Path, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("old")
    planted = everybodys / "x"
    name = planted
    if kind == "fifo":
        os.mkfifo(planted, 0o666)
    elif kind == "file":
        planted.write_text("theirs")
        planted.chmod(0o666)
    elif kind == "link to a folder":
        planted.symlink_to(tmp_path)
        name = planted / "precious"
    else:
        planted.symlink_to(precious if kind == "link" else tmp_path / "new")
    os.lchown(planted, MALLORY, MALLORY)
    if kind == "link to theirs":  # a link of ours leads there
        name = tmp_path / "ours"
        name.symlink_to(planted)
    for write in (lambda: write_output(name, [b"new"]), lambda: place_of(name)):
        with pytest.raises(PermissionError, match="another user put it"):
            write()
    assert precious.read_text() == "old"
    assert not (tmp_path / "new").exists()
    assert os.lstat(planted).st_uid == MALLORY
    assert list(everybodys.iterdir()) == [planted]


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
@pytest.mark.parametrize("kind", ["link", "link to a folder", "second name"])
@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o2770])
def test_what_leads_elsewhere_from_a_folder_of_others_is_not_written_to(
    kind: str, mode: int, tmp_path: Path
) -> None:
    """Of a group as well: a colleague's file may be replaced, but nothing that is no file of that folder."""
    precious, team = tmp_path / "precious", tmp_path / "team"
    precious.write_text("old")
    team.mkdir()
    os.chown(team, 0, GROUP)
    team.chmod(mode)
    name = planted = team / "x"
    if kind == "second name":
        planted.hardlink_to(precious)
    else:
        planted.symlink_to(precious if kind == "link" else tmp_path)
        os.lchown(planted, MALLORY, MALLORY)
        name = planted / "precious" if kind == "link to a folder" else planted
    for write in (lambda: write_output(name, [b"new"]), lambda: place_of(name)):
        with pytest.raises(PermissionError, match="another user"):
            write()
    assert precious.read_text() == "old"
    (team / "theirs").write_text("old")
    os.chown(team / "theirs", MALLORY, GROUP)
    if mode == 0o2770:
        write_output(team / "theirs", [b"new"])
        assert (team / "theirs").read_bytes() == b"new"


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_own_files_and_links_where_everybody_may_write_are_used(everybodys: Path, tmp_path: Path) -> None:
    (everybodys / "file").write_text("old")
    (everybodys / "link").symlink_to(tmp_path / "target")
    for name in ("file", "link", "new"):
        write_output(everybodys / name, [b"new"])
        assert (everybodys / name).read_bytes() == b"new"
    assert (everybodys / "link").is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_links_of_others_in_folders_of_their_own_are_followed(tmp_path: Path) -> None:
    """Only where everybody may write is a name open to whoever comes first."""
    (tmp_path / "link").symlink_to("target")
    os.lchown(tmp_path / "link", MALLORY, MALLORY)
    write_output(tmp_path / "link", [b"new"])
    assert (tmp_path / "target").read_bytes() == b"new"
