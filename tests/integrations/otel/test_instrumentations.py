"""What real instrumentations export, from a program of another process: extra ``test-hosts``.

Of: integrations/otel/exporter.py.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from perfdb.history.history import History
from tests.web.conftest import serving

pytestmark = pytest.mark.process
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
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, library, target]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr


PROGRAM = """from __future__ import annotations

import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import fastapi
import httpx
import openai
import uvicorn
from celery import Celery
from celery.contrib.testing.worker import start_worker
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from perfdb.pathway.standin import StandIn

library, target = sys.argv[1:]
if library == "openinference":
    from openinference.instrumentation.langchain import LangChainInstrumentor
    from openinference.instrumentation.openai import OpenAIInstrumentor
else:
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor as LangChainInstrumentor
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
exporter: Any
if target == "sdk":
    from perfdb.integrations.otel import SpanExporter

    exporter = SpanExporter()
else:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(target)
provider.add_span_processor(BatchSpanProcessor(exporter))
trace.set_tracer_provider(provider)
for instrumentor in (OpenAIInstrumentor, LangChainInstrumentor, HTTPXClientInstrumentor, CeleryInstrumentor):
    instrumentor().instrument()

standin = StandIn()
service = {"base_url": f"{standin.url}/v1", "api_key": "sk-none"}
client = openai.AsyncOpenAI(**service)
chain = ChatPromptTemplate.from_messages([("human", "Furnish the {room}")]) | ChatOpenAI(
    model="gpt-4o", stream_usage=True, **service
)
queue = Celery("shop", broker="memory://", backend="cache+memory://")
app = fastapi.FastAPI()


@queue.task(name="draw")
def draw() -> None:
    pass


@app.get("/stock/{room}")
async def stock(room: str) -> fastapi.responses.StreamingResponse:
    async def rows() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"row"

    return fastapi.responses.StreamingResponse(rows())


@app.post("/design/{room}")
async def design(room: str, request: fastapi.Request) -> None:
    ask: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Furnish the"}]}
    await client.chat.completions.create(**ask)
    streamed = await client.chat.completions.create(
        stream=True, stream_options={"include_usage": True}, **ask
    )
    async for _ in streamed:
        pass
    async for _ in chain.astream({"room": room}):
        pass
    async with httpx.AsyncClient() as other:
        await other.get(f"{request.base_url}stock/{room}")
    draw.delay()


FastAPIInstrumentor.instrument_app(app)
server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
serving = threading.Thread(target=server.run)
with standin, start_worker(queue, perform_ping_check=False):
    serving.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    ordered = urllib.request.Request(f"http://127.0.0.1:{port}/design/kitchen", method="POST")
    with urllib.request.urlopen(ordered) as answer:
        assert answer.status == 200
    until = time.monotonic() + 30
    while not queue.backend._cache and time.monotonic() < until:
        time.sleep(0.02)  # until the task has ended
    server.should_exit = True
    serving.join()
provider.shutdown()
"""  # as a user writes one; its frameworks are those of `test-hosts`
