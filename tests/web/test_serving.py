"""`perfdb serve` as a person starts it: a process of its own, its address on stderr, Ctrl-C.

Of: starting/serve.py.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

import perfdb
from perfdb.cli import main
from perfdb.web.connections import SAME_RECORDS, Sparingly
from perfdb.web.serving import garbage_collected_rarely

PERFDB = str(Path(sys.executable).with_name("perfdb"))


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `perfdb serve` on a free port; give the process and the address that it prints."""
    process = subprocess.Popen(
        [PERFDB, "serve", "--port", "0", *arguments], stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "http://" in line:
                yield process, line.split(": ", 1)[1].strip()
                break
        else:
            pytest.fail("it ended without an address")
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def start(history: perfdb.History) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(started(*arguments))


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_it_serves_until_ctrl_c_even_while_a_page_listens(
    start: Callable[..., tuple[subprocess.Popen[str], str]],
) -> None:
    process, link = start()
    assert "token" not in link
    with httpx.Client(base_url=link, timeout=30) as client:
        assert client.get("/api/v1/health").json()["status"] == "ok"
        with client.stream("GET", "/api/v1/events") as events:
            assert next(events.iter_lines()) == "retry: 2000"
            process.send_signal(signal.SIGINT)
            assert process.wait(30) in (0, 130)


def test_for_others_than_this_machine_it_makes_a_token(
    start: Callable[..., tuple[subprocess.Popen[str], str]],
) -> None:
    _, link = start("--host", "0.0.0.0")
    parts = urlsplit(link)
    assert parts.query.startswith("token=")
    with httpx.Client(base_url=f"http://127.0.0.1:{parts.port}", timeout=30) as client:
        assert client.get("/api/v1/overview").status_code == 401
        assert client.get("/api/v1/overview", params=parts.query).status_code == 303
        assert client.get("/api/v1/overview").status_code == 200  # the link left a cookie


def test_what_cannot_be_served_is_one_line(
    history: perfdb.History, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["serve", *arguments])
        assert ended.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    assert "16 or more" in refused("--token", "short")
    assert "16 or more" in refused("--token", ""), "a variable that is not set"
    assert "ASCII" in refused("--token", "tökén-0123456789-secret")
    assert "no space" in refused("--token", "token-0123456789-secret ")
    assert "there is no database" in refused("--database", "nowhere.sqlite3")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "--port" in refused("--port", str(taken.getsockname()[1]))


@pytest.mark.parametrize(
    "absent",
    [
        ("uvicorn",),
        ("jinja2", "markupsafe"),
        ("uvicorn", "fastapi", "starlette", "pydantic", "jinja2", "markupsafe"),
    ],
    ids=lambda names: "all" if len(names) > 2 else names[0],
)
def test_without_the_extra_one_line_names_it(web_folder: Path, absent: tuple[str, ...]) -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent!r}))\n"
        "from perfdb.cli import main\nmain(['serve'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(r"perfdb: the dashboard needs '(\w+)': run pip install 'perfdb\[web\]'", line), line


def test_a_server_collects_garbage_less_often_and_not_what_stays(request: pytest.FixtureRequest) -> None:
    gc.unfreeze()  # what CPython 3.12 begins with
    before = gc.get_threshold()
    request.addfinalizer(lambda: gc.set_threshold(*before))
    gc.set_threshold(700, *before[1:])  # a command has raised it
    before = gc.get_threshold()
    with garbage_collected_rarely():
        assert gc.get_threshold() > before
        known = gc.get_freeze_count()
        assert known > 0
        stays = [[] for _ in range(1_000)]
        gc.collect()
        assert gc.get_freeze_count() >= known + len(stays)
    assert not any(each.__name__ == "collected" for each in gc.callbacks)
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


def test_what_goes_wrong_again_and_again_is_logged_a_few_times() -> None:
    sparingly = Sparingly()

    def record(words: str, error: type[Exception] | None = None) -> logging.LogRecord:
        raised = None if error is None else (error, error(words), None)
        return logging.LogRecord("uvicorn.error", logging.ERROR, __file__, 1, words, (), raised)

    assert (
        sum(sparingly.filter(record("Invalid HTTP request received.")) for _ in range(1_000)) == SAME_RECORDS
    )
    assert sum(sparingly.filter(record(str(each), ValueError)) for each in range(1_000)) == SAME_RECORDS
    assert sparingly.filter(record("something else"))
    assert sparingly.filter(
        logging.LogRecord("uvicorn.error", logging.INFO, __file__, 1, "started", (), None)
    )
