"""The hooks of docs/integrations.md, run with their frameworks: extra ``test-hosts``.

Of: integrations/sessions.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from perfdb.history.history import History

pytestmark = pytest.mark.process
PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"
PROGRAMS = {
    "Luigi": """
class Load(luigi.Task):
    n = luigi.IntParameter()
    is_done = False
    def complete(self):
        return self.is_done
    def run(self):
        with perfdb.current().step("query"):
            if self.n == 2:
                raise ValueError("no rows")
        self.is_done = True
luigi.build([Load(1), Load(2)], local_scheduler=True, log_level="CRITICAL")
""",
    "Prefect": """
from prefect.testing.utilities import prefect_test_harness
with prefect_test_harness(server_startup_timeout=120):
    assert nightly() == ["a", "b"]
""",
    "Kedro": """
from kedro.framework.hooks.manager import _create_hook_manager, _register_hooks
from kedro.io import DataCatalog
from kedro.pipeline import node, pipeline
from kedro.runner import SequentialRunner, ThreadRunner
hooks = _create_hook_manager()
_register_hooks(hooks, (PerfdbHooks(),))
def fail(rows):
    raise ValueError("no rows")
def run(runner, *functions):
    named = dict(zip("abc", functions))
    nodes = pipeline([node(f, None if n == "a" else "a", f"of_{n}" if n > "a" else n, name=n)
                      for n, f in named.items()])
    hooks.hook.before_pipeline_run(run_params={"pipeline_name": "nightly"}, pipeline=nodes, catalog=None)
    try:
        found = runner.run(nodes, DataCatalog(), hook_manager=hooks)
    except Exception as error:
        hooks.hook.on_pipeline_error(error=error, run_params={}, pipeline=nodes, catalog=None)
    else:
        hooks.hook.after_pipeline_run(run_params={}, run_result=found, pipeline=nodes, catalog=None)
run(ThreadRunner(max_workers=2), lambda: 1, lambda a: a, lambda a: a)
run(SequentialRunner(), lambda: 1, fail)
""",
    "Dagster": """
assert nightly.execute_in_process().success
""",
}
WANTED = {
    "Luigi": {("Load", "completed", ("query",)), ("Load", "failed", ("query",))},
    "Prefect": {("nightly", "completed", ("load", "load"))},
    "Kedro": {("nightly", "completed", ("a", "b", "c")), ("nightly", "failed", ("a", "b"))},
    "Dagster": {("load_rows", "completed", ("query",))},
}


@pytest.mark.parametrize("framework", PROGRAMS)
def test_a_hook_does_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, framework: str) -> None:
    pytest.importorskip(framework.lower(), reason="pip install 'perfdb[test-hosts]'")
    monkeypatch.chdir(tmp_path)
    for name, value in (("PREFECT_HOME", tmp_path / "prefect"), ("PREFECT_LOGGING_LEVEL", "CRITICAL")):
        monkeypatch.setenv(name, str(value))
    for name in ("DO_NOT_TRACK", "KEDRO_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "1")
    found = re.search(rf"^### {framework}$.*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    hook = found[1]
    lines = [line for line in hook.splitlines() if line.strip() and not re.match("import|from", line)]
    assert len(lines) <= 15
    (tmp_path / "program.py").write_text(hook + PROGRAMS[framework])
    subprocess.run([sys.executable, "program.py"], check=True, capture_output=True, timeout=180)
    sessions = {
        (each.pipeline, each.status, tuple(sorted(step.step_name for step in each.steps)))
        for each in History().each_session()
    }
    assert sessions == WANTED[framework]
