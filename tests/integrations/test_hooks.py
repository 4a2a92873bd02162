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
class Awaited(luigi.ExternalTask):
    def complete(self):
        return False
luigi.configuration.get_config().set("worker", "retry_external_tasks", "true")
luigi.build([Load(1), Awaited(), Load(2)], local_scheduler=True, log_level="CRITICAL")
""",
    "Prefect": """
from prefect.testing.utilities import prefect_test_harness
with prefect_test_harness(server_startup_timeout=120):
    assert nightly() == ["a", "b"]
""",
    "Kedro": """
from pathlib import Path
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.runner import ParallelRunner, SequentialRunner, ThreadRunner
FILES = {
    "pyproject.toml": "[tool.kedro]\\npackage_name = 'shop'\\nproject_name = 'shop'\\n"
                      "kedro_init_version = '1.0.0'\\nsource_dir = 'src'\\n",
    "conf/base/catalog.yml": "{}",
    "conf/local/catalog.yml": "{}",
    "src/shop/__init__.py": "",
    "shop-1.dist-info/METADATA": "Name: shop\\nVersion: 1\\n",
    "src/shop/settings.py": "from __main__ import PerfdbHooks\\nHOOKS = (PerfdbHooks(),)\\n",
    "src/shop/pipeline_registry.py": "from __main__ import register_pipelines\\n",
}
def one():
    return 1
def same(a):
    return a
def fail(a):
    raise ValueError("no rows")
def register_pipelines():
    from kedro.pipeline import node, pipeline
    first, bad = node(one, None, "a", name="a"), node(fail, "a", "x", name="b")
    others = [node(same, "a", f"of_{name}", name=name) for name in "bc"]
    return {"nightly": pipeline([first, *others]), "__default__": pipeline([first, bad])}
hooks = PerfdbHooks()
if __name__ == "__main__":
    for name, text in FILES.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    bootstrap_project(Path.cwd())
    named = ["nightly"]
    for runner, names in (ThreadRunner(), named), (ParallelRunner(2), named), (SequentialRunner(), None):
        with KedroSession.create() as session:
            try:
                session.run(pipeline_names=names, runner=runner)
            except ValueError:
                assert names is None
    from kedro.framework.project import settings
    settings.set("HOOKS", ())
    Path("shop-1.dist-info/entry_points.txt").write_text("[kedro.hooks]\\nperfdb = program:hooks\\n")
    os.environ["KEDRO_MP_CONTEXT"] = "spawn"
    with KedroSession.create() as session:
        session.run(pipeline_names=named, runner=ParallelRunner(2))
""",
    "Dagster": """
assert nightly.execute_in_process().success
""",
}
WANTED = {
    "Luigi": {("Load", "completed", ("query",)), ("Load", "failed", ("query",))},
    "Prefect": {("nightly", "completed", ("load", "load"))},
    "Kedro": {("nightly", "completed", ("a", "b", "c")), ("kedro", "failed", ("a", "b"))},
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
