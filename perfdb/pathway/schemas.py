"""What the service answers, as types: its OpenAPI is made of them, and the tests hold it to them.

Durations are seconds, instants epoch seconds UTC. The names of ``data`` are those of the performance report.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ErrorType = Literal[
    "image", "request", "service", "timeout", "cancelled", "internal", "settings", "forbidden", "token",
    "busy", "limit", "not_found", "not_ready", "gone", "elsewhere",
]  # fmt: skip
State = Literal["queued", "running", "completed", "failed", "cancelled"]


class Answer(BaseModel):
    """The root of every answer: what is not described here is not sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class HealthAnswer(Answer):
    """That the service runs; no outside service is asked."""

    status: Literal["ok"]
    version: str


class Product(Answer):
    """A product of a shop; ``price`` is as printed there, ``extracted_price`` its number."""

    model_config = ConfigDict(frozen=True, extra="allow")

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


class Shortfall(Answer):
    """What a step had to do without."""

    step: str
    reason: str
    count: int


class DesignData(Answer):
    """A design, and how long it took; ``final_design`` is a path on the server, null when there is none.

    ``alerts`` and ``warnings`` are there only when there are any.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    final_design: str | None
    products_info: list[Product]
    performance_report: str | None = Field(description="Path of the report on the server.")
    total_duration: float
    step_durations: dict[str, float] = Field(description="Seconds of each of the four steps that ended.")
    alerts: list[dict[str, Any]] | None = None
    warnings: list[Shortfall] | None = None


class Error(Answer):
    """What went wrong, so that a person can act on it; ``status`` repeats that of the answer."""

    model_config = ConfigDict(frozen=True, extra="allow")

    message: str
    type: ErrorType
    step: str | None = Field(description="The step that failed.")
    status: int


class Design(Answer):
    """A design that was made."""

    model_config = ConfigDict(frozen=True, extra="allow")

    success: Literal[True]
    data: DesignData


class Problem(Answer):
    """Why there is no design; ``data`` is there when its session had begun."""

    model_config = ConfigDict(frozen=True, extra="allow")

    success: Literal[False]
    error: Error
    data: DesignData | None = None


class UsageSoFar(Answer):
    """What the design used of what is paid for, all attempts together; ``cost`` is null without prices."""

    input_tokens: int
    output_tokens: int
    searches: int
    images: int
    cost: float | None
    currency: str | None


class Links(Answer):
    """Where to ask further; ``image`` once there is one."""

    self: str
    image: str | None


class DesignState(Answer):
    """How far a design is, and what became of it."""

    id: str
    here: bool = Field(
        description="This process makes it; otherwise the data is from the history, without `result`."
    )
    state: State
    cancelling: bool = Field(description="It was cancelled and ends before its next paid step.")
    step: str | None = Field(description="The step that is running.")
    position: int | None = Field(description="How many designs are ahead of it in the queue.")
    elapsed_s: float | None
    usual_left_s: float | None = Field(
        description="Estimate from the medians of similar sessions; null if the history has too few."
    )
    created_at: float
    started_at: float | None
    ended_at: float | None
    session_id: str | None = Field(description="Its session in the history: perfdb show SESSION_ID.")
    usage: UsageSoFar
    result: Design | Problem | None = Field(description="What POST /designs answers, once it has ended.")
    links: Links


# --- examples --------------------------------------------------------------------------------------------

_ID = "20250730_143020_3f0c9a5be1d24c86a7f1d5c0b2e49a17"
_DATA: dict[str, Any] = {
    "final_design": "performance_tracking/designs/20250730_143022_5a1c0e77d2.png",
    "products_info": [
        {
            "type": "sofa",
            "title": "Grey Linen Sofa by Nordhaus",
            "price": "$181.20",
            "extracted_price": 181.2,
            "source": "Nordhaus",
            "link": "https://www.google.com/shopping/product/1",
            "thumbnail": "https://shop.example/img/sofa-1.webp",
            "rating": 4.6,
            "reviews": 212,
            "product_id": "1",
        }
    ],
    "performance_report": "performance_tracking/performance_report_20250730_143022_5a1c0e77d2.json",
    "total_duration": 45.23,
    "step_durations": {
        "Vision Analysis": 23.33,
        "Product Search": 12.45,
        "Composite Creation": 2.34,
        "Image Generation": 7.11,
    },
}
DESIGN_EXAMPLE: dict[str, Any] = {"success": True, "data": _DATA}
STATE_EXAMPLE: dict[str, Any] = {
    "id": _ID,
    "here": True,
    "state": "running",
    "cancelling": False,
    "step": "Product Search",
    "position": None,
    "elapsed_s": 25.1,
    "usual_left_s": 19.6,
    "created_at": 1753885820.5,
    "started_at": 1753885822.1,
    "ended_at": None,
    "session_id": "20250730_143022_5a1c0e77d2",
    "usage": {
        "input_tokens": 1130,
        "output_tokens": 141,
        "searches": 2,
        "images": 0,
        "cost": None,
        "currency": None,
    },
    "result": None,
    "links": {"self": f"/designs/{_ID}", "image": None},
}


def problem_example(message: str, kind: ErrorType, status: int) -> dict[str, Any]:
    """Return an answer that says why there is no design."""
    return {"success": False, "error": {"message": message, "type": kind, "step": None, "status": status}}
