"""A lake in a bucket whose server fails now and then: nothing is lost, doubled, or said that is secret.

Of: lake/place.py, lake/sealing.py.
"""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal

import perfdb
from perfdb.errors import PerfdbError
from perfdb.lake import engine
from perfdb.lake.archive import push
from perfdb.lake.place import HISTORY, Place
from perfdb.lake.sealing import seal
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import ensure_schema
from perfdb.testing import make_session

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
NOISE, KEY, SECRET = 0.05, "AKIAKEYOFTHELAKE", "s3cr3t0fTheLake/x+y"
OF_HOPS = ("connection", "transfer-encoding", "content-length", "expect")


class Flaky(BaseHTTPRequestHandler):
    """Hands requests to the store; answers some with 503, and of some that were done loses the answer."""

    protocol_version = "HTTP/1.1"
    behind = 0
    chance = random.Random(3)
    failed = 0

    def do_GET(self) -> None:
        body = self.body()
        fails = self.chance.random() < NOISE
        if fails and self.chance.random() < 0.5:
            Flaky.failed += 1
            self.answer(503, [], b"<Error><Code>SlowDown</Code></Error>")
            return
        store = http.client.HTTPConnection("127.0.0.1", self.behind)
        kept = {name: value for name, value in self.headers.items() if name.lower() not in OF_HOPS}
        store.request(self.command, self.path, body, kept)
        given = store.getresponse()
        content = given.read()
        store.close()
        if fails:  # done, and nobody is told
            Flaky.failed += 1
            self.close_connection = True
            return
        self.answer(given.status, given.getheaders(), content)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        named = {name.lower() for name, _ in headers}
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        if "content-length" not in named:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Give the address of a bucket, with credentials, on a server that fails now and then."""
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, Flaky.behind = server.get_host_and_port()
    store = fs.S3FileSystem(
        endpoint_override=f"127.0.0.1:{Flaky.behind}",
        scheme="http",
        region="us-east-1",
        access_key=KEY,
        secret_key=SECRET,
        allow_bucket_creation=True,
    )
    store.create_dir("lakes")
    front = ThreadingHTTPServer(("127.0.0.1", 0), Flaky)
    thread = threading.Thread(target=front.serve_forever, daemon=True)
    thread.start()
    query = f"scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{front.server_address[1]}"
    yield f"s3://{KEY}:{SECRET.replace('/', '%2F').replace('+', '%2B')}@lakes/fleet?{query}"
    front.shutdown()
    front.server_close()
    thread.join()
    server.stop()


@pytest.fixture
def source(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/source.sqlite3"
    ensure_schema(url)
    with Database(url) as database, database.writing() as connection:
        insert_sessions(connection, [make_session(n, {"load": 1.0 + n}) for n in range(24)])
    return url


def persistently(do: object) -> None:
    """Do it again until the store lets us: what a person or cron does."""
    said: list[str] = []
    for _ in range(20):
        try:
            do()  # type: ignore[operator]
            return
        except PerfdbError as error:
            said.append(str(error))
    raise AssertionError(f"the store never let us: {said[-1]}")


def test_a_bucket_that_fails_loses_and_doubles_nothing(bucket: str, source: str) -> None:
    def send() -> None:
        with Database(source, migrates=False) as database:
            push(Place(bucket), database, sessions=5)

    persistently(send)
    sealers = [threading.Thread(target=persistently, args=(lambda: seal(Place(bucket)),)) for _ in range(2)]
    for each in sealers:
        each.start()
    for each in sealers:
        each.join()
    persistently(send)
    persistently(lambda: seal(Place(bucket)))
    assert Flaky.failed > 0
    place = Place(bucket)
    Flaky.chance = random.Random()
    Flaky.chance.random = lambda: 1.0  # type: ignore[method-assign]  # from here on it is well
    files = engine.files_of(place.open(HISTORY))
    found = engine.ask(place, files, "SELECT session_id FROM h WHERE step_name IS NULL ORDER BY ALL")
    assert found.column(0).to_pylist() == [f"run-{n:04d}" for n in range(24)]
    lake, database = perfdb.History(bucket), perfdb.History(source)
    assert_frame_equal(lake.sessions(), database.sessions())
    assert_frame_equal(lake.trends(by="day"), database.trends(by="day"))
    assert (lake.database, repr(lake)) == ("s3://lakes/fleet", "History('s3://lakes/fleet')")


def test_a_bucket_that_is_away_is_named_without_its_credentials() -> None:
    away = f"s3://{KEY}:{SECRET}@lakes/fleet?scheme=http&region=us-east-1&endpoint_override=127.0.0.1:1"
    with pytest.raises(PerfdbError, match="s3://lakes/fleet cannot be opened") as caught:
        perfdb.History(away).sessions()
    assert KEY not in str(caught.value)
    assert SECRET not in str(caught.value)
