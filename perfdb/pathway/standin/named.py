"""The faults by name, for tests and the command line: ``search=nan-rating``, ``thumbnail=not-found:0.5``."""

from __future__ import annotations

from collections.abc import Mapping

from perfdb.pathway.standin import faults
from perfdb.pathway.standin.faults import Fault, Faults
from perfdb.pathway.standin.latency import IMAGE, KINDS, SEARCH, THUMBNAIL, VISION

_DEEP = "[" * 20_000 + "]" * 20_000

ANY: Mapping[str, Fault] = {
    "silent": Fault(delay_s=600),
    "slow": Fault(delay_s=3),
    "drip-head": Fault(drip="head"),
    "drip-body": Fault(drip="body"),
    "drip-redirects": Fault(variant="redirect", delay_s=0.5),
    "redirect-loop": Fault(variant="redirect"),
    "endless": Fault(drip="endless"),
    "dropped": faults.DROPPED,
    "truncated": faults.TRUNCATED,
    "html": faults.HTML_INSTEAD,
    "empty": Fault(status=200, body=b""),
    "list": Fault(status=200, body=[1]),
    "number": Fault(status=200, body=5),
    "null": Fault(status=200, body=None, json=True),
    "nested": Fault(status=200, body=_DEEP.encode()),
    "object": Fault(status=200, body={}),
    "not-found": Fault(status=404, body="not found"),
    "bad-request": faults.openai_error(400, "invalid_request_error", "invalid_value", "That is wrong."),
    "rate-limited": faults.rate_limited(),
    "rate-limited-200": faults.rate_limited(after_s=200),
    "retry-after-nonsense": Fault(status=429, body={"error": "slow down"}, headers={"retry-after": "1e400"}),
    "server-error": faults.server_error(),
    "unavailable": faults.server_error(503),
    "gateway-timeout": faults.server_error(504),
    "error-nonsense": Fault(status=400, body={"error": {"message": 5, "code": [1], "type": {}, "param": 7}}),
    "error-endless": Fault(status=500, drip="endless"),
    "unauthorized": faults.unauthorized(),
}

OF_KIND: Mapping[str, Mapping[str, Fault]] = {
    VISION: {
        "fenced": faults.FENCED_JSON,
        "cut": faults.CUT_JSON,
        "refusal": faults.REFUSAL,
        "no-products": Fault(variant="empty"),
        "no-message": Fault(variant="no-message"),
        "no-choices": Fault(variant="no-choices"),
        "content-number": Fault(variant="content-number"),
        "surrogates": Fault(variant="surrogates"),
        "usage-nonsense": Fault(variant="usage-nonsense"),
        "refuses-max-tokens": Fault(variant="refuses-max-tokens"),
        "no-money": faults.insufficient_quota(),
    },
    IMAGE: {
        "b64-number": Fault(status=200, body={"created": 1, "data": [{"b64_json": 123}]}),
        "b64-nonsense": Fault(status=200, body={"created": 1, "data": [{"b64_json": "§§§"}]}),
        "data-object": Fault(status=200, body={"created": 1, "data": {}}),
        "data-empty": Fault(status=200, body={"created": 1, "data": []}),
        "no-picture": Fault(status=200, body={"created": 1, "data": [{"url": None}]}),
        "half-picture": Fault(variant="half-picture"),
        "usage-nonsense": Fault(variant="usage-nonsense"),
        "moderation": faults.moderation_blocked(),
        "no-money": faults.insufficient_quota(),
        "withdrawn": faults.model_not_found("gpt-image-1"),
    },
    SEARCH: {
        "no-results": faults.NO_RESULTS,
        "nan-rating": Fault(variant="nan-rating"),
        "many-rows": Fault(variant="many-rows"),
        "huge-thumbnails": Fault(variant="huge-thumbnails"),
        "wrong-rows": Fault(variant="wrong-rows"),
        "no-thumbnails": Fault(variant="no-thumbnails"),
        "failed": Fault(variant="failed"),
        "out-of-searches": faults.serpapi_error(429, "Your account has run out of searches."),
    },
    THUMBNAIL: {
        "huge": Fault(variant="huge"),
    },
}


def names(kind: str) -> list[str]:
    """Return the names of the faults that requests of a kind can have."""
    return [*ANY, *OF_KIND[kind]]


def named(kind: str, name: str) -> Fault:
    """Return a fault.

    Raises:
        ValueError: no kind, or no fault of that kind, has this name.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of request is called {kind!r}: choose from {', '.join(KINDS)}")
    fault = OF_KIND[kind].get(name) or ANY.get(name)
    if fault is None:
        raise ValueError(f"no fault of {kind} is called {name!r}: choose from {', '.join(names(kind))}")
    return fault


def play(queue: Faults, text: str) -> None:
    """Let a fault happen, given as ``KIND=NAME`` or with the share of the requests as ``KIND=NAME:SHARE``.

    Raises:
        ValueError: it is not of that form.
    """
    kind, _, rest = text.partition("=")
    name, _, share = rest.partition(":")
    try:
        part = float(share or 1)
    except ValueError:
        part = -1.0
    if not 0 <= part <= 1:
        raise ValueError(f"the share in {text!r} must be a number from 0 to 1")
    queue.sometimes(kind, part, named(kind, name))
