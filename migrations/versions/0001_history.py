"""The history of sessions: sessions, steps, samples, series, journals, and their views."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A migration stands by itself: it must go on making the same tables whatever models.py becomes.
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def partial_index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def upgrade() -> None:
    op.create_table(
        "series",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("step_name", sa.Text()),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_series"),
    )
    op.create_index("uq_series_step", "series", ["pipeline", "mode", "step_name"], unique=True)
    partial_index("uq_series_total", "series", ["pipeline", "mode"], "step_name IS NULL", unique=True)
    op.create_table(
        "environments",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("digest", sa.String(32), nullable=False),
        sa.Column("host", sa.Text()),
        sa.Column("python_version", sa.Text()),
        sa.Column("perfdb_version", sa.Text()),
        sa.Column("git_commit", sa.Text()),
        sa.Column("command", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_environments"),
        sa.UniqueConstraint("digest", name="uq_environments_digest"),
    )
    op.create_table(
        "journals",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("journal_id", sa.Text(), nullable=False),
        sa.Column("byte_offset", sa.BigInteger(), nullable=False),
        sa.Column("quarantined", sa.BigInteger(), nullable=False),
        sa.Column("host", sa.Text()),
        sa.Column("pid", sa.BigInteger()),
        sa.Column("created_at", sa.Double()),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_journals"),
        sa.UniqueConstraint("journal_id", name="uq_journals_journal_id"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("series_id", BIG_ID, nullable=False),
        sa.Column("start_time", sa.Double(), nullable=False),
        sa.Column("total_duration", sa.Double()),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("fast_mode", sa.Boolean()),
        sa.Column("success", sa.Boolean()),
        sa.Column("source", sa.SmallInteger(), nullable=False),
        sa.Column("product_count", sa.BigInteger()),
        sa.Column("error_message", sa.Text()),
        sa.Column("attributes", DOCUMENT),
        sa.Column("cpu_s", sa.Double()),
        sa.Column("rss_peak_bytes", sa.BigInteger()),
        sa.Column("rss_mean_bytes", sa.BigInteger()),
        sa.Column("utc_offset", sa.Integer(), nullable=False),
        sa.Column("pid", sa.BigInteger()),
        sa.Column("environment_id", BIG_ID),
        sa.Column("journal_pk", BIG_ID),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.UniqueConstraint("session_id", name="uq_sessions_session_id"),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name="fk_sessions_series_id"),
        sa.ForeignKeyConstraint(["environment_id"], ["environments.id"], name="fk_sessions_environment_id"),
        sa.ForeignKeyConstraint(
            ["journal_pk"], ["journals.id"], name="fk_sessions_journal_pk", ondelete="SET NULL"
        ),
        sa.CheckConstraint("status BETWEEN 0 AND 3", name="ck_sessions_status"),
        sa.CheckConstraint("total_duration >= 0", name="ck_sessions_total_duration"),
    )
    op.create_index("ix_sessions_start_time", "sessions", ["start_time"])
    op.create_index("ix_sessions_series_id", "sessions", ["series_id", "start_time"])
    partial_index("ix_sessions_running", "sessions", ["journal_pk"], "status = 0")
    op.create_table(
        "steps",
        sa.Column("session_pk", BIG_ID, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("series_id", BIG_ID, nullable=False),
        sa.Column("start_time", sa.Double(), nullable=False),
        sa.Column("duration", sa.Double()),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("parent_seq", sa.BigInteger()),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("error_message", sa.Text()),
        sa.Column("additional_data", DOCUMENT),
        sa.Column("attempts", DOCUMENT),
        sa.Column("events", DOCUMENT),
        sa.Column("cpu_s", sa.Double()),
        sa.Column("rss_peak_bytes", sa.BigInteger()),
        sa.Column("rss_mean_bytes", sa.BigInteger()),
        sa.PrimaryKeyConstraint("session_pk", "seq", name="pk_steps"),
        sa.ForeignKeyConstraint(
            ["session_pk"], ["sessions.id"], name="fk_steps_session_pk", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name="fk_steps_series_id"),
        sa.CheckConstraint("status BETWEEN 0 AND 3", name="ck_steps_status"),
        sa.CheckConstraint("duration >= 0", name="ck_steps_duration"),
        sqlite_with_rowid=False,
    )
    partial_index("ix_steps_duration", "steps", ["series_id", "duration"], "counted")
    partial_index("ix_steps_failed", "steps", ["series_id"], "status = 2")
    op.create_table(
        "samples",
        sa.Column("session_pk", BIG_ID, nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("cpu_percent", sa.Double()),
        sa.Column("rss_bytes", sa.BigInteger()),
        sa.PrimaryKeyConstraint("session_pk", "time", name="pk_samples"),
        sa.ForeignKeyConstraint(
            ["session_pk"], ["sessions.id"], name="fk_samples_session_pk", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "session_tags",
        sa.Column("session_pk", BIG_ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("session_pk", "name", name="pk_session_tags"),
        sa.ForeignKeyConstraint(
            ["session_pk"], ["sessions.id"], name="fk_session_tags_session_pk", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    dialect = op.get_context().dialect.name
    op.execute(session_view(dialect))
    op.execute(step_view(dialect))


def downgrade() -> None:
    op.execute("DROP VIEW v_steps")
    op.execute("DROP VIEW v_sessions")
    for table in ("session_tags", "samples", "steps", "sessions", "journals", "environments", "series"):
        op.drop_table(table)


def status_word(column: str) -> str:
    return (
        f"CASE {column} WHEN 0 THEN 'running' WHEN 1 THEN 'completed' "
        "WHEN 2 THEN 'failed' ELSE 'interrupted' END"
    )


def iso(dialect: str, instant: str) -> str:
    """Return SQL for an instant as ISO 8601 text, UTC, to the microsecond."""
    if dialect == "postgresql":
        return f"""to_char(to_timestamp({instant}) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    micros = f"CAST(round(({instant}) * 1e6) AS INTEGER)"  # strftime knows milliseconds only
    return (
        f"strftime('%Y-%m-%dT%H:%M:%S', {micros} / 1000000, 'unixepoch') "
        f"|| printf('.%06dZ', {micros} % 1000000)"
    )


def cpu_percent(alias: str, duration: str) -> str:
    return f"CASE WHEN {alias}.{duration} > 0 THEN 100.0 * {alias}.cpu_s / {alias}.{duration} END"


def empty_object(dialect: str, column: str) -> str:
    return f"coalesce({column}, '{{}}'::jsonb)" if dialect == "postgresql" else f"coalesce({column}, '{{}}')"


def empty_list(dialect: str, column: str) -> str:
    return f"coalesce({column}, '[]'::jsonb)" if dialect == "postgresql" else f"coalesce({column}, '[]')"


def session_view(dialect: str) -> str:
    names = "(SELECT name FROM session_tags WHERE session_pk = s.id ORDER BY name) t"
    gathered = "jsonb_agg(name)" if dialect == "postgresql" else "json_group_array(name)"
    tags = empty_list(dialect, f"(SELECT {gathered} FROM {names})")
    ended = "s.start_time + s.total_duration"
    return f"""
CREATE VIEW v_sessions AS
SELECT s.session_id, r.pipeline, {status_word("s.status")} AS status, r.mode, s.fast_mode, s.success,
       s.product_count, s.start_time, {ended} AS end_time, s.total_duration,
       {iso(dialect, "s.start_time")} AS started_at, {iso(dialect, ended)} AS ended_at,
       s.error_message, s.cpu_s, {cpu_percent("s", "total_duration")} AS cpu_percent,
       s.rss_peak_bytes, s.rss_mean_bytes, {empty_object(dialect, "s.attributes")} AS attributes,
       {tags} AS tags, e.host, s.pid, e.python_version, e.perfdb_version, e.git_commit, e.command
FROM sessions s
JOIN series r ON r.id = s.series_id
LEFT JOIN environments e ON e.id = s.environment_id
"""


def step_view(dialect: str) -> str:
    success = "CASE p.status WHEN 1 THEN {} WHEN 2 THEN {} END"
    success = success.format("true", "false") if dialect == "postgresql" else success.format(1, 0)
    ended = "p.start_time + p.duration"
    return f"""
CREATE VIEW v_steps AS
SELECT s.session_id, r.pipeline, r.step_name, p.seq, p.parent_seq, p.lane, p.start_time,
       {ended} AS end_time, p.duration, {success} AS success, {status_word("p.status")} AS status,
       p.error_message, {empty_object(dialect, "p.additional_data")} AS additional_data,
       {empty_list(dialect, "p.attempts")} AS attempts, {empty_list(dialect, "p.events")} AS events,
       p.cpu_s, {cpu_percent("p", "duration")} AS cpu_percent, p.rss_peak_bytes, p.rss_mean_bytes,
       s.fast_mode, r.mode, {iso(dialect, "p.start_time")} AS started_at, {iso(dialect, ended)} AS ended_at
FROM steps p
JOIN sessions s ON s.id = p.session_pk
JOIN series r ON r.id = p.series_id
"""
