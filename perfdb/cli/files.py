"""Write a command's answer to a file that appears only when it is complete."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from perfdb.errors import StoreError


def write_whole(pieces: Iterable[bytes], path: Path) -> None:
    """Write the pieces to a file beside the path and give it its name at the end.

    Raises:
        StoreError: the folder is missing or cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.writelines(pieces)
        os.replace(name, path)
    except OSError as error:
        os.unlink(name)
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None
    except BaseException:
        os.unlink(name)
        raise
