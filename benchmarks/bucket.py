"""A bucket whose server fails now and then, for the tests of a lake and for its benchmark of deaths."""

from __future__ import annotations

import http.client
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from perfdb.errors import PerfdbError

KEY, SECRET = "AKIAKEYOFTHELAKE", "s3cr3t0fTheLake/x+y"
OF_HOPS = ("connection", "transfer-encoding", "content-length", "expect")
TRIES = 60


class Flaky(BaseHTTPRequestHandler):
    """Hands requests to the store; answers some with 503, and of some that were done loses the answer.

    With ``hang_s`` it keeps such an answer back for so long, which most clients do not wait for.
    """

    protocol_version = "HTTP/1.1"
    behind = 0
    chance = random.Random(3)
    noise = 0.0
    hang_s = 0.0
    failed = 0

    def do_GET(self) -> None:
        body = self.body()
        fails = self.chance.random() < Flaky.noise
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
            if Flaky.hang_s and self.chance.random() < 0.2:
                time.sleep(Flaky.hang_s)
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

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # a client that was killed
            self.close_connection = True


@contextmanager
def flaky_bucket(noise: float, hang_s: float = 0.0) -> Iterator[str]:
    """Give the address of a bucket, with credentials, on a server that fails now and then."""
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
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
    Flaky.noise, Flaky.hang_s, Flaky.failed = noise, hang_s, 0
    front = ThreadingHTTPServer(("127.0.0.1", 0), Flaky)
    thread = threading.Thread(target=front.serve_forever, daemon=True)
    thread.start()
    query = f"scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{front.server_address[1]}"
    yield f"s3://{KEY}:{SECRET.replace('/', '%2F').replace('+', '%2B')}@lakes/fleet?{query}"
    front.shutdown()
    front.server_close()
    thread.join()
    server.stop()


def persistently(do: Callable[[], object]) -> None:
    """Do it again until the store lets us: what a person or cron does."""
    said: list[str] = []
    for _ in range(TRIES):
        try:
            do()
            return
        except PerfdbError as error:
            said.append(str(error))
    raise AssertionError(f"the store never let us: {said[-1]}")
