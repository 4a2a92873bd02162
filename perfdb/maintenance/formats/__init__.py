"""The formats of the files that are imported, one entry each, distinguished by their content.

A further format is a module here that ends with its entry, and its name in the table below: the import, its
errors and the help of `perfdb import` read the entry. Another package adds its own by the entry point group
``perfdb.formats``, whose objects are ``Format``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from perfdb.maintenance.formats.base import BEGINNING_BYTES, Format, suffix_of, unpacked_beginning
from perfdb.maintenance.formats.dbt import DBT
from perfdb.maintenance.formats.export import EXPORT
from perfdb.maintenance.formats.github_benchmark import GITHUB_BENCHMARK
from perfdb.maintenance.formats.hyperfine import HYPERFINE
from perfdb.maintenance.formats.otlp import OTLP
from perfdb.maintenance.formats.page import PAGE
from perfdb.maintenance.formats.pytest_benchmark import PYTEST_BENCHMARK
from perfdb.maintenance.formats.report import REPORT
from perfdb.search import open_file

FORMATS = (PAGE, EXPORT, PYTEST_BENCHMARK, HYPERFINE, GITHUB_BENCHMARK, DBT, OTLP, REPORT)
"""Every format of ours, in the order in which a file is tried; the last takes what no other does."""

ENTRY_POINTS = "perfdb.formats"
logger = logging.getLogger(__name__)


def format_of(file: Path) -> Format:
    """Return the format of a file, which may be none at all: reading it as that says why.

    Raises:
        OSError: it cannot be read.
    """
    if not file.is_file():
        return REPORT
    with open_file(file) as stream:
        beginning = stream.read(BEGINNING_BYTES)
    for form in of_others():  # they read a file as it is
        if _fits(form, file, beginning):
            return form
    beginning = unpacked_beginning(beginning)
    return next((form for form in FORMATS if _fits(form, file, beginning)), REPORT)


def _fits(form: Format, file: Path, beginning: bytes) -> bool:
    try:
        return form.fits(file, beginning)
    except OSError:
        raise
    except Exception as error:  # of another package: its mistake stops no other format
        _tell(form.words, repr(error))
        return False


@cache
def _tell(words: str, reason: str) -> None:
    """Say once what a format cannot do: a folder that is watched is looked at again and again."""
    logger.warning("the format %s cannot tell its files: %s", words, reason)


def in_folder(folder: Path) -> Iterator[Path]:
    """Yield the files that a folder stands for: every ``*.json`` in and below it, and what fits a format.

    Any may be packed, as ``*.json.gz``. What cannot be looked at is among them, so that reading it says why.
    """
    suffixes = {suffix for each in (*of_others(), *FORMATS) for suffix in each.suffixes}
    for path in sorted(_below(folder)):
        named = {path.suffix, suffix_of(path)}
        is_meant = ".json" in named or (named & suffixes and _has_format(path))
        if (is_meant and path.is_file()) or (path.is_dir() and not path.is_symlink()):
            yield path


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, however deep, and the folders that cannot be read; no link is followed.

    What goes away meanwhile is passed over.
    """
    folders = [folder]
    while folders:
        here = folders.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    else:
                        yield Path(entry.path)
        except FileNotFoundError:
            continue
        except OSError:
            yield here


def _has_format(file: Path) -> bool:
    try:
        return bool(format_of(file).suffixes)
    except OSError:
        return True


@cache
def of_others() -> tuple[Format, ...]:
    """Return the formats that other packages bring; one that cannot be loaded is named in the log."""
    from importlib.metadata import entry_points

    found = []
    for point in entry_points(group=ENTRY_POINTS):
        try:
            found.append(_checked(point.load()))
        except Exception as error:
            logger.warning("the format %s of %s cannot be used: %r", point.name, point.value, error)
    return tuple(found)


def _checked(loaded: object) -> Format:
    if not isinstance(loaded, Format):
        raise TypeError(f"it must be a Format, not {type(loaded).__name__}")
    return loaded
