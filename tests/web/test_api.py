"""What the JSON API answers, over a real history and real HTTP."""

from __future__ import annotations

from typing import Any

import pytest


def test_the_overview_tells_what_runs_fires_and_moved(dashboard: Any) -> None:
    answer = dashboard.get("overview")
    assert answer["session_count"] == 80
    assert answer["live"]["running"] == []
    assert len(answer["live"]["sessions"]) == 10
    vision = next(
        row
        for row in answer["series"]
        if row["step_name"] == "Vision Analysis" and row["mode_text"] == "normal mode"
    )
    assert vision["change_percent"] == pytest.approx(60, abs=15)
    assert vision["p50"] > vision["baseline"]
    assert vision["alert_id"] in [alert["id"] for alert in answer["alerts"]]
    assert answer["live"]["firing"] >= 1
