"""The settings of the pathway as one frozen value.

They come from ``[pathway]`` in perfdb.toml (or ``[tool.perfdb.pathway]``); the API
keys and OpenAI's base URL from the environment only, and keys are never shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from urllib.parse import quote, quote_plus

from perfdb.errors import SettingsError
from perfdb.recording.redaction import redact
from perfdb.settings import Settings, load, number, text, whole
from perfdb.toml import Check

_KEYS = {"openai_api_key": "OPENAI_API_KEY", "serpapi_api_key": "SERPAPI_API_KEY"}
_SECRETS = {**_KEYS, "service_token": "PERFDB_PATHWAY_TOKEN"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PathwaySettings:
    """Models, sizes, limits and services; lengths in pixels, times in seconds.

    Names that begin with ``fast_`` are what fast mode uses instead.
    """

    vision_model: str = "gpt-4o"
    fast_vision_model: str = "gpt-4o-mini"
    vision_max_tokens: int = 1200
    fast_vision_max_tokens: int = 500
    vision_temperature: float = 0.2  # fast mode: 0
    vision_side: int = 1024
    fast_vision_side: int = 512
    vision_timeout_s: float = 60.0

    search_engine: str = "google_shopping"
    search_country: str = "us"
    search_language: str = "en"
    search_timeout_s: float = 30.0
    search_workers: int = 8
    search_cache_s: float = 0.0  # how long what a search found is used again; 0: every search is asked
    max_product_types: int = 8
    fast_max_product_types: int = 3
    products_per_type: int = 1

    composite_width: int = 1280
    fast_composite_width: int = 768
    thumbnail_timeout_s: float = 10.0
    min_products: int = 1  # fewer that are found, or that have a picture, are a failure
    max_thumbnail_bytes: int = 5_000_000

    image_model: str = "gpt-image-2.5-sunburst"
    image_size: str = "1536x1024"
    fast_image_size: str = "1024x1024"
    image_quality: str = "high"
    fast_image_quality: str = "low"
    image_format: str = "png"
    image_timeout_s: float = 180.0
    # a header with which the service makes a repeated request once, such as Idempotency-Key: only then is an
    # image call sent again after a time-out
    image_idempotency_header: str | None = None

    design_timeout_s: float = 900.0  # of all steps together, with their attempts

    max_attempts: int = 3
    backoff_s: float = 0.5
    max_backoff_s: float = 8.0
    max_retry_after_s: float = 60.0

    max_image_bytes: int = 50_000_000
    max_image_pixels: int = 250_000_000  # of a JPEG that can be decoded at a fraction of its size
    max_whole_image_pixels: int = 40_000_000  # of a picture that must be decoded whole
    max_decode_bytes: int = 90_000_000  # of memory that one picture may take; four times that all together

    max_designs: int = 16  # at a time, of the service and of generate_async
    max_queued_designs: int = 64  # further ones of the service wait; beyond these it answers 503
    max_client_designs: int = 0  # at a time, running and waiting, of one client; 0: no limit
    max_client_designs_per_hour: int = 0  # 0: no limit
    max_searches: int = 32  # at a time, of all designs together

    openai_base_url: str | None = None
    serpapi_base_url: str | None = None
    openai_api_key: str = field(default="", repr=False)
    serpapi_api_key: str = field(default="", repr=False)
    service_token: str = field(default="", repr=False)  # what clients of the service show; "": nobody must
    output_dir: Path | None = None  # folder of the designs; ``designs`` in perfdb's home when None

    @classmethod
    def load(
        cls, settings: Settings | None = None, *, environ: Mapping[str, str] | None = None
    ) -> PathwaySettings:
        """Return the settings of the nearest perfdb.toml and of the environment.

        Args:
            settings: perfdb's own settings when they are loaded already.
            environ: the environment; that of the process when None.

        Raises:
            SettingsError: an unknown key, a wrong type, or a value out of range; file and line are named.
        """
        environ = os.environ if environ is None else environ
        table = (settings or load(environ=environ)).pathway
        for name, variable in _SECRETS.items():
            if name in table:
                raise table.error(f"'{name}' does not belong into a file: set {variable} instead", name)
        values = table.read(_CHECKS)
        if (folder := values.get("output_dir")) is not None and table.source:
            values["output_dir"] = Path(os.path.abspath(Path(table.source).parent / folder))
        for name, variable in (*_SECRETS.items(), ("openai_base_url", "OPENAI_BASE_URL")):
            if environ.get(variable, "").strip():
                values.setdefault(name, environ[variable].strip())
        return cls(**values)

    @property
    def missing_keys(self) -> tuple[str, ...]:
        """The environment variables that must be set before the real services answer."""
        return tuple(variable for name, variable in _KEYS.items() if not getattr(self, name))

    def require_keys(self) -> None:
        """Raise a SettingsError that names the API keys that are not set, if any."""
        if missing := self.missing_keys:
            raise SettingsError(
                f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set: export "
                f"{'it' if len(missing) == 1 else 'them'}, or use the stand-in services"
            )

    def for_mode(self, fast_mode: bool) -> PathwaySettings:
        """Return the settings to use: in fast mode each ``fast_`` value in the place of the normal one."""
        if not fast_mode:
            return self
        names = [f.name.removeprefix("fast_") for f in fields(self) if f.name.startswith("fast_")]
        fast = {name: getattr(self, f"fast_{name}") for name in names}
        return replace(self, vision_temperature=0.0, **fast)

    def redact(self, message: str) -> str:
        """Return the message without these API keys and without anything that looks like one."""
        return redact(self.without_keys(message))

    def without_keys(self, message: str) -> str:
        """Return the message without these API keys, also as they stand in an address."""
        for name in _SECRETS:
            if key := getattr(self, name):
                for form in {key, quote(key), quote(key, safe=""), quote_plus(key)}:
                    message = message.replace(form, "[redacted]")
        return message


def _size(value: object) -> str:
    if isinstance(value, str):
        width, _, height = value.partition("x")
        if value == "auto" or (
            width.isdecimal() and height.isdecimal() and 0 < int(width) * int(height) < 1e8
        ):
            return value
    raise ValueError("must be a size such as 1024x1024")


def _one_of(*words: str) -> Check:
    def check(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise ValueError(f"must be one of {', '.join(words)}")

    return check


def _url(value: object) -> str:
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        return value.rstrip("/")
    raise ValueError("must be a URL that begins with http:// or https://")


def _header(value: object) -> str:
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,63}", text(value)):
        return text(value)
    raise ValueError("must be the name of a header, such as Idempotency-Key")


def _folder(value: object) -> Path:
    return Path(text(value)).expanduser()


_SIDE = whole(64, 8192)
_TIMEOUT = number(0.01, 3600)
_QUALITY = _one_of("low", "medium", "high", "xhigh", "max", "auto")
_CHECKS: dict[str, Check] = {
    "vision_model": text,
    "fast_vision_model": text,
    "vision_max_tokens": whole(50, 100_000),
    "fast_vision_max_tokens": whole(50, 100_000),
    "vision_temperature": number(0, 2),
    "vision_side": _SIDE,
    "fast_vision_side": _SIDE,
    "vision_timeout_s": _TIMEOUT,
    "search_engine": _one_of("google_shopping", "google_shopping_light"),
    "search_country": text,
    "search_language": text,
    "search_timeout_s": _TIMEOUT,
    "search_workers": whole(1, 8),
    "search_cache_s": number(0, 31_536_000),
    "max_product_types": whole(1, 16),
    "fast_max_product_types": whole(1, 3),
    "products_per_type": whole(1, 8),
    "composite_width": whole(320, 4096),
    "fast_composite_width": whole(320, 4096),
    "thumbnail_timeout_s": _TIMEOUT,
    "max_thumbnail_bytes": whole(1_000, 50_000_000),
    "min_products": whole(0, 16),
    "image_model": text,
    "image_size": _size,
    "fast_image_size": _size,
    "image_quality": _QUALITY,
    "fast_image_quality": _QUALITY,
    "image_format": _one_of("png", "jpeg", "webp"),
    "image_timeout_s": _TIMEOUT,
    "image_idempotency_header": _header,
    "design_timeout_s": _TIMEOUT,
    "max_attempts": whole(1, 10),
    "backoff_s": number(0, 600),
    "max_backoff_s": number(0, 600),
    "max_retry_after_s": number(0, 3600),
    "max_image_bytes": whole(1_000, 1_000_000_000),
    "max_image_pixels": whole(10_000, 1_000_000_000),
    "max_whole_image_pixels": whole(10_000, 200_000_000),
    "max_designs": whole(1, 1000),
    "max_queued_designs": whole(0, 10_000),
    "max_client_designs": whole(0, 10_000),
    "max_client_designs_per_hour": whole(0, 1_000_000),
    "max_searches": whole(1, 1000),
    "max_decode_bytes": whole(10_000_000, 100_000_000_000),
    "openai_base_url": _url,
    "serpapi_base_url": _url,
    "output_dir": _folder,
}
