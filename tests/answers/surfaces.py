"""The ways in which a history can be asked, all in this process: command line, API, page, picture, report."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import click
from starlette.testclient import TestClient

import perfdb
from perfdb.cli import cli, main
from perfdb.records import Session
from perfdb.web.app import create_app
from tests.answers.pages import Page


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


class RefusedError(Exception):
    """A page or an endpoint said that it cannot answer."""


class Asked:
    """A history and everything that answers about it; an answer is kept, since nothing changes."""

    def __init__(self, name: str, url: str, sessions: list[Session], now: float) -> None:
        self.name = name
        self.url = url
        self.sessions = sessions  # as they were made, oldest first
        self.now = now  # when the history was made
        self.history = perfdb.History(url)
        self._kept: dict[Any, Any] = {}

    @cached_property
    def client(self) -> TestClient:
        """The dashboard, which may take its time: what it says is asked, on a busy machine too."""
        return TestClient(create_app(self.history, query_limit_s=60.0), base_url="http://127.0.0.1")

    def once(self, key: Any, make: Any) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def command(self, *arguments: str) -> Said:
        """Run a command on this history."""
        return self.once(("cli", *arguments), lambda: _run(*arguments, "-d", self.url))

    def help(self, command: str) -> str:
        """Return the help of a command."""
        return self.once(("help", command), lambda: _run(command, "--help")).out

    def json(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the rows of a command with ``--json``."""
        said = self.command(*arguments, "--json")
        assert said.out, said.err
        rows: list[dict[str, Any]] = json.loads(said.out)["rows"]
        return rows

    def csv(self, *arguments: str) -> list[dict[str, str]]:
        """Return the rows of a command with ``--csv``."""
        return list(csv.DictReader(io.StringIO(self.command(*arguments, "--csv").out)))

    def api(self, path: str, **query: Any) -> Any:
        """Return what ``/api/v1`` answers."""
        query = {name: value for name, value in query.items() if value is not None}

        def ask() -> Any:
            answer = self.client.get(f"/api/v1/{path}", params=query)
            return _granted(answer).json()

        return self.once(("api", path, *query.items()), ask)

    def page(self, path: str, **query: Any) -> Page:
        """Return a page of the dashboard, read."""
        query = {name: value for name, value in query.items() if value is not None}

        def ask() -> Page:
            answer = self.client.get(path, params=query)
            return Page(_granted(answer).text)

        return self.once(("page", path, *query.items()), ask)

    def chart(self, kind: str, *ids: str, **options: Any) -> Any:
        """Return a picture's figure."""
        return self.once(
            ("chart", kind, *ids, repr(options)), lambda: self.history.chart(kind, *ids, **options)
        )

    def report(self, session_id: str | None = None, **filters: Any) -> Page:
        """Return a report, read."""
        return self.once(
            ("report", session_id, repr(filters)),
            lambda: Page(self.history.report(session_id, **filters).fragment),
        )


def _granted(answer: Any) -> Any:
    if answer.status_code in (400, 404, 409):
        raise RefusedError(answer.text[-500:])
    assert answer.status_code == 200, f"{answer.url}: {answer.status_code} {answer.text[-500:]}"
    return answer


def _run(*arguments: str) -> Said:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int)
    return Said(code, *(_whole(stream) for stream in (out, err)))


def _whole(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


def takes(words: Sequence[str], flag: str) -> bool:
    """Say whether a command, such as ("thresholds", "suggest"), has a flag."""
    context = click.Context(cli)
    found: click.Command = cli
    for word in words:
        assert isinstance(found, click.Group)
        command = found.get_command(context, word)
        assert command is not None, word
        found = command
    return any(flag in parameter.opts for parameter in found.params)
