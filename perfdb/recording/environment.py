"""What a session records of the place it ran in: host, process, versions, git commit, command line.

Read once per process. No subprocess is started; git is read from its files.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from perfdb.guard import raise_foreign
from perfdb.recording.redaction import redact_arguments
from perfdb.recording.values import clean_text


def describe_process() -> dict[str, str | int | None]:
    """Return ``host``, ``pid``, ``python_version``, ``git_commit`` of the working folder, ``command``."""
    return {
        "host": clean_text(os.uname().nodename, 200),
        "pid": os.getpid(),
        "python_version": sys.version.partition(" ")[0],
        "git_commit": git_commit(Path.cwd()),
        "command": command_line(sys.argv),
    }


def command_line(arguments: list[str]) -> str:
    """Return the command line, bounded, with values of secret-sounding options withheld."""
    return clean_text(" ".join(redact_arguments(arguments[:100])), 500)


def git_commit(folder: Path) -> str | None:
    """Return the commit that is checked out in ``folder`` or the nearest parent; None outside of git."""
    try:
        git = next(
            (parent / ".git" for parent in (folder, *folder.parents) if (parent / ".git").exists()), None
        )
        if git is None:
            return None
        if git.is_file():  # a worktree or submodule points to its folder
            git = git.parent / git.read_text().removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref:"):
            return _as_commit(head)
        return _resolve(git, head.removeprefix("ref:").strip())
    except (OSError, ValueError) as error:
        raise_foreign(error)
        return None


def _resolve(git: Path, reference: str) -> str | None:
    common = git / "commondir"
    places = [git, git / common.read_text().strip()] if common.is_file() else [git]
    for place in places:
        loose = place / reference
        if loose.is_file():
            return _as_commit(loose.read_text().strip())
    for place in places:
        packed = place / "packed-refs"
        if packed.is_file():
            for line in packed.read_text().splitlines():
                commit, _, name = line.partition(" ")
                if name == reference:
                    return _as_commit(commit)
    return None


def _as_commit(text: str) -> str | None:
    return text if len(text) in (40, 64) and set(text) <= set("0123456789abcdef") else None
