"""The Real Products pathway: the design pipeline that perfdb was first made for.

    pathway = RealProductsPathway(PathwaySettings.load())
    response = pathway.generate("room.jpg", design_style="modern", design_type="interior redesign")

It needs ``pip install 'perfdb[pathway]'``. Names load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from perfdb.pathway.errors import missing_extra

if TYPE_CHECKING:
    from perfdb.pathway.errors import (
        DesignCancelledError,
        ImageRefusedError,
        PathwayError,
        ServiceError,
        UploadRefusedError,
    )
    from perfdb.pathway.pipeline import RealProductsPathway
    from perfdb.pathway.settings import PathwaySettings
    from perfdb.pathway.watching import Watch

__all__ = [
    "DesignCancelledError",
    "ImageRefusedError",
    "PathwayError",
    "PathwaySettings",
    "RealProductsPathway",
    "ServiceError",
    "UploadRefusedError",
    "Watch",
]

_HOMES = {
    "DesignCancelledError": "perfdb.pathway.errors",
    "ImageRefusedError": "perfdb.pathway.errors",
    "PathwayError": "perfdb.pathway.errors",
    "PathwaySettings": "perfdb.pathway.settings",
    "RealProductsPathway": "perfdb.pathway.pipeline",
    "ServiceError": "perfdb.pathway.errors",
    "UploadRefusedError": "perfdb.pathway.errors",
    "Watch": "perfdb.pathway.watching",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'perfdb.pathway' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
