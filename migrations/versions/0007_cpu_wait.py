"""How long the thread of a session or step was ready to run while the machine ran something else."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("sessions", "steps"):
        op.add_column(table, sa.Column("cpu_wait_s", sa.Double()))
    make_views(", {}.cpu_wait_s")


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":  # a view that is replaced cannot lose a column
        op.execute("DROP VIEW v_steps")
        op.execute("DROP VIEW v_sessions")
    make_views("")
    for table in ("sessions", "steps"):
        op.drop_column(table, "cpu_wait_s")


def make_views(further: str) -> None:
    dialect = op.get_context().dialect.name
    views = {
        "v_sessions": session_view(dialect, further.format("s")),
        "v_steps": step_view(dialect, further.format("p")),
    }
    for name, view in views.items():
        if dialect == "postgresql":  # in its place, because other views may be made of it
            op.execute(f"CREATE OR REPLACE VIEW {name} AS {view}")
        else:
            op.execute(f"DROP VIEW IF EXISTS {name}")
            op.execute(f"CREATE VIEW {name} AS {view}")


def session_view(dialect: str, further: str) -> str:
    names = "(SELECT name FROM session_tags WHERE session_pk = s.id ORDER BY name) t"
    gathered = "jsonb_agg(name)" if dialect == "postgresql" else "json_group_array(name)"
    cast = "::jsonb" if dialect == "postgresql" else ""
    ended = "s.start_time + s.total_duration"
    status = (
        "CASE s.status WHEN 0 THEN 'running' WHEN 1 THEN 'completed' "
        "WHEN 2 THEN 'failed' ELSE 'interrupted' END"
    )
    return f"""
SELECT s.session_id, r.pipeline, {status} AS status, r.mode, s.fast_mode, s.success,
       s.product_count, s.start_time, {ended} AS end_time, s.total_duration,
       {iso(dialect, "s.start_time")} AS started_at, {iso(dialect, ended)} AS ended_at,
       s.error_message, s.cpu_s,
       CASE WHEN s.total_duration > 0 THEN 100.0 * s.cpu_s / s.total_duration END AS cpu_percent,
       s.rss_peak_bytes, s.rss_mean_bytes, coalesce(s.attributes, '{{}}'{cast}) AS attributes,
       coalesce((SELECT {gathered} FROM {names}), '[]'{cast}) AS tags, e.host, s.pid, e.python_version,
       e.perfdb_version, e.git_commit, e.command{further}
FROM sessions s
JOIN series r ON r.id = s.series_id
LEFT JOIN environments e ON e.id = s.environment_id
"""


def step_view(dialect: str, further: str) -> str:
    true, false = ("true", "false") if dialect == "postgresql" else (1, 0)
    success = (
        f"CASE p.status WHEN 1 THEN {true} WHEN 2 THEN {false} "
        f"WHEN 3 THEN CASE WHEN p.duration IS NOT NULL THEN {false} END END"
    )
    status = (
        "CASE p.status WHEN 0 THEN 'running' WHEN 1 THEN 'completed' "
        "WHEN 2 THEN 'failed' ELSE 'interrupted' END"
    )
    cast = "::jsonb" if dialect == "postgresql" else ""
    ended = "p.start_time + p.duration"
    return f"""
SELECT s.session_id, r.pipeline, r.step_name, p.seq, p.parent_seq, p.lane, p.start_time,
       {ended} AS end_time, p.duration, {success} AS success, {status} AS status,
       p.error_message, coalesce(p.additional_data, '{{}}'{cast}) AS additional_data,
       coalesce(p.attempts, '[]'{cast}) AS attempts, coalesce(p.events, '[]'{cast}) AS events,
       p.cpu_s, CASE WHEN p.duration > 0 THEN 100.0 * p.cpu_s / p.duration END AS cpu_percent,
       p.rss_peak_bytes, p.rss_mean_bytes,
       s.fast_mode, r.mode, {iso(dialect, "p.start_time")} AS started_at,
       {iso(dialect, ended)} AS ended_at{further}
FROM steps p
JOIN sessions s ON s.id = p.session_pk
JOIN series r ON r.id = p.series_id
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
