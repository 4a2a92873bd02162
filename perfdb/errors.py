"""What can go wrong, as one tree, so that a caller can catch as widely as they like.

PerfdbError
├── UsageError            the tracker was used in an order that makes no sense
├── SettingsError         a setting is unknown, of the wrong type or out of range
├── FilterError           a question has a value that cannot be meant
├── InvalidSessionIdError a session id that must not become a file name
├── NotFoundError         no such session, or an id prefix that fits several
├── ReportError           a file is not a performance report
├── MissingExtraError     an optional dependency is not installed
└── StoreError            the database cannot do what was asked
    ├── SchemaError       its tables are older than this perfdb, or absent
    │   └── AbsentError   there is no database, or nothing of perfdb in it, yet
    ├── NewerSchemaError  its tables were made by a newer perfdb
    └── TimeLimitError    the answer took longer than a page may take

Each message says what happened, to which value, and what to do next. None of
them is ever raised out of a pipeline that is being recorded, unless ``strict``.
"""

from __future__ import annotations


class PerfdbError(Exception):
    """The root of everything that perfdb raises on purpose."""


class UsageError(PerfdbError, RuntimeError):
    """The tracker was used in an order that makes no sense."""


class SettingsError(PerfdbError, ValueError):
    """A setting is unknown, of the wrong type or out of range."""


class FilterError(PerfdbError, ValueError):
    """A question has a value that cannot be meant."""


class InvalidSessionIdError(PerfdbError, ValueError):
    """A session id that must not become a file name."""


class NotFoundError(PerfdbError, LookupError):
    """No such session, or an id prefix that fits several."""


class ReportError(PerfdbError, ValueError):
    """A file is not a performance report."""


class MissingExtraError(PerfdbError, ImportError):
    """An optional dependency is not installed."""


class StoreError(PerfdbError):
    """The database cannot do what was asked."""


class SchemaError(StoreError):
    """The tables are older than this perfdb, or absent."""


class AbsentError(SchemaError):
    """There is no database, or nothing of perfdb in it, yet."""


class NewerSchemaError(StoreError):
    """The tables were made by a newer perfdb."""


class TimeLimitError(StoreError):
    """The answer took longer than a page may take."""
