from __future__ import annotations

import subprocess
from pathlib import Path

from perfdb.recording.environment import command_line, describe_process, git_commit
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
    assert set(described) == {"host", "pid", "python_version", "git_commit", "command"}
    assert described["host"]
