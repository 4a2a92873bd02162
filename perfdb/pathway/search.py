"""Product Search: find a real product for each kind, with up to 8 searches at once.

One SerpAPI client, which means one pooled HTTP session, serves all threads of a
pathway. Its errors hold the API key in their URL, so none of their texts is used,
and none hangs on to ours.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import requests
import serpapi

from perfdb.pathway import shapes
from perfdb.pathway.budget import Budget, TooManyBytesError, body_of, carried, ensure_time, within
from perfdb.pathway.errors import ServiceError
from perfdb.pathway.retries import call, retry_after_s
from perfdb.pathway.search_cache import SearchCache
from perfdb.pathway.settings import PathwaySettings
from perfdb.pathway.shortfalls import Shortfalls
from perfdb.pathway.sockets import bound_session
from perfdb.pathway.vision import ProductType
from perfdb.pathway.watching import current

if TYPE_CHECKING:
    from perfdb.recording.step import Step
    from perfdb.recording.tracker import Tracker

PRODUCT_QUERY = "Product Query"


@dataclass(frozen=True, slots=True)
class Product:
    """A product of a shop; ``price`` is as printed there, ``extracted_price`` its number."""

    type: str
    title: str
    price: str | None
    extracted_price: float | None
    source: str | None
    link: str | None
    thumbnail: str | None
    rating: float | None
    reviews: int | None
    product_id: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return it for ``products_info``."""
        return asdict(self)


def client(settings: PathwaySettings) -> Any:
    """Return a SerpAPI client with a pool that is large enough for several pipelines at once."""
    found = serpapi.Client(api_key=settings.serpapi_api_key, timeout=settings.search_timeout_s)
    if settings.serpapi_base_url:
        found.BASE_DOMAIN = settings.serpapi_base_url
    found.session = pooled_session(settings)
    found.turns = threading.BoundedSemaphore(settings.max_searches)  # of all designs together
    return found


def pooled_session(settings: PathwaySettings) -> requests.Session:
    """Return an HTTP session that keeps its connections for many threads."""
    return bound_session(max(settings.max_searches, settings.max_designs * settings.search_workers))


def find_products(
    client: Any,
    types: Sequence[ProductType],
    settings: PathwaySettings,
    tracker: Tracker,
    step: Step,
    missing: Shortfalls | None = None,
    cache: SearchCache[list[Product]] | None = None,
) -> list[Product]:
    """Return the products found, in the order of their types, none twice.

    A search that fails after its attempts is counted in ``failed_queries``, noted in ``missing`` and skipped.

    Raises:
        ServiceError: all searches failed, or found fewer products than ``min_products``.
    """
    missing = Shortfalls() if missing is None else missing
    cache = SearchCache(0.0) if cache is None else cache

    def one(kind: ProductType) -> list[Product] | ServiceError:
        query_step = tracker.step(PRODUCT_QUERY, query=kind.query)
        query_step.detail = kind.query
        try:
            # a query waits for its turn before its step begins, and keeps it while it backs off
            with _turn(client.turns), query_step:
                return _kept_or_searched(cache, client, kind, settings, query_step)
        except ServiceError as error:
            return error

    workers = min(settings.search_workers, len(types))
    step.set(parallel_workers=workers, queries=len(types))
    outcomes = tracker.map(carried(one), types, max_workers=workers)
    failures = [outcome for outcome in outcomes if isinstance(outcome, ServiceError)]
    products: dict[str, Product] = {}
    for outcome in outcomes:
        for product in [] if isinstance(outcome, ServiceError) else outcome:
            products.setdefault(product.product_id or product.title, product)
    step.set(products_found=len(products), failed_queries=len(failures))
    if kept := sum(isinstance(outcome, _Kept) for outcome in outcomes):
        step.set(cached_queries=kept, **({"cached": True} if kept == len(types) else {}))
    for outcome in outcomes:
        if isinstance(outcome, ServiceError):
            missing.note(step.name, str(outcome))
        elif not outcome:
            missing.note(step.name, "no product was found")
    worst = max(failures, key=lambda failure: failure.retry_after_s or 0.0, default=None)
    if products and len(products) >= min(settings.min_products, len(types)):
        return list(products.values())
    if products:
        raise ServiceError(
            f"only {len(products)} of {len(types)} products were found, fewer than min_products = "
            f"{settings.min_products} under [pathway]: {worst or 'no product was found for the others'}",
            retry_after_s=worst.retry_after_s if worst else None,
        )
    if worst is not None:
        raise worst
    queries = ", ".join(repr(kind.query) for kind in types)
    raise ServiceError(f"no product was found for {queries}: try another design style", refused=True)


@contextmanager
def _turn(turns: threading.BoundedSemaphore) -> Iterator[None]:
    """Wait until fewer than ``max_searches`` run, for as long as the design has time."""
    while not turns.acquire(timeout=0.5):
        current().check()
        ensure_time()
    try:
        yield
    finally:
        turns.release()


class _Kept(list[Product]):
    """What an earlier search found."""


def _kept_or_searched(
    cache: SearchCache[list[Product]],
    client: Any,
    kind: ProductType,
    settings: PathwaySettings,
    step: Step,
) -> list[Product]:
    asked = (
        settings.search_engine,
        settings.search_country,
        settings.search_language,
        settings.products_per_type,
        kind.query.casefold(),
    )
    if (kept := cache.get(asked)) is not None:
        found, age = kept
        step.set(cached=True, cache_age_s=round(age, 3), products_found=len(found))
        return _Kept(replace(product, type=kind.type) for product in found)
    found = _search(client, kind, settings, step)
    if found:
        cache.put(asked, found)
    return found


def _search(client: Any, kind: ProductType, settings: PathwaySettings, step: Step) -> list[Product]:
    searches = 0

    def attempt() -> list[Product]:
        nonlocal searches
        began = time.perf_counter()
        page = _page(client, kind.query, settings)
        seconds = time.perf_counter() - began
        claimed = page.search_metadata.total_time_taken if page.search_metadata else None
        # SerpAPI repeats the time of the original search when it answers from its cache
        cached = claimed is not None and claimed > seconds
        searches += not cached
        step.set(cached=cached, searches=searches, server_s=None if cached else claimed)
        return [_product(row, kind) for row in page.rows(settings.products_per_type)]

    found = call(step, settings, attempt)
    step.set(products_found=len(found))
    return found


def _page(client: Any, query: str, settings: PathwaySettings) -> shapes.SearchAnswer:
    parameters = {
        "engine": settings.search_engine,
        "q": query,
        "gl": settings.search_country,
        "hl": settings.search_language,
    }
    with within(settings.search_timeout_s, shapes.MAX_SEARCH_BYTES) as budget:
        try:
            with client.request("GET", "/search", parameters, assert_200=False, stream=True) as response:
                body = body_of(response.iter_content(65_536), shapes.MAX_SEARCH_BYTES)
        except Exception as error:
            failure = _failure(error, budget, settings)
        else:
            return _answer(response, body, settings)
    ensure_time()
    raise failure  # outside of the handler: the SDK's error, which holds the key, does not hang on to it


def _failure(error: Exception, budget: Budget, settings: PathwaySettings) -> ServiceError:
    if isinstance(error, TooManyBytesError) or budget.overrun:
        return ServiceError(f"SerpAPI gave an answer of more than {shapes.MAX_SEARCH_BYTES / 1e6:.3g} MB")
    if budget.expired or isinstance(error, serpapi.TimeoutError | requests.Timeout):
        return ServiceError(f"SerpAPI did not answer within {settings.search_timeout_s:g} s", transient=True)
    if isinstance(error, requests.TooManyRedirects):
        return ServiceError("SerpAPI redirects in circles", transient=True)
    if isinstance(error, serpapi.HTTPConnectionError):
        return ServiceError("SerpAPI could not be reached: check the network", transient=True)
    if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return ServiceError("SerpAPI's answer was cut off", transient=True)
    return ServiceError(
        f"SerpAPI gave an unreadable answer: {settings.redact(shapes.words(error, 200))}", transient=True
    )


def _answer(response: requests.Response, body: bytes, settings: PathwaySettings) -> shapes.SearchAnswer:
    if response.status_code != 200:
        raise _from_status(response, body, settings)
    answer = shapes.read(shapes.SearchAnswer, body, "SerpAPI")
    if answer.search_metadata is not None and answer.search_metadata.status == "Error":
        reason = settings.redact(shapes.words(answer.error or "no reason", 200))
        raise ServiceError(f"SerpAPI failed: {reason}", transient=True)
    return answer


def _from_status(response: requests.Response, body: bytes, settings: PathwaySettings) -> ServiceError:
    status = response.status_code
    try:
        said = shapes.said_in(json.loads(body)).get("message")
    except (ValueError, RecursionError):
        said = None
    reason = settings.redact(said or f"HTTP {status}")[:200]
    if status in {401, 403}:
        return ServiceError(
            f"SerpAPI refused the key ({status}): set SERPAPI_API_KEY to a valid one. It said: {reason}"
        )
    if status == 429 and "out of searches" in reason.lower():
        return ServiceError("SerpAPI's account has run out of searches (429): add searches to its plan")
    return ServiceError(
        f"SerpAPI {'is rate limiting' if status == 429 else 'failed'} ({status}): {reason}",
        transient=status == 429 or status >= 500,
        retry_after_s=retry_after_s(response.headers),
    )


def _product(row: shapes.Row, kind: ProductType) -> Product:
    return Product(
        type=kind.type,
        title=shapes.words(row.title, 200),
        price=_cut(row.price, 40),
        extracted_price=row.extracted_price,
        source=_cut(row.source, 80),
        link=row.link or row.product_link,
        thumbnail=row.thumbnail,
        rating=row.rating,
        reviews=row.reviews,
        product_id=_cut(row.product_id, 100),
    )


def _cut(text: str | None, limit: int) -> str | None:
    return shapes.words(text, limit) or None if text is not None else None
