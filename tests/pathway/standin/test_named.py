"""The stand-in as a service of its own: strict, streaming, and with faults by name."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from perfdb.pathway.images import as_jpeg
from perfdb.pathway.standin import StandIn
from perfdb.pathway.standin.latency import KINDS
from perfdb.pathway.standin.named import named, names, play
from perfdb.pathway.standin.pictures import draw_room

PICTURE = as_jpeg(draw_room(64, 48))
DATA_URL = "data:image/jpeg;base64," + base64.b64encode(PICTURE).decode()
MESSAGES: list[Any] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "Answer in JSON."},
            {"type": "image_url", "image_url": {"url": DATA_URL}},
        ],
    }
]
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES, "max_tokens": 100}
EDIT = {"model": "gpt-image-2.5-flare", "prompt": "a room", "size": "1024x1024"}


@pytest.fixture
def strict() -> Iterator[StandIn]:
    with StandIn(strict=True) as server:
        yield server


@pytest.fixture
def client(strict: StandIn) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{strict.url}/v1", api_key="sk-any", max_retries=0) as found:
        yield found


@pytest.fixture
def raw(strict: StandIn) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=strict.url, headers={"authorization": "Bearer sk-any"}) as found:
        yield found


@pytest.mark.parametrize("fast_mode", [False, True])
def test_the_pathway_sends_nothing_that_strict_services_refuse(
    make_pathway: Any, room: bytes, standin: StandIn, fast_mode: bool
) -> None:
    standin.strict = True

    assert make_pathway(max_attempts=1).generate(room, fast_mode=fast_mode)["success"]


@pytest.mark.parametrize(
    "change",
    [
        {"modle": "x"},
        {"model": ""},
        {"messages": []},
        {"messages": [{"role": "robot", "content": "hello"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": DATA_URL}]}]},
        {"messages": [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}]},
        {"messages": [{"role": "user", "content": "hello"}], "response_format": {"type": "json_object"}},
        {"max_tokens": "100"},
        {"max_tokens": 0},
        {"max_completion_tokens": 10},
        {"temperature": 3},
        {"stream": "yes"},
        {"stream_options": {"include_usage": True}},
        {"model": "gpt-5"},
        {"model": "o3"},
    ],
    ids=str,
)
def test_a_chat_of_a_wrong_shape_is_refused(raw: httpx.Client, change: dict[str, Any]) -> None:
    assert raw.post("/v1/chat/completions", json=CHAT).status_code == 200

    answer = raw.post("/v1/chat/completions", json=CHAT | change)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_picture_that_is_none_is_refused(raw: httpx.Client) -> None:
    for url in ("data:image/png;base64," + DATA_URL.partition(",")[2], "data:image/jpeg;base64,%%", "/a.jpg"):
        parts = [{"type": "text", "text": "json"}, {"type": "image_url", "image_url": {"url": url}}]
        change = {"messages": [{"role": "user", "content": parts}]}
        assert raw.post("/v1/chat/completions", json=CHAT | change).status_code == 400


def test_no_key_is_refused(strict: StandIn) -> None:
    assert httpx.post(f"{strict.url}/v1/chat/completions", json=CHAT).status_code == 401
    assert (
        httpx.get(f"{strict.url}/search", params={"engine": "google_shopping", "q": "sofa"}).status_code
        == 401
    )


@pytest.mark.parametrize(
    "change",
    [
        {"response_format": "b64_json"},
        {"prompt": ""},
        {"prompt": "x" * 32_001},
        {"model": ""},
        {"size": "1000x1000"},
        {"size": "large"},
        {"quality": "best"},
        {"output_format": "gif"},
        {"n": "0"},
        {"partial_images": "1"},
        {"stream": "maybe"},
    ],
    ids=str,
)
def test_an_edit_of_a_wrong_shape_is_refused(raw: httpx.Client, change: dict[str, str]) -> None:
    files = {"image": ("room.jpg", PICTURE, "image/jpeg")}
    assert raw.post("/v1/images/edits", data=EDIT, files=files, timeout=30).status_code == 200

    assert raw.post("/v1/images/edits", data=EDIT | change, files=files).status_code == 400


@pytest.mark.parametrize(
    "files",
    [
        [("picture", ("room.jpg", PICTURE, "image/jpeg"))],
        [("image", ("room.jpg", PICTURE, "image/png"))],
        [("image", ("room.jpg", b"no picture", "image/jpeg"))],
        [("image", ("a.jpg", PICTURE, "image/jpeg")), ("image", ("b.jpg", PICTURE, "image/jpeg"))],
        [("image[]", (f"{number}.jpg", PICTURE, "image/jpeg")) for number in range(17)],
    ],
    ids=["name", "type", "text", "twice", "many"],
)
def test_wrong_files_are_refused(raw: httpx.Client, files: Any) -> None:
    assert raw.post("/v1/images/edits", data=EDIT, files=files).status_code == 400


@pytest.mark.parametrize(
    "change", [{"q": " "}, {"engine": "google"}, {"gl": "USA"}, {"hl": "english"}, {"query": "x"}], ids=str
)
def test_a_search_of_a_wrong_shape_is_refused(raw: httpx.Client, change: dict[str, str]) -> None:
    query = {"engine": "google_shopping", "q": "sofa", "api_key": "any", "gl": "us", "hl": "en"}
    assert raw.get("/search", params=query).status_code == 200

    assert raw.get("/search", params=query | change).status_code == 400


def test_a_chat_is_streamed(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**CHAT).choices[0].message.content
    pieces: list[str] = []
    usage = None
    with client.chat.completions.create(
        **CHAT, stream=True, stream_options={"include_usage": True}
    ) as chunks:
        for chunk in chunks:
            pieces += [choice.delta.content or "" for choice in chunk.choices]
            usage = chunk.usage or usage

    assert len(pieces) > 5
    assert len("".join(pieces)) == pytest.approx(len(whole or ""), rel=0.5)
    assert usage is not None
    assert usage.total_tokens > 1000


def test_a_picture_is_streamed(raw: httpx.Client) -> None:
    fields = EDIT | {"stream": "true", "partial_images": "2"}
    files = {"image": ("room.jpg", PICTURE, "image/jpeg")}

    answer = raw.post("/v1/images/edits", data=fields, files=files, timeout=30)

    assert answer.headers["content-type"] == "text/event-stream"
    lines = answer.text.splitlines()
    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert kinds == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]
    last = json.loads(lines[-2].removeprefix("data: "))
    assert base64.b64decode(last["b64_json"]).startswith(b"\x89PNG")
    assert last["usage"]["output_tokens"] > 0


def test_a_stream_can_be_cut_off(strict: StandIn, raw: httpx.Client) -> None:
    strict.faults.next("vision", named("vision", "truncated"))

    with pytest.raises(httpx.RemoteProtocolError):
        raw.post("/v1/chat/completions", json=CHAT | {"stream": True})


def test_every_kind_has_its_faults_by_name() -> None:
    for kind in KINDS:
        assert {"silent", "drip-head", "drip-body", "not-found", "list"} <= set(names(kind))
        assert all(named(kind, name) for name in names(kind))


@pytest.mark.parametrize("text", ["vision=unheard", "sofa=slow", "vision", "image=slow:2", "image=slow:x"])
def test_a_fault_that_does_not_exist_is_refused(standin: StandIn, text: str) -> None:
    with pytest.raises(ValueError, match=r"choose from|from 0 to 1"):
        play(standin.faults, text)


def test_a_share_of_the_requests_has_a_fault() -> None:
    with StandIn(faults=["thumbnail=not-found:0.5"]) as server, httpx.Client(base_url=server.url) as client:
        statuses = [client.get("/img/sofa-1.jpg").status_code for _ in range(30)]

    assert 5 < statuses.count(404) < 25


def test_it_runs_on_its_own() -> None:
    command = [sys.executable, "-m", "perfdb.pathway.standin"]
    listed = subprocess.run([*command, "--list"], capture_output=True, text=True, timeout=60, check=True)
    assert "search: silent" in listed.stdout
    refused = subprocess.run([*command, "--fault", "x"], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    assert "choose from vision" in refused.stderr

    options = ["--strict", "--fault", "search=nan-rating"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip().partition("=")[2].removesuffix("/v1")
        query = {"engine": "google_shopping", "q": "sofa", "api_key": "any"}
        try:
            assert "NaN" in httpx.get(f"{address}/search", params=query).text
            assert httpx.get(f"{address}/search", params=query | {"hl": "x"}).status_code == 400
        finally:
            os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 0
