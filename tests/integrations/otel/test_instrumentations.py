"""What real instrumentations export, from a program of another process: extra ``test-hosts``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from perfdb.history.history import History
from tests.web.conftest import serving

pytestmark = pytest.mark.process
PROGRAM = Path(__file__).with_name("shop.py")
MODULES = {
    "openinference": ("openinference.instrumentation.openai", "openinference.instrumentation.langchain"),
    "openllmetry": ("opentelemetry.instrumentation.openai", "opentelemetry.instrumentation.langchain"),
}


@pytest.mark.parametrize(("library", "target"), [("openinference", "otlp"), ("openllmetry", "sdk")])
def test_a_request_with_models_a_queue_and_another_service_is_one_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, target: str
) -> None:
    for module in (*MODULES[library], "opentelemetry.instrumentation.celery", "langchain_openai"):
        pytest.importorskip(module, reason="pip install 'perfdb[test-hosts]'")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "perfdb.toml").write_text("[otlp]\nquiet_s = 0.5\n")
    history = History()
    if target == "sdk":
        _run("sdk", library)
    else:
        with serving(history, otlp=True) as receiver:
            _run(f"{receiver.client.base_url}/v1/traces".replace("//v1", "/v1"), library)
    (session,) = history.each_session()
    assert (session.pipeline, session.status) == ("POST /design/{room}", "completed")
    assert session.attributes["service.name"] == "shop"
    names = [step.step_name for step in session.steps]
    assert not [name for name in names if "http send" in name]
    assert {"GET", "GET /stock/{room}", "apply_async/draw", "run/draw"} <= set(names)
    used = [step.additional_data for step in session.steps if "input_tokens" in step.additional_data]
    assert [each["model"] for each in used] == ["gpt-4o"] * 3, "each call of a model counts once"
    assert "Furnish the" not in repr(session)


def _run(target: str, library: str) -> None:
    command = [sys.executable, "-W", "ignore", str(PROGRAM), library, target]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
