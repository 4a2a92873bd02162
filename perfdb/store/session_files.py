"""The pictures of a session: where they may lie, what they are called, and how they go with it.

No path that a database holds is ever used: a picture is found by the session's id, in a folder that the home
says the pathway wrote to. Folders and files are taken as they are; links are not followed and not removed.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from perfdb.errors import InvalidSessionIdError
from perfdb.guard import raise_foreign
from perfdb.settings import DATABASE_FILE, Settings, load_for_reading
from perfdb.settings import output_dir as output_dir_of
from perfdb.sharing import share
from perfdb.store.engine import sqlite_path
from perfdb.vocabulary import check_session_id

DESIGNS = "designs"  # the folder in the home, unless another one is set
_LIST = "picture_folders.jsonl"  # in the home: the others, a JSON text a line
_ENDINGS = (".png", ".jpeg", ".webp", "_composite.jpg")
_MAX_BYTES = 1_000_000
_OWN_NAME = re.compile(
    rf"((\d{{8}}_\d{{6}})_[0-9a-f]{{8,40}})(?:{'|'.join(re.escape(ending) for ending in _ENDINGS)})"
)


def remember_folder(home: Path, folder: Path) -> None:
    """Note in the home that pictures are written to a folder, which is there; what goes wrong is left."""
    try:
        real = os.path.realpath(folder)
        if real == os.path.join(os.path.realpath(home), DESIGNS) or real in _listed(home):
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(home / _LIST, flags, 0o600)
        try:
            share(descriptor, home / _LIST)
            os.write(descriptor, json.dumps(real).encode() + b"\n")
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise_foreign(error)


def folders_for(settings: Settings, url: str) -> list[Path]:
    """Return the folders in which pictures of a database's sessions may lie.

    Those of the home if its settings name this database; of a file from elsewhere only the one beside it.
    """
    path = sqlite_path(url)
    own = settings.home / DATABASE_FILE
    if path is not None and os.path.realpath(path) == os.path.realpath(own):
        return folders_of(settings.home, output_dir_of(settings))
    named = load_for_reading(home=settings.home if settings.home_named else None)
    if url == named.database_url:
        return folders_of(settings.home, output_dir_of(settings))
    return [path.parent / DESIGNS] if path is not None else []


def folders_of(home: Path, output_dir: Path | None = None) -> list[Path]:
    """Return the folders that a home's pictures may lie in.

    Args:
        home: the folder that perfdb keeps its files in, which is believed.
        output_dir: as the settings name it, for pictures that were made before folders were noted.
    """
    named = [] if output_dir is None else [Path(os.path.realpath(output_dir))]
    return list(dict.fromkeys([home / DESIGNS, *named, *map(Path, _listed(home))]))


def pictures_of(folders: Iterable[Path], session_id: str) -> list[Path]:
    """Return the final pictures of a session that are there, no composite among them."""
    if not _is_id(session_id):
        return []
    paths = [folder / f"{session_id}{ending}" for folder in folders for ending in _ENDINGS[:-1]]
    return [path for path in paths if _is_file(path)]


def _is_file(path: Path) -> bool:
    with suppress(OSError):
        return stat.S_ISREG(os.lstat(path).st_mode)
    return False


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


def sessions_with_pictures(folder: Path, until: float) -> Iterator[str]:
    """Yield the ids of sessions that have pictures here and began before ``until``; each once.

    Only ids that perfdb gives are looked for, in names that the pathway gives: what somebody else keeps
    here under a name of their own is theirs.
    """
    seen = set()
    try:
        entries = os.scandir(folder)
    except OSError as error:
        raise_foreign(error)
        return
    with entries:
        for entry in entries:
            found = _OWN_NAME.fullmatch(entry.name)
            if found is None or found[1] in seen:
                continue
            with suppress(OSError, ValueError, OverflowError):
                began = time.mktime(time.strptime(found[2], "%Y%m%d_%H%M%S"))
                if max(began, entry.stat(follow_symlinks=False).st_mtime) < until:
                    seen.add(found[1])
                    yield found[1]


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
        with suppress(ValueError, RecursionError):
            text = json.loads(line)
            if isinstance(text, str) and os.path.isabs(text) and "\0" not in text:
                found.append(text)
    return found
