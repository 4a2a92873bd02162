"""Where designs go: looked at before anything is paid for, and a paid picture is never lost."""

from __future__ import annotations

import io
import os
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from perfdb.pathway import outputs
from perfdb.pathway.errors import PathwayError, SavedElsewhereError
from perfdb.pathway.standin import faults


def test_a_folder_that_cannot_be_written_costs_nothing(
    make_pathway: Any, room: bytes, standin: Any, home: Path
) -> None:
    blocked = home.parent / "out"
    blocked.write_text("a file")

    response = make_pathway(output_dir=blocked / "designs").generate(room)

    assert "so none is paid for: set output_dir" in response["error"]["message"]
    assert standin.requests("vision") == []


def test_the_folder_may_be_named_by_a_text(make_pathway: Any, room: bytes, home: Path) -> None:
    response = make_pathway(output_dir=str(home.parent / "named")).generate(room)

    assert Path(response["data"]["final_design"]).parent.name == "named"


def test_a_paid_picture_is_saved_beside_and_named(
    make_pathway: Any, room: bytes, standin: Any, home: Path
) -> None:
    folder = home.parent / "out"
    standin.faults.next("image", faults.slow(1))

    def block() -> None:
        while not standin.pictures_made:
            time.sleep(0.01)
        folder.rmdir()
        folder.write_text("a file is where the folder was")

    blocking = threading.Thread(target=block)
    blocking.start()
    response = make_pathway(output_dir=folder).generate(room)
    blocking.join()

    assert response["success"] is False
    saved = Path(response["data"]["final_design"])
    assert str(saved) in response["error"]["message"]
    assert Image.open(io.BytesIO(saved.read_bytes())).size == (1536, 1024)


def test_the_next_place_is_taken_when_the_first_is_blocked_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    blocked = tmp_path / "file" / "designs"

    with pytest.raises(SavedElsewhereError, match="was saved as") as caught:
        outputs.save(b"picture", "a.png", blocked, blocked)

    assert caught.value.path.read_bytes() == b"picture"
    assert not caught.value.path.is_relative_to(tmp_path)


def test_a_look_leaves_nothing_behind(tmp_path: Path) -> None:
    outputs.ensure_writable(tmp_path / "new" / "designs")

    assert os.listdir(tmp_path / "new" / "designs") == []
    with pytest.raises(PathwayError, match="cannot be written"):
        outputs.ensure_writable(Path("/proc/designs"))


def test_a_full_disk_is_noticed_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = outputs.shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda _: usage)

    with pytest.raises(PathwayError, match=r"only 1 MB are left there.*so none is paid for"):
        outputs.ensure_writable(tmp_path)


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()

    with pytest.raises(OSError, match="directory"):
        outputs.write(b"picture", tmp_path / "a.png")
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_design_is_as_readable_as_any_file(pathway: Any, room: bytes) -> None:
    other = Path("other")
    other.write_bytes(b"")

    response = pathway.generate(room)

    assert Path(response["data"]["final_design"]).stat().st_mode == other.stat().st_mode


@pytest.mark.parametrize("nameless", [True, False])
@pytest.mark.parametrize("safe", [True, False])
def test_what_is_no_picture_of_ours_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool, safe: bool
) -> None:
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE")
    treasure = tmp_path / "treasure"
    treasure.write_bytes(b"mine")
    folder = tmp_path / "designs"
    folder.mkdir()
    os.mkfifo(folder / "fifo.png")
    (folder / "link.png").symlink_to(treasure)

    with pytest.raises(SavedElsewhereError) as elsewhere:
        outputs.save(b"picture", "fifo.png", folder, tmp_path / "instead")
    outputs.write(b"picture", folder / "link.png", safe=safe)
    outputs.write(b"other", folder / "new.png", safe=safe)

    assert elsewhere.value.path == tmp_path / "instead" / "fifo.png"
    assert stat.S_ISFIFO((folder / "fifo.png").stat().st_mode)
    assert treasure.read_bytes() == b"mine"
    assert (folder / "link.png").read_bytes() == b"picture"
    assert not (folder / "link.png").is_symlink()
    other = tmp_path / "other"
    other.write_bytes(b"")
    assert (folder / "new.png").stat().st_mode == other.stat().st_mode
    assert sorted(os.listdir(folder)) == ["fifo.png", "link.png", "new.png"]


def test_a_composite_that_cannot_be_written_is_a_warning(
    pathway: Any, room: bytes, standin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = outputs.write

    def no_composite(data: bytes, path: Path, *, safe: bool = False) -> Path:
        if path.name.endswith("_composite.jpg"):
            raise OSError(28, "No space left on device")
        return write(data, path, safe=safe)

    monkeypatch.setattr(outputs, "write", no_composite)
    response = pathway.generate(room)

    assert response["success"] is True
    assert "No space left" in response["data"]["warnings"][0]["reason"]
