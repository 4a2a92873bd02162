from __future__ import annotations

import os
import subprocess
import tracemalloc
from pathlib import Path

import pytest

from perfdb.recording.environment import command_line, describe_process, git_branch, git_commit, host_name
from perfdb.recording.redaction import REDACTED


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=perfdb", "-c", "user.email=perfdb@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_commit_is_read_from_the_files_of_git(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert git_commit(tmp_path) is None
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert git_commit(below) == commit
    git(tmp_path, "pack-refs", "--all")
    assert git_commit(tmp_path) == commit
    git(tmp_path, "checkout", "-q", "--detach")
    assert git_commit(tmp_path) == commit


def test_the_branch_is_read_from_the_files_of_git(tmp_path: Path) -> None:
    assert git_branch(tmp_path, {}) is None
    main = tmp_path / "main"
    main.mkdir()
    git(main, "init", "-q", "-b", "feature/größe")
    assert git_branch(main, {}) == "feature/größe", "before its first commit"
    git(main, "commit", "-q", "--allow-empty", "-m", "first")
    git(main, "pack-refs", "--all")
    assert git_branch(main, {"GITHUB_REF_NAME": "other"}) == "feature/größe", "what is checked out is sure"
    git(main, "worktree", "add", "-q", "-b", "second", "../other")
    assert git_branch(tmp_path / "other", {}) == "second"
    git(main, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(main), "below")
    assert git_branch(main / "below", {}) == "feature/größe"
    git(main, "checkout", "-q", "--detach")
    assert git_branch(main, {}) is None
    (main / ".git" / "HEAD").write_text("ref: refs/heads/.invalid\n")  # references kept as tables
    assert git_branch(main, {}) is None


@pytest.mark.parametrize(
    ("environ", "branch"),
    [
        ({"GITHUB_HEAD_REF": "fix", "GITHUB_REF_NAME": "12/merge"}, "fix"),
        ({"GITHUB_HEAD_REF": "", "GITHUB_REF_NAME": "main", "GITHUB_REF_TYPE": "branch"}, "main"),
        ({"GITHUB_REF_NAME": "v1.2", "GITHUB_REF_TYPE": "tag"}, None),
        ({"CI_COMMIT_REF_NAME": "main"}, "main"),
        (
            {"CI_COMMIT_REF_NAME": "refs/merge-requests/1/head", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "f"},
            "f",
        ),
        ({"CI_COMMIT_REF_NAME": "v1", "CI_COMMIT_TAG": "v1"}, None),
        ({"BUILDKITE_BRANCH": "a/b"}, "a/b"),
        ({"BRANCH_NAME": "PR-7", "CHANGE_BRANCH": "fix", "JENKINS_URL": "https://ci"}, "fix"),
        ({"GIT_BRANCH": "origin/main", "JENKINS_URL": "https://ci"}, "main"),
        ({"BRANCH_NAME": "main", "CI": "true"}, "main"),
        ({"BRANCH_NAME": "of-a-bank"}, None),
        ({"TF_BUILD": "True", "BUILD_SOURCEBRANCH": "refs/heads/a/b"}, "a/b"),
        ({"TF_BUILD": "True", "BUILD_SOURCEBRANCH": "refs/tags/v1"}, None),
        ({"CIRCLE_BRANCH": "main"}, "main"),
        ({}, None),
    ],
)
def test_a_build_of_no_branch_says_what_it_builds(
    tmp_path: Path, environ: dict[str, str], branch: str | None
) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("0" * 40)
    assert git_branch(tmp_path, environ) == branch


def test_many_packed_references_take_little_memory(tmp_path: Path) -> None:
    """A program with a limit of memory records, whatever repository and container it runs in."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "machine-id").write_text("0a" * 16)
    (tmp_path / ".dockerenv").touch()
    repository = tmp_path / ".git"
    repository.mkdir()
    (repository / "HEAD").write_text("ref: refs/heads/main\n")
    others = "".join(f"{number:040x} refs/tags/{number}\n" for number in range(30_000))
    (repository / "packed-refs").write_text(f"# pack-refs with: peeled\n{others}{'a' * 40} refs/heads/main\n")
    tracemalloc.start()
    try:
        assert git_commit(tmp_path) == "a" * 40
        assert host_name({}, root=tmp_path).startswith("machine-")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_worktree_has_its_own_commit(tmp_path: Path) -> None:
    main = tmp_path / "main"
    main.mkdir()
    git(main, "init", "-q")
    git(main, "commit", "-q", "--allow-empty", "-m", "first")
    git(main, "worktree", "add", "-q", "../other")
    git(tmp_path / "other", "commit", "-q", "--allow-empty", "-m", "second")
    assert git_commit(tmp_path / "other") == git(tmp_path / "other", "rev-parse", "HEAD") != git_commit(main)


def test_a_broken_repository_has_no_commit(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: nowhere")
    assert git_commit(tmp_path) is None


def test_values_of_secret_options_are_withheld() -> None:
    assert command_line(["run", "--api-key", "abc", "--token=abc", "--fast", "x"]) == (
        f"run --api-key {REDACTED} --token={REDACTED} --fast x"
    )


def test_the_process_is_described() -> None:
    described = describe_process()
    assert set(described) == {"host", "pid", "python_version", "git_commit", "git_branch", "command"}
    assert described["host"]


def test_a_pipe_in_the_place_of_a_file_of_git_holds_nobody_up(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".git" / "HEAD").unlink()
    os.mkfifo(tmp_path / ".git" / "HEAD")
    assert git_commit(tmp_path) is None


def machine(root: Path, identity: str | None, *, container: bool) -> Path:
    (root / "etc").mkdir(parents=True)
    if identity is not None:
        (root / "etc" / "machine-id").write_text(f"{identity}\n")
    if container:
        (root / ".dockerenv").touch()
    return root


def test_a_machine_is_known_by_its_host_name(tmp_path: Path) -> None:
    assert host_name({}, root=machine(tmp_path / "a", "0" * 32, container=False)) == os.uname().nodename


def test_a_container_is_known_by_the_id_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = machine(tmp_path / "a", "3d1219c7c4c5404aaa1f6d2a48adfda4", container=True)
    name = host_name({}, root=root)
    assert name.startswith("machine-")
    assert "3d1219c7c4c5" not in name, "the id itself is not for others"
    first = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((first[0], "5f2c7d", *first[2:])))
    assert host_name({}, root=root) == name, "its host name is another at each start"
    other = machine(tmp_path / "b", "4" * 32, container=True)
    assert host_name({}, root=other) not in (name, "5f2c7d")


@pytest.mark.parametrize("identity", [None, "", "uninitialized"])
def test_a_container_without_an_id_is_known_by_its_host_name(tmp_path: Path, identity: str | None) -> None:
    root = machine(tmp_path / "a", identity, container=True)
    assert host_name({"container": "podman"}, root=root) == os.uname().nodename


def test_a_name_that_was_given_stands_for_the_machine(tmp_path: Path) -> None:
    root = machine(tmp_path / "a", "0" * 32, container=True)
    assert host_name({"PERFDB_HOST": " build-7 "}, root=root) == "build-7"


@pytest.mark.parametrize("outside", ["../../key", "refs/../../key", "{}/key"])
def test_a_reference_of_git_that_leads_elsewhere_is_not_read(tmp_path: Path, outside: str) -> None:
    (tmp_path / "key").write_text("ab" * 32)
    (tmp_path / "work" / ".git" / "refs").mkdir(parents=True)
    (tmp_path / "work" / ".git" / "HEAD").write_text(f"ref: {outside.format(tmp_path)}\n")
    assert git_commit(tmp_path / "work") is None
