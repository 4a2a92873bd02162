"""The append-only record that survives any death of the process.

One file per process. A line is the CRC-32 of its JSON as 8 hex digits, a space,
the JSON, a newline; it reaches the kernel in one ``os.write``. A POSIX lock on the
file says that its writer lives: the kernel drops it however the process dies, and a
forked child does not inherit it. Because any ``close`` of the file by its owner
would drop the lock too, a process reads its own journal through the descriptor
that it writes with. Where the host has closed that, the file is opened again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from zlib import crc32

from perfdb.encoding import to_json
from perfdb.guard import raise_foreign
from perfdb.recording import judged
from perfdb.recording.native import RLock, epoch, gmtime, strftime
from perfdb.sharing import share
from perfdb.surroundings import (
    FAR,
    close_own,
    far_from_others,
    identity_of,
    make_private_folder,
    open_private_file,
)

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any

SUFFIX = ".journal"
VERSION = 1  # of the lines; a file of another one is left to the perfdb that knows it
_FIRST_CHUNK, _CHUNK = 64 << 10, 1 << 20  # who reads one batch, or a whole file
MOST_LINE = 32 << 20  # bytes; no record is as long: what has no newline for so long is no journal's
_LONG_HOLE = 64 << 10  # bytes
# ``decode`` looks for white space, too, which a line has none of
_scan: Any = json.JSONDecoder().scan_once  # type: ignore[attr-defined]

_held: dict[Path, int] = {}  # journals whose lock this process holds, with the process that took it


def encode(record: Mapping[str, Any]) -> bytes:
    """Return the JSON of a record as it stands in a line; the values are clean already."""
    return to_json(record).encode("ascii")


def frame(body: bytes) -> bytes:
    """Return the line that holds a JSON body."""
    return b"%08x %b\n" % (crc32(body), body)


class Journal:
    """One journal file, held open with its lock."""

    def __init__(
        self, path: Path, descriptor: int, header: Mapping[str, Any], *, fsync: bool = False
    ) -> None:
        self.path = path
        self.name = path.name
        self.header = header
        self.size = os.fstat(descriptor).st_size  # bytes written so far
        self.refused = 0  # lines that the disk did not take
        self._descriptor = descriptor
        self._file = identity_of(descriptor)
        self._fsync = fsync
        self._torn = 0  # bytes of a short write that could not be cut back yet
        self._lock = RLock()  # re-entrant: a signal handler may record a step too

    @classmethod
    def create(cls, folder: Path, header: Mapping[str, Any], *, fsync: bool = False) -> Journal:
        """Make a new journal in ``folder`` and take its lock before anyone can see it.

        Raises:
            OSError: the folder or the file cannot be made.
        """
        make_private_folder(folder)
        path = folder.joinpath(f"{header['journal_id']}{SUFFIX}")
        hidden = path.with_suffix(".new")
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = far_from_others(os.open(hidden, flags, 0o600))
        try:
            share(descriptor, path)
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_all(descriptor, frame(encode({"type": "journal", "version": VERSION, **header})))
            os.rename(hidden, path)
        except BaseException:
            os.close(descriptor)
            hidden.unlink(missing_ok=True)
            raise
        _held[path] = os.getpid()
        return cls(path, descriptor, header, fsync=fsync)

    @classmethod
    def claim(cls, path: Path, *, by_name: bool = False) -> Journal | None:
        """Take over the journal of a dead writer; None when its writer lives, or it is no journal.

        With ``by_name`` its name is enough, although no line of it can be read.
        """
        if _is_written_here(path):
            return None
        try:
            descriptor = far_from_others(open_private_file(path, os.O_RDWR | os.O_APPEND))
        except OSError:
            return None
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            header = read_header(descriptor) or _header_of_damaged(path, descriptor, by_name)
        except (OSError, MemoryError):
            header = None
        if header is None:
            os.close(descriptor)
            return None
        _held[path] = os.getpid()
        return cls(path, descriptor, header)

    def write_all(self, bodies: Sequence[bytes]) -> bool:
        """Append records that belong together; False when the disk took none of them."""
        return self.write(bodies[0], b"".join([frame(body) for body in bodies[1:]]))

    def write(self, body: bytes, further_lines: bytes = b"") -> bool:
        """Append one record; False when the disk did not take it.

        A short write is cut back, so that the lines before and after it stay whole.
        """
        line = b"%08x %b\n" % (crc32(body), body)
        if further_lines:
            line += further_lines
        with self._lock:
            descriptor = self._descriptor
            if descriptor < FAR:  # it is closed, or near those that the host closes and opens
                descriptor = self._own_descriptor()
            if descriptor < 0:
                return False
            try:
                if self._torn:
                    self._cut_back()
                written = os.write(descriptor, line)
                if written == len(line):
                    self.size += written
                    if self._fsync:
                        os.fsync(self._descriptor)
                    return True
                # by the file, not by what the call says: a host's test may replace that
                self._torn = max(0, os.fstat(descriptor).st_size - self.size)
                self._cut_back()
            except BaseException as error:
                was_closed = identity_of(descriptor) != self._file  # by the host
                own = self._own_descriptor()
                if own >= 0:  # it may come from between a write and its count
                    self.size = os.fstat(own).st_size - self._torn
                if not isinstance(error, OSError):
                    raise
                raise_foreign(error)
                if was_closed:
                    return own >= 0 and self.write(body, further_lines)
            self.refused += 1
            return False

    def is_whole(self) -> bool:
        """Open it again if the host has closed its descriptor; return False if that fails: it is closed."""
        return self._own_descriptor() >= 0

    def _own_descriptor(self) -> int:
        """Return a descriptor that is of this file, whatever has become of the last one; -1: it is closed."""
        with self._lock:
            if self._descriptor < 0 or identity_of(self._descriptor) == self._file:
                return self._descriptor
            self._descriptor = -1
            try:
                self._descriptor = self._opened_again()
            except OSError as error:  # another process takes it for that of a dead one: it has all its lines
                raise_foreign(error)
            finally:
                if self._descriptor < 0 and _held.get(self.path) == os.getpid():
                    del _held[self.path]
            return self._descriptor

    def _opened_again(self) -> int:
        """Return a new descriptor of this file that has its lock; -1 where its path is another file's now."""
        descriptor = far_from_others(open_private_file(self.path, os.O_RDWR | os.O_APPEND))
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.stat(self.path)
            if identity_of(descriptor) == self._file == (found.st_dev, found.st_ino):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return -1

    def _cut_back(self) -> None:
        # not to ``size``: where a signal's exception came between a write and its count, that is too short
        os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - self._torn)
        self._torn = 0

    def ends_at(self, offset: int | None) -> bool:
        """Whether the file ends at ``offset``, so that a reader who came so far has all of it."""
        return os.fstat(self._own_descriptor()).st_size == offset

    def lines(self, offset: int = 0) -> Iterator[Line]:
        """Yield the complete lines from ``offset`` on, in order; a torn last line is not yielded."""
        return read_lines(self._own_descriptor(), offset)

    def torn_end(self, offset: int) -> bytes:
        """Return the bytes after the last complete line, at ``offset``: the writer died in between."""
        return os.pread(self._own_descriptor(), max(0, -self.missing(offset)), offset)

    def missing(self, offset: int) -> int:
        """Return how many bytes the file is shorter than ``offset``; negative when it is longer."""
        return offset - os.fstat(self._own_descriptor()).st_size

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more lines: its worker has let it go."""
        return self._descriptor < 0

    def retire(self, offset: int | None) -> bool:
        """Close and remove it if nothing stands behind ``offset``; return whether that was so."""
        with self._lock:
            if self.is_closed or not self.ends_at(offset):
                return False
            self.close(remove=True)
            return True

    def after_fork_in_child(self) -> None:
        """Leave it to the parent, whose threads may hold the lock here for ever."""
        self._lock = RLock()
        self.close()

    def close(self, *, remove: bool = False) -> None:
        """Give up the lock; with ``remove`` the file goes first, so that nobody finds it unlocked."""
        with self._lock:  # a concurrent write must not go to a descriptor that is another file's by then
            if self._descriptor < 0:
                return
            descriptor, self._descriptor = self._descriptor, -1
        try:
            if remove:
                self.path.unlink(missing_ok=True)
                self.path.with_suffix(judged.SUFFIX).unlink(missing_ok=True)
                self.path.with_suffix(judged.UNJUDGED).unlink(missing_ok=True)
        finally:
            if _held.get(self.path) == os.getpid():
                del _held[self.path]
            close_own(descriptor, self._file)


class Line:
    """One complete line of a journal: its record, or None when it is damaged."""

    __slots__ = ("end", "raw", "record")

    def __init__(self, record: dict[str, Any] | None, raw: bytes, end: int) -> None:
        self.record = record
        self.raw = raw
        self.end = end  # offset just behind it


def read_lines(descriptor: int, offset: int = 0) -> Iterator[Line]:
    """Yield the complete lines of an open journal.

    Of a foreign file of any size a part is held only: what never ends is yielded in pieces, as damaged lines.
    What the file has no bytes for on the disk is passed over, because it may be larger than any disk.
    """
    rest, size = b"", _FIRST_CHUNK
    while chunk := os.pread(descriptor, size, offset + len(rest)):
        if chunk.startswith(b"\0") and (behind := _behind_hole(descriptor, offset + len(rest))):
            offset = behind
            yield Line(None, rest + b"\0", offset)
            rest = b""
            continue
        *whole, rest = (rest + chunk).split(b"\n")
        size = max(min(4 * size, _CHUNK), len(rest))  # a long line is not put together again and again
        for text in whole:
            offset += len(text) + 1
            yield Line(decode(text), text + b"\n", offset)
        if len(rest) > MOST_LINE:
            offset += len(rest)
            yield Line(None, rest, offset)
            rest, size = b"", _CHUNK


def _behind_hole(descriptor: int, offset: int) -> int | None:
    """Return where the next bytes are, or the end, when there are none on the disk for a long way."""
    try:
        behind = os.lseek(descriptor, offset, os.SEEK_DATA)
    except (AttributeError, OSError) as error:  # not known here; behind the last of them it is ENXIO
        raise_foreign(error)
        if getattr(error, "errno", None) != errno.ENXIO:
            return None
        behind = os.fstat(descriptor).st_size
    return behind if behind - offset >= _LONG_HOLE else None


def decode(text: bytes) -> dict[str, Any] | None:
    """Return the record of a line without its newline; None when it is damaged or no record."""
    try:
        if len(text) < 10 or text[8:9] != b" " or int(text[:8], 16) != crc32(text[9:]):
            return None
        body = text[9:].decode("utf-8", "surrogatepass")
        record, end = _scan(body, 0)
    except (ValueError, RecursionError, StopIteration):
        return None
    whole = end == len(body) and isinstance(record, dict) and isinstance(record.get("type"), str)
    return record if whole else None


def read_header(descriptor: int) -> dict[str, Any] | None:
    """Return the first record when it says that this is a journal."""
    first = next(read_lines(descriptor), None)
    record = first.record if first else None
    if record is None or record["type"] != "journal" or not isinstance(record.get("journal_id"), str):
        return None
    return record


def _header_of_damaged(path: Path, descriptor: int, by_name: bool) -> dict[str, Any] | None:
    """Return a header made of the file's name when the first line is damaged and good ones follow it."""
    if by_name or any(line.record is not None for line in read_lines(descriptor)):
        return {"type": "journal", "version": VERSION, "journal_id": path.stem}
    return None


def journals_in(folder: Path) -> list[Path]:
    """Return the journals of a folder, oldest first."""
    return files_in(folder, SUFFIX)[0]


def files_in(folder: Path, suffix: str) -> tuple[list[Path], list[Path]]:
    """Return the files whose names end so, by name, and what is none: links, folders, pipes."""
    files: list[Path] = []
    others: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(suffix):
                    is_file = entry.is_file(follow_symlinks=False)
                    (files if is_file else others).append(folder.joinpath(entry.name))
    except OSError as error:  # there is none, or it is closed to us
        raise_foreign(error)
    return sorted(files), sorted(others)


def is_written(folder: Path, journal_id: str) -> bool:
    """Say whether the program that writes the journal of this id lives; a copy has the same id."""
    return any(path.stem == journal_id and has_living_writer(path) for path in journals_in(folder))


def has_living_writer(path: Path) -> bool:
    """Say whether the process that writes a journal lives.

    A file that cannot be opened counts as alive: nobody here could take it over.
    """
    if _is_written_here(path):
        return True  # to close a second descriptor would drop this process's own lock
    try:
        descriptor = open_private_file(path, os.O_RDONLY)
    except OSError:
        return True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_written_here(path: Path) -> bool:
    """Say whether this process writes a journal, be it by another copy of this module.

    A sub-interpreter has one, and so has a program that imports perfdb again after a purge of the modules.
    """
    if _held.get(path) == os.getpid():
        return True
    if path.stem.split("-")[1:2] != [str(os.getpid())]:
        return False
    try:
        found = os.stat(path)
        numbers = os.listdir("/dev/fd")  # to open the file would be to close it again
    except OSError as error:
        raise_foreign(error)
        return False
    return (found.st_dev, found.st_ino) in [identity_of(int(number)) for number in numbers]


def records_behind(path: Path, offset: int) -> Iterator[dict[str, Any]]:
    """Yield the records from ``offset`` on of the journal of another process; for readers, not for hosts."""
    if _is_written_here(path):
        return  # as above
    try:
        descriptor = open_private_file(path, os.O_RDONLY)
    except OSError:
        return
    try:
        for line in read_lines(descriptor, offset):
            if line.record is not None:
                yield line.record
    finally:
        os.close(descriptor)


def new_journal_id() -> str:
    """Return an id that sorts by time and is unique among processes."""
    return f"{strftime('%Y%m%dT%H%M%S', gmtime(epoch()))}-{os.getpid()}-{os.urandom(4).hex()}"


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
