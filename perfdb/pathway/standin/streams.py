"""The stand-in's answers as server-sent events, as the services send them to who asks with ``stream``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_PIECE = 24  # characters of one delta


def chat_events(answer: Mapping[str, Any], include_usage: bool) -> Iterator[bytes]:
    """Yield a chat completion in pieces; its usage is last, and only for who asked for it."""
    head = {name: answer[name] for name in ("id", "created", "model", "service_tier", "system_fingerprint")}
    head["object"] = "chat.completion.chunk"

    def chunk(delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _event(head | {"choices": [choice]} | ({"usage": None} if include_usage else {}))

    choice = answer["choices"][0]
    message = choice["message"]
    yield chunk({"role": "assistant", "content": "", "refusal": None})
    for name in ("content", "refusal"):
        text = message[name] or ""
        for begin in range(0, len(text), _PIECE):
            yield chunk({name: text[begin : begin + _PIECE]})
    yield chunk({}, choice["finish_reason"])
    if include_usage:
        yield _event(head | {"choices": [], "usage": answer["usage"]})
    yield b"data: [DONE]\n\n"


def image_events(answer: Mapping[str, Any], partial_images: int) -> Iterator[bytes]:
    """Yield so many unfinished pictures, and the finished one with its usage."""
    facts = {name: answer[name] for name in ("size", "quality", "background", "output_format")}
    facts |= {"b64_json": answer["data"][0]["b64_json"], "created_at": answer["created"]}
    for number in range(partial_images):
        kind = "image_edit.partial_image"
        yield _event(facts | {"type": kind, "partial_image_index": number}, kind)
    kind = "image_edit.completed"
    yield _event(facts | {"type": kind, "usage": answer["usage"]}, kind)


def _event(data: Mapping[str, Any], kind: str | None = None) -> bytes:
    name = f"event: {kind}\n" if kind else ""
    return f"{name}data: {json.dumps(data)}\n\n".encode()
