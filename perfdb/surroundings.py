"""Look at files and variables without swallowing what a signal handler raises meanwhile.

Functions of the standard library catch more than their own errors: ``os.path.exists`` returns False on every
OSError and ValueError, ``os.environ.get`` its default on every KeyError, ``mkdir(exist_ok=True)`` passes over
every OSError. A host's time limit may be of such a class and would be lost there.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from itertools import cycle
from pathlib import Path

from perfdb.guard import raise_foreign
from perfdb.sharing import share

_LAST_STREAM = 2  # standard error
# Programs that become a daemon close their descriptors, and open others under the lowest numbers. What we
# open has high ones, and each time another: else a file of ours would get the number of one that was closed.
FAR = 512
_far_numbers = cycle(range(FAR, 2 * FAR))

Identity = tuple[int, int]
"""The device and the inode of an open file: what a descriptor is of."""


def exists(path: str | Path) -> bool:
    """Say whether something is there."""
    return _mode(path) is not None


def is_file(path: str | Path) -> bool:
    """Say whether there is a file."""
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def is_folder(path: str | Path) -> bool:
    """Say whether there is a folder."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its owner may enter, and those above it; an existing one stays as it is.

    In a shared home its group may enter, too.
    """
    try:
        _make(folder)
    except FileNotFoundError as error:
        raise_foreign(error)
        if folder.parent == folder:
            raise
        make_private_folder(folder.parent)
        _make(folder)


def open_private_file(path: Path, flags: int) -> int:
    """Open a regular file of ours and return its descriptor; waits for nothing, follows no link.

    Raises:
        OSError: it cannot be opened, or is a pipe, a device, a folder.
    """
    descriptor = above_streams(os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    if flags & os.O_CREAT:
        share(descriptor, path)
    return descriptor


def above_streams(descriptor: int) -> int:
    """Return the descriptor under a number that is none of the standard streams'.

    In a program that was started without them, what it prints, or what it opens in their place, would
    otherwise come into our file. Call it before a lock is taken: to close any descriptor would drop that.
    """
    if descriptor > _LAST_STREAM:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _LAST_STREAM + 1)
    finally:
        os.close(descriptor)


def far_from_others(descriptor: int) -> int:
    """Return the descriptor under a high number where the limit has room for one; see ``above_streams``."""
    try:
        far = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, next(_far_numbers))
    except OSError as error:
        raise_foreign(error)
        return above_streams(descriptor)
    os.close(descriptor)
    return far


def identity_of(descriptor: int) -> Identity | None:
    """Return what a descriptor is of; None of one that is closed."""
    try:
        found = os.fstat(descriptor)
    except OSError as error:
        raise_foreign(error)
        return None
    return found.st_dev, found.st_ino


def close_own(descriptor: int, what: Identity | None) -> None:
    """Close a descriptor, unless its number is another file's: somebody has closed it, and opened that."""
    if what is not None and identity_of(descriptor) == what:
        os.close(descriptor)


def folders_above(folder: Path) -> list[Path]:
    """Return the parents of a folder, nearest first; `parents` takes a handler's IndexError for their end."""
    found: list[Path] = []
    while (above := folder.parent) != folder:
        found.append(above)
        folder = above
    return found


def variable(name: str) -> str:
    """Return a variable of the environment; one that is not set is empty."""
    try:
        return os.environ[name]
    except KeyError as error:
        raise_foreign(error)
        return ""


def variables() -> dict[str, str]:
    """Return the environment as it is now."""
    try:
        return dict(os.environ)
    except (KeyError, RuntimeError) as error:  # another thread changes it just now
        raise_foreign(error)
        return os.environ.copy()


def _mode(path: str | Path) -> int | None:
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise_foreign(error)
        return None


def _make(folder: Path) -> None:
    try:
        os.mkdir(folder, 0o700)
        share(folder, folder)
    except FileNotFoundError:
        raise
    except OSError as error:  # some systems tell of a file system that takes no writes before all else
        raise_foreign(error)
        if is_folder(folder):
            return
        if isinstance(error, FileExistsError):
            raise NotADirectoryError(f"{folder} is a file: perfdb needs a folder of that name") from None
        raise
