"""``success`` of a step that was called off is false, as in its report: it is interrupted and has an end."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _replace("WHEN 3 THEN CASE WHEN p.duration IS NOT NULL THEN {false} END ")


def downgrade() -> None:
    _replace("")


def _replace(interrupted: str) -> None:
    dialect = op.get_context().dialect.name
    if dialect == "postgresql":  # in its place, because other views may be made of it
        op.execute(f"CREATE OR REPLACE VIEW v_steps AS {step_view(dialect, interrupted)}")
    else:
        op.execute("DROP VIEW IF EXISTS v_steps")
        op.execute(f"CREATE VIEW v_steps AS {step_view(dialect, interrupted)}")


def step_view(dialect: str, interrupted: str) -> str:
    true, false = ("true", "false") if dialect == "postgresql" else (1, 0)
    success = f"CASE p.status WHEN 1 THEN {true} WHEN 2 THEN {false} {interrupted.format(false=false)}END"
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
       s.fast_mode, r.mode, {iso(dialect, "p.start_time")} AS started_at, {iso(dialect, ended)} AS ended_at
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
