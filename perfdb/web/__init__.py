"""The dashboard: pages and a JSON API over the history, for a browser on this machine.

It needs ``pip install 'perfdb[web]'``; ``perfdb serve`` starts it.
"""

from __future__ import annotations

from perfdb.errors import MissingExtraError


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError:
    """Return the error that says which extra brings the missing module."""
    return MissingExtraError(f"the dashboard needs {error.name!r}: run pip install 'perfdb[web]'")
