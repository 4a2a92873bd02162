"""What can go wrong in the pathway, said so that a person can act on it.

PathwayError
├── ImageRefusedError         the given picture cannot be used
│   └── UploadRefusedError    found out in the session that it was uploaded for
├── ServiceError              an outside service failed, refused or answered nonsense
├── DesignCancelledError      nobody wants the design any more
├── DesignTimeoutError        the whole design took too long
└── SavedElsewhereError       the design is made, but not where it should be

No message ever holds an API key: the code that makes a ServiceError redacts first.
"""

from __future__ import annotations

from pathlib import Path

from perfdb.errors import MissingExtraError, PerfdbError


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
        parameter: the parameter of the request that the service refuses, if it named one.
    """

    def __init__(
        self,
        message: str,
        *,
        transient: bool = False,
        retry_after_s: float | None = None,
        refused: bool = False,
        parameter: str | None = None,
    ) -> None:
        super().__init__(message)
        self.transient = transient
        self.retry_after_s = retry_after_s
        self.refused = refused
        self.parameter = parameter


class DesignTimeoutError(PathwayError):
    """The whole design took longer than ``design_timeout_s``."""


class SavedElsewhereError(PathwayError):
    """The design is made and paid for, but its folder could not be written: it is in ``path``."""

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError:
    """Return the error that says which extra brings the missing module."""
    return MissingExtraError(f"the pathway needs {error.name!r}: run pip install 'perfdb[pathway]'")
