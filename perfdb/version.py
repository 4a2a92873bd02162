"""The version of this perfdb, which the build reads here, and that of the tables."""

__version__ = "0.2.0"
SCHEMA = "0014"  # the newest file in migrations/versions; a test compares
