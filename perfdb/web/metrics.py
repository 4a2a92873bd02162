"""``/metrics`` in OpenMetrics: the figures of the first page, for Prometheus.

There are as many series as the first page shows: so many pipelines and modes, so many steps of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from perfdb.version import __version__
from perfdb.vocabulary import SEVERITIES
from perfdb.web.schemas import Overview, SeriesName

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
MOST_RULES = 100

_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def openmetrics(overview: Overview, firing: Counter[tuple[str, str]]) -> str:
    """Return the text of the figures; ``firing`` counts alerts by rule and severity."""
    return "".join(f"{line}\n" for line in _lines(overview, firing))


def _lines(overview: Overview, firing: Counter[tuple[str, str]]) -> Iterator[str]:
    series = overview.series
    yield from _family("perfdb_build", "info", "The version of perfdb.")
    yield _sample("perfdb_build_info", {"version": __version__}, 1)
    yield from _gauge("perfdb_sessions", "Sessions in the history.", [({}, overview.session_count)])
    yield from _gauge("perfdb_sessions_running", "Sessions that run now.", [({}, len(overview.live.running))])
    severities = Counter(dict.fromkeys(SEVERITIES, 0))
    for (_, severity), count in firing.items():
        severities[severity] += count
    yield from _gauge(
        "perfdb_alerts_firing",
        "Alerts that fire, by severity.",
        [({"severity": severity}, count) for severity, count in severities.items()],
    )
    yield from _gauge(
        "perfdb_rule_alerts_firing",
        "Alerts that fire, by rule.",
        [
            ({"rule": rule, "severity": severity}, count)
            for (rule, severity), count in firing.most_common(MOST_RULES)
        ],
    )
    quantiles = [
        (_labels(each) | {"quantile": quantile}, value)
        for each in series
        for quantile, value in (("0.5", each.p50), ("0.95", each.p95))
    ]
    yield from _gauge(
        "perfdb_duration_seconds", "Durations of the newest runs; without a step, of sessions.", quantiles
    )
    for name, words, values in (
        ("perfdb_baseline_seconds", "What the newest runs are held against.", [e.baseline for e in series]),
        ("perfdb_last_duration_seconds", "Duration of the newest run.", [e.last for e in series]),
        ("perfdb_last_run_timestamp_seconds", "Start of the newest run.", [e.last_time for e in series]),
        ("perfdb_recent_runs", "How many runs the newest ones are.", [e.n for e in series]),
        ("perfdb_recent_failures", "How many of the newest runs failed.", [e.failures for e in series]),
    ):
        yield from _gauge(name, words, zip(map(_labels, series), values, strict=True))
    yield "# EOF"


def _labels(series: SeriesName) -> dict[str, str]:
    return {"pipeline": series.pipeline, "mode": series.mode, "step": series.step_name or ""}


def _gauge(name: str, words: str, rows: Iterable[tuple[dict[str, str], float | None]]) -> Iterator[str]:
    yield from _family(name, "gauge", words)
    for labels, value in rows:
        if value is not None:
            yield _sample(name, labels, value)


def _family(name: str, kind: str, words: str) -> Iterator[str]:
    yield f"# TYPE {name} {kind}"
    if name.endswith("_seconds"):
        yield f"# UNIT {name} seconds"
    yield f"# HELP {name} {words}"


def _sample(name: str, labels: dict[str, str], value: float) -> str:
    told = ",".join(f'{key}="{_text(text)}"' for key, text in labels.items())
    return f"{name}{{{told}}} {value!r}" if told else f"{name} {value!r}"


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode().translate(_ESCAPED)
