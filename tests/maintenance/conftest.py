"""Commands are run in a folder of their own."""

from tests.commands import folder, perfdb, recorded

__all__ = ["folder", "perfdb", "recorded"]
