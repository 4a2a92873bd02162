"""The pathway as a web service: ``uvicorn perfdb.pathway.api:app``.

``POST /designs`` takes a picture and answers as ``RealProductsPathway.generate`` does, with a Server-Timing
header; with ``Prefer: respond-async`` it answers at once, and ``GET /designs/{id}`` tells the rest. A picture
whose header says that it cannot be used is refused before a session begins; one whose pixels turn out to be
broken ends its session as interrupted. Neither counts as a failed design.

A design is paid for: no other site's page can have one made, only the names that ``PERFDB_ALLOW_HOSTS`` lists
are answered beside localhost and addresses, and with ``PERFDB_PATHWAY_TOKEN`` only who shows that token. What
nobody waits for any more ends before its next paid step. With ``PERFDB_STAND_IN=1`` stand-in services take
the place of those that are paid. Nothing here holds up the event loop: ``/health`` answers at any time.
"""

from __future__ import annotations

import asyncio
import math
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import Annotated, Any, BinaryIO, cast

from perfdb.pathway.errors import missing_extra

try:
    import anyio
    import anyio.to_thread
    from fastapi import Depends, FastAPI, File, Form, Header, Query, Request, UploadFile
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import FileResponse, JSONResponse, Response
    from fastapi.security import HTTPBearer
    from starlette.exceptions import HTTPException

    from perfdb.pathway import elsewhere, schemas
    from perfdb.pathway.doors import ALLOW_HOSTS, Admission, Guard, UploadLimit, client_of
    from perfdb.pathway.errors import ImageRefusedError
    from perfdb.pathway.images import look
    from perfdb.pathway.jobs import FAILED, QUEUED, RUNNING, BusyError, Job, Jobs, Limits
    from perfdb.pathway.pipeline import CANCELLED_STATUS, RealProductsPathway
    from perfdb.pathway.problems import (
        busy_answer,
        described,
        http_problem,
        made_elsewhere,
        own_failure,
        problems,
        refusal,
        unknown,
        wrong_request,
    )
    from perfdb.pathway.settings import PathwaySettings
    from perfdb.pathway.standin import StandIn
    from perfdb.pathway.standin.latency import TIME_SCALE
    from perfdb.pathway.watching import UPLOAD, Watch
except ModuleNotFoundError as error:
    raise missing_extra(error) from error

from perfdb.errors import PerfdbError, SettingsError
from perfdb.version import __version__

STAND_IN = "PERFDB_STAND_IN"
PATH = "/designs"
HEALTH = "/health"
USAGE_HEADER = "Design-Usage"
_FORM_OVERHEAD = 100_000  # bytes that a form may have around the picture
_IN_MEMORY_BYTES = 1_000_000  # of an upload; a larger one waits on the disk
_LOOKS_AT_ONCE = 4  # at the headers of pictures, which are whole in memory meanwhile
_ASK_AGAIN_S = 2


class _Service:
    """The pathway of an app and its designs, made at the first one, so that the app starts without keys."""

    def __init__(self, make: Callable[[], RealProductsPathway] | None) -> None:
        self._make = make or self._of_environment
        self._pathway: RealProductsPathway | None = None
        self._jobs: Jobs | None = None
        self._open = ExitStack()
        self._lock = threading.Lock()

    async def ready(self) -> tuple[PathwaySettings, Jobs]:
        """Return its settings and designs; the first call makes the pathway, in a thread.

        Raises:
            SettingsError: a setting is wrong, or a key is not set.
        """
        if self._pathway is None or self._jobs is None:
            await anyio.to_thread.run_sync(self.pathway)
        return self.pathway().settings, self.jobs

    def pathway(self) -> RealProductsPathway:
        """Return the pathway, made now if it is not there yet."""
        if self._pathway is not None:
            return self._pathway
        with self._lock:
            if self._pathway is None:
                pathway = self._make()
                self._jobs = Jobs(Limits.of(pathway.settings))
                self._pathway = pathway
            return self._pathway

    @property
    def jobs(self) -> Jobs:
        """The designs of a service whose pathway is there."""
        if self._jobs is None:
            raise RuntimeError("the service is not ready")
        return self._jobs

    def limit(self) -> int:
        """Return how many bytes a request may have."""
        settings = self._pathway.settings if self._pathway is not None else PathwaySettings()
        return settings.max_image_bytes + _FORM_OVERHEAD

    def close(self) -> None:
        """Call off what runs, wait until it has ended, and close everything."""
        with self._lock:
            jobs, pathway, self._jobs, self._pathway = self._jobs, self._pathway, None, None
            if jobs is not None:
                jobs.close()
            if pathway is not None:
                pathway.close()
            self._open.close()

    def _of_environment(self) -> RealProductsPathway:
        """Return the pathway with the services that are paid for, or with stand-ins for them."""
        wanted = os.environ.get(STAND_IN, "").strip().lower()
        if wanted in ("", "0", "false", "no"):
            return RealProductsPathway()
        if wanted not in ("1", "true", "yes"):
            raise SettingsError(f"{STAND_IN}={wanted!r} must be 1 or 0")
        settings = PathwaySettings.load()
        server = self._open.enter_context(StandIn(time_scale=TIME_SCALE))
        return RealProductsPathway(server.adapted(settings))


def create_app(
    make_pathway: Callable[[], RealProductsPathway] | None = None, *, hosts: Collection[str] | None = None
) -> FastAPI:
    """Return the web service.

    Args:
        make_pathway: called once, at the first design; without it the environment says which services.
        hosts: names that it answers to beside localhost and addresses; without it those of the environment.
    """
    service = _Service(make_pathway)
    looks = anyio.CapacityLimiter(_LOOKS_AT_ONCE)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await anyio.to_thread.run_sync(service.close)

    api = FastAPI(
        title="Real Products pathway",
        version=__version__,
        description=__doc__.partition("\n\n")[2],
        lifespan=lifespan,
    )
    api.add_middleware(UploadLimit, limit=service.limit)
    open_paths = {path for path in (HEALTH, api.openapi_url, api.docs_url, api.redoc_url) if path}
    api.add_middleware(Admission, open_paths=open_paths, ready=service.ready)
    api.add_middleware(Guard, hosts=_named_hosts if hosts is None else lambda: hosts)
    api.add_exception_handler(RequestValidationError, wrong_request)
    api.add_exception_handler(HTTPException, http_problem)
    api.add_exception_handler(Exception, own_failure)
    shown_token = [Depends(HTTPBearer(auto_error=False, description="When PERFDB_PATHWAY_TOKEN is set."))]

    @api.get(HEALTH, response_model=schemas.HealthAnswer, responses=problems(403))
    async def health() -> dict[str, str]:
        """Say that the service runs; asks no outside service."""
        return {"status": "ok", "version": __version__}

    @api.post(
        PATH,
        dependencies=shown_token,
        response_model=schemas.Design,
        responses={
            200: described(
                "The design.", schemas.Design, schemas.DESIGN_EXAMPLE, "Server-Timing", USAGE_HEADER
            ),
            202: described("It is being made.", schemas.DesignState, schemas.STATE_EXAMPLE, "Location"),
            **problems(400, 401, 403, 409, 413, 415, 422, 429, 500, 502, 503, 504),
        },
    )
    async def create_design(
        request: Request,
        image: Annotated[UploadFile, File(description="The room: JPEG, PNG, WebP, or HEIC.")],
        design_style: Annotated[str, Form(min_length=1, max_length=80)] = "modern",
        design_type: Annotated[str, Form(min_length=1, max_length=80)] = "interior redesign",
        fast_mode: Annotated[bool, Form()] = False,
        later: Annotated[bool, Query(alias="async", description="As Prefer: respond-async.")] = False,
        later_too: Annotated[bool, Form(alias="async", description="As Prefer: respond-async.")] = False,
        prefer: Annotated[str, Header(description="respond-async: answer immediately, with 202.")] = "",
    ) -> Response:
        """Make one design, and answer when it is there; it is called off when its client goes away.

        With ``Prefer: respond-async`` or ``?async=true`` it answers at once: ask GET /designs/{id} then.
        4xx: the picture or the style was refused; 502: an outside service failed.
        """
        pathway = service.pathway()
        settings = pathway.settings.for_mode(fast_mode)
        left, design_id = threading.Event(), elsewhere.new_id()
        picture = cast(BinaryIO, tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES))  # noqa: SIM115 - closed by the job
        try:
            make = partial(
                _make,
                pathway,
                picture,
                design_style=design_style,
                design_type=design_type,
                fast_mode=fast_mode,
            )

            def begin() -> Job:
                _keep(image.file, picture, settings)
                begun = service.jobs.submit(
                    make,
                    client=client_of(request.scope),
                    job_id=design_id,
                    session_id=elsewhere.session_id_of(design_id),
                )
                if left.is_set():  # nobody will read it
                    begun.cancel("its client went away")
                return begun

            job = await anyio.to_thread.run_sync(begin, limiter=looks)
        except BaseException as error:
            left.set()
            picture.close()
            if isinstance(error, ImageRefusedError):
                return refusal(str(error), error.status, "image")
            if isinstance(error, BusyError):
                return busy_answer(error)
            raise
        job.future.add_done_callback(lambda _: picture.close())
        place = f"{request.scope.get('root_path', '')}{PATH}/{job.id}"
        if later or later_too or "respond-async" in prefer.lower():
            headers = {"Location": place, "Retry-After": str(_ASK_AGAIN_S)}
            if prefer:
                headers["Preference-Applied"] = "respond-async"
            return JSONResponse(await _state(service.jobs, job, place), 202, headers)
        await _ended_or_left(job, request)
        return _answer(job, place)

    @api.get(
        PATH + "/{design_id}",
        dependencies=shown_token,
        response_model=schemas.DesignState,
        responses={
            200: described("How far it is.", schemas.DesignState, schemas.STATE_EXAMPLE),
            **problems(401, 403, 404, 422, 503),
        },
    )
    async def read_design(request: Request, design_id: str) -> Response:
        """Say how far a design is, and what became of it.

        The last designs of this process are known in full. Of others the history tells state and session.
        """
        job = service.jobs.get(design_id)
        if job is None:
            found = await _elsewhere(service, design_id)
            return _unknown(design_id) if found is None else _state_of(found, design_id, request.url.path)
        headers = {"Retry-After": str(_ASK_AGAIN_S)} if job.state in (QUEUED, RUNNING) else None
        return JSONResponse(await _state(service.jobs, job, request.url.path), 200, headers)

    @api.delete(
        PATH + "/{design_id}",
        dependencies=shown_token,
        response_model=schemas.DesignState,
        responses={
            200: described("It has ended.", schemas.DesignState, schemas.STATE_EXAMPLE),
            202: described("It ends before its next paid step.", schemas.DesignState, schemas.STATE_EXAMPLE),
            **problems(401, 403, 404, 409, 422, 503),
        },
    )
    async def cancel_design(request: Request, design_id: str) -> Response:
        """Call a design off. What has ended stays as it is; 409: only another process could."""
        job = service.jobs.get(design_id)
        if job is None:
            found = await _elsewhere(service, design_id)
            if found is None:
                return _unknown(design_id)
            if found.state == RUNNING:
                return made_elsewhere(design_id)
            return _state_of(found, design_id, request.url.path)
        if not job.future.done():
            job.cancel("by DELETE")
        status = 200 if job.future.done() else 202
        return JSONResponse(await _state(service.jobs, job, request.url.path), status)

    @api.get(
        PATH + "/{design_id}/image",
        dependencies=shown_token,
        response_class=FileResponse,
        responses={
            200: {
                "description": "The picture.",
                "content": {"image/png": {}, "image/jpeg": {}, "image/webp": {}},
            },
            **problems(401, 403, 404, 409, 410, 422, 503),
        },
    )
    async def read_image(design_id: str) -> Response:
        """Answer with the final picture of a design. 409: it is not there yet, or will never be."""
        job = service.jobs.get(design_id)
        found = await _elsewhere(service, design_id) if job is None else None
        if job is None and found is None:
            return _unknown(design_id)
        state = job.state if job is not None else found.state if found is not None else FAILED
        if state in (QUEUED, RUNNING):
            headers = {"Retry-After": str(_ASK_AGAIN_S)}
            return refusal("the design is not made yet: ask again", 409, "not_ready", headers)
        picture = job.watch.picture if job is not None else found.picture if found is not None else None
        if picture is None:  # that of a design that failed later is paid for, too
            return refusal(f"there is no picture: the design is {state}", 409, "not_ready")
        if not await anyio.Path(picture).is_file():
            return refusal("the picture was deleted since", 410, "gone")
        headers = {"Cache-Control": "private, max-age=3600"}
        kind = {".png": "image/png", ".webp": "image/webp"}.get(picture.suffix.lower(), "image/jpeg")
        return FileResponse(picture, media_type=kind, headers=headers)

    return api


# --- a design of another process ------------------------------------------------------------------------


async def _elsewhere(service: _Service, design_id: str) -> elsewhere.Elsewhere | None:
    if elsewhere.session_id_of(design_id) is None:
        return None
    pathway = service.pathway()
    look_for = partial(elsewhere.find, design_id, pathway.perfdb_settings, pathway.folders())
    return await anyio.to_thread.run_sync(look_for)


def _state_of(found: elsewhere.Elsewhere, design_id: str, place: str) -> Response:
    headers = {"Retry-After": str(_ASK_AGAIN_S)} if found.state == RUNNING else None
    return JSONResponse(found.as_state(design_id, place), 200, headers)


def _unknown(design_id: str) -> Response:
    return unknown(design_id, again_s=_ASK_AGAIN_S if elsewhere.may_wait(design_id) else None)


# --- a design --------------------------------------------------------------------------------------------


def _keep(source: BinaryIO, kept: BinaryIO, settings: PathwaySettings) -> None:
    """Refuse an upload whose header says that it is useless; else copy it: its file ends with the request."""
    data = source.read(settings.max_image_bytes + 1)
    look(data, settings)
    kept.write(data)
    kept.seek(0)


def _make(pathway: RealProductsPathway, picture: BinaryIO, watch: Watch, **words: Any) -> dict[str, Any]:
    return pathway.generate(picture, upload=True, watch=watch, **words)


async def _ended_or_left(job: Job, request: Request) -> None:
    """Wait for the design; call it off when its client, or this task, goes away before."""
    done: asyncio.Future[Any] = asyncio.wrap_future(job.future)
    left: asyncio.Future[Any] = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({done, left}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        left.cancel()
        if not done.done():
            job.cancel("its client went away")
            done.cancel()
        elif not done.cancelled():
            done.exception()  # _answer reports it


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answer(job: Job, place: str) -> Response:
    """Return what POST answers for a design that has ended."""
    response = job.response
    if response is None:
        error = None if not job.future.done() or job.future.cancelled() else job.future.exception()
        if error is None or job.watch.cancelled:
            return refusal("the design was cancelled before it began", CANCELLED_STATUS, "cancelled")
        if isinstance(error, PerfdbError):
            return refusal(str(error), 500, "internal")
        raise error
    headers = {
        "Content-Location": place,
        "Server-Timing": _server_timing(response["data"], job),
        USAGE_HEADER: _usage(job),
    }
    if response["success"]:
        return JSONResponse(response, 200, headers)
    retry_after_s = response["error"].get("retry_after_s")
    if isinstance(retry_after_s, int | float):
        headers["Retry-After"] = str(math.ceil(retry_after_s))
    return JSONResponse(response, response["error"]["status"], headers)


async def _state(jobs: Jobs, job: Job, place: str) -> dict[str, Any]:
    """Return a design as GET answers it."""
    progress = await anyio.to_thread.run_sync(job.watch.progress)  # may ask the database what is usual
    state = job.state  # once: it may end meanwhile
    ended = state not in (QUEUED, RUNNING)
    shown = ended and job.watch.picture is not None
    return {
        "id": job.id,
        "here": True,
        "state": state,
        "cancelling": job.watch.cancelled and not ended,
        "step": None if ended else progress.step,
        "position": jobs.position(job),
        "elapsed_s": progress.elapsed_s,
        "usual_left_s": None if ended else progress.usual_left_s,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at if ended else None,
        "session_id": job.watch.session_id,
        "usage": job.watch.usage().as_dict(),
        "result": job.response if ended else None,
        "links": {"self": place, "image": f"{place}/image" if shown else None},
    }


def _usage(job: Job) -> str:
    """Return the header's value: what is known of the design's use, by name."""
    used = job.watch.usage().as_dict()
    return ", ".join(f"{name}={value}" for name, value in used.items() if value is not None)


def _server_timing(data: dict[str, Any], job: Job) -> str:
    """Return the header's value: one metric per step and the total, in milliseconds."""
    tracker = job.watch.tracker
    upload_s = tracker.step_durations.get(UPLOAD, 0.0) if tracker is not None else 0.0
    seconds = {UPLOAD: upload_s, **data["step_durations"], "Total": data["total_duration"]}
    return ", ".join(
        f'{name.lower().replace(" ", "-")};desc="{name}";dur={duration * 1000:.1f}'
        for name, duration in seconds.items()
    )


def _named_hosts() -> list[str]:
    names = os.environ.get(ALLOW_HOSTS, "").split(",")
    return [name.strip() for name in names if name.strip()]


app = create_app()
