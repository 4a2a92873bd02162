"""The design pipeline: look at a room, find real products, lay them out, draw the new room.

Each design is a session of perfdb with four steps. ``generate`` always answers;
what failed is in the answer, together with the same performance data.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypedDict, Unpack

import perfdb
from perfdb.pathway import composite, generation, logs, openai_service, outputs, search, vision
from perfdb.pathway.budget import ensure_time, within
from perfdb.pathway.crew import Crew
from perfdb.pathway.errors import (
    DesignCancelledError,
    DesignTimeoutError,
    ImageRefusedError,
    PathwayError,
    SavedElsewhereError,
    ServiceError,
    UploadRefusedError,
)
from perfdb.pathway.images import RoomImage, read_room
from perfdb.pathway.lettering import capital
from perfdb.pathway.search_cache import SearchCache
from perfdb.pathway.settings import PathwaySettings
from perfdb.pathway.shortfalls import Shortfalls
from perfdb.pathway.watching import UPLOAD, Watch, current, watched
from perfdb.settings import Settings, load, shown_path
from perfdb.store.session_files import DESIGNS, remember_folder
from perfdb.vocabulary import DESIGN_STEPS

Image = str | os.PathLike[str] | bytes | BinaryIO | RoomImage

FAILED_STATUS = 502
CANCELLED_STATUS = 409
_CALLED_OFF = (DesignCancelledError, UploadRefusedError)  # no failure of the pipeline's
TIMEOUT_STATUS = 504


class Wanted(TypedDict, total=False):
    """What ``generate`` takes beside the image."""

    design_style: str
    design_type: str
    fast_mode: bool
    summary: bool
    upload: bool


class RealProductsPathway:
    """Turns the picture of a room into a design with products that can be bought.

    One object may serve many threads: each design has its own tracker, the HTTP connections are
    shared. Close it, or use it as a context manager, to close those.

    Args:
        settings: models, limits, keys; those of perfdb.toml and the environment when None.
        perfdb_settings: where to record; as ``perfdb.create_tracker`` finds it when None.
        console: print a line per step (None: as perfdb is set).

    Raises:
        SettingsError: a setting is wrong, or an API key is not set.
    """

    def __init__(
        self,
        settings: PathwaySettings | None = None,
        *,
        perfdb_settings: Settings | None = None,
        console: bool | None = None,
    ) -> None:
        self._perfdb_settings = perfdb_settings or load(console=console)
        self.settings = settings or PathwaySettings.load(self._perfdb_settings)
        self.settings.require_keys()
        self._openai = openai_service.client(self.settings)
        self._serpapi = search.client(self.settings)
        self._pictures = search.pooled_session(self.settings)
        self._crew = Crew(self.settings.max_designs)
        self._searches: SearchCache[list[search.Product]] = SearchCache(self.settings.search_cache_s)
        self._dialects: dict[str, vision.Dialect] = {}  # by model: what was learned of it
        # also of a pathway that nobody closes
        self._end_guard = weakref.finalize(self, logs.guard(self.settings))
        self._end_guard.atexit = False

    def generate(
        self,
        image: Image,
        *,
        design_style: str = "modern",
        design_type: str = "interior redesign",
        fast_mode: bool = False,
        summary: bool = False,
        upload: bool = False,
        watch: Watch | None = None,
    ) -> dict[str, Any]:
        """Make one design, record it, and return the response.

        Args:
            image: the room as a path, as the bytes of a file, as an open file, or already read.
            design_style: such as "modern" or "scandinavian".
            design_type: such as "interior redesign" or "kitchen refresh".
            fast_mode: smaller models and pictures, at most 3 kinds of products.
            summary: print the summary at the end.
            upload: the picture came over the network; reading it is a step of its own, "Upload".
            watch: is called with how far it is, and may call it off.

        Returns:
            ``success`` and ``data`` with ``final_design`` (path, None when it failed), ``products_info``,
            ``performance_report`` (path), ``total_duration`` (s) and ``step_durations`` (s per step),
            only when an alert fires ``alerts`` (rows as in ``History.alerts``), and only when something is
            missing ``warnings``, each with ``step``, ``reason`` and ``count``;
            when it failed, ``error`` with ``message``, ``step``, ``type`` and the fitting HTTP ``status``,
            and with ``retry_after_s`` when an outside service said when to ask again. A design that was made
            but could not be written where it should be is a failure whose ``final_design`` says where it is.
        """
        settings = self.settings.for_mode(fast_mode)
        tracker = perfdb.create_tracker(settings=self._perfdb_settings)
        watch = watch or Watch()
        tracker.start_pipeline(
            fast_mode=fast_mode,
            session_id=watch.named,
            expected=_CALLED_OFF,
            design_style=design_style,
            design_type=design_type,
            vision_model=settings.vision_model,
            image_model=settings.image_model,
        )
        run = _Run(self._openai, self._serpapi, self._pictures, settings, tracker, design_style, design_type)
        run.dialect = self._dialects.setdefault(
            settings.vision_model, vision.Dialect.of(settings.vision_model)
        )
        run.searches = self._searches
        run.instead = self._perfdb_settings.home / DESIGNS
        logs.cover()
        watch.tracker = tracker
        final_design: str | None = None
        error: BaseException | None = None
        try:
            with watched(watch), within(settings.design_timeout_s):
                watch.picture = run.design(image, self._folder(), upload=upload)
            final_design = shown_path(watch.picture)
        except SavedElsewhereError as failure:
            error, final_design, watch.picture = failure, str(failure.path), failure.path
        except Exception as failure:
            error = failure
        except BaseException as stop:  # Ctrl-C, a cancellation and alike: recorded, and on its way
            run.tell(watch)
            tracker.end_pipeline(success=False, product_count=len(run.products), error=stop)
            tracker.save_performance_report()
            raise
        failed = None if error is None else _failure(error, run.current_step, settings)
        run.tell(watch)
        tracker.end_pipeline(
            success=error is None,
            product_count=len(run.products),
            error=error if isinstance(error, _CALLED_OFF) else None if failed is None else failed["message"],
        )
        report = tracker.save_performance_report()
        if summary:
            tracker.print_summary()
        durations = tracker.step_durations
        response: dict[str, Any] = {
            "success": error is None,
            "data": {
                "final_design": final_design,
                "products_info": [product.as_dict() for product in run.products],
                "performance_report": report,
                "total_duration": round(tracker.total_duration or 0.0, 6),
                "step_durations": {
                    name: round(durations[name], 6) for name in DESIGN_STEPS if name in durations
                },
            },
        }
        if tracker.alerts:
            response["data"]["alerts"] = [alert.as_dict() for alert in tracker.alerts]
        if warnings := run.missing.as_list():
            response["data"]["warnings"] = warnings
        return response if failed is None else response | {"error": failed}

    async def generate_async(
        self, image: Image, *, watch: Watch | None = None, **wanted: Unpack[Wanted]
    ) -> dict[str, Any]:
        """Make one design as ``generate`` does, while the event loop goes on.

        At most ``max_designs`` are made at a time; others wait. When its task is cancelled, the design ends
        before its next paid step, and its session as interrupted.
        """
        return await self._crew.generate(self.generate, image, watch or Watch(), **wanted)

    def close(self) -> None:
        """Call off what ``generate_async`` began, and close the HTTP connections."""
        self._crew.close()
        self._openai.close()
        self._serpapi.session.close()
        self._pictures.close()
        self._end_guard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    @property
    def perfdb_settings(self) -> Settings:
        """Where it records."""
        return self._perfdb_settings

    def folders(self) -> list[Path]:
        """Return where its pictures may be."""
        return list(dict.fromkeys([self._folder(), self._perfdb_settings.home / DESIGNS]))

    def _folder(self) -> Path:
        named = self.settings.output_dir
        return Path(named) if named else self._perfdb_settings.home / DESIGNS


class _Run:
    """One design on its way through the four steps."""

    def __init__(
        self,
        openai_client: Any,
        serpapi_client: Any,
        pictures: Any,
        settings: PathwaySettings,
        tracker: Any,
        design_style: str,
        design_type: str,
    ) -> None:
        self._openai = openai_client
        self._serpapi = serpapi_client
        self._pictures = pictures
        self._settings = settings
        self._tracker = tracker
        self._style, self._type = design_style, design_type
        self.products: list[search.Product] = []
        self.missing = Shortfalls()
        self.dialect: vision.Dialect | None = None
        self.searches: SearchCache[list[search.Product]] | None = None
        self.instead = Path("designs")  # where the design goes when its folder cannot be written any more
        self.current_step: str | None = None
        self._files: list[str] = []

    def tell(self, watch: Watch) -> None:
        """Let the session say what the design used, and what it had to do without."""
        self._tracker.set(usage=watch.usage().as_dict())
        if warnings := self.missing.as_list():
            self._tracker.set(warnings=warnings)

    def design(self, image: Image, folder: Path, *, upload: bool = False) -> Path:
        """Go through the four steps and return where the design is."""
        settings, tracker = self._settings, self._tracker
        if upload:
            image = self._uploaded(image)
        words = {"design_style": self._style, "design_type": self._type}
        outputs.ensure_writable(folder)
        current().check()
        with perfdb.track_vision_analysis(tracker, **words, model=settings.vision_model) as step:
            self.current_step = step.name
            room = self._read(image)
            step.set(**room.facts)
            seen = vision.analyse(self._openai, room, settings, step, **words, dialect=self.dialect)
            step.set(product_types=len(seen.products), room_type=seen.room_type)
        current().check()
        with perfdb.track_product_search(tracker) as step:
            self.current_step = step.name
            self.products = search.find_products(
                self._serpapi, seen.products, settings, tracker, step, self.missing, self.searches
            )
        current().check()
        with perfdb.track_composite_creation(tracker) as step:
            self.current_step = step.name
            title = f"{capital(self._type)}, {self._style}"
            sheet = composite.make_composite(
                self._pictures,
                room,
                self.products,
                settings,
                tracker,
                step,
                title=title,
                missing=self.missing,
            )
            ensure_time()
        current().check()
        with perfdb.track_image_generation(
            tracker, model=settings.image_model, quality=settings.image_quality, size=settings.image_size
        ) as step:
            self.current_step = step.name
            design = generation.generate_design(
                self._openai, sheet, settings, step, room_type=seen.room_type, **words
            )
            return self._save(design, sheet, folder)

    def _read(self, image: Image) -> RoomImage:
        if isinstance(image, RoomImage):
            return image
        if not isinstance(image, str | bytes | os.PathLike):
            # an open file: its bytes are let go of as soon as they are decoded
            image = image.read(self._settings.max_image_bytes + 1)
        return read_room(image, self._settings)

    def _uploaded(self, image: Image) -> RoomImage:
        with self._tracker.step(UPLOAD) as step:
            self.current_step = step.name
            try:
                room = self._read(image)
            except ImageRefusedError as error:
                raise UploadRefusedError(str(error), error.status) from None
            step.set(**room.facts)
            return room

    def _save(self, design: generation.Design, sheet: composite.Composite, folder: Path) -> Path:
        name = str(self._tracker.session_id)
        try:
            path = self._own(outputs.save(design.data, f"{name}.{design.format}", folder, self.instead))
        except SavedElsewhereError as elsewhere:
            self._own(elsewhere.path)
            raise
        try:
            self._own(outputs.write(sheet.data, folder / f"{name}_composite.jpg"))
        except OSError as error:
            self.missing.note(str(self.current_step), f"the composite cannot be written ({error.strerror})")
        return path

    def _own(self, path: Path) -> Path:
        """Let the session say that a picture is its own, which goes when it is deleted."""
        remember_folder(self.instead.parent, path.parent)
        self._files.append(shown_path(path))
        self._tracker.set(files=list(self._files))
        return path


def _failure(error: BaseException, step: str | None, settings: PathwaySettings) -> dict[str, Any]:
    message = settings.redact(str(error) or type(error).__name__)
    retry_after_s = error.retry_after_s if isinstance(error, ServiceError) else None
    if isinstance(error, DesignTimeoutError):
        kind, status = "timeout", TIMEOUT_STATUS
    elif isinstance(error, ImageRefusedError):
        kind, status = "image", error.status
    elif isinstance(error, DesignCancelledError):
        kind, status = "cancelled", CANCELLED_STATUS
    elif isinstance(error, ServiceError):
        kind, status = "service", 422 if error.refused else FAILED_STATUS
    else:
        kind, status = "internal", 500
        if not isinstance(error, PathwayError):
            message = f"{type(error).__name__}: {message}"
    problem = {"message": message, "type": kind, "step": step, "status": status}
    return problem if retry_after_s is None else problem | {"retry_after_s": round(retry_after_s, 3)}
