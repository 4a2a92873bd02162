"""Pictures say their finding, hold any name and any number of sessions, and need no pyplot.

Of: charts/bottlenecks.py, charts/compare.py, charts/marks.py, charts/resources.py, charts/saving.py,
charts/steps.py, charts/style.py, charts/trend.py, charts/waterfall.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from perfdb.analysis.change_points import ChangePoint
from perfdb.analysis.compare import compare_sessions
from perfdb.charts import style
from perfdb.charts.bottlenecks import bottlenecks
from perfdb.charts.compare import compare
from perfdb.charts.pareto import pareto
from perfdb.charts.resources import resources
from perfdb.charts.saving import image
from perfdb.charts.steps import steps
from perfdb.charts.style import MUTED
from perfdb.charts.trend import trend
from perfdb.charts.waterfall import MOST_BARS, waterfall
from perfdb.measures import named
from perfdb.pages.words import difference
from perfdb.records import Attempt, Sample, Session, Step
from perfdb.text import difference_text

NOON = 1_767_268_800.0
HOSTILE = "$x^2$ <script>alert(1)</script> \x1b[31m \u202e evil 日本 🚀 " + "very " * 30 + "long"


def test_what_no_font_can_draw_is_a_box_and_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "_drawable", lambda *_: frozenset(range(128)))
    style._say_that_fonts_are_missing.cache_clear()
    assert [style.to_drawable("検 a"), style.to_drawable("🚀")] == ["□ a", "□"]
    assert len(caplog.records) == 1


def test_a_head_line_in_another_script_has_no_bold_face_to_look_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "fonts", lambda: ("DejaVu Sans", "DejaVu Sans Display"))  # has no bold face
    monkeypatch.setattr(style, "_drawable", lambda *names: frozenset(range(128 if names else 0x3000)))
    for title in ("work is slow", "é is slow"):
        assert image(style.figure(title), "png")
    assert caplog.records == []


@pytest.mark.parametrize(
    ("zone", "first", "days", "said"),
    [
        ("Europe/Berlin", 1_751_371_200.0, 1, "local times (UTC+02:00)"),  # in July, whenever it is drawn
        ("Europe/Berlin", 1_751_371_200.0, 180, "local times (UTC+02:00, then UTC+01:00)"),
        ("America/St_Johns", NOON, 1, "local times (UTC-03:30)"),
        ("Asia/Kolkata", NOON, 180, "local times (UTC+05:30)"),
        ("UTC", NOON, 180, "local times (UTC)"),
    ],
)
def test_the_small_print_has_the_zone_of_the_runs_not_of_today(
    monkeypatch: pytest.MonkeyPatch, zone: str, first: float, days: int, said: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        runs = points(1.0, 1.1, 1.0, gap=days * 43_200.0)
        runs["start_time"] += first - NOON
        assert any(said in text.get_text() for text in trend(runs, what="work").texts)
    finally:
        monkeypatch.undo()
        time.tzset()


def points(*durations: float, gap: float = 60.0) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "session_id": [f"s{number}" for number in range(len(durations))],
            "start_time": NOON + gap * np.arange(len(durations)),
            "duration": np.array(durations, dtype=float),
        }
    )


def change(index: int, before: float, after: float, n: int) -> dict[str, Any]:
    percent = 100 * (after - before) / before
    made = ChangePoint(index, before, after, index, n - index, percent, 5.0, 0.001, 0.001, (index, index))
    return {name: getattr(made, name) for name in ChangePoint.__dataclass_fields__}


def session(*step_list: Step, **changes: Any) -> Session:
    values: dict[str, Any] = {
        "session_id": "20260101_120000_00000001",
        "pipeline": "design",
        "start_time": NOON,
        "total_duration": 10.0,
        "status": "completed",
        "steps": step_list,
    }
    return Session(**(values | changes))


def step(name: str, start: float, duration: float, seq: int = 0, **changes: Any) -> Step:
    return Step(
        step_name=name, start_time=NOON + start, duration=duration, seq=seq, **({"success": True} | changes)
    )


def texts(figure: Figure) -> str:
    """Return every text of the picture, drawn."""
    assert image(figure, "png").startswith(b"\x89PNG")
    found = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return "\n".join(found).replace(r"\$", "$")


def title(figure: Figure) -> str:
    return figure.texts[0].get_text().replace("\n", " ").replace(r"\$", "$")


def test_the_title_of_a_trend_says_what_moved_since_when_and_by_how_much() -> None:
    drawn = trend(points(*[1.0] * 20, *[2.0] * 10), what="Search", changes=[change(20, 1.0, 2.0, 30)])
    assert title(drawn).startswith("Search is 100 % slower since ")
    assert title(drawn).endswith("(1.00 s → 2.00 s)")
    assert "+100 %" in texts(drawn)
    assert "median 1.00 s, n = 20" in texts(drawn)


@pytest.mark.parametrize(
    "name", ["x", "W" * 60, "i" * 60, "nightly-etl-customer-analytics-warehouse-eu-central"]
)
def test_the_head_lines_fit_into_the_picture(name: str) -> None:
    head = f"{name} took 2 min 00 s, 85.87 s more than {name} (34.13 s); and on the critical path others less"
    context = f"{name}, normal mode, without 729 sessions of other modes or pipelines, 1,639 runs, of 90 days"
    made = style.figure(head, context, f"{context}; {context}")
    edges = [text.get_window_extent(style._ruler()) for text in made.texts]
    assert max(edge.x1 - edge.x0 for edge in edges) <= 0.96 * 1200, "an SVG's reader may have wider letters"
    assert edges[0].y0 >= edges[1].y1, "the lines are below each other"
    assert "…" not in made.texts[1].get_text()


@pytest.mark.parametrize("letters", range(40, 76))
def test_a_number_and_its_unit_stay_in_one_line(letters: int) -> None:
    made = style.figure(f"{'a' * letters} takes 9.04 s more than before, +12 % of 1.50 GB and of 2 min 03 s")
    lines = made.texts[0].get_text().split("\n")
    assert not [line for line in lines if re.match(r"(s|%|GB|min)\b", line)]
    assert "9.04 s" in made.texts[0].get_text(), "it is the space that it was"


@pytest.mark.parametrize("limits", [(1.50, 1.51, 1.52), (1.0, 1.01, 2.02), (0.01, 0.02, 0.03)])
def test_no_words_in_the_picture_lie_on_others(limits: tuple[float, ...]) -> None:
    drawn = trend(
        points(*[1.0] * 20, *[2.0] * 20),
        what="Search",
        limits=[{"name": f"limit-{limit}", "limit": limit} for limit in limits],
        changes=[change(20, 1.0, 2.0, 40)],
        pinned={"value": 1.0, "n": 50},
    )
    drawn.draw_without_rendering()
    boxes = [words.get_window_extent() for words in drawn.axes[0].texts]
    assert len(boxes) == 7
    assert not any(box.count_overlaps(boxes[:place]) for place, box in enumerate(boxes))


def test_without_a_change_the_title_says_how_many_runs_are_over_the_limit() -> None:
    drawn = trend(points(1.0, 2.0, 3.0), what="Search", limits=[{"name": "search-slow", "limit": 1.5}])
    assert title(drawn) == "Search: 2 of 3 runs over the limit of 1.50 s"
    assert "search-slow" in texts(drawn)


def test_no_p95_is_drawn_or_said_of_too_few_runs() -> None:
    few, enough = trend(points(*[1.0] * 19), what="A"), trend(points(*[1.0] * 21), what="A")
    assert "95 %" not in title(few)
    assert "95 % up to 1.00 s" in title(enough)
    assert "p95" not in [line.get_label() for line in few.axes[0].lines]
    assert "p95" in [line.get_label() for line in enough.axes[0].lines]


def test_the_lines_of_a_trend_do_not_mix_both_sides_of_a_change() -> None:
    drawn = trend(points(*[1.0] * 20, *[2.0] * 20), what="A", changes=[change(20, 1.0, 2.0, 40)])
    medians = [line.get_ydata() for line in drawn.axes[0].lines if "median" in str(line.get_label())]
    assert [set(np.asarray(values).tolist()) for values in medians] == [{1.0}, {2.0}]


def test_an_alert_beside_a_change_is_drawn_with_it() -> None:
    alert = {"since_session_id": "s21", "severity": "warning", "rule": "fast_shift"}
    drawn = trend(
        points(*[1.0] * 20, *[2.0] * 10), what="A", changes=[change(20, 1.0, 2.0, 30)], alerts=[alert]
    )
    assert "+100 %\nwarning: fast_shift" in texts(drawn)


def test_a_wild_run_does_not_flatten_the_others() -> None:
    drawn = trend(points(*[1.0, 1.1] * 50, 300.0), what="A")
    assert drawn.axes[0].get_ylim()[1] < 3
    assert "above the picture (1, up to 5 min 00 s)" in texts(drawn)


@pytest.mark.parametrize("by", ["session", "time"])
def test_a_hundred_thousand_runs_become_some_hundred_points(by: Any) -> None:
    drawn = trend(points(*np.linspace(1.0, 2.0, 100_000)), what="A", by=by)
    assert "100,000 runs" in texts(drawn)
    assert max(len(line.get_xdata()) for line in drawn.axes[0].lines) <= 3_000  # type: ignore[arg-type]


def test_one_run_is_a_picture_too() -> None:
    assert title(trend(points(1.5), what="A")) == "A took 1.50 s in its only run"


@pytest.mark.parametrize(
    "drawn",
    [
        lambda: trend(points(), what="A"),
        lambda: steps(pd.DataFrame(), pd.Series(dtype=float)),
        lambda: bottlenecks(pd.DataFrame({"step_name": [], "critical_s": []})),
        lambda: waterfall(session()),
        lambda: resources(session()),
        lambda: compare(pd.DataFrame(), name_a="a", name_b="b", title="t"),
    ],
)
def test_nothing_to_draw_is_a_sentence_in_the_picture(drawn: Any) -> None:
    figure = drawn()
    assert figure.axes == []
    assert len(texts(figure)) > 40


def per_session(count: int, names: Sequence[str]) -> tuple[pd.DataFrame, pd.Series[float]]:
    columns: list[Any] = [*names, None]
    frame = pd.DataFrame([[1.0 / (place + 1) for place in range(len(columns))]] * count)
    frame.columns = pd.Index(columns, dtype=object)
    return frame, pd.Series(NOON + 60.0 * np.arange(count))


@pytest.mark.parametrize("count", [1, 60, 5_000])
def test_the_stack_of_a_session_adds_up_to_its_wall_time(count: int) -> None:
    frame, starts = per_session(count, [f"step {number}" for number in range(12)])
    drawn = steps(frame, starts)
    axes = drawn.axes[0]
    tops = [bar.get_y() + bar.get_height() for bar in axes.containers[-1]]  # type: ignore[attr-defined]
    assert tops == pytest.approx([float(frame.iloc[0].sum())] * len(tops))
    assert len(tops) <= 120
    assert "5 other steps" in texts(drawn)


def test_a_step_whose_name_matplotlib_would_hide_is_in_the_legend() -> None:
    drawn = texts(steps(*per_session(3, ["_private", "__init__"])))
    assert "_private" in drawn
    assert "__init__" in drawn


def test_the_bottleneck_stands_in_the_title_and_the_rest_of_no_step_is_left_out() -> None:
    found = pd.DataFrame(
        {
            "step_name": ["Search", "Vision", "Other"],
            "critical_s": [1.0, 3.0, 5.0],
            "busy_s": [8.0, 3.0, np.nan],
            "share_percent": [11.1, 33.3, 55.6],
        }
    )
    drawn = bottlenecks(found)
    assert title(drawn) == "Vision is the bottleneck: it holds a run up for 3.00 s, 33 % of its time"
    assert "Other" not in texts(drawn)


def test_a_waterfall_packs_parallel_steps_and_names_what_held_the_run_up() -> None:
    parallel = [step("fetch", 2 + 0.01 * lane, 3.0, 2 + lane, parent_seq=1, lane=lane) for lane in range(4)]
    again = [step("fetch", 6.0 + 0.01 * lane, 3.0, 6 + lane, parent_seq=1, lane=lane) for lane in range(4)]
    drawn = waterfall(session(step("load", 0, 2.0), step("search", 2, 8.0, 1), *parallel, *again))
    assert title(drawn) == "search held this run up for 8.00 s of 10.00 s (80 %)"
    assert "└ fetch × 8" in texts(drawn)
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()].count("") == 3


def test_a_failed_session_says_why_and_where_it_waited() -> None:
    attempts = (
        Attempt(start_time=NOON, duration=1.0, success=False),
        Attempt(start_time=NOON + 4, duration=1.0, wait=3.0),
    )
    drawn = waterfall(
        session(
            step("call", 0, 5.0, success=False, attempts=attempts),
            status="failed",
            error_message="429: slow down",
        )
    )
    assert title(drawn) == "Failed after 10.00 s: 429: slow down"
    assert "waiting before a retry" in texts(drawn)


def test_many_rows_are_cut_to_the_telling_ones() -> None:
    many = [step(f"step {number}", number * 0.1, 0.1, number) for number in range(90)]
    assert "58 more rows" in texts(waterfall(session(*many)))


def test_resources_name_the_step_of_each_peak() -> None:
    samples = tuple(
        Sample(time=NOON + at, cpu_percent=cpu, rss_bytes=size)
        for at, cpu, size in ((1.0, 90.0, 10**8), (6.0, 20.0, 3 * 10**8))
    )
    drawn = resources(session(step("load", 0, 5.0), step("draw", 5, 5.0, 1), samples=samples))
    assert title(drawn) == "CPU peaked at 90 % in load; memory at 300 MB in draw"


def test_a_comparison_says_what_may_be_chance() -> None:
    found = pd.DataFrame(
        {
            "step_name": ["Total", "Search", "New", "Rare"],
            "a": [1.0, 0.5, np.nan, 1.0],
            "b": [2.0, 0.51, 0.2, 1.4],
            "low": [0.8, -0.1, np.nan, np.nan],
            "high": [1.2, 0.1, np.nan, np.nan],
        }
    )
    made = compare(found, name_a="x", name_b="y", title="y is slower")
    shown = texts(made)
    assert "+1.00 s (+100 %)\n[+800 ms, +1.20 s]" in shown
    assert "may be chance" in shown
    assert "no such step" in shown
    differences = [each for each in made.axes[0].texts if each.get_text().startswith(("+", "−"))]
    assert len(differences) == 3
    for each in differences:  # colour is significance, as the words are
        assert (each.get_color() == MUTED) == ("chance" in each.get_text() or "too few" in each.get_text())


def test_less_than_clocks_tell_is_no_difference_and_what_steps_leave_has_no_percent() -> None:
    found = compare_sessions(
        session(step("a", 0, 1.0)), session(step("a", 0, 1.0), step("b", 1, 2.0, 1))
    ).frame
    found = found.assign(a=found["a_critical_s"], b=found["b_critical_s"])
    other = found["kind"] == "other"
    found.loc[other, ["a", "b"]] = 1e-3, 2e-3
    found.loc[found["step_name"] == "a", "b"] = 1.0 + 6.4e-7
    made = compare(found, name_a="x", name_b="y", title="y is slower")
    told = [each for each in made.axes[0].texts if each.get_text().startswith(("+", "−", "±"))]
    assert {each.get_text() for each in told if each.get_color() == MUTED} == {"±0"}
    assert "+1 ms" in [each.get_text() for each in told]
    assert difference_text(6.4e-7) == difference_text(-6.4e-7) == difference(6.4e-7) == "0 s"
    assert difference_text(1e-6) == difference(2e-6 - 1e-6) == "+1 µs"


def test_the_time_of_no_step_is_drawn_of_however_many_steps() -> None:
    found = pd.DataFrame({"step_name": ["Total", *(f"step {n}" for n in range(40)), "Other"], "b": 2.0})
    found["a"], found["kind"] = 1.0, ["total", *["step"] * 40, "other"]
    made = compare(found, name_a="x", name_b="y", title="y is slower")
    names = [each.get_text() for each in made.axes[0].get_yticklabels()]
    assert (names[0], names[-1]) == ("Total", "Other")
    assert f"{42 - len(names)} more steps not drawn" in made.axes[0].get_xlabel()


@pytest.mark.parametrize("form", ["png", "svg"])
def test_hostile_names_are_drawn_to_the_letter_and_obeyed_by_nothing(form: str) -> None:
    hostile = session(step(HOSTILE, 0, 5.0), step("b", 5, 5.0, 1), pipeline=HOSTILE, error_message=HOSTILE)
    frame, starts = per_session(3, [HOSTILE, "b"])
    ranked = pd.DataFrame(
        {
            "step_name": [HOSTILE],
            "critical_s": [1.0],
            "busy_s": [1.0],
            "share_percent": [100.0],
            "inside": [HOSTILE],
        }
    )
    alert = {"since_session_id": "s1", "severity": "critical", "rule": HOSTILE}
    pictures = [
        waterfall(hostile),
        steps(frame, starts, context=HOSTILE),
        bottlenecks(ranked, context=HOSTILE),
        trend(points(1.0, 2.0), what=HOSTILE, limits=[{"name": HOSTILE, "limit": 1.0}], alerts=[alert]),
        compare(
            pd.DataFrame({"step_name": [HOSTILE], "a": [1.0], "b": [2.0]}),
            name_a=HOSTILE,
            name_b="b",
            title=HOSTILE,
        ),
    ]
    for figure in pictures:
        content = image(figure, form)
        assert b"<script" not in content
        shown = texts(figure)
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "$x^2$" in shown


def test_the_same_figure_gives_the_same_bytes() -> None:
    first, second = (image(trend(points(1.0, 2.0), what="A"), "svg") for _ in range(2))
    assert first == second


def test_texts_of_an_svg_are_texts_in_fonts_that_every_reader_has() -> None:
    content = image(waterfall(session(step(HOSTILE, 0, 5.0), pipeline="nightly ETL")), "svg").decode()
    written = re.findall("<text[^>]*>([^<]*)</text>", content)
    assert "nightly ETL, 1 step, 1 Jan 2026, 12:00" in written
    assert any("held this run up" in each for each in written)
    assert "DejaVuSans-" not in content, "no letter is a shape"
    for families in re.findall("font-family: ([^;]*);", content):
        assert families.endswith("sans-serif")


def test_pictures_are_1200_by_700_pixels() -> None:
    content = image(trend(points(1.0), what="A"), "png")
    assert (int.from_bytes(content[16:20]), int.from_bytes(content[20:24])) == (1200, 700)


def test_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="choose png or svg"):
        image(trend(points(1.0), what="A"), "bmp")


def test_no_chart_loads_pyplot() -> None:
    code = (
        "import sys, perfdb.history.charts, perfdb.charts.trend, perfdb.charts.saving;"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_of_thousands_of_steps_the_longest_are_drawn_and_the_others_counted() -> None:
    count = MOST_BARS + 500
    many = tuple(
        Step(step_name="work", start_time=float(seq), duration=0.9 if seq % 2 else 0.1, success=True, seq=seq)
        for seq in range(count)
    )
    session = Session(
        session_id="s", pipeline="p", start_time=0.0, total_duration=float(count), status="completed",
        success=True, steps=many,
    )  # fmt: skip
    figure = waterfall(session)
    assert "500 shorter steps of these rows not drawn" in figure.axes[0].get_xlabel()
    assert f"{count:,} steps" in " ".join(text.get_text() for text in figure.texts)


def choices_near(count: int) -> pd.DataFrame:
    """Choices so close together that their names cannot all stand beside them."""
    rows = [
        {
            "pipeline": "p", "mode": "{}", "step_name": None, "value": f"model-{place} of a long name",
            "n": 20 + place, "front": place == 0, "measure": "cost_usd", "unit": "usd",
            "seconds": 60 + place / 9, "seconds_low": 58.0, "seconds_high": 63.0,
            "cost": 0.02 + place / 1e4, "cost_low": 0.0195, "cost_high": 0.0215,
        }
        for place in range(count)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("costs", [[-5.0], [-5.0, -4.9], [-5.0, 0.0], [-5.0, 3.0], [0.0], [-1e-3, -9.0]])
def test_choices_lie_within_the_axes_whatever_their_sign(costs: list[float]) -> None:
    found = choices_near(len(costs)).assign(cost=costs, cost_low=np.nan, cost_high=np.nan)
    low, high = pareto(found, by="model", measure=named("score")).axes[0].get_ylim()
    assert low < min(costs)
    assert max(costs) < high


def differences(count: int) -> pd.DataFrame:
    found = pd.DataFrame({"step_name": ["Total", *(f"{HOSTILE} {n}" for n in range(count))], "a": 3000.0})
    return found.assign(b=5000.0, low=1_800.0, high=2_200.0, n_a=12_345, n_b=12_345)


def with_marks(by: Any) -> Figure:
    return trend(
        points(*[100.0] * 30, *[180.0] * 30), what=HOSTILE, by=by, changes=[change(30, 100.0, 180.0, 60)],
        alerts=[{"since_session_id": "s31", "severity": "warning", "rule": "fast_shift"}],
        limits=[{"name": "one", "limit": 150.0}, {"name": "other", "limit": 155.0}],
        pinned={"value": 100.0, "n": 30}, failures=pd.DataFrame({"start_time": [NOON + 600]}),
    )  # fmt: skip


def all_of_a_session() -> Session:
    attempts = (
        Attempt(start_time=NOON + 3, duration=0.5, success=False),
        Attempt(start_time=NOON + 4, duration=1.0, wait=0.5),
    )
    return session(
        step(HOSTILE, 0, 6.0),
        step("inside", 3, 2.0, 1, parent_seq=0, success=False, attempts=attempts),
        step("inside", 3, 3.0, 2, parent_seq=0),
        samples=tuple(Sample(time=NOON + at, cpu_percent=90.0, rss_bytes=10**8) for at in (1.0, 9.5)),
    )


PICTURES: dict[str, Any] = {
    "a run": lambda: trend(points(150.0), what="A"),
    "a run at its time": lambda: trend(points(150.0), what="A", by="time"),
    "two runs": lambda: trend(points(7_000.0, 8_000.0), what="A"),
    "two runs at their times": lambda: trend(points(7_000.0, 8_000.0), what="A", by="time"),
    "marks": lambda: with_marks("session"),
    "marks at times": lambda: with_marks("time"),
    "steps": lambda: steps(*per_session(2, [f"{HOSTILE} {n}" for n in range(9)]), context=HOSTILE),
    "waterfall": lambda: waterfall(all_of_a_session()),
    "many rows": lambda: waterfall(session(*(step(f"step {n}", n * 0.1, 0.1, n) for n in range(90)))),
    "resources": lambda: resources(all_of_a_session()),
    "compare": lambda: compare(
        differences(30), name_a=HOSTILE * 2, name_b=HOSTILE * 2, title=HOSTILE * 9, context=HOSTILE
    ),
    "compare two": lambda: compare(differences(1), name_a="a", name_b="b", title="b is slower"),
    "pareto": lambda: pareto(choices_near(12), by="model", measure=named("cost_usd")),
    "pareto of one": lambda: pareto(choices_near(1), by="model", measure=named("cost_usd")),
}


@pytest.mark.parametrize("name", PICTURES)
def test_no_words_of_a_picture_lie_on_others_or_are_cut(name: str) -> None:
    drawn = PICTURES[name]()
    drawn.draw_without_rendering()
    whole = drawn.bbox
    boxes = [
        (Text.get_window_extent(text), text.get_text())
        for text in drawn.findobj(Text)
        if text.get_visible() and text.get_text().strip() and in_sight(text)
    ]
    assert len(boxes) > 5
    for box, said in boxes:
        assert whole.x0 <= box.x0, said
        assert box.x1 <= whole.x1, said
        assert whole.y0 <= box.y0, said
        assert box.y1 <= whole.y1, said
    for (box, said), (other, also) in combinations(boxes, 2):
        common = Bbox.intersection(box, other)
        assert common is None or min(common.width, common.height) < 2, (said, also)


def in_sight(text: Any) -> bool:
    """Whether it is drawn: matplotlib keeps labels of ticks beyond the ends of an axis."""
    for axis in (axis for axes in text.figure.axes for axis in (axes.xaxis, axes.yaxis)):
        labels = [tick.label1 for tick in axis.get_major_ticks()]
        if text in labels:
            place = axis.get_majorticklocs()[labels.index(text)]
            low, high = sorted(axis.get_view_interval())
            return bool(low <= place <= high)
    return True


@pytest.mark.parametrize(("seconds", "last"), [(150.0, "2 min 30 s"), (7_300.0, "2 h"), (20.0, "20")])
def test_the_axis_of_durations_has_round_steps_from_0(seconds: float, last: str) -> None:
    drawn = trend(points(*[seconds] * 3), what="A")
    drawn.draw_without_rendering()
    axes = drawn.axes[0]
    assert axes.get_ylim()[0] == 0
    labels = [label.get_text() for label in axes.get_yticklabels() if in_sight(label)]
    assert labels[0] == "0"
    assert last in labels
    assert ("(s)" in axes.get_ylabel()) == (seconds == 20.0)


def test_the_time_of_no_step_has_a_row_of_the_waterfall() -> None:
    drawn = waterfall(session(step("a", 1, 2.0), step("b", 5, 4.0, 1)))
    names = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert names == ["a", "b", "Other"]
    assert "in no step" in texts(drawn)
    row = [
        path.get_extents()
        for each in drawn.axes[0].collections
        for path in each.get_paths()
        if path.get_extents().y0 > 1.5
    ]
    assert sorted((round(box.x0, 6), round(box.x1, 6)) for box in row) == [(0, 1), (3, 5), (9, 10)]


def test_a_pause_is_shaded_in_a_trend_over_time() -> None:
    frame = points(*[1.0] * 40)
    frame.loc[20:, "start_time"] += 86_400.0 * 3
    drawn = trend(frame, what="A", by="time")
    assert "nothing ran" in texts(drawn)
    assert "nothing ran" not in texts(trend(points(*[1.0] * 40), what="A", by="time"))
