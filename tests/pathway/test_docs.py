"""The page of the documentation is run: its Python against the stand-in services, its curl as well.

Of: pathway/api.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perfdb.pathway.api import create_app

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "pathway.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(home: Path, standin: Any, room: bytes) -> Path:
    """Return a folder with a picture, and with settings that name the stand-in services."""
    (home.parent / "room.jpg").write_bytes(room)
    (home.parent / "perfdb.toml").write_text(
        f'[pathway]\nopenai_base_url = "{standin.url}/v1"\nserpapi_base_url = "{standin.url}"\n'
    )
    return home.parent


def run(command: list[str], folder: Path, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PERFDB_")}
    environment |= {"OPENAI_API_KEY": "sk-stand-in", "SERPAPI_API_KEY": "stand-in", "PYTHONUTF8": "1"}
    done = subprocess.run(command, cwd=folder, env=environment | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("snippet", PYTHON, ids=lambda text: text.partition("\n")[0])
def test_its_python_runs(snippet: str, folder: Path) -> None:
    said = run([sys.executable, "-c", snippet], folder)

    assert said.strip().splitlines()[-1], "it says something"
    if "watch.cancel" in snippet:
        assert said.strip().endswith("cancelled")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_its_requests_are_answered(served: Any, make_pathway: Any, folder: Path) -> None:
    api = served(create_app(lambda: make_pathway(service_token="secret")))
    (block,) = (text for text in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "curl" in text)
    script = block.replace("http://127.0.0.1:8000", str(api.base_url).rstrip("/"))

    said = run(["sh", "-euc", script], folder, PERFDB_PATHWAY_TOKEN="secret")

    assert json.loads(said.partition("HTTP/1.1")[0])["success"] is True
    assert "202 Accepted" in said
    assert "location: /designs/" in said


def test_its_rules_and_limits_are_known(folder: Path) -> None:
    from perfdb.alerts.config import read_alert_settings
    from perfdb.pathway import PathwaySettings
    from perfdb.settings import load

    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (folder / "perfdb.toml").write_text(block)
    assert "design-slow" in [rule.name for rule in read_alert_settings(load().alerts).rules]
    documented = dict(re.findall(r"^\| `(max_\w+)` \| (\d+) \|", PAGE, re.MULTILINE))
    assert len(documented) == 5
    assert documented == {name: str(getattr(PathwaySettings(), name)) for name in documented}


def test_every_path_that_it_names_is_there() -> None:
    named = {
        (method.lower(), path) for method, path in re.findall(r"^\| `(GET|POST|DELETE) (/\S*?)`", PAGE, re.M)
    }
    described = create_app().openapi()["paths"]
    assert named - {("get", "/openapi.json")} == {
        (method, path.replace("design_id", "id")) for path, methods in described.items() for method in methods
    }
