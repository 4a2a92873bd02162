"""The names of the old module, each of them perfdb's own."""

from __future__ import annotations

from perfdb import (
    create_tracker,
    track_composite_creation,
    track_image_generation,
    track_product_search,
    track_vision_analysis,
)

__all__ = [
    "create_tracker",
    "track_composite_creation",
    "track_image_generation",
    "track_product_search",
    "track_vision_analysis",
]
