"""Where designs are written: looked at before anything is paid for, and never the end of a paid picture."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path

from perfdb.outputs import write_own
from perfdb.pathway.errors import PathwayError, SavedElsewhereError
from perfdb.settings import shown_path
from perfdb.text import size_text

_WHAT_TO_DO = "set output_dir under [pathway] to a folder that can be written"
_ROOM = 20_000_000  # bytes that a design with its composite may take


def ensure_writable(folder: Path) -> None:
    """Make the folder and try a file in it.

    Raises:
        PathwayError: nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, prefix=".perfdb-", buffering=0) as probe:
            probe.write(b"\0" * 4096)
        free = shutil.disk_usage(folder).free
        if free < _ROOM:
            raise OSError(ENOSPC, f"only {size_text(free)} are left there")
    except (OSError, ValueError) as error:
        raise PathwayError(
            f"designs cannot be written to {shown_path(folder)} ({_reason(error)}), so none is paid for: "
            f"{_WHAT_TO_DO}"
        ) from None


def save(data: bytes, name: str, folder: Path, instead: Path) -> Path:
    """Write a design and return where it is.

    Raises:
        SavedElsewhereError: the folder cannot be written any more: it is in ``instead``, or where else it
            could be written.
        PathwayError: it could not be written anywhere.
    """
    try:
        return write(data, folder / name, safe=True)
    except (OSError, ValueError) as error:
        reason = _reason(error)
    failed = f"the design cannot be written to {shown_path(folder)} ({reason})"
    for place in (instead, folder.parent, None):
        with suppress(OSError, ValueError):
            where = place or Path(tempfile.mkdtemp(prefix="perfdb-designs-"))
            path = write(data, where / name, safe=True)
            raise SavedElsewhereError(f"{failed}: it was saved as {path} instead; {_WHAT_TO_DO}", path)
    raise PathwayError(f"{failed}, and nowhere else: {_WHAT_TO_DO}")


def write(data: bytes, path: Path, *, safe: bool = False) -> Path:
    """Write a picture that is whole or not there, and return its path; ``safe`` waits until the disk has it.

    What is no picture of ours (a FIFO, a device, another user's file) is never replaced.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_own(path, data, for_others=True, safe=safe)
    return path


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
