"""The dashboard tells what was called off from what failed, and from what was cut off.

Of: web/views/sessions.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import perfdb
from perfdb import recorder


def test_a_session_that_was_called_off(serve: Callable[..., Any], web_folder: Path) -> None:
    with suppress(GeneratorExit), perfdb.track("served", monitor=False) as run:
        with run.step("ready"):
            pass
        with run.step("stream"):
            raise GeneratorExit("the client <b>went</b>")
    recorder.close()
    dashboard = serve(perfdb.History())
    answer = dashboard.get(f"sessions/{run.session_id}")
    assert (answer["session"]["status"], answer["session"]["success"]) == ("interrupted", False)
    assert [step["status"] for step in answer["steps"]] == ["completed", "interrupted"]
    bars = [bar["status"] for row in answer["timeline"]["rows"] for bar in row["bars"]]
    assert bars == ["completed", "interrupted"]
    assert answer["explanation"] is not None
    page = dashboard.client.get(f"/sessions/{run.session_id}").text
    (said,) = re.findall(r"<h1><bdi>(.*?)</bdi></h1>", page, re.S)
    assert said.startswith("Interrupted after ")
    assert said.endswith("GeneratorExit: the client &lt;b&gt;went&lt;/b&gt;")
    assert "its process died" not in page
    assert "✗" not in page
    assert "was called off" in dashboard.client.get("/").text
