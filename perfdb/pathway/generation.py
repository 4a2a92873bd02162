"""Image Generation: let an image model turn the composite into the final design."""

from __future__ import annotations

import base64
import binascii
import hashlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfdb.pathway import openai_service, shapes
from perfdb.pathway.composite import Composite
from perfdb.pathway.errors import ImageRefusedError, ServiceError
from perfdb.pathway.images import facts_of
from perfdb.pathway.retries import call
from perfdb.pathway.settings import PathwaySettings
from perfdb.pathway.watching import Spending

if TYPE_CHECKING:
    import openai

    from perfdb.recording.step import Step

_PROMPT = """\
On the left of this sheet is a photo of a room ({room_type}), on the right are products. Make one
photorealistic picture of that room after its {design_type} in {design_style} style, from the same viewpoint,
with its walls, windows and doors unchanged, furnished with the products shown. Leave out sheet, cards and
all text."""


@dataclass(frozen=True, slots=True)
class Design:
    """The finished picture as it came."""

    data: bytes
    format: str


def generate_design(
    client: openai.OpenAI,
    composite: Composite,
    settings: PathwaySettings,
    step: Step,
    *,
    room_type: str,
    design_style: str,
    design_type: str,
) -> Design:
    """Return the final design; ``step`` gets times, tokens, size and checksum, never the picture.

    Raises:
        ServiceError: the service failed, refused, or sent no complete picture.
    """
    prompt = _PROMPT.format(room_type=room_type, design_style=design_style, design_type=design_type)
    options: dict[str, Any] = {
        "model": settings.image_model,
        "prompt": prompt,
        "size": settings.image_size,
        # old releases of the SDK have no parameter for them
        "extra_body": {"quality": settings.image_quality, "output_format": settings.image_format},
        "timeout": settings.image_timeout_s,
    }
    if settings.image_idempotency_header is not None:  # the same for all attempts: the picture is made once
        options["extra_headers"] = {settings.image_idempotency_header: f"perfdb-{uuid.uuid4()}"}
    spending = Spending(step, once=settings.image_idempotency_header is not None)
    request = openai_service.Request(
        send=lambda: client.images.with_streaming_response.edit(
            image=("composite.jpg", composite.data, "image/jpeg"), **options
        ),
        shape=shapes.ImageAnswer,
        model=settings.image_model,
        setting="image_model",
        timeout_s=settings.image_timeout_s,
        max_bytes=settings.max_image_bytes * 4 // 3 + 1_000_000,
        used=spending.add,
        once=settings.image_idempotency_header is None,
    )

    def attempt() -> Design:
        reply = openai_service.ask(request, settings)
        spending.made()
        data = _picture(reply.answer)
        try:
            width, height, format_ = facts_of(data, settings)
        except ImageRefusedError as error:
            raise ServiceError(f"the image model sent {error}", transient=True) from None
        step.set(
            image_generation_time=round(reply.seconds, 6),
            server_s=reply.server_s,
            request_id=reply.request_id,
            output_width=width,
            output_height=height,
            output_format=format_,
            output_bytes=len(data),
            output_sha256=hashlib.sha256(data).hexdigest(),
        )
        return Design(data, format_)

    return call(step, settings, attempt)


def _picture(answer: shapes.ImageAnswer) -> bytes:
    try:
        return base64.b64decode(answer.data[0].b64_json, validate=True)
    except (binascii.Error, ValueError):
        raise ServiceError("the image model sent a picture that is not base64", transient=True) from None
