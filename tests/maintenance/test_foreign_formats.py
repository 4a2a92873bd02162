"""Files of other tools: told by content, a session a run, twice changes nothing, a bad one stops no other.

Of: maintenance/formats/dbt.py, maintenance/formats/github_benchmark.py, maintenance/formats/hyperfine.py,
maintenance/formats/page.py, maintenance/formats/pytest_benchmark.py.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfdb.history.history import History
from perfdb.maintenance import formats
from perfdb.maintenance.formats.base import Format
from perfdb.maintenance.importer import Watch, find_reports, import_reports
from perfdb.recording.report import to_report, write_report
from perfdb.settings import load
from tests.commands import make_session
from tests.integrations.otel.payloads import as_protobuf, request, span

# As the tools write them, cut to two entries each.
PYTEST_BENCHMARK = {
    "machine_info": {"node": "build-3", "machine": "x86_64", "python_version": "3.11.7"},
    "commit_info": {"id": "0f3c" * 10, "project": "shop", "branch": "main", "dirty": False},
    "benchmarks": [
        {
            "group": None,
            "name": "test_sum[10]",
            "fullname": "tests/test_sum.py::test_sum[10]",
            "params": {"n": 10},
            "extra_info": {"rows": 10},
            "stats": {
                "min": 0.10,
                "max": 0.40,
                "mean": 0.22,
                "stddev": float("nan"),
                "rounds": 5,
                "median": 0.2,
                "iterations": 1,
            },
        },
        {
            "name": "test_join",
            "fullname": "tests/test_sum.py::test_join",
            "stats": {"median": 0.5, "mean": 0.5},
        },
    ],
    "datetime": "2026-01-05T10:00:00.250000+00:00",
    "version": "5.1.0",
}
HYPERFINE = {
    "results": [
        {
            "command": "make docs",
            "mean": 1.1,
            "stddev": None,
            "median": 1.0,
            "user": 0.6,
            "system": 0.1,
            "min": 0.9,
            "max": 1.4,
            "times": [0.9, 1.0, 1.4],
            "exit_codes": [0, 0, 0],
            "parameters": {"threads": "2"},
        },
        {"command": "false", "mean": 0.1, "median": 0.1, "times": [0.1, 0.1], "exit_codes": [1, 0]},
    ]
}
GITHUB_BENCHMARK = {
    "lastUpdate": 1767261600000,
    "repoUrl": "https://example.org/shop",
    "entries": {
        "Rust": [
            {
                "commit": {"id": "a" * 40, "message": "Faster joins", "timestamp": "2026-01-01T10:00:00Z"},
                "date": 1767261600000,
                "tool": "cargo",
                "benches": [
                    {"name": "join", "value": 2_500_000, "unit": "ns/iter", "range": "± 300"},
                    {"name": "scan", "value": 4.0, "unit": "iter/sec"},
                    {"name": "size", "value": 1234, "unit": "KB"},
                    {"name": "page", "value": 250, "unit": "Milliseconds"},
                ],
            },
            {"commit": {"id": "b" * 40}, "date": 1767265200000, "benches": []},
        ]
    },
}
DBT = {
    "metadata": {
        "dbt_schema_version": "https://schemas.getdbt.com/dbt/run-results/v6.json",
        "dbt_version": "1.9.1",
        "generated_at": "2026-01-05T10:00:09Z",
        "invocation_id": "5d4c1d07-6a3f-4a3c-9c1e-0d5f2c9a7b11",
    },
    "results": [
        {
            "status": "success",
            "timing": [
                {
                    "name": "compile",
                    "started_at": "2026-01-05T10:00:00Z",
                    "completed_at": "2026-01-05T10:00:01Z",
                },
                {
                    "name": "execute",
                    "started_at": "2026-01-05T10:00:01Z",
                    "completed_at": "2026-01-05T10:00:04Z",
                },
            ],
            "thread_id": "Thread-1",
            "execution_time": 4.0,
            "adapter_response": {"_message": "SELECT 9", "rows_affected": 9},
            "message": "SELECT 9",
            "failures": None,
            "unique_id": "model.shop.orders",
        },
        {
            "status": "error",
            "timing": [{"name": "compile", "started_at": "2026-01-05T10:00:02Z", "completed_at": None}],
            "thread_id": "Thread-2",
            "execution_time": 1.5,
            "adapter_response": {},
            "message": "Database Error: no column nope",
            "unique_id": "model.shop.bad",
        },
        {
            "status": "skipped",
            "timing": [],
            "thread_id": "Thread-2",
            "execution_time": 0.0,
            "adapter_response": {},
            "message": None,
            "unique_id": "model.shop.after",
        },
    ],
    "elapsed_time": 8.5,
    "args": {"which": "build", "target": "dev"},
}
FILES = {
    "pytest-benchmark": (json.dumps(PYTEST_BENCHMARK, indent=4), formats.PYTEST_BENCHMARK),
    "hyperfine": (json.dumps(HYPERFINE), formats.HYPERFINE),
    "data.js": (
        f"window.BENCHMARK_DATA = {json.dumps(GITHUB_BENCHMARK, indent=2)};\n",
        formats.GITHUB_BENCHMARK,
    ),
    "data.json": (json.dumps(GITHUB_BENCHMARK), formats.GITHUB_BENCHMARK),
    "dbt": (json.dumps(DBT), formats.DBT),
}


@pytest.mark.parametrize("tool", FILES)
@pytest.mark.parametrize("shape", ["as written", "keys sorted", "byte order mark"])
def test_a_file_is_recognised_by_its_content(folder: Path, tool: str, shape: str) -> None:
    text, expected = FILES[tool]
    if shape == "keys sorted":
        head, brace, body = text.partition("{")
        text = head + json.dumps(json.loads(brace + body.rstrip(";\n")), sort_keys=True)
    (folder / "x.txt").write_text(text, encoding="utf-8-sig" if shape == "byte order mark" else "utf-8")
    assert formats.format_of(folder / "x.txt") is expected


def test_each_tool_lands_and_twice_changes_nothing(perfdb: Callable[..., Any], folder: Path) -> None:
    for name, (text, _) in FILES.items():
        if name != "data.json":
            (folder / name.replace("dbt", "run_results.json").replace("hyperfine", "h.json")).write_text(text)
    (folder / "pytest-benchmark").rename(folder / "p.json")
    saved = {
        **PYTEST_BENCHMARK,
        "datetime": "2026-01-05T10:00:03.5+00:00",
    }  # of the same run: --benchmark-autosave
    (folder / "saved.json").write_text(json.dumps(saved))
    (folder / "broken.json").write_text(json.dumps({**DBT, "results": [{"unique_id": "model.shop.x"}]}))
    first, second = perfdb("import", "."), perfdb("import", ".")
    assert first.out == "Imported 5 sessions, 1 known already, 1 file not imported.\n"
    assert "broken.json: results[0].status is missing" in first.err
    assert second.out == "Imported 0 sessions, 6 known already, 1 file not imported.\n"


def test_what_gzip_packed_is_taken_as_what_it_packs(perfdb: Callable[..., Any], folder: Path) -> None:
    plain, packed = folder / "plain", folder / "packed"
    write_report(to_report(make_session(0)), plain)
    for name, (text, _) in FILES.items():
        (plain / f"{name}.json").write_text(text)
    (plain / "traces.jsonl").write_bytes(request([span(1)]) + b"\n" + request([span(2, 1)]))
    (plain / "traces.pb").write_bytes(as_protobuf(request([span(3, trace="0b" * 16)])))
    assert perfdb("import", "plain").code == 0
    assert perfdb("export", "--format", "json", "-o", "plain/export.json").code == 0
    assert perfdb("report", "last", "-o", "plain/page.html").code == 0
    packed.mkdir()
    for file in plain.iterdir():
        (packed / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        os.utime(packed / f"{file.name}.gz", ns=(0, file.stat().st_mtime_ns))
    watch = Watch([packed, packed / "*.html.gz"])
    assert watch.ready() == []
    once = list(import_reports(find_reports([plain, plain / "*.html"]), load()))
    again = list(import_reports(watch.ready(), load()))
    assert [(each.path, each.known) for each in again] == [
        (each.path.replace("plain", "packed") + ".gz", each.known) for each in once
    ]
    assert not [each for each in again if each.error or each.added]


@pytest.fixture
def read(folder: Path) -> Callable[[str], dict[str, Any]]:
    """Return the sessions of one file by their pipeline's name."""

    def read(tool: str) -> dict[str, Any]:
        (folder / tool).write_text(FILES[tool][0])
        os.utime(folder / tool, (1_767_261_600, 1_767_261_600))
        return {f"{each.pipeline} {each.start_time:.0f}": each for each in FILES[tool][1].read(folder / tool)}

    return read


def test_pytest_benchmark(read: Callable[[str], Any]) -> None:
    (session,) = read("pytest-benchmark").values()
    assert session.pipeline == "shop"
    assert session.start_time == 1_767_607_200.25
    assert session.step_durations == {
        "tests/test_sum.py::test_sum[10]": 0.2,
        "tests/test_sum.py::test_join": 0.5,
    }
    assert session.total_duration == pytest.approx(0.7)
    assert (session.git_commit, session.host, session.python_version) == ("0f3c" * 10, "build-3", "3.11.7")
    assert session.git_branch == "main"
    assert session.attributes == {"tool": "pytest-benchmark", "machine": "x86_64"}
    assert session.steps[0].additional_data == {
        "min_s": 0.10,
        "max_s": 0.40,
        "mean_s": 0.22,
        "rounds": 5,
        "iterations": 1,
        "params": {"n": 10},
        "rows": 10,
    }


def test_hyperfine(read: Callable[[str], Any]) -> None:
    (session,) = read("hyperfine").values()
    made, failed = session.steps
    assert (session.status, session.start_time) == ("failed", 1_767_261_600)
    assert (made.step_name, made.duration, made.success, made.cpu_s) == (
        "make docs",
        1.0,
        True,
        pytest.approx(0.7),
    )
    assert made.additional_data["runs"] == 3
    assert made.additional_data["threads"] == "2"
    assert failed.error_message == "1 of its runs ended with exit code 1"


@pytest.mark.parametrize("tool", ["data.js", "data.json"])
def test_github_action_benchmark(read: Callable[[str], Any], tool: str) -> None:
    first, second = read(tool).values()
    assert (first.pipeline, first.git_commit, second.git_commit) == ("Rust", "a" * 40, "b" * 40)
    assert first.start_time == 1_767_261_600
    assert first.step_durations == {
        "join": pytest.approx(0.0025),
        "scan": 0.25,
        "size": 0.0,
        "page": 0.25,
    }
    assert first.steps[2].additional_data == {"value": 1234.0, "unit": "KB"}
    assert first.session_id != second.session_id


def test_dbt(read: Callable[[str], Any]) -> None:
    (session,) = read("dbt").values()
    assert (session.session_id, session.pipeline) == (DBT["metadata"]["invocation_id"], "dbt shop")  # type: ignore[index]
    assert (session.status, session.error_message) == ("failed", "Database Error: no column nope")
    assert session.total_duration == pytest.approx(8.5)
    by_name = {step.step_name: step for step in session.steps}
    assert by_name["model.shop.orders"].additional_data == {"status": "success", "rows_affected": 9}
    assert by_name["model.shop.orders"].lane != by_name["model.shop.bad"].lane
    assert by_name["model.shop.after"].interrupted
    assert not by_name["model.shop.after"].failed
    assert by_name["model.shop.bad"].failed


def test_what_other_versions_of_a_tool_write(folder: Path) -> None:
    old = {"results": [{"command": "make", "mean": 0.5, "min": 0.4, "max": 0.6}]}
    detached = PYTEST_BENCHMARK | {"commit_info": {"id": "0f3c" * 10, "branch": "(detached head)"}}
    failed = [
        {"unique_id": "source.shop.raw.orders", "status": "runtime error", "error": "no such table"},
        {"unique_id": "test.shop.unique", "status": "fail", "execution_time": 0.5, "message": 3},
    ]
    read = []
    for tool, made in (
        ("hyperfine", old),
        ("pytest-benchmark", detached),
        ("dbt", DBT | {"results": failed}),
    ):
        (folder / "made.json").write_text(json.dumps(made))
        read += list(FILES[tool][1].read(folder / "made.json"))
    assert [step.duration for step in read[0].steps] == [0.5]
    assert (read[1].git_branch, read[1].git_commit) == (None, "0f3c" * 10)
    assert [(step.duration, step.error_message) for step in read[2].steps] == [
        (0.0, "no such table"),
        (0.5, "3"),
    ]


def test_a_file_that_dbt_wrote() -> None:
    """``dbt build`` of 1.12 with DuckDB; compiled code and most arguments are left out."""
    file = Path(__file__).with_name("run_results.json")
    assert formats.format_of(file) is formats.DBT
    (session,) = formats.DBT.read(file)
    assert (session.pipeline, session.status, session.session_id[:8]) == ("dbt shop", "failed", "055c0723")
    assert session.error_message is not None
    assert session.error_message.startswith("Runtime Error in model broken")
    assert session.total_duration == pytest.approx(json.loads(file.read_text())["elapsed_time"])
    steps = {step.step_name.removesuffix(".9e6ad4077e"): step for step in session.steps}
    assert {name for name, step in steps.items() if step.failed} == {
        "model.shop.broken",
        "test.shop.accepted_values_kinds_n__1",
    }
    assert [name for name, step in steps.items() if step.interrupted] == ["model.shop.after_broken"]
    assert steps["model.shop.orders"].duration == pytest.approx(0.8977, abs=1e-4)


def test_another_package_brings_a_format(
    perfdb: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = folder / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[perfdb.formats]\nmine = their_formats:MINE\n"
        "broken = their_formats:NOTHING\nwrong = their_formats:Path\n"
    )
    (folder / "their_formats.py").write_text(
        "from pathlib import Path\n"
        "from perfdb.maintenance.formats import Format\n"
        "def read(file):\n    raise KeyError('spans')\n    yield\n"
        "MINE = Format(words='a trace', fits=lambda file, start: start.startswith(b'TRACE'), read=read,"
        " suffixes=('.trace',))\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    formats.of_others.cache_clear()
    try:
        (mine,) = formats.of_others()
        assert isinstance(mine, Format)
        (folder / "a.trace").write_text("TRACE")
        (folder / "h.json").write_text(FILES["hyperfine"][0])
        answer = perfdb("import", ".")
    finally:
        formats.of_others.cache_clear()
    assert answer.out == "Imported 1 session, 1 file not imported.\n"
    assert "a.trace: a trace cannot be read: KeyError: 'spans'" in answer.err


def test_a_watched_file_is_taken_when_nobody_writes_it_any_more(folder: Path) -> None:
    watch = Watch([folder])
    file = folder / "h.json"
    assert watch.ready() == []
    file.write_text('{"results": [')
    assert watch.ready() == []
    file.write_text(FILES["hyperfine"][0])
    assert watch.ready() == []
    assert watch.ready() == [file]
    assert watch.ready() == []
    file.write_text(FILES["dbt"][0])
    assert [watch.ready(), watch.ready()] == [[], [file]]


def test_a_watched_folder_is_imported_until_an_interrupt(
    perfdb: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "h.json").write_text(FILES["hyperfine"][0])
    looks = iter([None, None])

    def look_again(_: float) -> None:
        if next(looks, "over") == "over":
            raise KeyboardInterrupt

    monkeypatch.setattr("perfdb.cli.import_reports.time.sleep", look_again)
    answer = perfdb("import", "--watch", ".")
    assert (answer.code, answer.out) == (0, "Imported 1 session.\n")
    assert len(History().sessions()) == 1
