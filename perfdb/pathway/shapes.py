"""The answers of the outside services, checked in one place before anything is made of them.

Only what the pathway uses is looked at. What it cannot do without must have the right type and a bounded
size; what it can do without is None when it has another type. A number that is not finite is nonsense.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from perfdb.pathway.errors import ServiceError

MAX_CHAT_BYTES = 2_000_000
MAX_SEARCH_BYTES = 3_000_000
MAX_ROWS = 1_000
MAX_ADDRESS = 2_000  # characters
MAX_INLINE_THUMBNAIL = 65_536  # characters of a data URL: it is repeated in the response

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def words(value: object, limit: int) -> str:
    """Return a text in one line, without control characters, of at most ``limit`` characters."""
    return " ".join(_UNPRINTABLE.sub(" ", str(value)[: 4 * limit]).split())[:limit]


def _only(*kinds: type) -> BeforeValidator:
    return BeforeValidator(lambda value: value if type(value) in kinds else None)


def _within(most: float, *kinds: type) -> BeforeValidator:
    return BeforeValidator(lambda value: value if type(value) in kinds and 0 <= value <= most else None)


def _as_text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value) if isinstance(value, str) or abs(value) < 1 << 63 else None


def _address(value: object) -> str | None:
    if not isinstance(value, str) or len(value) > MAX_ADDRESS:
        return None
    return value if value.lower().startswith(("http://", "https://")) else None


def _picture(value: object) -> str | None:
    if not isinstance(value, str) or value[:11].lower() != "data:image/":
        return _address(value)
    if len(value) > MAX_INLINE_THUMBNAIL:
        raise ValueError(f"a picture of {len(value)} characters is too long for a thumbnail")
    return value


Count = Annotated[int | None, _within(1 << 53, int)]
Seconds = Annotated[float | None, _within(1e7, int, float)]
Price = Annotated[Annotated[float, Field(ge=0, le=1e12)] | None, _only(int, float)]
Rating = Annotated[Annotated[float, Field(ge=0, le=10)] | None, _only(int, float)]
Text = Annotated[str | None, BeforeValidator(_as_text)]
Address = Annotated[str | None, BeforeValidator(_address)]
Thumbnail = Annotated[str | None, BeforeValidator(_picture)]


class Shape(BaseModel):
    """A part of an answer; what is not named here is left out."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class _InputDetails(Shape):
    cached_tokens: Count = None
    image_tokens: Count = None


class Usage(Shape):
    """Tokens, in both of OpenAI's vocabularies."""

    input_tokens: Count = None
    output_tokens: Count = None
    prompt_tokens: Count = None
    completion_tokens: Count = None
    input_tokens_details: Annotated[_InputDetails | None, _only(dict)] = None
    prompt_tokens_details: Annotated[_InputDetails | None, _only(dict)] = None

    def counts(self) -> dict[str, int]:
        """Return all tokens that went in, those of them that were cached or of pictures, and that came out.

        Only what is known; names as those of ``perfdb.usage``.
        """
        read = self.prompt_tokens if self.input_tokens is None else self.input_tokens
        written = self.completion_tokens if self.output_tokens is None else self.output_tokens
        details = self.input_tokens_details or self.prompt_tokens_details or _InputDetails()
        counts = {
            "input_tokens": read,
            "output_tokens": written,
            "cached_tokens": details.cached_tokens,
            "image_tokens": details.image_tokens,
        }
        return {name: count for name, count in counts.items() if count is not None}


class _Paid(Shape):
    """The part of any answer that has its tokens."""

    usage: Annotated[Usage | None, _only(dict)] = None


class _Message(Shape):
    content: Annotated[str, Field(max_length=1_000_000)] | None = None
    refusal: Annotated[str, Field(max_length=100_000)] | None = None


class _Choice(Shape):
    message: _Message
    finish_reason: Text = None


class ChatAnswer(Shape):
    """A chat completion."""

    choices: Annotated[list[_Choice], Field(min_length=1, max_length=128)]
    usage: Annotated[Usage | None, _only(dict)] = None


class Plan(Shape):
    """What the vision model was asked to say, as JSON inside of its answer."""

    room_type: Text = None
    observations: Text = None
    products: Annotated[list[Any] | None, _only(list)] = None


class _Picture(Shape):
    b64_json: Annotated[str, Field(min_length=1)]


class ImageAnswer(Shape):
    """The pictures of an image model."""

    data: Annotated[list[_Picture], Field(min_length=1, max_length=10)]
    usage: Annotated[Usage | None, _only(dict)] = None


class Row(Shape):
    """A product in a shop."""

    title: Annotated[str, Field(min_length=1)]
    price: Text = None
    extracted_price: Price = None
    source: Text = None
    link: Address = None
    product_link: Address = None
    thumbnail: Thumbnail = None
    rating: Rating = None
    reviews: Count = None
    product_id: Text = None


class _Metadata(Shape):
    status: Text = None
    total_time_taken: Seconds = None


class SearchAnswer(Shape):
    """A page of shopping results; ``rows`` reads them."""

    search_metadata: Annotated[_Metadata | None, _only(dict)] = None
    shopping_results: Annotated[list[Any], Field(max_length=MAX_ROWS)] | None = None
    error: Text = None

    def rows(self, limit: int) -> list[Row]:
        """Return up to ``limit`` products that make sense, those that can be shown first.

        Raises:
            ServiceError: there are products, and not one of them makes sense.
        """
        found, nonsense = [], ""
        for number, given in enumerate(self.shopping_results or []):
            try:
                found.append(Row.model_validate(given))
            except ValidationError as error:
                nonsense = nonsense or f"shopping_results.{number}.{_reason(error)}"
        if nonsense and not found:
            raise ServiceError(f"SerpAPI's answer makes no sense ({nonsense})", transient=True)
        # the shop's order counts; but a row that can be shown goes before one that cannot
        return sorted(found, key=lambda row: not (row.thumbnail and row.price))[:limit]


Answer = TypeVar("Answer", bound=Shape)


def read(shape: type[Answer], body: bytes | str, who: str) -> Answer:
    """Return an answer's body as what it should be.

    Raises:
        ServiceError: it is not JSON, or makes no sense; nothing of the answer is repeated.
    """
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        reason = _reason(error)
    raise ServiceError(f"{who} gave an answer that makes no sense ({reason})", transient=True)


def usage_in(body: bytes | str) -> Usage | None:
    """Return the tokens that an answer reports, even if the rest of it makes no sense."""
    try:
        return _Paid.model_validate_json(body).usage
    except ValidationError:
        return None


def said_in(body: object) -> dict[str, str]:
    """Return ``message``, ``code``, ``type`` and ``param`` of an error's body, as far as they are texts."""
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping):
        body = body["error"]
    if not isinstance(body, Mapping):
        return {}
    said = {name: body.get(name) for name in ("message", "code", "type", "param")}
    if isinstance(body.get("error"), str):
        said["message"] = body["error"]
    return {name: words(text, 300) for name, text in said.items() if isinstance(text, str)}


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])[:80]
    text = str(first["msg"]).partition("\n")[0][:120]
    return f"{place}: {text}" if place else text
