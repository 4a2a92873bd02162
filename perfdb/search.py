"""Look for the settings file and for the home of a reader, from the working folder upwards.

What others own or could exchange is passed by, and so is a file further up that nobody can read: the host
goes on. ``ignored`` says what was passed by, why, and how to use it all the same.
"""

from __future__ import annotations

import errno
import os
import stat
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from perfdb.errors import SettingsError
from perfdb.guard import raise_foreign
from perfdb.surroundings import folders_above, is_file
from perfdb.toml import MOST_BYTES, Table, parse
from perfdb.trust import Trust

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from io import BufferedReader

HOME_FOLDER = "performance_tracking"
DATABASE_FILE = "perfdb.sqlite3"
OWN_FILE, SHARED_FILE = "perfdb.toml", "pyproject.toml"
_GLANCE_BYTES = 1 << 18  # of a file that is not believed: enough to say whether it is about perfdb


class Search:
    """One look upwards from a folder."""

    def __init__(self, folder: Path, trust: Trust, parse: Callable[..., Table] = parse) -> None:
        self._folder = folder
        self._trust = trust
        self._parse = parse
        self.ignored: list[str] = []
        self.closed_home: Path | None = None  # may be the nearest home, but nobody lets us look
        self._closed = ""

    def settings(self) -> tuple[Path, Table] | None:
        """Return the nearest settings file that is believed, and what it says.

        Raises:
            SettingsError: it is a file of perfdb's own that is no TOML, or lies in the working folder and
                cannot be read.
        """
        for folder in self._folders():
            for name in (OWN_FILE, SHARED_FILE):
                path = folder.joinpath(name)  # `/` takes a handler's TypeError for its own
                if is_file(path) and (table := self._believed(path)) is not None:
                    return path, table
        return None

    def home(self) -> Path | None:
        """Return the nearest folder ``performance_tracking`` that holds a history and is believed."""
        for folder in self._folders():
            home = folder.joinpath(HOME_FOLDER)
            try:
                # a folder of that name may be anything: the seed's own package, for one
                has_database = _is(home.joinpath(DATABASE_FILE), stat.S_ISREG)
                is_home = has_database or _is(home.joinpath("journal"), stat.S_ISDIR)
            except OSError as error:
                raise_foreign(error)
                if folder == self._folder:
                    return home  # using it says why it cannot be read
                self.closed_home = self.closed_home or home
                self._closed = error.strerror or type(error).__name__
                continue
            if is_home:
                doubt = None if folder == self._folder else self._doubt_about_home(home)
                if doubt is None:
                    if self.closed_home is not None:
                        self._ignore(self.closed_home, f"it cannot be read: {self._closed}", "PERFDB_HOME")
                        self.closed_home = None
                    return home
                self._ignore(home, doubt, "PERFDB_HOME")
        return None

    def _folders(self) -> Iterator[Path]:
        yield self._folder
        yield from folders_above(self._folder)

    def _believed(self, path: Path) -> Table | None:
        """Return what a settings file says; None when it is passed by, or is a pyproject.toml without us."""
        here = path.parent == self._folder
        doubt = self._doubt_about_file(path)  # first of all: a stranger's file must not even be an error
        try:
            with open_file(path) as file:
                doubt = doubt or self._doubt_about_file(path, os.fstat(file.fileno()))
                content = file.read(_GLANCE_BYTES if doubt else MOST_BYTES)
        except OSError as error:
            raise_foreign(error)
            if here and not doubt:
                raise SettingsError(f"{shown_path(path)}: cannot be read: {error.strerror}") from None
            self._ignore(path, doubt or f"it cannot be read: {error.strerror}")
            return None
        if path.name == SHARED_FILE and (b"tool.perfdb" if doubt else b"perfdb") not in content:
            return None  # the parser costs several milliseconds; most files need none
        if doubt:
            self._ignore(path, doubt)
            return None
        try:
            text = decoded(path, content)
        except SettingsError as error:
            self._excuse(path, error, here)
            return None
        try:
            table = self._parse(text, source=shown_path(path))
        except SettingsError as error:
            self._excuse(path, error, here or path.name == OWN_FILE)
            return None
        return table if path.name == OWN_FILE else table_of_pyproject(table)

    def _excuse(self, path: Path, error: SettingsError, ours: bool) -> None:
        if ours:
            raise error
        self._ignore(path, f"it is {str(error).partition(': ')[2]}")

    def _doubt_about_file(self, path: Path, status: os.stat_result | None = None) -> str | None:
        doubt = self._trust.doubt_about(path, status)
        if doubt is None and (way := self._way_to(path.parent)):
            others = self._trust.writers_of(status or os.stat(path))
            doubt = self._trust.doubt_about_way(way) if others is None else f"{others} may write to it"
        return doubt

    def _doubt_about_home(self, home: Path) -> str | None:
        doubt = _strangers_in(home, self._trust)
        if doubt is None:
            others = self._trust.writers_of(os.stat(home))
            way = self._way_to(home.parent)
            doubt = self._trust.doubt_about_way(way) if others is None else f"{others} may write to it"
        return doubt

    def _way_to(self, folder: Path) -> tuple[Path, ...]:
        """Return the folders in which others could put something into the place of what was found.

        Those between the two as well: the search came by. A working folder of one's own is believed.
        """
        if folder != self._folder:
            return tuple(folders_above(self._folder))
        return () if self._trust.is_mine(folder) else (folder, *folders_above(folder))

    def _ignore(self, path: Path, why: str, variable: str = "PERFDB_CONFIG") -> None:
        self.ignored.append(
            f"{shown_path(path)} is ignored: {why}. To use it: {variable}={printable(str(path))}"
        )


def doubt_about_home(home: Path, trust: Trust | None) -> str | None:
    """Return why a home is not to be used: it, or what is in it, belongs to others.

    Args:
        home: need not be there.
        trust: None when somebody named the home.
    """
    if trust is None or (doubt := _strangers_in(home, trust)) is None:
        return None
    return f"{shown_path(home)} is not used: {doubt}. If you trust it: PERFDB_HOME={home}"


def _strangers_in(home: Path, trust: Trust) -> str | None:
    for path in (home, home.joinpath("journal"), home.joinpath(DATABASE_FILE)):
        doubt = trust.doubt_about(path)
        if doubt is not None:
            return doubt if path == home else f"{path.name} in it is not trusted: {doubt}"
    return None


def open_file(path: Path) -> BufferedReader:
    """Open a regular file to be read; whatever else lies there never holds us up.

    What the kernel makes up (``/proc/kmsg``) says that it is empty and may have no end: it is no file either.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(descriptor)
    is_made_up = found.st_size == 0 and os.fstatvfs(descriptor).f_blocks == 0
    if not stat.S_ISREG(found.st_mode) or is_made_up:
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return open(descriptor, "rb")


def decoded(path: Path, content: bytes) -> str:
    """Return the text of a settings file.

    Raises:
        SettingsError: it is not UTF-8; the line is named.
    """
    try:
        return content.removeprefix(BOM_UTF8).decode()  # the codec of both makes another exception of each
    except UnicodeDecodeError as error:
        raise_foreign(error)
        line = content[: error.start].count(b"\n") + 1
        raise SettingsError(f"{shown_path(path)}, line {line}: not valid TOML: not UTF-8") from None


def table_of_pyproject(table: Table) -> Table | None:
    """Return ``[tool.perfdb]``; None when there is none."""
    tool = table.get("tool")
    return table.table("tool").table("perfdb") if isinstance(tool, Mapping) and "perfdb" in tool else None


def short_path(path: Path) -> str:
    """Return a path that can be opened: relative when it lies below the working directory."""
    whole = str(path)
    try:
        here = os.getcwd()
    except OSError as error:
        raise_foreign(error)
        return whole
    # not `relative_to`, which takes a handler's IndexError for the last of the parents
    return "." if whole == here else whole.removeprefix(f"{here.rstrip('/')}/")


def shown_path(path: Path) -> str:
    """Return the path for people and API answers: relative when it lies below the working directory."""
    from perfdb.text import inert

    return inert(printable(short_path(path)))


def printable(text: str) -> str:
    """Return it with escapes for what no encoding takes: names of folders and variables may be any bytes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    """Say whether there is something of this kind; as ``os.path`` does, but a closed folder is an OSError."""
    try:
        return kind(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise_foreign(error)
        return False
