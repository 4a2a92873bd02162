"""What the workers of one run share: a server, filled databases; made by the first that asks for it.

The folder that they share, and the server, are removed when the run ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
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

    def __init__(self, folder: Path, controller: int) -> None:
        self.folder = folder
        self.controller = controller
        self.server = folder.with_name(f"{folder.name}-pg")

    @classmethod
    def of(cls, config: pytest.Config) -> Run:
        """Return the run that this process belongs to; in the one that controls it, begin it."""
        if KEY not in config.stash:
            given: dict[str, Any] = getattr(config, "workerinput", {}).get("perfdb_run", {})
            folder = Path(given.get("folder") or tempfile.mkdtemp(prefix="perfdb-tests-"))
            config.stash[KEY] = cls(folder, given.get("controller", os.getpid()))
        return config.stash[KEY]

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
