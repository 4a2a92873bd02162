"""Write a command's answer where ``-o`` says: stdout, or a file that appears only when it is complete."""

from __future__ import annotations

import os
import sys
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from perfdb.errors import StoreError
from perfdb.outputs import place_of, spare_databases, write_output
from perfdb.settings import shown_path
from perfdb.text import inert

STDOUT = Path("-")


class ExistingFile(click.Path):
    """A file that is there; of one that cannot be looked at, the reason is told, not that there is none."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Return the path."""
        try:
            os.stat(value)
        except FileNotFoundError:
            pass  # click has the words
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self.fail(f"{shown_path(Path(value))} cannot be read: {reason}", param, ctx)
        return super().convert(value, param, ctx)


def write_whole(pieces: Iterable[bytes], path: Path) -> None:
    """Write the pieces to stdout (``-``), or to what the path names.

    Raises:
        StoreError: it cannot be written; a file is as it was.
    """
    try:
        spare_databases(path)
        if path == STDOUT:
            sys.stdout.flush()
            sys.stdout.buffer.writelines(for_stdout(pieces))
            sys.stdout.buffer.flush()
        else:
            write_output(path, pieces)
    except BrokenPipeError:  # the reader has enough
        raise
    except OSError as error:
        raise StoreError(f"{output_name(path)} cannot be written: {error.strerror or error}") from None


def for_stdout(pieces: Iterable[bytes]) -> Iterable[bytes]:
    """Return the pieces as stdout gets them: to a program as they are, on a terminal inert as everywhere."""
    return _inert(pieces) if sys.stdout.isatty() else pieces


def _inert(pieces: Iterable[bytes]) -> Iterator[bytes]:
    decode = getincrementaldecoder("utf-8")("replace").decode  # a piece may end inside of a character
    for piece in pieces:
        lines = decode(piece).replace("\r\n", "\n").split("\n")
        yield "\n".join(map(inert, lines)).encode("utf-8", "backslashreplace")


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
