"""What the workers of one run share: a server, filled databases; made by the first that asks for it.

The folder that they share, and the server, are removed when the run ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cluster import Cluster, remove_cluster

KEY = pytest.StashKey["Run"]()


class Run:
    """One run of pytest, as seen from one of its processes."""

    def __init__(self, folder: Path, server: Path, controller: int) -> None:
        self.folder = folder
        self.server = server  # elsewhere: it runs as another user
        self.controller = controller

    @classmethod
    def of(cls, config: pytest.Config) -> Run:
        """Return the run that this process belongs to; in the one that controls it, begin it."""
        if KEY not in config.stash:
            given: dict[str, Any] | None = getattr(config, "workerinput", {}).get("perfdb_run")
            if given is None:
                folder = config._tmp_path_factory.getbasetemp() / "shared"  # type: ignore[attr-defined]
                folder.mkdir()
                server = Path(tempfile.gettempdir()) / f"perfdb-tests-{secrets.token_hex(6)}"
                config.stash[KEY] = cls(folder, server, os.getpid())
            else:
                config.stash[KEY] = cls(Path(given["folder"]), Path(given["server"]), given["controller"])
        return config.stash[KEY]

    def for_worker(self) -> dict[str, Any]:
        """Return what a worker needs to know of its run."""
        return {"folder": str(self.folder), "server": str(self.server), "controller": self.controller}

    def once(self, name: str, make: Callable[[], str]) -> str:
        """Return what ``make`` returned to the first process of this run that asked."""
        made = self.folder / f"{name}.made"
        with open(self.folder / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                made.write_text(make(), encoding="utf-8")
        return made.read_text(encoding="utf-8")

    def cluster(self) -> Cluster:
        """Return the server of this run, started if no process did so yet."""

        def start() -> str:
            remove_cluster(self.server)  # of a worker that died when it was about to start it
            Cluster(durable=False, folder=self.server, owner=self.controller).start()
            return ""

        self.once("server", start)
        return Cluster.running_in(self.server)

    def end(self) -> None:
        """Remove everything, if this is the process that controls the run."""
        if os.getpid() == self.controller:
            remove_cluster(self.server)
            shutil.rmtree(self.folder, ignore_errors=True)
