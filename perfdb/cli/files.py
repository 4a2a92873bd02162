"""Write a command's answer where ``-o`` says: stdout, or a file that appears only when it is complete."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from perfdb.errors import StoreError
from perfdb.outputs import place_of, spare_databases, write_output
from perfdb.settings import shown_path

STDOUT = Path("-")


def write_whole(pieces: Iterable[bytes], path: Path) -> None:
    """Write the pieces to stdout (``-``), or to what the path names.

    Raises:
        StoreError: it cannot be written; a file is as it was.
    """
    try:
        spare_databases(path)
        if path == STDOUT:
            sys.stdout.flush()
            sys.stdout.buffer.writelines(pieces)
            sys.stdout.buffer.flush()
        else:
            write_output(path, pieces)
    except BrokenPipeError:  # the reader has enough
        raise
    except OSError as error:
        raise StoreError(f"{output_name(path)} cannot be written: {error.strerror or error}") from None


def output_name(path: Path) -> str:
    """Return what a person calls the output."""
    return "stdout" if path == STDOUT else shown_path(path)


def has_a_name(path: Path) -> bool:
    """Say whether it becomes a file, whose name says of which kind it is.

    Raises:
        StoreError: a folder is in its place.
    """
    try:
        return path != STDOUT and place_of(path) is not None
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from None


def is_terminal(path: Path) -> bool:
    """Say whether the output would be shown to a person."""
    return path == STDOUT and sys.stdout.isatty()
