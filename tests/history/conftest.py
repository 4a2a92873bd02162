"""Commands are run in a folder of their own."""

from tests.commands import folder, perfdb

__all__ = ["folder", "perfdb"]
