"""Which files to trust that were found by a search and not named.

What a search upwards finds may be somebody else's: in a folder where everybody may write, another user could
choose our database, get our messages and read our runs. Trusted are files of this user, of root, of the user
who called sudo, and of the members of a named group, in folders where nobody else could have put them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from perfdb.errors import SettingsError
from perfdb.guard import raise_foreign
from perfdb.surroundings import variable

NOBODY = 65534  # the id of users that a user namespace does not map, root included


class Trust:
    """Whose files this process trusts, and what speaks against a file or a folder."""

    def __init__(self, shared_group: str | None = None) -> None:
        self._user = os.geteuid()
        self._owners = {self._user, 0}
        if self._user == 0 and (asked := variable("SUDO_UID")).isdecimal():
            self._owners.add(int(asked))
        self._shared = None if shared_group is None else group_id(shared_group)
        self._groups = {os.getegid(), self._shared}

    def knows(self, owner: int) -> bool:
        """Say whether what belongs to this user is believed."""
        return owner in self._owners or (self._shared is not None and _is_member(owner, self._shared))

    def is_mine(self, folder: Path) -> bool:
        """Say whether a folder belongs to this user, or to the user who became root by sudo."""
        try:
            owner = os.stat(folder).st_uid
        except OSError as error:
            raise_foreign(error)
            return False
        return owner == self._user or (owner != 0 and owner in self._owners)

    def doubt_about(self, path: Path, status: os.stat_result | None = None) -> str | None:
        """Return what speaks against a file or folder itself: ``it belongs to mallory``; else None.

        Args:
            path: where it was found; a symbolic link counts as well as what it leads to.
            status: of what was opened there, so that nobody can exchange it after the look.
        """
        try:
            both = (os.lstat(path), status or os.stat(path))
        except FileNotFoundError as error:
            raise_foreign(error)
            return None
        except OSError as error:
            raise_foreign(error)
            return f"it cannot be looked at: {error.strerror}"
        stranger = next(iter([each.st_uid for each in both if not self.knows(each.st_uid)]), None)
        return None if stranger is None else f"it belongs to {user_name(stranger)}"

    def writers_of(self, status: os.stat_result, *, sticky: bool = False) -> str | None:
        """Return who else may write, by the mode: ``everybody``, ``the group staff``; None when nobody.

        Args:
            status: of a file or folder.
            sticky: others may add to it, as long as the sticky bit keeps them from what is there.
        """
        mode = status.st_mode
        if sticky and mode & stat.S_ISVTX:
            return None
        if mode & stat.S_IWOTH:
            return "everybody"
        if mode & stat.S_IWGRP and status.st_gid not in self._groups:
            return f"the group {group_name(status.st_gid)}"
        return None

    def doubt_about_way(self, folders: Iterable[Path]) -> str | None:
        """Return in which folder others may exchange something, such as ``everybody may write to /srv/x``."""
        for folder in folders:
            try:
                status = os.stat(folder)
            except FileNotFoundError as error:
                raise_foreign(error)
                continue
            except OSError as error:
                raise_foreign(error)
                return f"{folder} cannot be looked at: {error.strerror}"
            others = self.writers_of(status, sticky=True)
            if others is None and status.st_uid != NOBODY and not self.knows(status.st_uid):
                others = user_name(status.st_uid)
            if others is not None:
                return f"{others} may write to {folder}"
        return None


def group_id(name: str) -> int:
    """Return the number of a group that is named, or given as a number.

    Raises:
        SettingsError: there is no such group.
    """
    if name.isdecimal():
        return int(name)
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise_foreign(error)
        raise SettingsError(f"'shared_group' names {name!r}, which is no group of this machine") from None


def user_name(owner: int) -> str:
    """Return a user's name for people; the number of one without a name."""
    import pwd

    try:
        return f"{pwd.getpwuid(owner).pw_name} (uid {owner})"
    except (KeyError, OSError) as error:
        raise_foreign(error)
        return f"uid {owner}"


def group_name(number: int) -> str:
    """Return a group's name for people; the number of one without a name."""
    import grp

    try:
        return grp.getgrgid(number).gr_name
    except (KeyError, OSError) as error:
        raise_foreign(error)
        return str(number)


def _is_member(owner: int, group: int) -> bool:
    import pwd

    try:
        entry = pwd.getpwuid(owner)
        return group in os.getgrouplist(entry.pw_name, entry.pw_gid)
    except (KeyError, OSError) as error:
        raise_foreign(error)
        return False
