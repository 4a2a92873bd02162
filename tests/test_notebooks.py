"""Every notebook runs from top to bottom on a small recorded history, and is committed without outputs.

Of: integrations/notebooks.py.
"""

from __future__ import annotations

import os
from html import unescape
from pathlib import Path
from typing import Any

import pytest

import perfdb

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))

pytestmark = [
    pytest.mark.process,  # a kernel
    # Of the libraries that run a notebook, not of perfdb.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a dozen sessions of the design pipeline in both modes."""
    home = tmp_path_factory.mktemp("notebooks") / "performance_tracking"
    for number in range(12):
        with perfdb.track("design", home=home, monitor=number == 11, fast_mode=number % 4 == 0) as run:
            with perfdb.track_vision_analysis(run, design_style="modern"):
                pass
            with perfdb.track_product_search(run) as step:
                run.map(str, range(3), max_workers=2)
                step.set(products_found=3)
    return home


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = executed(path, home, monkeypatch)
    for cell in notebook.cells:
        if cell.cell_type == "code" and "history.chart" in cell.source:
            assert {"image/png", "text/html"} <= set(cell.outputs[-1].data)


@pytest.mark.parametrize(
    ("number", "of"),
    [("01", "nothing"), ("01", "other steps"), ("02", "nothing"), ("02", "one run"), ("02", "other steps")],
)
def test_a_notebook_runs_on_any_history(
    number: str, of: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "performance_tracking"
    for run_number in range({"nothing": 0, "one run": 1}.get(of, 5)):
        with (
            perfdb.track(f"pipeline {run_number % 2}", home=home) as run,
            run.step("Total"),
            run.step("_parse $x^2$ <b>&" + "y" * 200),
        ):
            pass
    notebook = executed(
        next(path for path in NOTEBOOKS if path.name.startswith(f"{number}_")), home, monkeypatch
    )
    pictures = [cell for cell in notebook.cells if "history.chart(" in cell.get("source", "")]
    assert pictures
    assert all("image/png" in cell.outputs[-1].data for cell in pictures)
    said = [cell for cell in notebook.cells if cell.cell_type == "code" and not cell.outputs]
    assert said == [], "a cell shows neither an answer nor a reason"


def executed(path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, notebook: Any = None) -> Any:
    """Return a notebook that was run on the history of a home; of a path when none is given."""
    import nbclient
    import nbformat

    for name in [name for name in os.environ if name.startswith("PERFDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PERFDB_HOME", str(home))
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("IPYTHONDIR", str(home.parent / "ipython"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = notebook or nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(home.parent))
    return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_thin_and_without_outputs(path: Path) -> None:
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    opens = "perfdb.History(" if path.name < "03" else "make_history("  # stories have a history of their own
    assert any(opens in cell.source for cell in code[:2])
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert all("sqlite3" not in cell.source and "SELECT" not in cell.source for cell in code)


def test_a_cell_is_a_step_with_its_waterfall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbclient
    import nbformat

    cells = [
        "%load_ext perfdb",
        "%%perfdb load 'rows'\nwith perfdb.current().step('query'):\n    rows = [1, 2]\nsum(rows)",
        "%%perfdb silent\nrows.append(3)\nsum(rows);  # of all",
        "%%perfdb broken\nrows.append(4)\nrows['x']",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in cells])
    notebook.cells[0].source = "import perfdb\n" + cells[0]
    path = tmp_path / "magic.ipynb"
    nbformat.write(notebook, path)
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="list indices"):
        executed(path, tmp_path / "home", monkeypatch, notebook)
    said = [each.data for each in notebook.cells[1].outputs if "data" in each]
    assert any(each.get("text/plain") == "3" for each in said)
    pages = [unescape(each.get("text/html", "")) for each in said]
    assert any("load 'rows'" in page and "query" in page for page in pages)
    assert ["text/html" in each.data for each in notebook.cells[2].outputs] == [True]
    broken = [each.output_type for each in notebook.cells[3].outputs]
    assert broken == ["display_data", "error"]
    assert ", line 2" in notebook.cells[3].outputs[1].traceback[-2]
    history = perfdb.History(home=tmp_path / "home")
    ok, _, failed = [history.session(each) for each in history.sessions()["session_id"]]
    assert [(step.step_name, step.parent_seq) for step in ok.steps] == [("load 'rows'", None), ("query", 0)]
    assert (ok.pipeline, ok.status, failed.status) == ("notebook", "completed", "failed")
    assert failed.error_message == "TypeError: list indices must be integers or slices, not str"
