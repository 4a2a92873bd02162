"""`from performance_tracking.performance_tracker import …`, the document's first line, runs as it stands.

Of: _shim/performance_tracking/performance_tracker.py, recording/design_steps.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import perfdb

ROOT = Path(__file__).resolve().parents[1]
SHIM = Path(perfdb.__file__).parent / "_shim"
NAMES = (
    "create_tracker, track_vision_analysis, track_product_search, track_composite_creation, "
    "track_image_generation"
)
DOCUMENT = """
from performance_tracking.performance_tracker import create_tracker, track_vision_analysis

# Create a tracker
tracker = create_tracker()
tracker.start_pipeline(fast_mode=False)

# Track individual steps
with track_vision_analysis(tracker):
    # Your vision analysis code here
    pass

# End tracking
tracker.end_pipeline(success=True, product_count=5)
tracker.save_performance_report()
tracker.print_summary()
"""
WHOSE = "import performance_tracking.performance_tracker as it; print(getattr(it, 'OLD', 'perfdb'))"


def run(code: str, folder: Path, *path: Path) -> str:
    """Run code in a folder, as `python -c` does; ``path`` as PYTHONPATH, in place of what is installed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PERFDB_")}
    environment |= {"PYTHONUTF8": "1", "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_document_s_snippet_runs_where_perfdb_is_installed(tmp_path: Path) -> None:
    said = run(DOCUMENT, tmp_path)

    assert "Completed step: Vision Analysis" in said
    (report,) = (tmp_path / "performance_tracking").glob("performance_report_*.json")
    assert json.loads(report.read_text())["product_count"] == 5
    assert run(DOCUMENT, tmp_path)  # again, beside the data of the first run


def test_the_names_are_perfdb_s_own(tmp_path: Path) -> None:
    check = f"from performance_tracking.performance_tracker import {NAMES}; import perfdb; "
    run(check + "assert create_tracker is perfdb.create_tracker", tmp_path, SHIM)


def test_a_folder_of_data_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "performance_tracking" / "journal").mkdir(parents=True)
    (tmp_path / "performance_tracking" / "performance_report_1.json").write_text("{}")

    assert run(WHOSE, tmp_path, SHIM) == "perfdb\n"


@pytest.mark.parametrize("with_init", [False, True])
def test_an_old_module_in_the_working_directory_wins(tmp_path: Path, with_init: bool) -> None:
    old = tmp_path / "performance_tracking"
    old.mkdir()
    (old / "performance_tracker.py").write_text("from performance_tracking import helper\nOLD = helper.OLD\n")
    (old / "helper.py").write_text("OLD = 'the old one'\n")
    if with_init:
        (old / "__init__.py").write_text("")

    assert run(WHOSE, tmp_path, SHIM) == "the old one\n"


def test_a_module_further_back_on_the_path_does_not_win(tmp_path: Path) -> None:
    old = tmp_path / "elsewhere" / "performance_tracking"
    old.mkdir(parents=True)
    (old / "performance_tracker.py").write_text("OLD = 'the old one'\n")
    (old / "more.py").write_text("")

    assert run(WHOSE, tmp_path, SHIM, old.parent) == "perfdb\n"
    assert run("import performance_tracking.more", tmp_path, SHIM, old.parent) == ""


def test_a_working_directory_that_is_gone_is_no_obstacle(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    assert run(f"import os; os.rmdir({str(gone)!r}); {WHOSE}", gone, SHIM) == "perfdb\n"


def test_importing_it_loads_no_more_than_perfdb(tmp_path: Path) -> None:
    loaded = "import sys; print(sorted({'pandas', 'sqlalchemy', 'numpy', 'alembic'} & set(sys.modules)))"
    assert run(f"import performance_tracking.performance_tracker; {loaded}", tmp_path, SHIM) == "[]\n"


def test_it_is_a_part_of_the_wheel_and_of_an_editable_install() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"]["perfdb/_shim/performance_tracking"] == "performance_tracking"


def test_doctor_says_that_an_old_module_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from perfdb.maintenance.doctor import look_for_old_module

    monkeypatch.chdir(tmp_path)
    (tmp_path / "performance_tracking").mkdir()
    assert [each.state for each in look_for_old_module(Path())] == ["fine"]
    (tmp_path / "performance_tracking" / "performance_tracker.py").write_text("")
    (finding,) = look_for_old_module(Path())
    assert finding.state == "warning"
    assert "performance_tracking/performance_tracker.py" in finding.found
