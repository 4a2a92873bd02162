"""The pictures of a session: where they may lie, what they are called, and how they go with it.

No path that a database holds is ever used: a picture is found by the session's id, in a folder that the home
says the pathway wrote to. Folders and files are taken as they are; links are not followed and not removed.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from perfdb.errors import InvalidSessionIdError
from perfdb.guard import raise_foreign
from perfdb.records import check_session_id

DESIGNS = "designs"  # the folder in the home, unless another one is set
_LIST = "picture_folders.jsonl"  # in the home: the others, a JSON text a line
_ENDINGS = (".png", ".jpeg", ".webp", "_composite.jpg")
_MAX_BYTES = 1_000_000


def remember_folder(home: Path, folder: Path) -> None:
    """Note in the home that pictures are written to a folder, which is there; what goes wrong is left."""
    try:
        real = os.path.realpath(folder)
        if real == os.path.join(os.path.realpath(home), DESIGNS) or real in _listed(home):
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(home / _LIST, flags, 0o600)
        try:
            os.write(descriptor, json.dumps(real).encode() + b"\n")
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise_foreign(error)


def folders_of(home: Path, output_dir: Path | None = None) -> list[Path]:
    """Return the folders that a home's pictures may lie in.

    Args:
        home: the folder that perfdb keeps its files in, which is believed.
        output_dir: as the settings name it, for pictures that were made before folders were noted.
    """
    named = [] if output_dir is None else [Path(os.path.realpath(output_dir))]
    return list(dict.fromkeys([home / DESIGNS, *named, *map(Path, _listed(home))]))


def remove_pictures(folders: Iterable[Path], session_ids: Iterable[str]) -> int:
    """Remove the pictures of sessions; return how many there were.

    Raises:
        OSError: one cannot be removed; its path is in it.
    """
    named = [session_id for session_id in session_ids if _is_id(session_id)]
    names = [f"{session_id}{ending}" for session_id in named for ending in _ENDINGS]
    removed = 0
    for folder in folders:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise_foreign(error)
            continue  # not there, a link, or closed to us: nothing of ours
        try:
            removed += sum(_remove(descriptor, folder, name) for name in names)
        finally:
            os.close(descriptor)
    return removed


def _remove(descriptor: int, folder: Path, name: str) -> bool:
    with suppress(FileNotFoundError):
        if stat.S_ISREG(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
            try:
                os.unlink(name, dir_fd=descriptor)
            except FileNotFoundError:
                return False
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(folder / name)) from error
            return True
    return False


def _is_id(session_id: str) -> bool:
    try:
        check_session_id(session_id)
    except InvalidSessionIdError:
        return False
    return True


def _listed(home: Path) -> list[str]:
    """Return the folders that were noted; a line that is none is passed by."""
    try:
        descriptor = os.open(home / _LIST, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise_foreign(error)
        return []
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return []
        lines = file.read(_MAX_BYTES).splitlines()
    found = []
    for line in lines:
        with suppress(ValueError):
            text = json.loads(line)
            if isinstance(text, str) and os.path.isabs(text) and "\0" not in text:
                found.append(text)
    return found
