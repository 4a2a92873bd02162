"""What can go wrong in the pathway, said so that a person can act on it.

PathwayError
├── ImageRefusedError         the given picture cannot be used
│   └── UploadRefusedError    found out in the session that it was uploaded for
├── DesignCancelledError      nobody wants the design any more
└── ServiceError              an outside service failed, refused or answered nonsense

No message ever holds an API key: whoever makes a ServiceError redacts first.
"""

from __future__ import annotations

from perfdb.errors import PerfdbError


class PathwayError(PerfdbError):
    """The root of what the pathway raises on purpose."""


class ImageRefusedError(PathwayError, ValueError):
    """The given picture cannot be used; ``status`` is the HTTP status that says so."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


class UploadRefusedError(ImageRefusedError):
    """An uploaded picture turned out to be unusable when it was decoded: its session is no failed design."""


class DesignCancelledError(PathwayError):
    """Somebody called the design off."""


class ServiceError(PathwayError):
    """An outside service failed.

    Attributes:
        transient: another attempt may help.
        retry_after_s: what the service asked to wait first, if it did.
        refused: the service refuses what the user sent; neither waiting nor a setting helps.
    """

    def __init__(
        self,
        message: str,
        *,
        transient: bool = False,
        retry_after_s: float | None = None,
        refused: bool = False,
    ) -> None:
        super().__init__(message)
        self.transient = transient
        self.retry_after_s = retry_after_s
        self.refused = refused
