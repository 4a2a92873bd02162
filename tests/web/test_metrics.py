"""``/metrics``: read by the reference parser, bounded, and drawn by the dashboard for Grafana."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from perfdb.web.answers import overview
from perfdb.web.metrics import openmetrics

GRAFANA = Path(__file__).parents[2] / "docs" / "grafana-dashboard.json"


def families(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    return {
        family.name: {tuple(sample.labels.values()): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(text)
    }


def test_the_figures_of_the_first_page_in_openmetrics(dashboard: Any) -> None:
    answer = dashboard.client.get("/metrics")
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    found = families(answer.text)
    assert found["perfdb_sessions"] == {(): 80.0}
    page = dashboard.get("overview")
    for series in page["series"]:
        name = (series["pipeline"], series["mode"], series["step_name"] or "")
        assert found["perfdb_recent_runs"][name] == series["n"]
        if series["p50"] is not None:
            assert found["perfdb_duration_seconds"][*name, "0.5"] == series["p50"]
    assert len(found["perfdb_recent_runs"]) == len(page["series"])
    assert sum(found["perfdb_alerts_firing"].values()) == page["live"]["firing"]


def test_hostile_names_stay_inside_of_their_labels(history: Any, dashboard: Any) -> None:
    page = overview.overview(dashboard.app.state.history)
    name = 'a"} 1\n# EOF\\\r\u2028é\ud800'
    series = page.series[0].model_copy(update={"pipeline": name, "p50": float("nan"), "n": 3})
    found = families(openmetrics(page.model_copy(update={"series": [series]}), Counter()))
    (labels,) = found["perfdb_recent_runs"]
    assert labels[0] == name.replace("\ud800", "?")


def test_nothing_recorded_is_valid_too(web_folder: Path, serve: Any) -> None:
    import perfdb

    found = families(serve(perfdb.History()).client.get("/metrics").text)
    assert found["perfdb_sessions"] == {(): 0.0}
    assert found["perfdb_recent_runs"] == {}


def test_the_dashboard_for_grafana_asks_for_what_there_is(dashboard: Any) -> None:
    there = set(families(dashboard.client.get("/metrics").text)) | {"perfdb_build_info"}
    panels = json.loads(GRAFANA.read_text())["panels"]
    asked = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"perfdb_\w+", target["expr"])
    }
    assert asked
    assert asked <= there
