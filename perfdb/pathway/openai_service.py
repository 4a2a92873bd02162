"""One OpenAI client for the pathway, and its failures in words that a person can act on."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from perfdb.pathway import shapes
from perfdb.pathway.budget import Budget, TooManyBytesError, body_of, ensure_time, within
from perfdb.pathway.errors import ServiceError, missing_extra
from perfdb.pathway.retries import retry_after_s
from perfdb.pathway.settings import PathwaySettings
from perfdb.pathway.sockets import bound_httpx

if TYPE_CHECKING:  # a second to import: for those that ask it something
    import openai

Answer = TypeVar("Answer", bound=shapes.Shape)

# a 429 that no waiting helps: the account has no money left
_NO_MONEY = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "billing_hard_limit_reached",
    }
)
_LOST = frozenset({502, 504, 520, 524})  # statuses of a proxy that had no answer from the service


@dataclass(frozen=True, slots=True)
class Reply(Generic[Answer]):
    """A checked answer; ``seconds`` is the call's time here, ``server_s`` the service's own, if known."""

    answer: Answer
    seconds: float
    server_s: float | None
    request_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Generic[Answer]):
    """What is asked for, and how.

    Attributes:
        send: sends it, with ``with_streaming_response``.
        shape: of the answer.
        model: which model is asked.
        setting: the setting that names the model, for messages.
        timeout_s: of the whole call.
        max_bytes: of the answer.
        used: is called with the tokens of every answer, also of one that is useless or a refusal.
        once: it is paid for when it was received, and so not sent again once it was sent and has no answer.
    """

    send: Callable[[], AbstractContextManager[Any]]
    shape: type[Answer]
    model: str
    setting: str
    timeout_s: float
    max_bytes: int
    used: Callable[[shapes.Usage], None] = lambda usage: None
    once: bool = False


def client(settings: PathwaySettings) -> openai.OpenAI:
    """Return a client without retries of its own, whose sockets keep to the running call's budget."""
    try:
        import openai
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
    http: Any = openai.DefaultHttpxClient()
    bound_httpx(http)
    return openai.OpenAI(
        api_key=settings.openai_api_key,
        base_url=settings.openai_base_url,
        max_retries=0,
        http_client=http,
    )


def ask(request: Request[Answer], settings: PathwaySettings) -> Reply[Answer]:
    """Send one request and return its answer.

    Raises:
        ServiceError: whatever went wrong, without any API key.
        DesignTimeoutError: the design has no time left.
    """
    began = time.perf_counter()
    with within(request.timeout_s, request.max_bytes + 65_536) as budget:
        try:
            with request.send() as response:
                body = body_of(response.iter_bytes(), request.max_bytes)
                headers = response.headers
        except Exception as error:
            failure = _failure(error, budget, request, settings)
        else:
            return Reply(
                _read(body, request),
                time.perf_counter() - began,
                _milliseconds(headers.get("openai-processing-ms")),
                shapes.words(headers.get("x-request-id") or "", 100) or None,
            )
    ensure_time()
    raise failure  # outside of the handler: the SDK's error, which may hold a key, does not hang on to it


def _read(body: bytes, request: Request[Answer]) -> Answer:
    try:
        answer = shapes.read(request.shape, body, f"OpenAI ({request.model})")
    except ServiceError:
        _tell_usage(body, request)
        raise
    if (usage := getattr(answer, "usage", None)) is not None:
        request.used(usage)
    return answer


def _tell_usage(body: bytes, request: Request[Any]) -> None:
    if (usage := shapes.usage_in(body)) is not None:
        request.used(usage)


def _failure(
    error: Exception, budget: Budget, request: Request[Any], settings: PathwaySettings
) -> ServiceError:
    import openai

    who = f"OpenAI ({request.model})"
    unsure = request.once and budget.sent
    if isinstance(error, TooManyBytesError) or budget.overrun:
        return ServiceError(f"{who} gave an answer of more than {request.max_bytes / 1e6:.3g} MB")
    if isinstance(error, openai.APIStatusError):
        if error.response.is_stream_consumed:
            _tell_usage(error.response.content, request)
        return _from_status(error, settings, request)
    if isinstance(error, openai.APITimeoutError) or budget.expired:
        return ServiceError(
            f"{who} did not answer within {request.timeout_s:g} s: "
            + (f"{_NOT_AGAIN}; or raise the time-out" if unsure else "try again or raise the time-out"),
            transient=not unsure,
        )
    cause: BaseException = error.__cause__ or error
    reason = settings.redact(shapes.words(cause, 300)) or type(cause).__name__
    if unsure:
        return ServiceError(f"the connection to {who} was lost ({reason}): {_NOT_AGAIN}")
    if isinstance(error, openai.APIConnectionError | OSError):
        return ServiceError(
            f"OpenAI could not be reached ({reason}): check the network and OPENAI_BASE_URL", transient=True
        )
    return ServiceError(f"{who} gave an unreadable answer: {reason}", transient=True)


_NOT_AGAIN = (
    "it may have been made and paid for, so it is not sent again: look at what the service has made, "
    "or set image_idempotency_header under [pathway] if it knows such a header"
)


def _from_status(
    error: openai.APIStatusError, settings: PathwaySettings, request: Request[Any]
) -> ServiceError:
    status, said = error.status_code, shapes.said_in(error.body)
    code = said.get("code") or said.get("type")
    reason = settings.redact(said.get("message") or f"HTTP {status}")
    label = settings.redact(f"{status} {code}" if code else str(status))
    if code in _NO_MONEY or said.get("type") == "insufficient_quota":
        return ServiceError(f"OpenAI's quota is used up ({label}): add credit to the account, then try again")
    if status == 401:
        return ServiceError(f"OpenAI refused the API key ({label}): set OPENAI_API_KEY to a valid key")
    if status == 403:
        return ServiceError(f"OpenAI does not allow this ({label}): {reason}")
    if status == 404:
        return ServiceError(
            f"OpenAI has no model '{request.model}' ({label}): set {request.setting} under [pathway]. "
            f"It said: {reason}"
        )
    if status == 400 and code in {"moderation_blocked", "content_policy_violation"}:
        return ServiceError(
            f"OpenAI's safety system refused the picture or the style ({label}): try another", refused=True
        )
    asked = error.response.headers.get("x-should-retry")
    transient = asked == "true" or (asked != "false" and (status in {408, 409, 429} or status >= 500))
    if request.once and status in _LOST:
        return ServiceError(f"OpenAI gave no answer in time, or none at all ({label}): {_NOT_AGAIN}")
    what = "is rate limiting" if status == 429 else "failed" if status >= 500 else "refused the request"
    return ServiceError(
        f"OpenAI {what} ({label}): {reason}",
        transient=transient,
        retry_after_s=retry_after_s(error.response.headers),
        parameter=_unsupported(said) if status in {400, 422} else None,
    )


def _unsupported(said: Mapping[str, str]) -> str | None:
    """Return the parameter that the model does not know, from its name or else from the words."""
    message = said.get("message", "")
    if "support" not in f"{said.get('code', '')} {message}".lower():
        return None
    quoted = re.search(r"'(\w+)'", message)
    return said.get("param") or (quoted[1] if quoted else None)


def _milliseconds(value: str | None) -> float | None:
    try:
        seconds = float(value) / 1000 if value else math.nan
    except ValueError:
        return None
    return round(seconds, 6) if 0 <= seconds < 1e6 else None
