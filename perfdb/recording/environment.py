"""What a session records of the place it ran in: host, process, versions, git commit and branch, command.

Read once per journal. No subprocess is started; git is read from its files. What this place lacks (a working
folder, a command line) is left out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from perfdb.guard import raise_foreign
from perfdb.recording.native import load
from perfdb.recording.ordinary import is_plain
from perfdb.search import open_file
from perfdb.surroundings import exists, folders_above, variables

# Of a file that may be anything: a read takes as much memory as it asks for, whatever is there.
_SHORT_BYTES = 1 << 14
_PIECE_BYTES = 1 << 16
_MOST_PIECES = 1024  # of git's packed references


def describe_process() -> dict[str, str | int | None]:
    """Return ``host``, ``pid``, ``python_version``, ``command``, ``git_commit`` and ``git_branch``."""
    place = _place()
    return {
        "host": host_name(),
        "pid": os.getpid(),
        "python_version": sys.version.partition(" ")[0],
        "git_commit": _commit_of(*place),
        "command": command_line(getattr(sys, "argv", None) or []),
        "git_branch": cleaned(branch) if (branch := _branch_of(place[1])) else None,
    }


def cleaned(text: str) -> str:
    """Return ``clean_text`` of a short text, which is loaded only where there is something to look for."""
    if is_plain(text):
        return text
    load("perfdb.recording.values")
    from perfdb.recording.values import clean_text

    return clean_text(text, 200)


def host_name(environ: Mapping[str, str] | None = None, *, root: Path = Path("/")) -> str:
    """Return the name that this machine is known by, which lasts: ``PERFDB_HOST`` where it is set.

    Else the host name; but in a container that is another one at each start, and the machine's id stands for
    it, shortened and hashed because the id itself is not for others.

    Args:
        environ: the environment; that of the process when None.
        root: where the files of the system are.
    """
    environ = variables() if environ is None else environ
    given = environ.get("PERFDB_HOST", "").strip()
    if given:
        return cleaned(given)
    name = os.uname().nodename
    in_container = any([environ.get(each) for each in ("KUBERNETES_SERVICE_HOST", "container")]) or any(
        [exists(root.joinpath(each)) for each in (".dockerenv", "run/.containerenv")]
    )
    if not in_container:
        return cleaned(name)
    machine = (_content(root.joinpath("etc", "machine-id")) or "").strip()
    if len(machine) != 32:  # images are made with an empty one
        return cleaned(name)
    return f"machine-{_sha256(f'perfdb {machine}'.encode())[:12]}"


def _sha256(data: bytes) -> str:
    """Return the digest in hex, of the interpreter's own function: ``hashlib`` loads OpenSSL, for 3 ms."""
    module = "_sha2" if sys.version_info >= (3, 12) else "_sha256"
    try:
        load(module)
        found = __import__(module).sha256(data).hexdigest()
    except (ImportError, AttributeError) as error:  # built without it
        raise_foreign(error)
        load("hashlib")
        from hashlib import sha256

        return sha256(data).hexdigest()
    return str(found)


def command_line(arguments: list[str]) -> str:
    """Return the command line, bounded, with values of secret-sounding options withheld."""
    words = [str(each) for each in arguments[:100]]
    if is_plain(said := " ".join(words)):
        return said
    load("perfdb.recording.values", "perfdb.recording.redaction")
    from perfdb.recording.redaction import redact_arguments
    from perfdb.recording.values import clean_text

    return clean_text(" ".join(redact_arguments(words)), 500)


def git_commit(folder: Path | None = None) -> str | None:
    """Return the commit that is checked out in ``folder`` or the nearest parent; None outside of git.

    Args:
        folder: the working folder when None, if there still is one.
    """
    return _commit_of(*_place(folder))


def _place(folder: Path | None = None) -> tuple[Path | None, str]:
    """Return what ``_head`` does; where that cannot be read it is as outside of git."""
    try:
        return _head(folder)
    except (OSError, ValueError) as error:
        raise_foreign(error)
        return None, ""


def _commit_of(git: Path | None, head: str) -> str | None:
    if git is None:
        return None
    try:
        if not head.startswith("ref:"):
            return _as_commit(head)
        reference = head.removeprefix("ref:").strip()
        is_inside = reference.startswith("refs/") and ".." not in reference  # as git has it
        return _resolve(git, reference) if is_inside else None
    except (OSError, ValueError) as error:
        raise_foreign(error)
        return None


def git_branch(folder: Path | None = None, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the branch that is checked out in ``folder`` or the nearest parent.

    Where none is, as in most builds, it is what the build says that it builds; None when that is a tag.

    Args:
        folder: the working folder when None, if there still is one.
        environ: the environment; that of the process when None.
    """
    return _branch_of(_place(folder)[1], environ)


def _branch_of(head: str, environ: Mapping[str, str] | None = None) -> str | None:
    reference = head.removeprefix("ref:").strip() if head.startswith("ref:") else ""
    branch = reference.removeprefix("refs/heads/")
    if branch != reference and branch != ".invalid":  # what git writes where references are no files
        return branch
    return _branch_of_build(variables() if environ is None else environ)


# Variables of a build, by whose they are, the source of a merge request first; a variable that names a tag;
# and what says that the build is theirs, where a name could be anybody's.
_BUILDS = (
    (("GITHUB_HEAD_REF", "GITHUB_REF_NAME"), "", ""),  # Gitea and Forgejo, too; see GITHUB_REF_TYPE
    (
        ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_BRANCH", "CI_COMMIT_REF_NAME"),
        "CI_COMMIT_TAG",
        "",
    ),
    (("BUILDKITE_BRANCH",), "BUILDKITE_TAG", ""),
    (("CIRCLE_BRANCH",), "CIRCLE_TAG", ""),
    (("BITBUCKET_BRANCH",), "BITBUCKET_TAG", ""),
    (("SYSTEM_PULLREQUEST_SOURCEBRANCH", "BUILD_SOURCEBRANCH"), "", "TF_BUILD"),
    (("TRAVIS_PULL_REQUEST_BRANCH", "TRAVIS_BRANCH"), "TRAVIS_TAG", ""),
    (("DRONE_SOURCE_BRANCH", "DRONE_BRANCH"), "DRONE_TAG", ""),
    (("CI_COMMIT_SOURCE_BRANCH",), "CI_COMMIT_TAG", ""),
    (("APPVEYOR_PULL_REQUEST_HEAD_REPO_BRANCH", "APPVEYOR_REPO_BRANCH"), "APPVEYOR_REPO_TAG_NAME", ""),
    (("CODEBUILD_WEBHOOK_HEAD_REF",), "", ""),
    (("SEMAPHORE_GIT_PR_BRANCH", "SEMAPHORE_GIT_BRANCH"), "SEMAPHORE_GIT_TAG_NAME", ""),
    (("CIRRUS_BRANCH",), "CIRRUS_TAG", ""),
    (("CHANGE_BRANCH", "BRANCH_NAME"), "TAG_NAME", "JENKINS_URL"),
    (("GIT_BRANCH",), "TAG_NAME", "JENKINS_URL"),
    (("BRANCH_NAME",), "TAG_NAME", "CI"),
)


def _branch_of_build(environ: Mapping[str, str]) -> str | None:
    for names, tag, theirs in _BUILDS:
        given = [value for name in names if (value := environ.get(name, "").strip())]
        if not given or (theirs and not environ.get(theirs)):
            continue
        branch = given[0]
        if environ.get(tag) or (names[0].startswith("GITHUB_") and environ.get("GITHUB_REF_TYPE") == "tag"):
            return None
        if branch.startswith("refs/") and not branch.startswith("refs/heads/"):
            return None
        branch = branch.removeprefix("refs/heads/")
        return branch.removeprefix("origin/") if names == ("GIT_BRANCH",) else branch
    return None


def _head(folder: Path | None) -> tuple[Path | None, str]:
    """Return the folder where git keeps what is checked out, None outside of git, and what its HEAD says."""
    folder = folder or Path.cwd()
    places = [each.joinpath(".git") for each in (folder, *folders_above(folder))]
    git = next(iter([each for each in places if exists(each)]), None)
    if git is None:
        return None, ""
    if (pointer := _content(git)) is not None:  # a worktree or submodule points to its folder
        git = git.parent.joinpath(pointer.removeprefix("gitdir:").strip())
    return git, (_content(git.joinpath("HEAD")) or "").strip()


def _resolve(git: Path, reference: str) -> str | None:
    common = _content(git.joinpath("commondir"))
    places = [git] if common is None else [git, git.joinpath(common.strip())]
    for place in places:
        if (loose := _content(place.joinpath(reference))) is not None:
            return _as_commit(loose.strip())
    for place in places:
        if (commit := _packed(place.joinpath("packed-refs"), f" {reference}".encode())) is not None:
            return _as_commit(commit)
    return None


def _packed(path: Path, ending: bytes) -> str | None:
    """Return the beginning of the line with this ending, of a file that may be long."""
    try:
        with open_file(path) as file:
            rest = b""
            for _ in range(_MOST_PIECES):
                piece = file.read(_PIECE_BYTES)
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines if piece else [rest]:
                    if line.endswith(ending):
                        return line[: -len(ending)].decode(errors="replace")
                if not piece or len(rest) > _SHORT_BYTES:
                    break
    except OSError as error:
        raise_foreign(error)
    return None


def _content(path: Path) -> str | None:
    """Return the text of a short file, None where there is none; a pipe in its place never blocks."""
    try:
        with open_file(path) as file:
            return file.read(_SHORT_BYTES).decode(errors="replace")
    except OSError as error:
        raise_foreign(error)
        return None


def _as_commit(text: str) -> str | None:
    return text if len(text) in (40, 64) and set(text) <= set("0123456789abcdef") else None
