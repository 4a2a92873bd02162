"""What calls of models cost: the worker adds dollars to steps that say a model and what they used.

What the program recorded as ``cost_usd`` wins; then the ``[prices]`` of the settings; then the table of
``genai-prices``, where it is installed. Which table it was is said beside the dollars, as ``price_table``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, date, datetime

from perfdb.guard import raise_foreign
from perfdb.recording.health import Health
from perfdb.toml import Table

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any

MILLION = 1_000_000
MOST_UNKNOWN = 1_000  # models without a price that are named
_ALWAYS = float("-inf")
COUNTS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "image_tokens", "images")
_IMAGES = "images"  # their price is of one, not of a million
_KEYS = ("input", "output", "cached", "cache_write", "image_tokens", "image")  # in [prices]
_VERSION = re.compile(r"[-@:](\d{4}-\d\d-\d\d|\d{3,8}|latest)(-v\d+)?(:\d+)?")  # behind a model's name


class Prices:
    """Dollars of one model from a day on: per million tokens, and per image."""

    __slots__ = ("each", "since")

    def __init__(self, since: float, each: Mapping[str, float]) -> None:
        self.since = since
        self.each = each

    @property
    def day(self) -> str:
        """The day from which on they hold, for behind the name of a table."""
        return "" if self.since == _ALWAYS else f" {datetime.fromtimestamp(self.since, UTC):%Y-%m-%d}"

    def cost(self, used: Mapping[str, float]) -> float:
        """Return the dollars of what was used; cached, written and image tokens are part of the input."""
        input_price = self.each.get("input", 0.0)
        cached, of_images = used.get("cached_tokens", 0), used.get("image_tokens", 0)
        written = used.get("cache_write_tokens", 0)
        plain = max(0, used.get("input_tokens", 0) - cached - written - of_images)
        dollars = plain * input_price
        dollars += cached * self.each.get("cached", input_price)
        dollars += written * self.each.get("cache_write", input_price)
        dollars += of_images * self.each.get("image_tokens", input_price)
        dollars += used.get("output_tokens", 0) * self.each.get("output", 0.0)
        return dollars / MILLION + used.get(_IMAGES, 0) * self.each.get("image", 0.0)


def read_prices(table: Table) -> dict[str, list[Prices]]:
    """Return the ``[prices]`` of the settings: of each model by day, the oldest first.

    Raises:
        SettingsError: a key or a value that perfdb does not know.
    """
    found = {}
    for model in table:
        dated = table.tables(model) if isinstance(table[model], list) else [table.table(model)]
        found[model] = sorted(map(_read_one, dated), key=lambda each: each.since)
    return found


def _read_one(table: Table) -> Prices:
    values = table.read({"since": _day, **dict.fromkeys(_KEYS, _dollars)})
    if not any(key in values for key in _KEYS):
        raise table.error(f"{table.name} has no price: give {', '.join(_KEYS)} in dollars")
    return Prices(values.pop("since", _ALWAYS), values)


def _dollars(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        raise ValueError("must be dollars per million tokens (image: per image), such as 2.5")
    return float(value)


def _day(value: object) -> float:
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value)
        except ValueError as error:
            raise_foreign(error)
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    raise ValueError("must be a day, such as 2026-01-31")


class Pricing:
    """Adds the cost to records on their way into the database.

    Args:
        table: ``Settings.prices``.
        health: is told once of each model without a price.
    """

    def __init__(self, table: Table, health: Health) -> None:
        self._prices = read_prices(table)
        self._source = table.source or "settings"
        self._health = health
        self._unknown: set[str] = set()

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record of a journal with its cost; anything else as it is."""
        data = record.get("additional_data" if record.get("type") == "step" else "attributes")
        if not isinstance(data, dict) or data.get("cost_usd") is not None:
            return record
        model = data.get("model")
        if not isinstance(model, str) or (record["type"] != "step" and record["type"] != "end"):
            return record
        given = record.get("start_time")
        start = given if isinstance(given, int | float) else None
        by_model = data.get("used_by_model")
        parts = by_model if isinstance(by_model, Mapping) and by_model else {model: data}
        priced = [
            found
            for name, counts in parts.items()
            if isinstance(name, str) and isinstance(counts, Mapping)
            and (used := {each: counts[each] for each in COUNTS if _is_count(counts.get(each))})
            and (found := self._priced(name, data, used, start)) is not None
        ]  # fmt: skip
        if priced:
            data["cost_usd"] = round(sum(dollars for dollars, _ in priced), 9)
            data["price_table"] = ", ".join(dict.fromkeys(table for _, table in priced))
        return record

    def _priced(
        self, model: str, data: Mapping[str, Any], used: Mapping[str, float], start: float | None
    ) -> tuple[float, str] | None:
        dated = self._prices.get(self._nearest(model) or "", ())
        place = bisect_right([each.since for each in dated], start if start is not None else float("inf"))
        if place:
            found = dated[place - 1]
            return round(found.cost(used), 9), f"{self._source}{found.day}"
        if model in self._unknown:
            return None
        result = _of_package(model, data, used, start)
        if result is None and (self._prices or _package() is not None) and len(self._unknown) < MOST_UNKNOWN:
            self._unknown.add(model)
            when = f" before{dated[0].day}" if dated else ""
            self._health.warn(
                f"the model {model!r} has no price{when}: add [prices.{model!r}] to perfdb.toml"
            )
        return result

    def _nearest(self, model: str) -> str | None:
        """Return the name in the settings that is meant: its own, or what stands before a date or version.

        ``gpt-4o-mini`` is no version of ``gpt-4o``: it has a price of its own, or none.
        """
        bare = model.rsplit("/", 1)[-1]
        for name in (model, bare):
            if name in self._prices:
                return name
        fitting = (n for n in self._prices if bare.startswith(n) and _VERSION.fullmatch(bare, len(n)))
        return max(fitting, key=len, default=None)


_loaded: list[Any] = []


def _package() -> Any:
    """Return ``genai_prices``, None where it is not installed; its import takes most of a second."""
    if not _loaded:
        try:
            import genai_prices
        except ImportError:
            _loaded.append(None)
        else:
            _loaded.append(genai_prices)
    return _loaded[0]


def _of_package(
    model: str, data: Mapping[str, Any], used: Mapping[str, float], start: float | None
) -> tuple[float, str] | None:
    package = _package()
    if package is None:
        return None
    moment = None if start is None else datetime.fromtimestamp(start, UTC)
    given = data.get("provider")
    of_images = {}
    if images := used.get("image_tokens", 0):
        of_images["input_image_tokens"] = images
        if cached := used.get("cached_tokens", 0):  # of the text first: nobody tells which
            of_images["cache_image_read_tokens"] = max(0, cached + images - used.get("input_tokens", 0))
    written = {"cache_write_tokens": used["cache_write_tokens"]} if "cache_write_tokens" in used else {}
    # the table may call a provider otherwise, and may not know by its name whose a model is: of the SDKs' own
    for provider in dict.fromkeys((given if isinstance(given, str) else None, None, "openai")):
        for further in (of_images, {}) if of_images else ({},):  # older tables know no price of these
            try:
                usage = package.Usage(
                    input_tokens=used.get("input_tokens"),
                    output_tokens=used.get("output_tokens"),
                    cache_read_tokens=used.get("cached_tokens"),
                    **written,
                    **further,
                )
                found = package.calc_price(
                    usage, model_ref=model, provider_id=provider, genai_request_timestamp=moment
                )
                return round(float(found.total_price), 9), f"genai-prices {_version()}"
            except LookupError:
                break
            except Exception as error:  # another version of the table
                raise_foreign(error)
    return None


def _version() -> str:
    from importlib.metadata import version

    return version("genai-prices")


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15
