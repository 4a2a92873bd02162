"""The four named steps of the design pipeline."""

from __future__ import annotations

from perfdb.recording.step import Step
from perfdb.recording.tracker import Tracker
from perfdb.vocabulary import COMPOSITE_CREATION, IMAGE_GENERATION, PRODUCT_SEARCH, VISION_ANALYSIS

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any


def track_vision_analysis(tracker: Tracker, /, **data: Any) -> Step:
    """Return the step "Vision Analysis"; ``data`` is recorded with it."""
    return tracker.step(VISION_ANALYSIS, **data)


def track_product_search(tracker: Tracker, /, **data: Any) -> Step:
    """Return the step "Product Search"; ``data`` is recorded with it."""
    return tracker.step(PRODUCT_SEARCH, **data)


def track_composite_creation(tracker: Tracker, /, **data: Any) -> Step:
    """Return the step "Composite Creation"; ``data`` is recorded with it."""
    return tracker.step(COMPOSITE_CREATION, **data)


def track_image_generation(tracker: Tracker, /, **data: Any) -> Step:
    """Return the step "Image Generation"; ``data`` is recorded with it."""
    return tracker.step(IMAGE_GENERATION, **data)
