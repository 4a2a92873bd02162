"""Write an output file as a whole or not at all, and never replace what is no regular file.

An existing device or FIFO (``/dev/stdout``, ``/dev/fd/3``) is written to, a symbolic link is followed, an
existing file keeps its owner and mode, a new one is accessible to its owner only. A file or link of another
user in a folder that everybody may write to, such as ``/tmp``, is neither followed nor written to, nor is a
link or a second name that somebody else of its group may have put there. A module of its own, because
recording, store, pages and commands all write files.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from perfdb.errors import StoreError
from perfdb.guard import raise_foreign
from perfdb.sharing import keep_for_owner, share

SQLITE_MAGIC = b"SQLite format 3\0"
HIDDEN = ".performance_report.tmp"
TURN_S = 0.25  # a file of 10 MB is in place in a twentieth of that

_PIECE = 1 << 20
_MOST_LINKS = 40  # as many as Linux follows
_DESCRIPTOR = re.compile(r"(?:/proc/(\d+)(?:/task/\d+)?|/dev)/fd/(\d+)")


def write_output(path: str | Path, pieces: Iterable[bytes], *, patient: bool = True) -> None:
    """Write the pieces to what ``path`` names.

    Args:
        path: a file, new or not, or what can be written to.
        pieces: the content; a file is as it was when they raise.
        patient: wait for the reader of a FIFO, as a shell does.

    Raises:
        OSError: it cannot be written; a file is as it was.
    """
    place = place_of(path)
    if place is None:
        with open(_open_special(path, patient=patient), "wb") as stream:
            stream.writelines(pieces)
        return
    found = _status(place)
    if found is not None and not _may_replace(place, found):
        _write_in_place(place, pieces, found)
    else:
        _write_whole(place, pieces, found)


def write_own(path: Path, content: bytes, *, for_others: bool = False, safe: bool = False) -> None:
    """Write a file of a folder of ours under its own name; only a file of ours, or a link, is replaced.

    Nothing is followed: the folder may be one that others write to, too.

    Args:
        path: the file.
        content: all of it.
        for_others: a new file is as readable as the umask allows.
        safe: wait until the disk has it.

    Raises:
        OSError: something else has the name, or it cannot be written; nothing has changed.
    """
    found = _status(path)
    if found is not None and stat.S_ISLNK(found.st_mode):
        found = None
    elif found is not None:
        _require_file(path, found)
        if os.geteuid() not in (0, found.st_uid):
            raise PermissionError(errno.EPERM, "it belongs to another user", str(path))
    _write_whole(path, [content], found, mode=0o666 if for_others else 0o600, safe=safe)


def free_name(path: Path, *beside: str) -> Path:
    """Return the path, or the first numbered one (``name-2.suffix``), that nothing has.

    Args:
        path: the wanted name.
        beside: endings of further files that go with it, of which none may be there either.
    """
    found, number = path, 1
    while any(os.path.lexists(f"{found}{ending}") for ending in ("", *beside)):
        number += 1
        found = path.with_stem(f"{path.stem}-{number}")
    return found


def place_of(path: str | Path) -> Path | None:
    """Return the file, there or not yet, at the end of all links; None for what can only be written to.

    Raises:
        OSError: the links go round in a circle; a folder is in its place; another user put the file, or a
            link on the way, where everybody may.
    """
    name = _end_of_links(path)
    if _DESCRIPTOR.fullmatch(name):
        return None
    found = _status(Path(name))
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if found is not None and (stat.S_ISREG(found.st_mode) or stat.S_ISFIFO(found.st_mode)):
        _require_known(name, found)
    return Path(name) if found is None or stat.S_ISREG(found.st_mode) else None


def take_place(finished: Path, place: Path) -> None:
    """Give a finished file the name of another, whose owner and mode it takes over.

    Raises:
        OSError: what is there is no file, or not to be replaced.
    """
    found = _status(place)
    if found is not None:
        _require_file(place, found)
        descriptor = os.open(finished, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _take_over(descriptor, found, place)
        finally:
            os.close(descriptor)
    os.replace(finished, place)


def _end_of_links(path: str | Path) -> str:
    """Follow links, but not those of /proc that stand for open files: such a file is not to be replaced.

    Each is followed by hand, the folders' too: the kernel's own guard against links that others plant in
    ``/tmp`` (protected_symlinks) knows nothing of a name that was read and then replaced.
    """
    at, links = os.sep, 0
    left = os.path.abspath(path).split(os.sep)[::-1]
    while left:
        part = left.pop()
        if part in ("", "."):
            continue
        if part == "..":
            at = os.path.dirname(at)
            continue
        name = os.path.join(at, part)
        if _DESCRIPTOR.fullmatch(name):
            return name
        try:
            target = os.readlink(name)
        except OSError as error:  # it is none
            raise_foreign(error)
            at = name
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        _require_known(name, os.lstat(name))
        left += target.split(os.sep)[::-1]
        at = os.sep if os.path.isabs(target) else at
    return at


def _require_known(name: str, found: os.stat_result) -> None:
    """Refuse another user's file in a folder that everybody may write to, such as ``/tmp/x``.

    In the folder of a group, files are those of colleagues; a link may lead anywhere, as may a second name.
    So may both in a folder that another user put there, such as ``/tmp/x/``, although its owner made them.

    Raises:
        PermissionError: it belongs to neither us, root, nor the owner of its folder, or may be a file from
            elsewhere.
    """
    folder = os.stat(os.path.dirname(name))
    planted = _is_planted(os.path.dirname(name))
    everybody = folder.st_mode & stat.S_IWOTH
    others = everybody or planted or (folder.st_mode & stat.S_IWGRP and folder.st_gid != os.getegid())
    stranger = found.st_uid not in {0, os.geteuid(), 0 if planted else folder.st_uid}
    if stranger and (everybody or (others and stat.S_ISLNK(found.st_mode))):
        words = f"another user put it into a folder where {'everybody' if everybody else 'others'} may write"
        raise PermissionError(errno.EACCES, words, name)
    if others and stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        words = "it has a second name, which another user may have given it: others may write to its folder"
        raise PermissionError(errno.EACCES, words, name)


def _is_planted(folder: str) -> bool:
    """Say whether another user put a folder, or one above it, where everybody may write."""
    while folder != (above := os.path.dirname(folder)):
        where = os.stat(above)
        if where.st_mode & stat.S_IWOTH and os.stat(folder).st_uid not in (0, os.geteuid(), where.st_uid):
            return True
        folder = above
    return False


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError as error:
        raise_foreign(error)
        return None


def _require_file(path: Path, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise FileExistsError(errno.EEXIST, "it exists and is not a regular file", str(path))


# --- what is no file ----------------------------------------------------------------------------------


def _open_special(path: str | Path, *, patient: bool) -> int:
    name = _end_of_links(path)
    opened = _DESCRIPTOR.fullmatch(name)
    if opened and opened[1] in (None, str(os.getpid())):
        for stream in (sys.stdout, sys.stderr):  # what was printed before stands before
            if stream is not None:
                stream.flush()
        return os.dup(int(opened[2]))  # opening it again would begin at its first byte
    if not opened and stat.S_ISSOCK(os.lstat(name).st_mode):
        raise OSError(errno.ENXIO, "it is a socket", str(path))
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC
    if not opened:
        flags |= os.O_NOFOLLOW  # it may have become a link since
    descriptor = os.open(name, flags if patient else flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


# --- files --------------------------------------------------------------------------------------------


def _may_replace(place: Path, found: os.stat_result) -> bool:
    """Say whether another file can have its name, owner and group."""
    if os.geteuid() == 0:
        return True
    groups = {os.getegid(), *os.getgroups()}
    is_ours = found.st_uid == os.geteuid() and found.st_gid in groups
    return is_ours and os.access(place.parent, os.W_OK | os.X_OK)


def _write_in_place(place: Path, pieces: Iterable[bytes], found: os.stat_result) -> None:
    """Write a file over; it has its old content until all pieces are there."""
    from tempfile import TemporaryFile

    descriptor = os.open(place, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "wb") as file, TemporaryFile() as kept:
        if not os.path.samestat(os.fstat(descriptor), found):
            raise FileExistsError(errno.EEXIST, "it was exchanged meanwhile", str(place))
        kept.writelines(pieces)
        kept.seek(0)
        file.truncate(0)
        file.writelines(_pieces_of(kept))


def _write_whole(
    path: Path,
    pieces: Iterable[bytes],
    found: os.stat_result | None,
    *,
    mode: int = 0o600,
    safe: bool = False,
) -> None:
    """Put the content in place in one step, so that a kill leaves the old file or the new one."""
    try:
        nameless = os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode)
    except (AttributeError, OSError) as error:  # it is Linux's, and not of every file system
        raise_foreign(error)
        with _hidden_name(path.parent) as hidden:
            _write_named(path, hidden, pieces, found, mode, safe=safe)
        return
    with open(nameless, "w+b") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        if safe:
            os.fsync(nameless)
        _take_over(nameless, found, path)
        with _hidden_name(path.parent) as hidden:
            _name(nameless, path, hidden, file, found, mode, safe=safe)


def _name(
    nameless: int,
    path: Path,
    hidden: Path,
    file: IO[bytes],
    found: os.stat_result | None,
    mode: int,
    *,
    safe: bool,
) -> None:
    """Give a file that has no name its name, so that a kill before leaves no litter."""
    source = f"/proc/self/fd/{nameless}"
    try:
        # with a dir_fd Python calls linkat(), which follows the link of /proc as link() does not
        os.link(source, path, src_dir_fd=nameless)
        return
    except FileExistsError as error:
        raise_foreign(error)
        os.link(source, hidden, src_dir_fd=nameless)
    except OSError as error:  # no /proc
        raise_foreign(error)
        file.seek(0)
        _write_named(path, hidden, _pieces_of(file), found, mode, safe=safe)
        return
    _replace(hidden, path)


def _write_named(
    path: Path,
    hidden: Path,
    pieces: Iterable[bytes],
    found: os.stat_result | None,
    mode: int,
    *,
    safe: bool,
) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(descriptor := os.open(hidden, flags, mode), "wb") as file:
        keep_for_owner(descriptor)
        for piece in pieces:
            file.write(piece)
        if safe:
            file.flush()
            os.fsync(file.fileno())
    descriptor = os.open(hidden, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _take_over(descriptor, found, path)
    finally:
        os.close(descriptor)
    _replace(hidden, path)


def _replace(hidden: Path, path: Path) -> None:
    found = _status(path)  # it may have become something else meanwhile
    if found is not None and not stat.S_ISLNK(found.st_mode):
        _require_file(path, found)
    os.replace(hidden, path)


def _take_over(descriptor: int, found: os.stat_result | None, path: Path) -> None:
    """Give a new file the owner and the mode of the one that it replaces, else those of its folder."""
    if found is None:
        share(descriptor, path)
        return
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (found.st_uid, found.st_gid):
        os.fchown(descriptor, found.st_uid, found.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(found.st_mode))


def _pieces_of(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


@contextmanager
def _hidden_name(folder: Path) -> Iterator[Path]:
    """Yield the name that a file may have before it is in place; nothing stays under it.

    The writers of a folder take turns with one name, so that the next one removes what a killed one left. A
    writer that cannot get the turn, because another was stopped in the middle, uses a name of its own.
    """
    hidden = folder.joinpath(HIDDEN)
    descriptor = -1
    try:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            _take_turn(descriptor)
            hidden.unlink(missing_ok=True)
        except OSError as error:
            raise_foreign(error)
            hidden = folder.joinpath(f"{HIDDEN}.{os.urandom(6).hex()}")
        yield hidden
    finally:
        hidden.unlink(missing_ok=True)
        if descriptor >= 0:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may hold the descriptor open
            os.close(descriptor)


def _take_turn(descriptor: int) -> None:
    """Lock the folder against other writers.

    Raises:
        OSError: another one has it for too long, or this file system knows no locks.
    """
    deadline = time.monotonic() + TURN_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise_foreign(error)
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)


def spare_databases(path: Path) -> None:
    """Raise a StoreError for a database, or a log of one: nobody means to overwrite it."""
    real = os.path.realpath(path)
    for ending, what in (("", ""), ("-wal", "log of a "), ("-shm", "log of a "), ("-journal", "log of a ")):
        database = Path(real.removesuffix(ending))
        if real.endswith(ending) and database.is_file():
            with database.open("rb") as file:
                if file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC:
                    raise StoreError(
                        f"{path} is a {what}database, which this would overwrite: name another file"
                    )
