"""Designs that another process of the service makes, or made: what the history knows of them.

The id of a design is enough to ask for it. The id of its session is derived from it, and not the other way
round: every process that shares the history finds the session, and reading the history reveals no design's
id.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import perfdb
from perfdb.errors import PerfdbError
from perfdb.pathway.jobs import CANCELLED, COMPLETED, FAILED, RUNNING
from perfdb.pathway.watching import STEPS, usage_of
from perfdb.settings import DATABASE_FILE, Settings, sqlite_url
from perfdb.store.session_files import pictures_of
from perfdb.vocabulary import INTERRUPTED

if TYPE_CHECKING:
    from perfdb.records import Session

_ID = re.compile(r"(\d{8}_\d{6})_([0-9a-f]{32})")
_STATES = {"running": RUNNING, "completed": COMPLETED, "failed": FAILED, INTERRUPTED: CANCELLED}
_MAY_WAIT_S = 3600.0  # in the queue of another process, before its session begins


def new_id() -> str:
    """Return the id of a design that begins now or later."""
    return f"{time.strftime('%Y%m%d_%H%M%S')}_{secrets.token_hex(16)}"


def session_id_of(design_id: str) -> str | None:
    """Return the id of a design's session; None when this is no id of a design."""
    found = _ID.fullmatch(design_id)
    if found is None:
        return None
    return f"{found[1]}_{hashlib.sha256(found[2].encode()).hexdigest()[:10]}"


def created_at(design_id: str) -> float:
    """Return when a design was asked for, epoch seconds; 0 when its id does not contain it."""
    found = _ID.fullmatch(design_id)
    try:
        return time.mktime(time.strptime(found[1], "%Y%m%d_%H%M%S")) if found else 0.0
    except (ValueError, OverflowError):
        return 0.0


def may_wait(design_id: str) -> bool:
    """Say whether it is so young that it may wait in another process, or that its session is on the way."""
    return abs(time.time() - created_at(design_id)) < _MAY_WAIT_S


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What the history knows of a design."""

    session: Session
    state: str
    picture: Path | None

    def as_state(self, design_id: str, place: str) -> dict[str, Any]:
        """Return it as ``GET /designs/{id}`` answers it."""
        session, ended = self.session, self.state != RUNNING
        running = [step.step_name for step in session.steps if step.duration is None]
        usage = session.attributes.get("usage")
        took = session.total_duration
        shown = ended and self.picture is not None
        return {
            "id": design_id,
            "here": False,
            "state": self.state,
            "cancelling": False,
            "step": next((name for name in running if name in STEPS and not ended), None),
            "position": None,
            "elapsed_s": took if took is not None else max(0.0, round(time.time() - session.start_time, 3)),
            "usual_left_s": None,
            "created_at": created_at(design_id),
            "started_at": session.start_time,
            "ended_at": session.end_time,
            "session_id": session.session_id,
            "usage": {**usage_of(session.steps).as_dict(), **(usage if isinstance(usage, dict) else {})},
            "result": None,
            "links": {"self": place, "image": f"{place}/image" if shown else None},
        }


def find(design_id: str, settings: Settings, folders: list[Path]) -> Elsewhere | None:
    """Return what the history knows of a design; None for an unknown one.

    Args:
        design_id: as the service gave it.
        settings: where the service records.
        folders: where it writes pictures.
    """
    session_id = session_id_of(design_id)
    if session_id is None:
        return None
    own = sqlite_url(settings.home / DATABASE_FILE) == settings.database_url
    try:
        history = perfdb.History(home=settings.home) if own else perfdb.History(settings.database_url)
        session = history.session(session_id)
    except PerfdbError:
        return None
    if session.session_id != session_id:
        return None
    pictures = pictures_of(folders, session_id)
    return Elsewhere(session, _STATES.get(session.status, FAILED), pictures[0] if pictures else None)
