"""What perfdb tells of the demo's slowed step and dearer model, as the stand-in draws them, at once."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from perfdb.alerts.config import DEFAULT_RULES
from perfdb.analysis.rules import Verdict, evaluate
from perfdb.pathway.demo import (
    DEARER_FROM,
    DEARER_MODEL,
    NORMAL,
    PRICES,
    SLOWER_BY,
    SLOWER_FROM,
    _dearer,
    _table,
    plans,
)
from perfdb.pathway.settings import PathwaySettings
from perfdb.pathway.shapes import Usage
from perfdb.pathway.standin.answers import image_edit, vision
from perfdb.pathway.standin.latency import SEARCH, TIME_SCALE, LatencyModel
from perfdb.recording.health import Health
from perfdb.records import Session
from perfdb.testing import make_history, make_session
from perfdb.toml import parse
from perfdb.worker.pricing import Pricing

SEARCHES = 6
(CHANGE_POINT,) = (rule for rule in DEFAULT_RULES if rule.kind == "change_point")


def product_search(seed: int) -> list[float]:
    """Seconds of the step in the normal designs: the slowest of some searches, on a busy machine."""
    model, machine = LatencyModel(seed, TIME_SCALE), random.Random(seed)
    durations = []
    for number in range(NORMAL):
        model.slow_down(SEARCH, SLOWER_BY if number >= SLOWER_FROM else 1.0)
        slowest = max(model.draw("search") for _ in range(SEARCHES))
        durations.append(slowest + 0.01 + machine.expovariate(1 / 0.005))
    return durations


def first_hit(durations: list[float]) -> Verdict | None:
    seen = (evaluate(CHANGE_POINT, durations[:n]) for n in range(20, NORMAL + 1))
    return next((verdict for verdict in seen if verdict.hit), None)


@pytest.mark.parametrize("seed", [*range(12), 39, 79])
def test_change_point_finds_the_slowed_step_of_the_demo_within_12_sessions(seed: int) -> None:
    found = first_hit(product_search(seed))
    assert found is not None
    assert abs(found.since - SLOWER_FROM) <= 2
    assert found.effect == pytest.approx(100 * (SLOWER_BY - 1), abs=60)


def test_change_point_is_silent_before_the_step_becomes_slower() -> None:
    assert not any(first_hit(product_search(seed)[:SLOWER_FROM]) for seed in range(12))


def designs() -> list[Session]:
    """What the demo records of its calls, priced as the worker does it."""
    health = Health()
    price = Pricing(parse(PRICES, source="perfdb.toml").table("prices"), health)
    made = []
    for number, plan in enumerate(plans()):
        used = PathwaySettings().for_mode(plan.fast_mode)
        painter = DEARER_MODEL if plan.dearer else used.image_model
        fields = {"size": "64x64", "quality": used.image_quality}
        counts = {
            "Vision Analysis": (used.vision_model, vision({}, number)["usage"]),
            "Image Generation": (painter, image_edit(fields, 0)["usage"]),
        }
        steps = []
        for name, (model, usage) in counts.items():
            data = {"model": model, **Usage.model_validate(usage).counts()}
            price({"type": "step", "additional_data": data})
            steps.append((name, data))
        session = make_session(
            number, dict.fromkeys(counts, 1.0), fast_mode=plan.fast_mode, attributes={"image_model": painter}
        )
        priced = zip(session.steps, steps, strict=True)
        made.append(
            replace(session, steps=tuple(replace(step, additional_data=data) for step, (_, data) in priced))
        )
    assert not health.as_dict()["warnings"]
    return made


def test_the_table_of_the_demo_is_of_runs_that_count_without_percentiles_of_too_few(
    tmp_path: Path,
) -> None:
    designs = [
        make_session(
            number,
            {"Vision Analysis": 9.0 if number == 5 else 0.2},
            fast_mode=number >= 25,
            tags=("ignore",) if number == 5 else (),
        )
        for number in range(37)
    ]
    _, normal, fast = _table(make_history(tmp_path, designs).steps())
    assert normal.split()[2:] == ["normal", "24", *["200", "ms"] * 3]
    assert fast.split()[2:] == ["fast", "12", *["200", "ms"] * 2]


def test_since_when_a_design_of_the_demo_is_dearer_and_which_model_it_is(tmp_path: Path) -> None:
    history = make_history(tmp_path / "home", designs())
    found = history.regressions(measure="cost_usd")
    normal = found[found["mode"] == '{"fast_mode":false}'].set_index("step_name", drop=False)
    assert set(normal["since_session_id"]) == {f"run-{DEARER_FROM:04d}"}
    assert {"Image Generation", None} >= set(normal["step_name"].where(normal["step_name"].notna(), None))
    said = _dearer(history, "design")
    assert "image_model switched from gpt-image-2.5-sunburst to gpt-image-2.6-sunburst" in said
    assert "confounded" not in said
    costs = history.bottlenecks(measure="cost_usd")
    assert costs.iloc[0]["step_name"] == "Image Generation"
