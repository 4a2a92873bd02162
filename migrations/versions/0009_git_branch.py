"""The branch of git that was checked out when a session ran."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("environments", sa.Column("git_branch", sa.Text()))
    dialect = op.get_context().dialect.name
    if dialect == "postgresql":  # in its place, because other views may be made of it
        op.execute(
            f"CREATE OR REPLACE VIEW v_sessions AS {session_view(dialect, ', s.cpu_wait_s, e.git_branch')}"
        )
    else:
        op.execute("DROP VIEW IF EXISTS v_sessions")
        op.execute(f"CREATE VIEW v_sessions AS {session_view(dialect, ', s.cpu_wait_s, e.git_branch')}")


def downgrade() -> None:
    op.execute("DROP VIEW IF EXISTS v_sessions")
    op.drop_column("environments", "git_branch")
    op.execute(f"CREATE VIEW v_sessions AS {session_view(op.get_context().dialect.name, ', s.cpu_wait_s')}")


def session_view(dialect: str, further: str) -> str:
    cast = "::jsonb" if dialect == "postgresql" else ""
    names = "(SELECT name FROM session_tags WHERE session_pk = s.id ORDER BY name) t"
    gathered = "jsonb_agg(name)" if dialect == "postgresql" else "json_group_array(name)"
    ended = "s.start_time + s.total_duration"
    return f"""
SELECT s.session_id, r.pipeline,
       CASE s.status WHEN 0 THEN 'running' WHEN 1 THEN 'completed' WHEN 2 THEN 'failed'
       ELSE 'interrupted' END AS status, r.mode, s.fast_mode, s.success,
       s.product_count, s.start_time, {ended} AS end_time, s.total_duration,
       {iso(dialect, "s.start_time")} AS started_at, {iso(dialect, ended)} AS ended_at,
       s.error_message, s.cpu_s,
       CASE WHEN s.total_duration > 0 THEN 100.0 * s.cpu_s / s.total_duration END AS cpu_percent,
       s.rss_peak_bytes, s.rss_mean_bytes, coalesce(s.attributes, '{{}}'{cast}) AS attributes,
       coalesce((SELECT {gathered} FROM {names}), '[]'{cast}) AS tags,
       e.host, s.pid, e.python_version, e.perfdb_version, e.git_commit, e.command{further}
FROM sessions s
JOIN series r ON r.id = s.series_id
LEFT JOIN environments e ON e.id = s.environment_id
"""


def iso(dialect: str, instant: str) -> str:
    """Return SQL for an instant as ISO 8601 text, UTC, to the microsecond."""
    if dialect == "postgresql":
        return f"""to_char(to_timestamp({instant}) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    micros = f"CAST(round(({instant}) * 1e6) AS INTEGER)"  # strftime knows milliseconds only
    return (
        f"strftime('%Y-%m-%dT%H:%M:%S', {micros} / 1000000, 'unixepoch') "
        f"|| printf('.%06dZ', {micros} % 1000000)"
    )
