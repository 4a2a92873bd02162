"""Homes whose files a group shares: the setting ``shared_group``.

What perfdb makes is its user's alone, but in the home of settings with a ``shared_group``: there folders have
that group and are 2770, so that what anybody makes in them has the group, too, and files are 0660. What
exists is left as it is. What cannot be given to the group stays private.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from perfdb.guard import raise_foreign

_groups: dict[str, int] = {}  # of the homes that settings of this process named
_FILE, _FOLDER = 0o660, 0o2770
_OWNERS_FILE, _OWNERS_FOLDER = 0o600, 0o700


def share_home(home: Path, group: int) -> None:
    """Have what is made in a home from now on belong to a group."""
    _groups[os.path.abspath(home)] = group


def share(made: int | Path, path: Path) -> None:
    """Give a file or folder that was just made to its owner, and to the group of its home if that is shared.

    Args:
        made: it, or the descriptor of the file; to open it again would drop locks.
        path: where it is, or will be.
    """
    try:
        keep_for_owner(made)
        if not _groups or (group := _group_of(path)) is None:
            return
        status = os.stat(made)
        mode = _FOLDER if stat.S_ISDIR(status.st_mode) else _FILE
        if status.st_uid != os.geteuid() or (status.st_gid, stat.S_IMODE(status.st_mode)) == (group, mode):
            return
        if status.st_gid != group:
            os.chown(made, -1, group)
        os.chmod(made, mode)  # not through the umask
    except OSError as error:  # one who is no member cannot give to a group
        raise_foreign(error)


def keep_for_owner(made: int | Path) -> None:
    """Let its owner use what was just made: some umasks take that away, too, and not only from others."""
    status = os.stat(made)
    mode, needed = stat.S_IMODE(status.st_mode), _OWNERS_FILE
    if stat.S_ISDIR(status.st_mode):
        needed = _OWNERS_FOLDER
    if mode & needed != needed and status.st_uid == os.geteuid():
        os.chmod(made, mode | needed)


def is_shared(path: Path) -> bool:
    """Say whether a path is that of a shared home, or in one."""
    return bool(_groups) and _group_of(path) is not None


def _group_of(path: Path) -> int | None:
    place = os.path.abspath(path)
    for home, group in list(_groups.items()):
        if place == home or place.startswith(home + os.sep):
            return group
    return None
