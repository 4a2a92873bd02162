"""What calls of models used, and what they cost: on the step, from the settings, by the worker.

Of: recording/usage.py.
"""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

import perfdb
from perfdb.errors import SettingsError
from perfdb.history.history import History
from perfdb.recording.health import Health
from perfdb.recording.usage import used_in
from perfdb.toml import parse
from perfdb.worker.pricing import Pricing

TABLE = """
[prices."gpt-4o"]
input = 2.5
cached = 1.25
output = 10

[[prices."painter"]]
image = 0.02

[[prices."painter"]]
since = 2026-02-01
image = 0.04
"""
CHAT = {
    "model": "gpt-4o-2024-08-06",
    "usage": {
        "prompt_tokens": 1_000,
        "completion_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 200},
        "completion_tokens_details": {"reasoning_tokens": 40},
    },
}
USED = {
    "model": "gpt-4o-2024-08-06",
    "input_tokens": 1_000,
    "output_tokens": 100,
    "cached_tokens": 200,
    "reasoning_tokens": 40,
}


def pricing(health: Health | None = None, table: str = TABLE) -> Pricing:
    return Pricing(parse(table, source="perfdb.toml").table("prices"), health or Health())


def step(**data: Any) -> dict[str, Any]:
    return {"type": "step", "start_time": 1_768_000_000.0, "additional_data": data}


# -- what an answer used ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "used"),
    [
        (CHAT, USED),
        (
            {
                "model": "gpt-5",
                "usage": {
                    "input_tokens": 7,
                    "output_tokens": 3,
                    "input_tokens_details": {"cached_tokens": 0},
                    "output_tokens_details": {"reasoning_tokens": 1},
                },
            },
            {"model": "gpt-5", "input_tokens": 7, "output_tokens": 3, "cached_tokens": 0}
            | {"reasoning_tokens": 1},
        ),
        (
            {
                "model": "claude",
                "usage": {
                    "input_tokens": 10,
                    "output_tokens": 5,
                    "cache_read_input_tokens": 90,
                    "cache_creation_input_tokens": 0,
                },
            },
            {"model": "claude", "input_tokens": 100, "output_tokens": 5, "cached_tokens": 90},
        ),
        (
            {"model": "claude", "usage": {"input_tokens": 10, "cache_creation_input_tokens": 40}},
            {"model": "claude", "input_tokens": 50, "cache_write_tokens": 40},
        ),
        (
            {"data": [{"b64_json": "x"}, {"url": "y"}], "usage": {"input_tokens": 3, "output_tokens": 9}},
            {"input_tokens": 3, "output_tokens": 9, "images": 2},
        ),
        (
            {"model": "e", "data": [{"embedding": [1.0]}], "usage": {"prompt_tokens": 4}},
            {"model": "e", "input_tokens": 4},
        ),
        ({"usage": {"prompt_tokens": "many", "completion_tokens": -1}}, {}),
        (
            {"usage": {"input_tokens": np.int64(7), "output_tokens": Decimal(3)}, "model": 5},
            {"input_tokens": 7, "output_tokens": 3},
        ),
        ({"usage": {"input_tokens": 10**400, "output_tokens": float("nan")}}, {}),
        ({"usage": {"input_tokens": True, "output_tokens": 2.5}, "model": " "}, {}),
        ({"usage": {"input_tokens": float("inf"), "output_tokens": 3j}}, {}),
        (None, {}),
        ("text", {}),
    ],
)
def test_what_an_answer_used(answer: Any, used: dict[str, Any]) -> None:
    assert used_in(answer) == used
    assert all(type(value) in (str, int) for value in used_in(answer).values())


def test_an_answer_of_the_openai_sdk() -> None:
    from openai.types.chat import ChatCompletion

    total = {**CHAT["usage"], "total_tokens": 1_100}  # type: ignore[dict-item]
    message = {"role": "assistant", "content": "x"}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    chat = ChatCompletion.model_validate(
        {"id": "1", "object": "chat.completion", "created": 1, "choices": choices, **CHAT, "usage": total}
    )
    assert used_in(chat) == USED


class Events:
    """A stream as SDKs have them: an iterator with methods of its own."""

    def __init__(self, *events: Any) -> None:
        self._events = iter(events)
        self.closed = False

    def __iter__(self) -> Iterator[Any]:
        return self._events

    def __next__(self) -> Any:
        return next(self._events)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._each()

    async def _each(self) -> AsyncIterator[Any]:
        for event in self._events:
            yield event

    def close(self) -> None:
        self.closed = True


def stream() -> Events:
    message = SimpleNamespace(model="claude", usage=SimpleNamespace(input_tokens=10, output_tokens=1))
    return Events(
        SimpleNamespace(type="message_start", message=message),
        SimpleNamespace(type="delta", text="x"),
        SimpleNamespace(type="message_delta", usage=SimpleNamespace(output_tokens=42)),
    )


def test_a_message_of_langchain_says_what_it_used_and_an_unknown_answer_is_named(tmp_path: Path) -> None:
    message = {
        "content": "a kitchen",
        "response_metadata": {"model_name": "gpt-4o", "finish_reason": "stop"},
        "usage_metadata": {
            "input_tokens": 350, "output_tokens": 240, "total_tokens": 590,
            "input_token_details": {"audio": 10, "cache_creation": 200, "cache_read": 100},
            "output_token_details": {"audio": 10, "reasoning": 200},
        },
    }  # fmt: skip
    with perfdb.track("p", home=tmp_path / "home", console=False) as run:
        with run.step("chain") as chain:
            assert perfdb.usage(message) is message
        with run.step("streamed") as streamed:
            parts = [{"usage_metadata": {"input_tokens": 9, "output_tokens": n}} for n in (0, 2, 3)]
            assert len(list(perfdb.usage(Events(*parts)))) == 3
        with run.step("text") as text:
            assert perfdb.usage("a kitchen") == "a kitchen"
    assert chain.data == {
        "model": "gpt-4o", "input_tokens": 350, "output_tokens": 240, "cached_tokens": 100,
        "cache_write_tokens": 200, "reasoning_tokens": 200,
    }  # fmt: skip
    assert streamed.data == {"input_tokens": 27, "output_tokens": 5}  # as adding the chunks up does
    assert text.data == {}
    assert [each for each in run.health()["warnings"] if "builtins.str" in each]
    assert run.health()["ok"]


def test_answers_of_a_step_add_up_and_streams_count_when_they_end(tmp_path: Path) -> None:
    with perfdb.track("p", home=tmp_path / "home") as run:
        with run.step("chat") as chat:
            assert perfdb.usage(CHAT) is CHAT
            perfdb.usage(CHAT)
        with run.step("stream") as streamed:
            events = perfdb.usage(stream())
            assert [getattr(each, "type", None) for each in events] == [
                "message_start",
                "delta",
                "message_delta",
            ]
            events.close()
        perfdb.usage({"usage": {"input_tokens": 3}})
    assert chat.data == {**USED, **{name: 2 * n for name, n in USED.items() if isinstance(n, int)}}
    assert streamed.data == {"model": "claude", "input_tokens": 10, "output_tokens": 42}
    assert run.session is not None
    assert run.session.attributes["input_tokens"] == 3


@pytest.mark.anyio
async def test_a_stream_of_an_async_client(tmp_path: Path) -> None:
    async with perfdb.track("p", home=tmp_path / "home") as run, run.step("stream") as streamed:
        assert len([each async for each in perfdb.usage(stream())]) == 3
    assert streamed.data["output_tokens"] == 42


def test_a_stream_that_is_left_has_told_what_went_in(tmp_path: Path) -> None:
    with perfdb.track("p", home=tmp_path / "home") as run, run.step("stream") as streamed:
        for _ in perfdb.usage(stream()):
            break
        assert streamed.data == {"model": "claude", "input_tokens": 10, "output_tokens": 1}
        list(perfdb.usage(stream()))
    assert streamed.data == {"model": "claude", "input_tokens": 20, "output_tokens": 43}


def test_a_stream_counts_where_it_is_read_once_its_step_has_ended(tmp_path: Path) -> None:
    with perfdb.track("p", home=tmp_path / "home") as run:
        with run.step("ask") as asked:
            events = perfdb.usage(stream())
        with run.step("read") as read:
            list(events)
    assert asked.data == {}
    assert read.data == {"model": "claude", "input_tokens": 10, "output_tokens": 42}


@pytest.mark.anyio
async def test_an_answer_that_is_still_to_be_awaited(tmp_path: Path) -> None:
    async def call() -> dict[str, Any]:
        return CHAT

    async with perfdb.track("p", home=tmp_path / "home") as run, run.step("chat") as chat:
        assert await perfdb.usage(call()) is CHAT
    assert chat.data == USED


class Responses(BaseHTTPRequestHandler):
    """OpenAI's API of responses, as a stream."""

    def log_message(self, *_: object) -> None: ...

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        answer = {
            "id": "r",
            "object": "response",
            "created_at": 1,
            "model": "gpt-4o",
            "output": [],
            "tools": [],
        }
        answer |= {"parallel_tool_calls": True, "tool_choice": "auto", "status": "completed"}
        used = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
        used |= {
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 1},
        }
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for kind, usage in (("response.created", None), ("response.completed", used)):
            event = {"type": kind, "sequence_number": 0, "response": {**answer, "usage": usage}}
            self.wfile.write(f"event: {kind}\ndata: {json.dumps(event)}\n\n".encode())


@pytest.fixture
def responses() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Responses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


@pytest.mark.parametrize("ask", ["until_done", "get_final_response"])
@pytest.mark.anyio
async def test_a_stream_that_the_sdk_itself_reads_to_its_end(
    tmp_path: Path, responses: str, ask: str
) -> None:
    import openai

    with perfdb.track("p", home=tmp_path / "home") as run:
        with (
            run.step("sync") as sync,
            openai.OpenAI(api_key="k", base_url=responses) as client,
            perfdb.usage(client.responses.stream(model="gpt-4o", input="x")) as stream,
        ):
            answer = getattr(stream, ask)()
            assert answer is stream or answer.usage.input_tokens == 7
        async with (
            openai.AsyncOpenAI(api_key="k", base_url=responses) as later,
            run.step("async") as waited,
            perfdb.usage(later.responses.stream(model="gpt-4o", input="x")) as events,
        ):
            answer = await getattr(events, ask)()
            assert answer is events or answer.usage.input_tokens == 7
    assert sync.data == waited.data
    assert sync.data == {"model": "gpt-4o", "input_tokens": 7, "output_tokens": 3, "reasoning_tokens": 1}


class ChatStreamManager:
    """What an SDK opens a stream with; the stream keeps what it has read by other ways than events."""

    __module__ = "openai.lib.streaming"

    def __enter__(self) -> Any:
        chunk = SimpleNamespace(type="chunk", chunk=CHAT)
        return SimpleNamespace(events=iter([chunk]), current_completion_snapshot=CHAT)

    def __exit__(self, *error: object) -> None: ...


def test_a_stream_that_is_opened_by_a_manager(tmp_path: Path) -> None:
    run = perfdb.track("p", home=tmp_path / "home")
    with run as tracker, tracker.step("stream") as streamed, perfdb.usage(ChatStreamManager()) as stream:
        assert len(list(stream.events)) == 1
    assert streamed.data == USED


class APIResponse:
    """As the SDKs give it with ``with_raw_response`` (read) and ``with_streaming_response`` (not yet)."""

    __module__ = "openai._response"

    def __init__(self, *, read: bool, parsed: Any = CHAT) -> None:
        self.http_response = SimpleNamespace(is_closed=False)
        self.parsed = parsed
        if read:
            self.read()

    def read(self) -> bytes:
        sent = {} if self.parsed is CHAT else {"content-type": "text/event-stream; charset=utf-8"}
        body = json.dumps(CHAT).encode()
        self.http_response = SimpleNamespace(is_closed=True, _content=b"", content=body, headers=sent)
        return cast(bytes, self.http_response.content)

    def parse(self) -> Any:
        if self.parsed is CHAT:
            self.read()
        return self.parsed


class ResponseContextManager(ChatStreamManager):
    def __enter__(self) -> Any:
        return APIResponse(read=False)


def test_answers_with_their_headers_say_what_they_used_once_they_are_read(tmp_path: Path) -> None:
    ResponseContextManager.__module__ = "openai._response"
    with perfdb.track("p", home=tmp_path / "home") as run:
        with run.step("raw") as raw:
            answer = APIResponse(read=True)
            assert perfdb.usage(answer) is answer
        with run.step("later") as later, perfdb.usage(ResponseContextManager()) as response:
            assert later.data == {}
            assert response.parse() is CHAT
            response.read()
        for read in (False, True):  # its body may be there already, as those of stand-ins are
            with run.step("stream") as streamed:
                events = perfdb.usage(APIResponse(read=read, parsed=stream())).parse()
                assert len(list(events)) == 3
            assert streamed.data == {"model": "claude", "input_tokens": 10, "output_tokens": 42}
    assert raw.data == later.data == USED


def test_each_model_of_a_step_has_its_own_price(tmp_path: Path) -> None:
    with perfdb.track("p", home=tmp_path / "home") as run, run.step("both") as both:
        perfdb.usage(CHAT)
        perfdb.usage({"model": "painter", "data": [{"url": "x"}], "usage": {"input_tokens": 4}})
        perfdb.usage({**CHAT, "model": "nosuch-model-at-all"})
        perfdb.usage(CHAT)
    counts = {name: value for name, value in USED.items() if name != "model"}
    assert both.data["used_by_model"] == {
        "gpt-4o-2024-08-06": {name: 2 * int(value) for name, value in counts.items()},
        "painter": {"input_tokens": 4, "images": 1},
        "nosuch-model-at-all": counts,
    }
    assert both.data["input_tokens"] == 3_004
    data = pricing()(step(**both.data))["additional_data"]
    assert data["cost_usd"] == pytest.approx(2 * (800 * 2.5 + 200 * 1.25 + 100 * 10) / 1e6 + 0.02)


def test_an_answer_passes_where_nothing_is_recorded() -> None:
    assert perfdb.usage(CHAT) is CHAT


# -- what it costs ------------------------------------------------------------------------


def test_prices_are_of_the_day_and_of_the_nearest_name() -> None:
    price = pricing()
    data = price(step(**USED))["additional_data"]
    assert data["cost_usd"] == pytest.approx((800 * 2.5 + 200 * 1.25 + 100 * 10) / 1e6)
    assert data["price_table"] == "perfdb.toml"
    assert price(step(model="painter", images=3))["additional_data"]["cost_usd"] == pytest.approx(0.06)
    later = step(model="openai/painter-2026-01-15", images=3) | {"start_time": 1_780_000_000.0}
    assert price(later)["additional_data"] == {
        "model": "openai/painter-2026-01-15",
        "images": 3,
        "cost_usd": pytest.approx(0.12),
        "price_table": "perfdb.toml 2026-02-01",
    }


@pytest.mark.parametrize(
    ("model", "is_meant"),
    [
        ("m-2026-01-15", True),
        ("m-20260115", True),
        ("m-0613", True),
        ("m@20260115", True),
        ("m-002", True),
        ("m-latest", True),
        ("m-20260115-v2:0", True),
        ("m-mini", False),
        ("m-mini-2026-01-15", False),
        ("m-32k", False),
        ("m:70b", False),
        ("m.5-2026-01-15", False),
    ],
)
def test_a_name_stands_for_its_versions_and_for_no_relatives(model: str, is_meant: bool) -> None:
    price = pricing(table="[prices.m]\ninput = 2")
    data = price(step(model=model, input_tokens=1_000_000))["additional_data"]
    assert data.get("cost_usd") == (2 if is_meant else None)


@pytest.mark.parametrize(("keys", "dollars"), [("", 3 * 0.6), ("cache_write = 3.75", 3 * 0.5 + 3.75 * 0.1)])
def test_what_is_written_to_the_cache_has_a_price_of_its_own(keys: str, dollars: float) -> None:
    used = {"model": "m", "input_tokens": 600_000, "cache_write_tokens": 100_000}
    data = pricing(table=f"[prices.m]\ninput = 3\n{keys}")(step(**used))["additional_data"]
    assert data["cost_usd"] == pytest.approx(dollars)


def test_a_price_holds_from_its_day_on() -> None:
    health = Health()
    price = pricing(health, "[[prices.later]]\nsince = 2026-02-01\nimage = 1")
    assert "cost_usd" not in price(step(model="later", images=1))["additional_data"]
    after = step(model="later", images=1) | {"start_time": 1_780_000_000.0}
    assert price(after)["additional_data"]["cost_usd"] == 1
    assert health.as_dict()["warnings"] == [
        "the model 'later' has no price before 2026-02-01: add [prices.'later'] to perfdb.toml"
    ]


@pytest.mark.parametrize(
    ("used", "dollars"),
    [
        ({"model": "text-embedding-3-small", "input_tokens": 1_000_000}, 0.02),
        (
            {
                "model": "claude-sonnet-4-5",
                "input_tokens": 600,
                "cached_tokens": 200,
                "cache_write_tokens": 100,
            },
            (300 * 3 + 200 * 0.3 + 100 * 3.75) / 1e6,
        ),
        ({"model": "gpt-image-1", "input_tokens": 1_000_000, "image_tokens": 600_000}, 0.4 * 5 + 0.6 * 10),
        (
            {
                "model": "gpt-image-1",
                "input_tokens": 1_000_000,
                "image_tokens": 600_000,
                "cached_tokens": 500_000,
            },
            0.4 * 1.25 + 0.5 * 10 + 0.1 * 2.5,
        ),
    ],
)
def test_embeddings_and_pictures_have_the_prices_of_the_table(used: dict[str, Any], dollars: float) -> None:
    pytest.importorskip("genai_prices")
    assert pricing()(step(**used))["additional_data"]["cost_usd"] == pytest.approx(dollars)


def test_what_the_program_recorded_wins() -> None:
    given = step(**USED, cost_usd=0.5)
    assert pricing()(given)["additional_data"] == {**USED, "cost_usd": 0.5}


def test_an_unknown_model_is_named_once_and_costs_nothing() -> None:
    health = Health()
    price = pricing(health)
    for _ in range(3):
        assert "cost_usd" not in price(step(model="nosuch-model-at-all", input_tokens=5))["additional_data"]
    assert [each for each in health.as_dict()["warnings"] if "nosuch" in each] == [
        "the model 'nosuch-model-at-all' has no price: add [prices.'nosuch-model-at-all'] to perfdb.toml"
    ]


@pytest.mark.parametrize(
    "record",
    [
        {"type": "step", "additional_data": None},
        {"type": "step", "additional_data": {"model": 3, "input_tokens": 1}},
        {"type": "step", "start_time": "soon", "additional_data": {"model": "gpt-4o", "input_tokens": True}},
        {"type": "start", "attributes": {"model": "gpt-4o", "input_tokens": 5}},
        {"type": "samples", "rows": []},
        {},
    ],
)
def test_other_records_stay_as_they_are(record: dict[str, Any]) -> None:
    before = repr(record)
    assert repr(pricing()(record)) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[prices.m]\nprice = 3", "line 2: unknown setting 'price'"),
        ('[prices.m]\ninput = "3"', "must be dollars per million tokens"),
        ('[prices.m]\nsince = "soon"\ninput = 3', "must be a day, such as 2026-01-31"),
        ("[prices.m]\nsince = 2026-01-01", "has no price"),
        ("[prices]\nm = 3", "must be a table"),
    ],
)
def test_a_mistake_in_the_prices_is_an_error_at_the_start(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "perfdb.toml").write_text(text)
    with pytest.raises(SettingsError, match=words):
        perfdb.create_tracker(settings=perfdb.recorder.load(cwd=tmp_path, environ={}))


def test_the_worker_adds_the_cost(tmp_path: Path) -> None:
    (tmp_path / "perfdb.toml").write_text(TABLE)
    settings = perfdb.recorder.load(cwd=tmp_path, environ={})
    with perfdb.track("p", settings=settings.replaced(wait_s=60.0)) as run, run.step("chat"):
        perfdb.usage(CHAT)
    (found,) = History(tmp_path / "performance_tracking" / "perfdb.sqlite3").session("last").steps
    assert found.additional_data["cost_usd"] == pytest.approx(0.00325)
