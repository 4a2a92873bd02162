"""The pictures of products, from unknown shops: bounded in time and size, with retries."""

from __future__ import annotations

import base64
import binascii
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import requests

from perfdb.pathway.budget import Budget, TooManyBytesError, body_of, ensure_time, within
from perfdb.pathway.errors import ServiceError
from perfdb.pathway.retries import call, retry_after_s
from perfdb.pathway.settings import PathwaySettings


def download(session: requests.Session, address: str | None, settings: PathwaySettings) -> bytes:
    """Return the bytes of an http(s) or data URL; what may pass is tried again, as searches are.

    Raises:
        ServiceError: it cannot be had; the reason names no address, so that equal ones can be counted.
    """
    if not address:
        raise ServiceError("the shop gave no thumbnail")
    if address[:11].lower() == "data:image/":
        try:
            return base64.b64decode(address.partition(",")[2], validate=True)
        except binascii.Error:
            raise ServiceError("the thumbnail is not base64") from None
    return call(_Uncounted(), settings, lambda: _get(session, address, settings))


class _Uncounted:
    """Takes the place of a step: thumbnails have none of their own."""

    def attempt(self) -> AbstractContextManager[Any]:
        return nullcontext()


def _get(session: requests.Session, address: str, settings: PathwaySettings) -> bytes:
    limit = settings.max_thumbnail_bytes
    public = settings.serpapi_base_url is None  # the pictures of another search may be on its own network
    with within(settings.thumbnail_timeout_s, limit + 65_536, public=public) as budget:
        try:
            with session.get(address, timeout=settings.thumbnail_timeout_s, stream=True) as response:
                failure = _refusal(response)
                if failure is None:
                    return body_of(response.iter_content(65_536), limit)
        except Exception as error:  # a shop's answer makes requests raise more than its own errors
            failure = _failure(error, budget, settings)
    ensure_time()
    raise failure


def _refusal(response: requests.Response) -> ServiceError | None:
    status = response.status_code
    if status != 200:
        return ServiceError(
            f"the shop answered {status}",
            transient=status in {408, 425, 429} or status >= 500,
            retry_after_s=retry_after_s(response.headers),
        )
    if response.headers.get("content-type", "").lower().startswith("text/"):
        return ServiceError("the shop answered with a page in place of a picture", transient=True)
    return None


def _failure(error: Exception, budget: Budget, settings: PathwaySettings) -> ServiceError:
    if budget.astray:
        return ServiceError("the thumbnail is at an address of this network, which is not asked for it")
    if isinstance(error, TooManyBytesError) or budget.overrun:
        return ServiceError(f"the thumbnail has more than {settings.max_thumbnail_bytes / 1e6:.3g} MB")
    if budget.expired or isinstance(error, requests.Timeout):
        return ServiceError(
            f"the shop did not answer within {settings.thumbnail_timeout_s:g} s", transient=True
        )
    if isinstance(error, requests.TooManyRedirects):
        return ServiceError("the shop redirects in circles")
    if isinstance(error, ValueError):
        return ServiceError("the thumbnail has an address that cannot be used")
    return ServiceError("the connection to the shop was lost", transient=True)
