"""Product Search: find a real product for each kind, with up to 8 searches at once.

One SerpAPI client, which means one pooled HTTP session, serves all threads of a
pathway. Its errors hold the API key in their URL, so none of their texts is used
unredacted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import requests
import requests.adapters
import serpapi

from perfdb.pathway.errors import ServiceError
from perfdb.pathway.retries import call, retry_after_s
from perfdb.pathway.settings import PathwaySettings
from perfdb.pathway.vision import ProductType
from perfdb.pathway.watching import current, watched

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
    session = requests.Session()
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=max(settings.max_searches, settings.search_workers))
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def find_products(
    client: Any, types: Sequence[ProductType], settings: PathwaySettings, tracker: Tracker, step: Step
) -> list[Product]:
    """Return the products found, in the order of their types, none twice.

    A search that fails after its attempts is counted in ``failed_queries`` and skipped.

    Raises:
        ServiceError: all searches failed, or none found anything.
    """
    watch = current()

    def one(kind: ProductType) -> list[Product] | ServiceError:
        try:
            # a query waits for its turn before its step begins, and keeps it while it backs off
            with watched(watch), client.turns, tracker.step(PRODUCT_QUERY, query=kind.query) as query_step:
                return _search(client, kind, settings, query_step)
        except ServiceError as error:
            return error

    workers = min(settings.search_workers, len(types))
    step.set(parallel_workers=workers, queries=len(types))
    outcomes = tracker.map(one, types, max_workers=workers)
    failures = [outcome for outcome in outcomes if isinstance(outcome, ServiceError)]
    products: dict[str, Product] = {}
    for outcome in outcomes:
        for product in [] if isinstance(outcome, ServiceError) else outcome:
            products.setdefault(product.product_id or product.title, product)
    step.set(products_found=len(products), failed_queries=len(failures))
    if products:
        return list(products.values())
    if failures:
        raise failures[0]
    queries = ", ".join(repr(kind.query) for kind in types)
    raise ServiceError(f"no product was found for {queries}: try another design style", refused=True)


def _search(client: Any, kind: ProductType, settings: PathwaySettings, step: Step) -> list[Product]:
    def attempt() -> Mapping[str, Any]:
        began = time.perf_counter()
        page = _page(client, kind.query, settings)
        seconds = time.perf_counter() - began
        metadata = page.get("search_metadata")
        claimed = metadata.get("total_time_taken") if isinstance(metadata, Mapping) else None
        # SerpAPI repeats the time of the original search when it answers from its cache
        cached = isinstance(claimed, int | float) and claimed > seconds
        step.set(cached=cached, server_s=None if cached else claimed)
        return page

    results = call(step, settings, attempt).get("shopping_results")
    rows = [row for row in results if isinstance(row, Mapping)] if isinstance(results, list) else []
    # the shop's order counts; but a row that can be shown goes before one that cannot
    rows = sorted(rows, key=lambda row: not (row.get("thumbnail") and row.get("price")))
    found = [_product(row, kind) for row in rows if row.get("title")][: settings.products_per_type]
    step.set(products_found=len(found))
    return found


def _page(client: Any, query: str, settings: PathwaySettings) -> Mapping[str, Any]:
    try:
        page = client.search(
            engine=settings.search_engine, q=query, gl=settings.search_country, hl=settings.search_language
        )
    except serpapi.TimeoutError:
        raise ServiceError(
            f"SerpAPI did not answer {query!r} within {settings.search_timeout_s:g} s", transient=True
        ) from None
    except serpapi.HTTPConnectionError:
        raise ServiceError("SerpAPI could not be reached: check the network", transient=True) from None
    except serpapi.HTTPError as error:
        raise _from_status(error, settings) from None
    except (requests.RequestException, serpapi.SerpApiError, ValueError, AttributeError) as error:
        reason = settings.redact(str(error))[:200]
        raise ServiceError(f"SerpAPI gave an unreadable answer: {reason}", transient=True) from None
    if not isinstance(page, serpapi.SerpResults):
        raise ServiceError("SerpAPI gave an answer that is not JSON", transient=True)
    answer: dict[str, Any] = page.as_dict()
    metadata = answer.get("search_metadata")
    if isinstance(metadata, Mapping) and metadata.get("status") == "Error":
        reason = settings.redact(str(answer.get("error")))[:200]
        raise ServiceError(f"SerpAPI failed: {reason}", transient=True)
    return answer


def _from_status(error: Any, settings: PathwaySettings) -> ServiceError:
    status = int(error.status_code)
    said: Any = error.error
    if isinstance(said, Mapping):
        said = said.get("message")
    reason = settings.redact(str(said or f"HTTP {status}"))[:200]
    if status in {401, 403}:
        return ServiceError(
            f"SerpAPI refused the API key ({status}): set SERPAPI_API_KEY to a valid key. It said: {reason}"
        )
    if status == 429 and "out of searches" in reason.lower():
        return ServiceError("SerpAPI's account has run out of searches (429): add searches to its plan")
    response = error.response
    return ServiceError(
        f"SerpAPI {'is rate limiting' if status == 429 else 'failed'} ({status}): {reason}",
        transient=status == 429 or status >= 500,
        retry_after_s=None if response is None else retry_after_s(response.headers),
    )


def _product(row: Mapping[str, Any], kind: ProductType) -> Product:
    price = row.get("price")
    return Product(
        type=kind.type,
        title=" ".join(str(row["title"]).split())[:200],
        price=str(price)[:40] if price is not None else None,
        extracted_price=_number(row.get("extracted_price")),
        source=str(row["source"])[:80] if row.get("source") else None,
        link=str(row.get("link") or row.get("product_link") or "")[:500] or None,
        thumbnail=str(row["thumbnail"]) if row.get("thumbnail") else None,
        rating=_number(row.get("rating")),
        reviews=row["reviews"] if isinstance(row.get("reviews"), int) else None,
        product_id=str(row["product_id"]) if row.get("product_id") else None,
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
