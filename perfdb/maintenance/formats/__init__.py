"""The formats of the files that are imported, one entry each, distinguished by what a file begins with.

A further format is a module here that ends with its entry, and its name in the table below: the import, its
errors and the help of `perfdb import` read the entry.
"""

from __future__ import annotations

from pathlib import Path

from perfdb.maintenance.formats.base import BEGINNING_BYTES, Format
from perfdb.maintenance.formats.export import EXPORT
from perfdb.maintenance.formats.page import PAGE
from perfdb.maintenance.formats.report import REPORT

FORMATS = (PAGE, EXPORT, REPORT)
"""Every format, in the order in which a file is tried; the last takes what no other does."""


def format_of(file: Path) -> Format:
    """Return the format of a file, which may be none at all: reading it as that says why.

    Raises:
        OSError: it cannot be read.
    """
    if not file.is_file():
        return REPORT
    with file.open("rb") as stream:
        beginning = stream.read(BEGINNING_BYTES)
    return next((each for each in FORMATS if each.fits(file, beginning)), REPORT)
