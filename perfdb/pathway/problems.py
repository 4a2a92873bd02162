"""Why there is no design, in one shape for everything, and what OpenAPI says of it."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from perfdb.pathway import schemas
from perfdb.pathway.jobs import BusyError


def refusal(
    message: str, status: int, kind: schemas.ErrorType, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return an answer that says why there is no design."""
    return JSONResponse(schemas.problem_example(message, kind, status), status, headers)


def busy_answer(busy: BusyError) -> JSONResponse:
    """Return an answer that says when to come again."""
    headers = {"Retry-After": str(busy.retry_after_s)}
    if busy.everybody:
        return refusal(str(busy), 503, "busy", headers)
    return refusal(str(busy), 429, "limit", headers)


def unknown(design_id: str, *, again_s: int | None = None) -> JSONResponse:
    """Return the answer for an unknown id; ``again_s``: another process may know it by then."""
    message = f"no design {design_id[:60]!r} is known here"
    if again_s is None:
        return refusal(message, 404, "not_found")
    message += ": if another process of this service accepted it, it is queued or just starting"
    return refusal(message, 404, "not_found", {"Retry-After": str(again_s)})


def made_elsewhere(design_id: str) -> JSONResponse:
    """Return the answer for a design that only another process can call off."""
    message = f"the design {design_id[:60]!r} is made by another process of this service: ask again"
    return refusal(message, 409, "elsewhere", {"Retry-After": "1"})


def too_large(limit: int) -> JSONResponse:
    """Return the answer for a body that is longer than the limit."""
    return refusal(f"the request is larger than {limit / 1e6:.3g} MB: send a smaller picture", 413, "image")


def too_late(seconds: float) -> JSONResponse:
    """Return the answer for a body that did not come in time; nothing else is read from its connection."""
    reason = f"the request did not arrive completely within {seconds:g} s: send it again"
    return refusal(reason, 408, "request", {"Connection": "close"})


async def wrong_request(request: Request, error: Exception) -> Response:
    """Say which fields are wrong; what was sent is not repeated, it may be a picture."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    said = [f"{'.'.join(str(part) for part in each['loc'][1:])}: {each['msg']}" for each in found]
    return refusal("; ".join(said)[:1000] or "the request is not understood", 422, "request")


async def http_problem(request: Request, error: Exception) -> Response:
    """Say in our shape what the framework refuses: a path, a method, a broken form."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else "failed"
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    return refusal(str(detail), status, "not_found" if status == 404 else "request", headers)


async def own_failure(request: Request, error: Exception) -> Response:
    """Return the answer for an unexpected failure: its kind and nothing else."""
    return refusal(f"the service failed ({type(error).__name__}): its log says more", 500, "internal")


# --- what OpenAPI says -------------------------------------------------------------------------------------

_PROBLEMS: dict[int, tuple[str, schemas.ErrorType, str]] = {
    400: ("The picture is empty or the form is broken.", "image", "the picture is empty: send another one"),
    401: ("The token is missing or wrong.", "token", "show the token of this service"),
    403: ("Another site's page, or a Host that is not ours.", "forbidden", "this service does not answer"),
    404: ("No such design.", "not_found", "no design '3f0c' is known here"),
    409: ("It was cancelled, or has no picture.", "cancelled", "the design was cancelled: by DELETE"),
    410: ("The picture was deleted.", "gone", "the picture was deleted since"),
    413: ("The picture is too large.", "image", "the picture is larger than 50 MB: send a smaller one"),
    415: ("Not a picture that can be used.", "image", "this is not a picture that can be used"),
    422: ("The picture, the style or a field was refused.", "request", "image: Field required"),
    429: ("Too many designs of this client; Retry-After says when.", "limit", "3 designs are in work"),
    500: ("A failure of the service's own.", "internal", "the service failed (KeyError): its log says more"),
    502: ("An outside service failed.", "service", "OpenAI is rate limiting (429 rate_limit_exceeded)"),
    503: ("No room now (see Retry-After), or not configured.", "busy", "the service takes no more now"),
    504: ("The design took too long.", "timeout", "the design was given up after 600 s"),
}  # fmt: skip


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of answers without a design."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        description, kind, message = _PROBLEMS[status]
        example = schemas.problem_example(message, kind, status)
        found[status] = described(description, schemas.Problem, example)
    return found


def described(
    description: str, model: type[schemas.Answer], example: dict[str, Any], *headers: str
) -> dict[str, Any]:
    """Return what OpenAPI says of one answer."""
    answer: dict[str, Any] = {
        "description": description,
        "model": model,
        "content": {"application/json": {"example": example}},
    }
    if headers:
        answer["headers"] = {name: {"schema": {"type": "string"}} for name in headers}
    return answer
