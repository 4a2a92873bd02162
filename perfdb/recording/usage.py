"""Tokens and model of an answer of a model's SDK, put on the current step; no client is patched."""

from __future__ import annotations

from collections.abc import Mapping

from perfdb.guard import raise_foreign

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ADDED = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "image_tokens", "images")
"""What several answers of one step add up to."""


def used_in(response: Any) -> dict[str, Any]:
    """Return model, tokens and images of an answer of the OpenAI or Anthropic SDK, or of its JSON.

    Chat completions, responses, images, embeddings and messages. ``input_tokens`` are all that went in,
    cached ones (``cached_tokens``) and those of pictures (``image_tokens``) too.
    """
    usage = _get(response, "usage")
    found: dict[str, Any] = {}
    if (model := _get(response, "model")) is not None:
        found["model"] = str(model)
    if usage is not None:
        found |= _tokens(usage)
    data = _get(response, "data")
    if isinstance(data, list) and data and _first(data[0], "b64_json", "url") is not None:
        found["images"] = len(data)
    return found


def _tokens(usage: Any) -> dict[str, Any]:
    found = {
        "input_tokens": _first(usage, "input_tokens", "prompt_tokens"),
        "output_tokens": _first(usage, "output_tokens", "completion_tokens"),
    }
    details = _first(usage, "input_tokens_details", "prompt_tokens_details")
    answer = _first(usage, "output_tokens_details", "completion_tokens_details")
    found["cached_tokens"] = _get(details, "cached_tokens")
    found["image_tokens"] = _get(details, "image_tokens")
    found["reasoning_tokens"] = _get(answer, "reasoning_tokens")
    read, made = _get(usage, "cache_read_input_tokens"), _get(usage, "cache_creation_input_tokens")
    if read is not None or made is not None:  # Anthropic counts them beside its input_tokens
        found["cached_tokens"] = read
        if _is_count(found["input_tokens"]):
            found["input_tokens"] += sum(each for each in (read, made) if _is_count(each))
    return {name: value for name, value in found.items() if _is_count(value)}


class Stream:
    """Stands for a stream of an SDK: passes its events on, and puts what they say once it ends or is left."""

    def __init__(self, stream: Any, put: Callable[[dict[str, Any]], None]) -> None:
        self._stream = stream
        self._events: Any = None
        self._put = put
        self._found: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        if self._events is None:
            self._events = iter(self._stream)
        try:
            event = next(self._events)
        except BaseException:
            self._end()
            raise
        self._see(event)
        return event

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        if self._events is None:
            self._events = self._stream.__aiter__()
        try:
            event = await self._events.__anext__()
        except BaseException:
            self._end()
            raise
        self._see(event)
        return event

    def __enter__(self) -> Stream:
        self._stream.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        self._end()
        return self._stream.__exit__(*error)

    async def __aenter__(self) -> Stream:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        self._end()
        return await self._stream.__aexit__(*error)

    def _see(self, event: Any) -> None:
        """Take one event in: both SDKs send running totals, so that the last word counts."""
        try:
            for part in (event, _get(event, "message"), _get(event, "response")):
                if part is not None:
                    self._found |= {name: value for name, value in used_in(part).items() if value}
        except Exception as error:
            raise_foreign(error)

    def _end(self) -> None:
        found, self._found = self._found, {}
        if found:
            self._put(found)


def is_stream(response: Any) -> bool:
    """Say whether an answer comes piece by piece."""
    kind = type(response)
    return _get(response, "usage") is None and (hasattr(kind, "__next__") or hasattr(kind, "__anext__"))


def added(before: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a step says after one more answer."""
    return {
        name: before[name] + value if name in ADDED and _is_count(before.get(name)) else value
        for name, value in found.items()
    }


def _first(thing: Any, *names: str) -> Any:
    for name in names:
        if (value := _get(thing, name)) is not None:
            return value
    return None


def _get(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
