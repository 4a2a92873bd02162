"""Tokens and model of an answer of a model's SDK, put on the current step; no client is patched."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from functools import partial
from numbers import Number

from perfdb.guard import raise_foreign

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ADDED = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "image_tokens",
    "images",
)
"""What several answers of one step add up to."""
BY_MODEL = "used_by_model"  # what they used of each model, where that was more than one
MOST = 1_000_000_000_000_000
_LONGEST = 200  # characters of a model's name
_SDKS = ("openai", "anthropic")
_MADE = ("image_generation.completed", "image_edit.completed")


def used_in(response: Any) -> dict[str, Any]:
    """Return model, tokens and images of an answer of a model's SDK or of LangChain, or of its JSON.

    Chat completions, responses, images, embeddings and messages. ``input_tokens`` are all that went in,
    cached ones (``cached_tokens``), those written to the cache (``cache_write_tokens``) and those of
    pictures (``image_tokens``) too.
    """
    usage = _first(response, "usage", "usage_metadata")  # the latter of a message of LangChain
    found: dict[str, Any] = {}
    model = _get(response, "model") or _first(_get(response, "response_metadata"), "model_name", "model")
    if isinstance(model, str) and model.strip():
        found["model"] = model[:_LONGEST]
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
    details = _first(usage, "input_tokens_details", "prompt_tokens_details", "input_token_details")
    answer = _first(usage, "output_tokens_details", "completion_tokens_details", "output_token_details")
    found["cached_tokens"] = _first(details, "cached_tokens", "cache_read")
    found["cache_write_tokens"] = _get(details, "cache_creation") or None
    found["image_tokens"] = _get(details, "image_tokens")
    found["reasoning_tokens"] = _first(answer, "reasoning_tokens", "reasoning")
    read, made = _get(usage, "cache_read_input_tokens"), _get(usage, "cache_creation_input_tokens")
    if read is not None or made is not None:  # Anthropic counts them beside its input_tokens
        found["cached_tokens"] = read
        found["cache_write_tokens"] = made or None
        given = _count(found["input_tokens"])
        if given is not None:
            found["input_tokens"] = given + sum(_count(each) or 0 for each in (read, made))
    return {name: count for name, value in found.items() if (count := _count(value)) is not None}


def unknown(response: Any) -> str:
    """Return what to tell of an answer that says nothing of what it used."""
    kind = type(response)
    return (
        f"perfdb.usage found neither model nor tokens in {kind.__module__}.{kind.__qualname__}: give it an "
        "answer of the OpenAI or Anthropic SDK or a message of LangChain, or use step.set(input_tokens=...)"
    )


class Stream:
    """Stands for a stream of an SDK: passes its events on, and puts what they say.

    What the first event that says something says, at once, as the reader may go away without a word; the
    rest when the stream ends or is left.
    """

    def __init__(self, stream: Any, put: Callable[[dict[str, Any]], None]) -> None:
        self._stream = stream
        self._events: Any = None
        self._put = put
        self._found: dict[str, Any] = {}
        self._told: dict[str, Any] = {}
        self._ended = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._stream, name)
        if callable(found) and (name == "until_done" or name.startswith("get_final_")):
            is_async = hasattr(type(self._stream), "__aiter__")
            return partial(self._awaited_whole if is_async else self._read_whole, found)
        return found

    def _read_whole(self, ask: Callable[[], Any]) -> Any:
        """Read the stream here, as the SDK would, so that its events are seen, then ask for the answer."""
        for _ in self:
            pass
        answer = ask()
        return self if answer is self._stream else answer

    async def _awaited_whole(self, ask: Callable[[], Any]) -> Any:
        async for _ in self:
            pass
        answer = await ask()
        return self if answer is self._stream else answer

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
        """Take one event in: both SDKs send running totals, so that the last word counts; LangChain parts."""
        try:
            for part in (event, *(_get(event, name) for name in ("message", "response", "chunk"))):
                if part is not None:
                    said = {name: value for name, value in used_in(part).items() if value}
                    is_part = _get(part, "usage_metadata") is not None
                    self._found = _sums(self._found, said) if is_part else self._found | said
            if _get(event, "type") in _MADE:
                self._found["images"] = self._found.get("images", 0) + 1
            if not self._told:
                self._tell()
        except Exception as error:
            raise_foreign(error)

    def _end(self) -> None:
        """Put what was said; where the events went by another way (``text_stream``), what the stream kept."""
        if not self._ended and "input_tokens" not in self._found:
            for name in ("current_message_snapshot", "current_completion_snapshot"):
                try:
                    self._see(getattr(self._stream, name, None))
                except Exception as error:  # there is none yet
                    raise_foreign(error)
        self._ended = True
        self._tell()

    def _tell(self) -> None:
        """Put what was not put yet."""
        told, found = self._told, self._found
        if found != told:
            self._told = dict(found)
            self._put(
                {name: found[name] - told.get(name, 0) if name in ADDED else found[name] for name in found}
            )


class Manager:
    """Stands for what an SDK opens a stream with, in ``with`` or ``async with``."""

    def __init__(self, manager: Any, put: Callable[[dict[str, Any]], None]) -> None:
        self._manager = manager
        self._put = put
        self._stream: Stream | Raw | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)

    def __enter__(self) -> Stream | Raw:
        return self._opened(self._manager.__enter__())

    def __exit__(self, *error: Any) -> Any:
        self._end()
        return self._manager.__exit__(*error)

    async def __aenter__(self) -> Stream | Raw:
        return self._opened(await self._manager.__aenter__())

    async def __aexit__(self, *error: Any) -> Any:
        self._end()
        return await self._manager.__aexit__(*error)

    def _opened(self, opened: Any) -> Stream | Raw:
        self._stream = (Raw if is_raw(opened) else Stream)(opened, self._put)
        return self._stream

    def _end(self) -> None:
        if self._stream is not None:
            self._stream._end()


class Raw:
    """Stands for an SDK's answer with its headers (``with_raw_response``, ``with_streaming_response``).

    Puts what it says once its body was read; of a stream, that is when the stream ends.
    """

    def __init__(self, raw: Any, put: Callable[[dict[str, Any]], None]) -> None:
        self._raw = raw
        self._put = put
        self._stream: Stream | None = None
        self._ended = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._raw, name)
        if name not in ("parse", "json", "read", "text") or not callable(found):
            return found

        def read(*arguments: Any, **options: Any) -> Any:
            answer = found(*arguments, **options)
            return self._awaited(answer) if hasattr(answer, "__await__") else self._seen(answer)

        return read

    async def _awaited(self, answer: Any) -> Any:
        return self._seen(await answer)

    def _seen(self, answer: Any) -> Any:
        if is_stream(answer):
            if self._stream is None or self._stream._stream is not answer:
                self._stream = Stream(answer, self._put)
            return self._stream
        self._end()
        return answer

    def _end(self) -> None:
        if self._stream is not None:
            self._stream._end()
        elif not self._ended and was_read(self._raw):
            self._ended = True
            if found := used_in_raw(self._raw):
                self._put(found)


def is_raw(response: Any) -> bool:
    """Say whether it is an SDK's answer with its headers."""
    kind = type(response)
    return kind.__module__.partition(".")[0] in _SDKS and hasattr(response, "http_response")


def was_read(raw: Any) -> bool:
    """Say whether the body of an answer with headers is there, and is no stream that waits to be parsed."""
    response = raw.http_response
    if not getattr(response, "is_closed", False) or not hasattr(response, "_content"):
        return False
    sent = _get(getattr(response, "headers", {}), "content-type")
    return not str(sent).startswith("text/event-stream")


def used_in_raw(raw: Any) -> dict[str, Any]:
    """Return what the body of an answer with headers says; nothing where it is no JSON, such as sound."""
    try:
        return used_in(json.loads(raw.http_response.content))
    except Exception as error:  # whatever the SDK's HTTP client thinks of its body
        raise_foreign(error)
        return {}


def is_stream(response: Any) -> bool:
    """Say whether an answer comes piece by piece."""
    kind = type(response)
    return _get(response, "usage") is None and (hasattr(kind, "__next__") or hasattr(kind, "__anext__"))


def is_awaitable(response: Any) -> bool:
    """Say whether it is an answer that is still to be awaited."""
    return hasattr(type(response), "__await__")


def is_manager(response: Any) -> bool:
    """Say whether it is what an SDK opens a stream with."""
    kind = type(response)
    opens = hasattr(kind, "__enter__") or hasattr(kind, "__aenter__")
    named = kind.__name__.endswith(("StreamManager", "ResponseContextManager"))
    return opens and named and kind.__module__.partition(".")[0] in _SDKS


def added(before: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a step says after one more answer; of a further model, also what each of them used."""
    sums = _sums(before, found)
    by_model = before.get(BY_MODEL)
    known, model = before.get("model"), found.get("model")
    if not isinstance(by_model, Mapping):
        counts = {name: before[name] for name in ADDED if _count(before.get(name)) is not None}
        if model is None or known in (None, model) or not counts:
            return sums
        by_model = {known: counts}
    used = {name: value for name, value in found.items() if name in ADDED}
    model = model if model is not None else known
    return sums | {BY_MODEL: {**by_model, model: _sums(by_model.get(model, {}), used)}}


def _sums(before: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    def sum_of(name: str, value: Any) -> Any:
        earlier = _count(before.get(name)) if name in ADDED else None
        return value if earlier is None else earlier + value

    return {name: sum_of(name, value) for name, value in found.items()}


def _first(thing: Any, *names: str) -> Any:
    for name in names:
        if (value := _get(thing, name)) is not None:
            return value
    return None


def _get(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)


def _count(value: Any) -> int | None:
    """Return a whole number, of whatever type, as one of Python's; None for anything else."""
    if not isinstance(value, Number) or isinstance(value, bool):
        return None
    try:
        count = operator.index(value)  # type: ignore[arg-type]
    except TypeError as no_index:
        raise_foreign(no_index)
        try:
            count = int(value)  # type: ignore[call-overload]
            if count != value:
                return None
        except (TypeError, ValueError, ArithmeticError) as error:  # NaN, an infinity, a complex one
            raise_foreign(error)
            return None
    return count if 0 <= count < MOST else None
