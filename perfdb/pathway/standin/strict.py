"""What the real services would refuse: every part of a request is looked at, and what is not known is wrong.

Each function returns the fault to answer with, or None when there is nothing to say.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfdb.pathway.standin.faults import Fault, openai_error

THINKING_MODELS = re.compile(r"o\d|gpt-([5-9]|\d\d)")

_CHAT = {
    "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "n", "stream",
    "stream_options", "response_format", "seed", "stop", "user", "store", "metadata", "service_tier",
    "reasoning_effort", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs",
}  # fmt: skip
_EDIT = {
    "prompt", "model", "n", "quality", "size", "background", "output_format", "output_compression",
    "input_fidelity", "stream", "partial_images", "user",
}  # fmt: skip
_FILES = {"image", "image[]", "mask"}
_EDIT_WORDS = {
    "quality": {"low", "medium", "high", "xhigh", "max", "auto"},
    "background": {"transparent", "opaque", "auto"},
    "output_format": {"png", "jpeg", "webp"},
    "input_fidelity": {"high", "low"},
    "stream": {"true", "false"},
}
_EDIT_NUMBERS = {"n": (1, 10), "output_compression": (0, 100), "partial_images": (0, 3)}
_SEARCH = {
    "engine": r"google_shopping(_light)?",
    "q": r"(?s).{1,2000}",
    "api_key": r".+",
    "gl": r"[a-z]{2}",
    "hl": r"[a-z]{2}(-[a-z]{2,4})?",
    "location": r".+",
    "uule": r".+",
    "google_domain": r"google\.[a-z.]+",
    "start": r"\d+",
    "num": r"\d{1,3}",
    "device": r"desktop|mobile|tablet",
    "no_cache": r"true|false",
    "output": r"json",
    "direct_link": r"true|false",
    "sort_by": r"\d",
    "min_price": r"\d+",
    "max_price": r"\d+",
}
_SIGNATURES = {"image/png": b"\x89PNG\r\n", "image/jpeg": b"\xff\xd8\xff", "image/webp": b"RIFF"}


@dataclass(frozen=True, slots=True)
class File:
    """A file of a multipart form."""

    name: str
    file_name: str
    content_type: str
    data: bytes


def invalid(message: str, parameter: str | None, code: str = "invalid_value") -> Fault:
    """Return OpenAI's 400."""
    return openai_error(400, "invalid_request_error", code, message, parameter=parameter)


def unknown_to_model(request: Mapping[str, Any]) -> Fault | None:
    """Return what a model that thinks says to parameters of the older ones."""
    if not THINKING_MODELS.match(str(request.get("model"))):
        return None
    if request.get("max_tokens") is not None:
        return invalid(
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            "max_tokens",
            "unsupported_parameter",
        )
    if request.get("temperature") not in (None, 1):
        return invalid(
            "Unsupported value: 'temperature' does not support this value with this model. "
            "Only the default (1) value is supported.",
            "temperature",
            "unsupported_value",
        )
    return None


def wrong_key(authorization: str) -> Fault | None:
    """Return the 401 of a request without a key."""
    if re.fullmatch(r"Bearer \S+", authorization):
        return None
    return openai_error(401, "invalid_request_error", "invalid_api_key", "You didn't provide an API key.")


def wrong_chat(request: Any, content_type: str) -> Fault | None:
    """Look at the body of a chat completion."""
    if content_type.partition(";")[0].strip() != "application/json" or not isinstance(request, dict):
        return invalid("The body must be a JSON object.", None)
    if unknown := sorted(set(request) - _CHAT):
        return invalid(
            f"Unrecognized request argument supplied: {unknown[0]}", unknown[0], "unknown_parameter"
        )
    if not isinstance(request.get("model"), str) or not request["model"]:
        return invalid("You must provide a model parameter.", "model")
    if "max_tokens" in request and "max_completion_tokens" in request:
        return invalid("Give max_tokens or max_completion_tokens, not both.", "max_tokens")
    for name, least, most in (
        ("max_tokens", 1, 16_384), ("max_completion_tokens", 1, 131_072),
        ("temperature", 0, 2), ("n", 1, 128),
    ):  # fmt: skip
        value = request.get(name, least)
        kinds = (int, float) if name == "temperature" else (int,)
        if type(value) not in kinds or not least <= value <= most:
            return invalid(f"Invalid value for '{name}'.", name)
    if type(request.get("stream", False)) is not bool:
        return invalid("Invalid type for 'stream'.", "stream")
    if "stream_options" in request and not request.get("stream"):
        return invalid("'stream_options' is only allowed when 'stream' is enabled.", "stream_options")
    return _wrong_messages(request)


def _wrong_messages(request: Mapping[str, Any]) -> Fault | None:
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        return invalid("Give a non-empty array of messages.", "messages")
    texts: list[str] = []
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        if not isinstance(message, dict) or message.get("role") not in {
            "system",
            "developer",
            "user",
            "assistant",
        }:
            return invalid(f"Invalid role in '{place}'.", place)
        content = message.get("content")
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or [None]:
            if isinstance(part, dict) and part.get("type") == "text" and part.get("text"):
                texts.append(str(part["text"]))
            elif not _is_picture_part(part):
                return invalid(f"Invalid content in '{place}': a text, or a picture as image_url.", place)
    format_ = request.get("response_format", {"type": "text"})
    if not isinstance(format_, dict) or format_.get("type") not in {"text", "json_object", "json_schema"}:
        return invalid("Invalid value for 'response_format'.", "response_format")
    if format_["type"] == "json_object" and "json" not in " ".join(texts).lower():
        return invalid("'messages' must contain the word 'json' in some form.", "messages")
    return None


def _is_picture_part(part: Any) -> bool:
    picture = part.get("image_url") if isinstance(part, dict) and part.get("type") == "image_url" else None
    if not isinstance(picture, dict) or picture.get("detail", "auto") not in {"auto", "low", "high"}:
        return False
    url = picture.get("url")
    if not isinstance(url, str) or set(picture) - {"url", "detail"}:
        return False
    if url.startswith("https://"):
        return True
    head, _, encoded = url.partition(";base64,")
    try:
        data = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return False
    return _is_picture(head.removeprefix("data:"), data)


def _is_picture(content_type: str, data: bytes) -> bool:
    return content_type in _SIGNATURES and data.startswith(_SIGNATURES[content_type])


def wrong_edit(fields: Mapping[str, str], files: Sequence[File], content_type: str) -> Fault | None:
    """Look at the form of an edit of pictures."""
    if not content_type.startswith("multipart/form-data; boundary="):
        return invalid("Send a multipart form.", None)
    if unknown := sorted(set(fields) - _EDIT) + sorted({file.name for file in files} - _FILES):
        return invalid(f"Unknown parameter: '{unknown[0]}'.", unknown[0], "unknown_parameter")
    if not fields.get("model"):
        return invalid("You must provide a model parameter.", "model")
    if not 1 <= len(fields.get("prompt", "")) <= 32_000:
        return invalid("Give a prompt of at most 32000 characters.", "prompt")
    for name, choices in _EDIT_WORDS.items():
        if fields.get(name, next(iter(choices))) not in choices:
            return invalid(f"Invalid value for '{name}'.", name)
    for name, (least, most) in _EDIT_NUMBERS.items():
        value = fields.get(name, str(least))
        if not (value.isascii() and value.isdecimal() and least <= int(value) <= most):
            return invalid(f"Invalid value for '{name}'.", name)
    if "partial_images" in fields and fields.get("stream") != "true":
        return invalid("'partial_images' is only allowed when 'stream' is enabled.", "partial_images")
    if not _is_size(fields.get("size", "auto")):
        return invalid("Invalid size: auto, or width x height, both divisible by 16.", "size")
    return _wrong_files(files)


def _wrong_files(files: Sequence[File]) -> Fault | None:
    pictures = [file for file in files if file.name != "mask"]
    if not 1 <= len(pictures) <= 16:
        return invalid("Give 1 to 16 pictures.", "image")
    if len(pictures) > 1 and any(file.name == "image" for file in pictures):
        return invalid("Several pictures are called image[].", "image")
    for file in pictures:
        if not file.file_name or not _is_picture(file.content_type, file.data):
            return invalid(
                "Each picture is a PNG, JPEG or WebP file with a name and its content type.", "image"
            )
        if len(file.data) >= 50_000_000:
            return invalid("A picture has less than 50 MB.", "image")
    if any(not _is_picture("image/png", file.data) for file in files if file.name == "mask"):
        return invalid("The mask is a PNG.", "mask")
    return None


def _is_size(text: str) -> bool:
    width, _, height = text.partition("x")
    sides = [int(side) for side in (width, height) if re.fullmatch(r"\d{2,4}", side)]
    return text == "auto" or (len(sides) == 2 and not any(side % 16 for side in sides))


def wrong_search(query: Sequence[tuple[str, str]]) -> Fault | None:
    """Look at the parameters of a search."""
    names = [name for name, _ in query]
    for name in names:
        if name not in _SEARCH:
            return Fault(status=400, body={"error": f"Unsupported `{name}` parameter."})
        if names.count(name) > 1:
            return Fault(status=400, body={"error": f"Parameter `{name}` was given twice."})
    given = dict(query)
    for name in ("engine", "q"):
        if not given.get(name, "").strip():
            return Fault(status=400, body={"error": f"Missing query `{name}` parameter."})
    for name, text in query:
        if not re.fullmatch(_SEARCH[name], text):
            return Fault(status=400, body={"error": f"Unsupported value for `{name}` parameter."})
    return None
