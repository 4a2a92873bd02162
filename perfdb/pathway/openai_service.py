"""One OpenAI client for the pathway, and its failures in words that a person can act on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfdb.pathway import missing_extra
from perfdb.pathway.errors import ServiceError
from perfdb.pathway.retries import retry_after_s
from perfdb.pathway.settings import PathwaySettings

if TYPE_CHECKING:  # a second to import: for those that ask it something
    import openai

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


@dataclass(frozen=True, slots=True)
class Reply:
    """A parsed answer; ``seconds`` is the call's time here, ``server_s`` the service's own, if it says so."""

    parsed: Any
    seconds: float
    server_s: float | None
    request_id: str | None


def client(settings: PathwaySettings) -> openai.OpenAI:
    """Return a client without retries of its own."""
    try:
        import openai
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
    return openai.OpenAI(api_key=settings.openai_api_key, base_url=settings.openai_base_url, max_retries=0)


def ask(send: Callable[[], Any], settings: PathwaySettings, *, model: str, setting: str) -> Reply:
    """Send one request with ``with_raw_response`` and return its parsed answer.

    Args:
        send: the request.
        settings: for redaction.
        model: which model is asked, for messages.
        setting: the setting that names the model, for messages.

    Raises:
        ServiceError: whatever went wrong, without any API key.
    """
    import openai

    began = time.perf_counter()
    try:
        raw = send()
        return Reply(
            raw.parse(),
            time.perf_counter() - began,
            _milliseconds(raw.headers.get("openai-processing-ms")),
            raw.headers.get("x-request-id"),
        )
    except openai.APIStatusError as error:
        raise _from_status(error, settings, model, setting) from None
    except openai.APITimeoutError:
        after = time.perf_counter() - began
        raise ServiceError(
            f"OpenAI ({model}) did not answer within {after:.1f} s: try again or raise the time-out",
            transient=True,
        ) from None
    except openai.APIConnectionError as error:
        reason = settings.redact(str(error.__cause__ or error))
        raise ServiceError(
            f"OpenAI could not be reached ({reason}): check the network and OPENAI_BASE_URL", transient=True
        ) from None
    except (openai.OpenAIError, ValueError) as error:
        reason = settings.redact(str(error))
        raise ServiceError(f"OpenAI ({model}) gave an unreadable answer: {reason}", transient=True) from None


def usage_of(answer: Any) -> dict[str, int]:
    """Return ``input_tokens`` and ``output_tokens`` under one name for both of OpenAI's vocabularies."""
    usage = getattr(answer, "usage", None)
    tokens = {
        "input_tokens": getattr(usage, "input_tokens", getattr(usage, "prompt_tokens", None)),
        "output_tokens": getattr(usage, "output_tokens", getattr(usage, "completion_tokens", None)),
    }
    return {name: count for name, count in tokens.items() if count is not None}


def _from_status(
    error: openai.APIStatusError, settings: PathwaySettings, model: str, setting: str
) -> ServiceError:
    status, code = error.status_code, error.code or error.type
    body: Any = error.body
    said = body.get("message") if isinstance(body, Mapping) else None
    reason = settings.redact(str(said or f"HTTP {status}"))[:300]
    label = f"{status} {code}" if code else str(status)
    if code in _NO_MONEY or error.type == "insufficient_quota":
        return ServiceError(f"OpenAI's quota is used up ({label}): add credit to the account, then try again")
    if status == 401:
        return ServiceError(f"OpenAI refused the API key ({label}): set OPENAI_API_KEY to a valid key")
    if status == 403:
        return ServiceError(f"OpenAI does not allow this ({label}): {reason}")
    if status == 404:
        return ServiceError(
            f"OpenAI has no model '{model}' ({label}): set {setting} under [pathway]. It said: {reason}"
        )
    if status == 400 and code in {"moderation_blocked", "content_policy_violation"}:
        return ServiceError(
            f"OpenAI's safety system refused the picture or the style ({label}): try another", refused=True
        )
    asked = error.response.headers.get("x-should-retry")
    transient = asked == "true" or (asked != "false" and (status in {408, 409, 429} or status >= 500))
    what = "is rate limiting" if status == 429 else "failed" if status >= 500 else "refused the request"
    return ServiceError(
        f"OpenAI {what} ({label}): {reason}",
        transient=transient,
        retry_after_s=retry_after_s(error.response.headers),
    )


def _milliseconds(value: str | None) -> float | None:
    try:
        return round(float(value) / 1000, 6) if value else None
    except ValueError:
        return None
