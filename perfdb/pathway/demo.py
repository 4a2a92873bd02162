"""The demo: 60 recorded designs in accelerated time; a model becomes dearer, and a step slower.

The SDKs, the pictures and the recording are real, only the services are stand-ins
and their time is scaled.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

import perfdb
from perfdb.analysis.cause import NO_SUSPECT
from perfdb.analysis.series import percentile
from perfdb.pathway.images import as_jpeg
from perfdb.pathway.pipeline import RealProductsPathway
from perfdb.pathway.settings import PathwaySettings
from perfdb.pathway.standin import StandIn
from perfdb.pathway.standin.faults import rate_limited
from perfdb.pathway.standin.latency import SEARCH, TIME_SCALE
from perfdb.pathway.standin.pictures import draw_room
from perfdb.settings import absolute, load, shown_path
from perfdb.surroundings import variable, variables
from perfdb.text import amount_text, duration_text
from perfdb.toml import Table, parse
from perfdb.vocabulary import DESIGN_STEPS

if TYPE_CHECKING:
    import pandas as pd

    from perfdb.settings import Settings

NORMAL, FAST = 48, 12
SLOWER_FROM = NORMAL - 12  # which normal design is the first with a slower step
SLOWER_BY = 2.5  # of the search service; the whole step becomes about twice as slow
DEARER_FROM = 30  # which of all designs is the first with another image model
DEARER_MODEL = "gpt-image-2.6-sunburst"
FOLDER = "perfdb-demo"
PRICES = """\
[prices."gpt-4o"]
input = 2.5
cached = 1.25
output = 10

[prices."gpt-4o-mini"]
input = 0.15
cached = 0.075
output = 0.6

[prices."gpt-image-2.5-sunburst"]
input = 5
image_tokens = 8
output = 2

[prices."gpt-image-2.6-sunburst"]
input = 5
image_tokens = 8
output = 3
"""
SETTINGS_FILE = f"""\
# The demo's own settings: nothing of it gets into a history of your own, and no channel hears of it.
home = "performance_tracking"

# Invented prices, in dollars per million tokens.
{PRICES}"""
STYLES = ("modern", "scandinavian", "industrial", "japandi", "mid-century")

__all__ = ["TIME_SCALE", "run_demo"]


@dataclass(frozen=True, slots=True)
class _Plan:
    """One design of the demo."""

    fast_mode: bool
    slower: bool
    dearer: bool
    style: str
    last: bool


def plans() -> Iterator[_Plan]:
    """Yield the 60 designs in their order: every fifth is fast, the last one is normal."""
    normal = 0
    for number in range(NORMAL + FAST):
        fast = number % 5 == 2
        yield _Plan(
            fast_mode=fast,
            slower=not fast and normal >= SLOWER_FROM,
            dearer=number >= DEARER_FROM,
            style=STYLES[number % len(STYLES)],
            last=number == NORMAL + FAST - 1,
        )
        normal += not fast


def run_demo(seed: int, *, here: bool = False) -> None:
    """Record the designs in a folder of the demo's own and print what is there; no channel is notified.

    Args:
        seed: draws times and products.
        here: record into the home of the working directory instead.

    Raises:
        click.Abort: the user pressed Ctrl-C; what was recorded stays.
        SettingsError: recording is off.
        OSError: the folder cannot be made.
    """
    if load(home=FOLDER).disabled:
        raise perfdb.SettingsError("recording is off: unset PERFDB_DISABLED to run the demo")
    settings = _settings_here() if here else _settings_apart()
    go = "" if here else f"cd {FOLDER} && "
    quiet = settings.replaced(console=False)
    done = 0
    with tempfile.TemporaryDirectory() as folder, StandIn(seed=seed, time_scale=TIME_SCALE) as standin:
        room = Path(folder, "room.jpg")
        room.write_bytes(as_jpeg(draw_room(1280, 960, seed=seed)))
        standin.faults.sometimes(SEARCH, 0.02, rate_limited(after_s=4 * TIME_SCALE))
        table = PathwaySettings.load(settings)
        # work on pictures is the one thing that cannot be accelerated, so they are small
        sizes: dict[str, Any] = {
            "vision_side": 640,
            "fast_vision_side": 320,
            "composite_width": 640,
            "fast_composite_width": 448,
        }
        used = standin.adapted(replace(table, **sizes))
        click.echo(
            f"Recording {NORMAL + FAST} designs in {shown_path(settings.home)}/ (stand-in services)", err=True
        )
        dearer = replace(used, image_model=DEARER_MODEL)
        with (
            RealProductsPathway(used, perfdb_settings=quiet) as usual,
            RealProductsPathway(dearer, perfdb_settings=quiet) as silent,
            RealProductsPathway(dearer, perfdb_settings=settings) as telling,
            click.progressbar(list(plans()), file=sys.stderr, label="Designs", width=30) as designs,
        ):
            try:
                for plan in designs:
                    standin.latency.slow_down(SEARCH, SLOWER_BY if plan.slower else 1.0)
                    if plan.last:
                        designs.finish()
                        designs.render_progress()
                        click.echo("\n\nThe last one, as your own program would show it:\n", err=True)
                    response = (telling if plan.last else silent if plan.dearer else usual).generate(
                        room, design_style=plan.style, fast_mode=plan.fast_mode, summary=plan.last
                    )
                    if not response["success"]:
                        raise perfdb.PerfdbError(f"the demo failed: {response['error']['message']}")
                    done += 1
            except KeyboardInterrupt:
                message = f"Stopped: {done} designs are recorded. Look at them: {go}perfdb sessions"
                click.echo(f"\n{message}", err=True)
                raise click.Abort from None
    _tell(settings, apart=not here)


def _settings_apart() -> Settings:
    """Return settings for a folder of the demo's own, which has a settings file of its own too.

    So whatever is asked in that folder is answered from it, and no rule, channel or database of the user's
    is met there.
    """
    folder = absolute(FOLDER)
    folder.mkdir(exist_ok=True)
    file = folder / "perfdb.toml"
    if not file.exists():
        file.write_text(SETTINGS_FILE, encoding="utf-8")
    kept = ("PERFDB_DISABLED", "PERFDB_HOST", "PERFDB_MONITOR")
    environ = {name: value for name, value in variables().items() if name[:7] != "PERFDB_" or name in kept}
    # the table at the end shall have every session
    return load(environ=environ | {"PERFDB_CONFIG": str(file)}, cwd=folder, wait_s=20.0)


def _settings_here() -> Settings:
    settings = load(wait_s=20.0)
    rules = {name: value for name, value in settings.alerts.items() if name != "channels"}
    prices = {**parse(PRICES, source="the demo").table("prices"), **settings.prices}
    return settings.replaced(
        alerts=Table(rules, source=settings.alerts.source),
        prices=Table(prices, path=("prices",), source=settings.prices.source),
    )


def _tell(settings: Settings, *, apart: bool) -> None:
    home = settings.home
    history = perfdb.History(settings.database_url)
    steps = history.steps(pipeline=settings.pipeline, last=NORMAL + FAST)
    click.echo("\nThe history, per step:\n")
    for line in _table(steps):
        click.echo(line)
    click.echo(
        f"\n{NORMAL + FAST} sessions are in {shown_path(home / 'perfdb.sqlite3')}, "
        f"their reports beside it, the pictures in {shown_path(home / 'designs')}/."
    )
    alerts = history.alerts()
    fired = alerts[(alerts["state"] == "firing") & (alerts["severity"] != "info")]
    if len(fired):
        click.echo("\nOne step became slower on the way, and perfdb noticed:\n")
        for line in wrap(_slower(history, settings.pipeline) or str(fired["message"].iloc[-1]), 96):
            click.echo(f"  {line}")
    if costs := _dearer(history, settings.pipeline):
        click.echo("\nA run costs more than at first, too:\n")
        for line in wrap(costs, 96):
            click.echo(f"  {line}")
    click.echo("\nLook closer:\n")
    if apart:
        click.echo(f"  cd {FOLDER:<22}nothing of it is in a history of your own")
        for name in ("PERFDB_HOME", "PERFDB_DATABASE_URL", "PERFDB_CONFIG"):
            if variable(name):
                click.echo(f"  {'unset ' + name:<25}which names another history")
    if len(fired):
        explain = f"perfdb alerts explain {fired['id'].iloc[-1]}"
        click.echo(f"  {explain:<25}the whole story, with a picture; perfdb check exits 1 while it fires")
        click.echo("  perfdb regressions       everything that became slower, and since when")
    if costs:
        click.echo("  perfdb regressions --measure cost_usd     what became dearer, and since when")
    click.echo("  perfdb sessions          the runs, newest first")
    click.echo("  perfdb show              the last run as a waterfall")
    click.echo("  perfdb steps --json      every step, for your own tools")


def _slower(history: perfdb.History, pipeline: str) -> str:
    """Say since when which step is slower, by how much and why; nothing where no level moved."""
    found = history.regressions(pipeline=pipeline)
    found = found[found["step_name"].isin(DESIGN_STEPS) & found["lasts"] & (found["against"] == "level")]
    if found.empty:
        return ""
    row: dict[Any, Any] = found.sort_values("difference_s").iloc[-1].to_dict()
    part = row["contributes_percent"]
    share = "all" if part > 100 else f"{part:.0f} %"  # others became faster meanwhile
    share = f", {share} of what a run lost" if part == part else ""
    return (
        f"{row['step_name']} is slower since session {row['since_session_id']}: "
        f"{duration_text(row['before_median'])} -> {duration_text(row['after_median'])} "
        f"({row['effect']:+.0f} %, medians of {row['before_n']} and {row['after_n']} runs){share}; "
        f"{row['cause'] or NO_SUSPECT}."
    )


def _dearer(history: perfdb.History, pipeline: str) -> str:
    """Say since when a run costs more, and what switched then; nothing where it does not."""
    try:
        found = history.regressions(measure="cost_usd", pipeline=pipeline)
    except perfdb.PerfdbError:  # nothing has a price
        return ""
    found = found[found["step_name"].isna() & found["lasts"] & (found["against"] == "level")]
    if found.empty:
        return ""
    row: dict[Any, Any] = found.sort_values("difference").iloc[-1].to_dict()
    before, after = (amount_text(row[f"{side}_median"], "usd") for side in ("before", "after"))
    return (
        f"{before} -> {after} ({row['effect']:+.0f} %) since session {row['since_session_id']}; "
        f"{row['cause'] or NO_SUSPECT}."
    )


def _table(steps: pd.DataFrame) -> Iterator[str]:
    """Yield the lines of a table: per step and mode n, p50, p95, and p50 of the 12 latest beside the rest.

    Of the runs that count, and no percentile of fewer runs than it needs: as `perfdb trends` has them.
    """
    shown = steps[steps["step_name"].isin(DESIGN_STEPS) & steps["counted"]]
    order = {name: number for number, name in enumerate(DESIGN_STEPS)}
    yield f"  {'step':<20} {'mode':<7} {'n':>4} {'p50':>9} {'p95':>9} {'p50 of last 12':>15}"
    rows: list[tuple[bool, int, str]] = []
    name: Any
    fast: Any
    for (name, fast), group in shown.groupby(["step_name", "fast_mode"]):
        durations = group.sort_values("start_time")["duration"].astype(float)
        earlier, latest = durations.iloc[:-12], durations.iloc[-12:]
        p50, p95, recent = durations.median(), percentile(sorted(durations), "p95"), latest.median()
        slower = len(earlier) >= 12 and recent > 1.4 * earlier.median()
        mode = "fast" if fast else "normal"
        line = f"  {name:<20} {mode:<7} {len(durations):>4} {_ms(p50)} {_ms(p95)} {_ms(recent):>15}"
        rows.append((bool(fast), order[str(name)], line + ("  <- slower" if slower else "")))
    for _, _, line in sorted(rows):
        yield line


def _ms(seconds: float | None) -> str:
    return f"{1000 * seconds:>6.0f} ms" if seconds is not None else " " * 9
