"""The tables, as SQLAlchemy Core knows them; ``migrations/`` makes them, a test holds both equal.

They are built for few bytes per run and for index-only answers; the views
``v_sessions`` and ``v_steps`` show them in the names and units of the report.
No ORM: nothing here is ever an object, and its import would double the worker's.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    cast,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from perfdb.encoding import encoder_of
from perfdb.errors import StoreError
from perfdb.measures import MEASURES
from perfdb.version import SCHEMA
from perfdb.vocabulary import (
    ALERT_STATES,
    BACKENDS,
    COMPLETED,
    FAILED,
    INTERRUPTED,
    RUNNING,
    SEVERITIES,
    STATUSES,
    recorded_name,
)
from perfdb.vocabulary import (
    UNCOUNTED_TAGS as UNCOUNTED_TAGS,
)

LONGEST_TEXT = 65_536  # characters that are read of a message: perfdb writes none that is longer
# Stored as the place in STATUSES: SQLite keeps 0 and 1 in no bytes at all, the words would take 45 a run.
STATUS_CODES = {status: code for code, status in enumerate(STATUSES)}
RUNNING_CODE = STATUS_CODES[RUNNING]
COMPLETED_CODE = STATUS_CODES[COMPLETED]
FAILED_CODE = STATUS_CODES[FAILED]
INTERRUPTED_CODE = STATUS_CODES[INTERRUPTED]

# Where a session's row came from; orphan: the line with its start was lost, and is awaited; provisional: it
# was made of what had come, without its beginning, which takes its place when it comes.
SOURCES = ("journal", "import", "orphan", "provisional")


BigId = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers rows by itself only for INTEGER
Document = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

HEAD = SCHEMA
# What the views of the newest migration are; tests compare.
VIEWS = {"v_sessions": "a7bc345198e08de9", "v_steps": "09460d638db6a96e"}


def _measured() -> list[Column[Any]]:
    return [Column(each.name, Double() if each.unit == "s" else BigInteger()) for each in MEASURES]


def _where(condition: str) -> dict[str, Any]:
    """Return what makes an index partial, in each of the databases."""
    return {f"{backend}_where": text(condition) for backend in BACKENDS}


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

series = Table(
    "series",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("pipeline", Text, nullable=False),
    Column("step_name", Text),  # NULL: the session's total
    Column("mode", Text, nullable=False),  # canonical JSON
    # NULLs are distinct to a plain unique index, hence two.
    Index("uq_series_step", "pipeline", "mode", "step_name", unique=True),
    Index(
        "uq_series_total",
        "pipeline",
        "mode",
        unique=True,
        **_where("step_name IS NULL"),
    ),
)

environments = Table(
    "environments",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("digest", String(32), nullable=False),  # of the other columns: they may be long, or NULL
    Column("host", Text),
    Column("python_version", Text),
    Column("perfdb_version", Text),
    Column("git_commit", Text),
    Column("command", Text),
    Column("git_branch", Text),
    UniqueConstraint("digest"),
)

journals = Table(
    "journals",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("journal_id", Text, nullable=False),
    Column("byte_offset", BigInteger, nullable=False),  # all lines before it are in this database
    Column("quarantined", BigInteger, nullable=False),  # lines that could not be read
    Column("host", Text),
    Column("pid", BigInteger),
    Column("created_at", Double),  # epoch s, as the file says
    Column("updated_at", Double, nullable=False),  # epoch s of the last batch
    # When its writer was last heard of: epoch s by the server's clock. NULL in SQLite: see leases.py.
    Column("seen_at", Double),
    UniqueConstraint("journal_id"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("session_id", Text, nullable=False),
    Column("series_id", ForeignKey("series.id"), nullable=False),  # pipeline and mode
    Column("start_time", Double, nullable=False),  # epoch s
    Column("total_duration", Double),  # s; NULL while it runs, and when its writer died
    Column("status", SmallInteger, nullable=False),
    # In baselines and trends: it completed (or runs), has none of UNCOUNTED_TAGS and was not answered from
    # a cache. Kept by ingest.
    Column("counted", Boolean, nullable=False),
    Column("fast_mode", Boolean),
    Column("success", Boolean),  # false also when it was called off: interrupted, with a total_duration
    Column("source", SmallInteger, nullable=False),
    Column("product_count", BigInteger),
    Column("error_message", Text),
    Column("attributes", Document),
    *_measured(),
    Column("utc_offset", Integer, nullable=False),  # s, of the writer's local time
    Column("pid", BigInteger),
    Column("environment_id", ForeignKey("environments.id")),
    Column("journal_pk", ForeignKey("journals.id", ondelete="SET NULL")),
    UniqueConstraint("session_id"),
    CheckConstraint("status BETWEEN 0 AND 3", name="status"),
    CheckConstraint("total_duration >= 0", name="total_duration"),
    Index("ix_sessions_start_time", "start_time"),  # the last N sessions
    # The last N of a series: its sessions from here, their steps lie together in `steps`. A second index
    # by time on every step would cost 150 bytes a run and save nothing that was measurable.
    Index("ix_sessions_series_id", "series_id", "start_time"),
    Index("ix_sessions_total_duration", "total_duration"),  # the slowest and the fastest
    Index("ix_sessions_failed", "start_time", **_where("status = 2")),
    # The few that run: for recovery and live views.
    Index(
        "ix_sessions_running",
        "journal_pk",
        **_where("status = 0"),
    ),
)

# Clustered by session: reading sessions is reading neighbours, and no second index is needed.
steps = Table(
    "steps",
    metadata,
    Column("session_pk", ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("seq", BigInteger, nullable=False),  # given by the writer, so that a replay finds it again
    Column("series_id", ForeignKey("series.id"), nullable=False),  # pipeline, step name, mode
    Column("start_time", Double, nullable=False),  # epoch s
    Column("day", Integer, nullable=False, server_default="0"),  # of start_time: days since 1970, UTC
    Column("duration", Double),  # s, monotonic clock; NULL while it runs, and when its writer died
    # Completed is success; failed is not, nor is interrupted with a duration: it was called off.
    Column("status", SmallInteger, nullable=False),
    # In percentiles: it completed, its data does not say cached=true, and its session is counted. Repeated
    # here so that the index below answers alone; a session that fails or is tagged later changes few steps.
    Column("counted", Boolean, nullable=False),
    Column("parent_seq", BigInteger),
    Column("lane", Integer, nullable=False),
    Column("error_message", Text),
    Column("additional_data", Document),
    Column("attempts", Document),
    Column("events", Document),
    *_measured(),
    PrimaryKeyConstraint("session_pk", "seq"),
    CheckConstraint("status BETWEEN 0 AND 3", name="status"),
    CheckConstraint("duration >= 0", name="duration"),
    # Exact percentiles: count the entries of a day, step over the smaller part with OFFSET. SQLite before
    # 3.41 looks "counted" up in the table, though the condition of the index implies it: hence the column.
    Index(
        "ix_steps_day",
        "series_id",
        "day",
        "duration",
        "counted",
        **_where("counted"),
    ),
    # The runs of one step among the many of its sessions: 500 are read in a few milliseconds.
    Index("ix_steps_session_pk", "session_pk", "series_id"),
    Index(
        "ix_steps_failed",
        "series_id",
        "day",
        **_where("status = 2"),
    ),
    sqlite_with_rowid=False,
)

samples = Table(
    "samples",
    metadata,
    Column("session_pk", ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("time", Double, nullable=False),  # epoch s
    Column("cpu_percent", Double),  # of the process; 100 is one core
    Column("rss_bytes", BigInteger),
    PrimaryKeyConstraint("session_pk", "time"),
    sqlite_with_rowid=False,
)

session_tags = Table(
    "session_tags",
    metadata,
    Column("session_pk", ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    PrimaryKeyConstraint("session_pk", "name"),
    sqlite_with_rowid=False,
)

# What the runs of a series and a day (of their own start, UTC) were together: see rollups.py. Those of
# sessions that were pruned have a row of their own, which nothing can make again. Of a measure the failures
# are those that have a value.
rollups = Table(
    "rollups",
    metadata,
    Column("series_id", ForeignKey("series.id"), nullable=False),
    Column("measure", Text, nullable=False),
    Column("pruned", Boolean, nullable=False),
    Column("day", Integer, nullable=False),  # days since 1970, UTC
    Column("n", BigInteger, nullable=False),  # of those that count
    Column("failures", BigInteger, nullable=False),
    Column("total", Double, nullable=False),  # of the n values, as are the next three
    Column("low", Double),
    Column("high", Double),
    Column("buckets", LargeBinary),  # see buckets.py; NULL where low and high are all values
    PrimaryKeyConstraint("series_id", "measure", "pruned", "day"),
    sqlite_with_rowid=False,
)

# Days whose roll-ups are not those of their runs, because something was written since. They are read from the
# runs until somebody rolls them up: ``claim`` says who is at it, 0 is for whoever wrote.
stale_days = Table(
    "stale_days",
    metadata,
    Column("day", Integer, nullable=False),
    Column("claim", BigInteger, nullable=False),
    PrimaryKeyConstraint("day", "claim"),
    sqlite_with_rowid=False,
)

# Which values the attributes of the sessions of a day have, and in which hours; and which three letters
# follow each other in their texts: see attribute_digests.py. And which measures have roll-ups of that day:
# a JSON object of names, false for those that would take too much. NULL where the day was rolled up before
# there were letters (0013), or measures (0014).
daily_values = Table(
    "daily_values",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("digests", LargeBinary, nullable=False),
    Column("letters", LargeBinary),
    Column("measures", Text),
)

# What measures were worth in runs that were pruned, until their figures are added to the roll-ups: see
# daily_measures.py.
pruned_measures = Table(
    "pruned_measures",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
)

# Few rows, read by people too: words rather than codes.
alerts = Table(
    "alerts",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("series_id", ForeignKey("series.id"), nullable=False),  # pipeline, step name, mode
    Column("rule", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("direction", Text, nullable=False),  # up or down: where worse is
    Column("severity", Text, nullable=False),
    Column("state", Text, nullable=False),
    # The next verdict looks at it: it is open, was just closed, or was closed by a person and still true.
    Column("active", Boolean, nullable=False),
    Column("value", Double, nullable=False),
    Column("baseline", Double),  # as it was when the alert opened, like bound
    Column("effect", Double),  # percent
    Column("limit", Double),
    Column("bound", Double),  # a run at or inside it is a good one
    Column("n", Integer, nullable=False),
    Column("baseline_n", Integer, nullable=False),
    Column("since_session_id", Text, nullable=False),  # no key: retention may delete the session
    Column("since_time", Double, nullable=False),
    Column("last_session_id", Text, nullable=False),
    Column("last_time", Double, nullable=False),
    Column("hits", Integer, nullable=False),
    Column("good", Integer, nullable=False),
    Column("reopened", Integer, nullable=False),
    Column("inhibited_by", BigInteger),
    Column("silenced", Boolean, nullable=False),
    Column("opened_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("closed_at", Double),
    Column("notified_at", Double),
    Column("notified_severity", Text),
    Column("headline", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("details", Document),
    CheckConstraint(f"state IN {ALERT_STATES}", name="state"),
    CheckConstraint(f"severity IN {SEVERITIES}", name="severity"),
    # One per fingerprint, whichever process writes.
    Index(
        "uq_alerts_active",
        "series_id",
        "rule",
        "metric",
        "direction",
        unique=True,
        **_where("active"),
    ),
    Index("ix_alerts_opened_at", "opened_at"),
)

# What happened to an alert; rows are added and never changed.
alert_events = Table(
    "alert_events",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("alert_id", ForeignKey("alerts.id", ondelete="CASCADE"), nullable=False),
    Column("at", Double, nullable=False),  # epoch s
    Column("event", Text, nullable=False),
    Column("session_id", Text),  # whose verdict it was
    Column("note", Text),  # what a person said
    Index("ix_alert_events_alert_id", "alert_id"),
)

# Messages on their way to a channel.
outbox = Table(
    "outbox",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("channel", Text, nullable=False),
    Column("kind", Text, nullable=False),  # digest, or summary of what was held back
    Column("session_id", Text),
    Column("payload", Document, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("next_at", Double, nullable=False),  # not before; also the lease of who sends it now
    Column("attempts", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("sent_at", Double),
    Column("last_error", Text),
    CheckConstraint("state IN ('waiting', 'sent', 'failed')", name="state"),
    Index(
        "ix_outbox_waiting",
        "next_at",
        **_where("state = 'waiting'"),
    ),
    Index("ix_outbox_channel", "channel", "created_at"),  # how many in the last hour
)

# Which alerts are silenced for a while; a NULL fits everything.
silences = Table(
    "silences",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("rule", Text),
    Column("pipeline", Text),
    Column("step_name", Text),
    Column("alert_id", ForeignKey("alerts.id", ondelete="CASCADE")),
    Column("reason", Text),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
)

# Where a person said: from here on this is normal (accepted), or: runs are held against this (pinned).
baselines = Table(
    "baselines",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("series_id", ForeignKey("series.id"), nullable=False),
    Column("metric", Text, nullable=False),
    Column("since_session_id", Text, nullable=False),
    Column("since_time", Double, nullable=False),  # runs before it are not compared with
    Column("value", Double),  # the level: a limit below an accepted one gives way
    Column("alert_id", ForeignKey("alerts.id", ondelete="SET NULL")),
    Column("created_at", Double, nullable=False),
    Column("pinned", Boolean, nullable=False, server_default=false()),
    # Of pinned ones: all that rules need to know of the runs, which retention may delete.
    Column("n", Integer),
    Column("spread", Double),  # robust standard deviation; of the logarithms when all runs are > 0
    Column("until_session_id", Text),  # the last of the runs
    Column("until_time", Double),
    Column("note", Text),
    Index("ix_baselines_series_id", "series_id", "metric"),
)


# What happened around the runs, as a person or a deployment said it: a NULL pipeline is all of them.
annotated = Table(
    "annotations",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("at", Double, nullable=False),
    Column("text", Text, nullable=False),
    Column("pipeline", Text),
    Column("created_at", Double, nullable=False),
    Index("ix_annotations_at", "at"),
)


def server_time() -> ColumnElement[float]:
    """Return SQL for epoch seconds by the clock of the PostgreSQL server."""
    return cast(func.extract("epoch", func.clock_timestamp()), Double)


_strict = encoder_of(json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")))

_LONG_NUMBER = re.compile(r"\d{19}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def to_json(value: Any) -> str:
    """Return JSON that both databases store: UTF-8, no NUL, no lone surrogate, no NaN."""
    try:
        document = _strict(value)
        if document.isascii() and "\\u0000" not in document:
            return document
        document.encode()
        if "\\u0000" not in document:
            return document
    except (ValueError, TypeError, RecursionError):  # UnicodeEncodeError is a ValueError
        pass
    return json.dumps(_storable(value, 0), ensure_ascii=False, separators=(",", ":"))


def from_json(value: Any) -> Any:
    """Return what a JSON column holds; what is no text has been parsed already.

    Raises:
        ValueError: it is no JSON.
        StoreError: it is nested too deeply; nothing that perfdb wrote is.
    """
    if isinstance(value, bytes):
        value = value.decode()
    if not isinstance(value, str):
        return value
    try:
        parsed = json.loads(value, parse_int=_whole_or_float if _LONG_NUMBER.search(value) else None)
        return without_lone_surrogates(parsed, value)
    except RecursionError:
        raise StoreError(
            "the database holds a document that is nested too deeply to be read: restore a backup (perfdb "
            "restore), or delete the session that has it"
        ) from None


def without_lone_surrogates(parsed: Any, document: str) -> Any:
    """Return what a document holds with no text that nobody could send: perfdb writes none, others do."""
    return parsed if _SURROGATE.search(document) is None else _storable(parsed, 0)


def _whole_or_float(digits: str) -> int | float:
    """Return a float for what no column of whole numbers holds: PostgreSQL writes 1e300 in 301 digits."""
    number = int(digits) if len(digits) <= 20 else 1 << 63
    return number if -(1 << 63) <= number < 1 << 63 else float(digits)


def storable_text(value: str) -> str:
    """Return the text as both databases can keep it: no NUL, no lone surrogate."""
    if value.isascii():
        return value.replace("\0", "\ufffd") if "\0" in value else value
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def storable_name(name: str) -> str:
    """Return the form in which a name is kept."""
    return recorded_name(storable_text(name))


def _storable(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= 1024 else f"<integer of {value.bit_length()} bits>"
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return storable_text(value)
    if depth > 32:
        return "<too deep>"
    if isinstance(value, dict):
        return {storable_text(str(key)): _storable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(item, depth + 1) for item in value]
    return storable_text(f"<{type(value).__name__}>")
