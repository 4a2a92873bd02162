"""The totals hold on TLS as well: for OpenAI's SDK, for SerpAPI's, and for thumbnails.

Of: pathway/lookups.py, pathway/openai_service.py, pathway/thumbnails.py.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from perfdb.pathway import openai_service, search, thumbnails
from perfdb.pathway.errors import ServiceError
from perfdb.pathway.lookups import is_public
from perfdb.pathway.settings import PathwaySettings

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate"),
]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(cert)]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files],
        check=True,
        capture_output=True,
    )
    return key, cert


@pytest.fixture
def dripping(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of a server that sends its head, and then a body a byte at a time."""
    key, cert = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cert))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    listening = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) as secure:
                    secure.recv(65_536)
                    secure.sendall(
                        b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 2000\r\n\r\n"
                    )
                    for _ in range(2000):
                        secure.sendall(b" ")
                        if stop.wait(0.05):
                            break
            except OSError:
                continue

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"https://localhost:{listening.getsockname()[1]}"
    stop.set()
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(10)


def settings_for(address: str) -> PathwaySettings:
    return PathwaySettings(
        openai_api_key="sk-any",
        serpapi_api_key="any",
        openai_base_url=f"{address}/v1",
        serpapi_base_url=address,
        vision_timeout_s=0.5,
        search_timeout_s=0.5,
        thumbnail_timeout_s=0.5,
        max_attempts=1,
    )


def test_an_answer_in_drips_over_tls_is_a_time_out(dripping: str) -> None:
    settings = settings_for(dripping)
    began = time.monotonic()
    with openai_service.client(settings) as client:
        request: Any = openai_service.Request(
            send=lambda: client.chat.completions.with_streaming_response.create(
                model="gpt-4o", messages=[], timeout=0.5
            ),
            shape=openai_service.shapes.ChatAnswer,
            model="gpt-4o",
            setting="vision_model",
            timeout_s=0.5,
            max_bytes=1_000_000,
        )
        with pytest.raises(ServiceError, match="did not answer within"):
            openai_service.ask(request, settings)
    with pytest.raises(ServiceError, match="did not answer within"):
        search._page(search.client(settings), "sofa", settings)
    with (
        search.pooled_session(settings) as session,
        pytest.raises(ServiceError, match="did not answer within"),
    ):
        thumbnails.download(session, f"{dripping}/a.png", settings)

    assert time.monotonic() - began < 40  # each would take 100 s


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "0.0.0.0",
        "2130706433",
    ],
)  # fmt: skip
def test_a_shop_leads_nowhere_into_this_network(host: str) -> None:
    settings = PathwaySettings(openai_api_key="sk-any", serpapi_api_key="any", max_attempts=1)
    with search.pooled_session(settings) as session, pytest.raises(ServiceError, match="of this network"):
        thumbnails.download(session, f"http://{host}:9/a.png", settings)


@pytest.mark.parametrize(
    "address",
    [
        "::ffff:7f00:1", "::7f00:1", "::ffff:0:7f00:1", "::5efe:7f00:1", "2002:7f00:1::", "fec0::1",
        "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "fe80::1%1", "fd00:ec2::254", "100.64.0.1", "224.0.0.1",
    ],
)  # fmt: skip
def test_an_address_of_this_network_is_known_in_whatever_it_is_packed(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("code", [200, 302])
def test_a_shop_sees_no_password_of_ours_and_its_cookie_is_not_kept(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[tuple[str, Any]] = []

    class Shop(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heads.append((self.path, self.headers))
            self.send_response(code if self.path == "/a.png" else 200)
            self.send_header("Location", f"http://localhost:{server.server_port}/b.png")
            self.send_header("Set-Cookie", "who=you; Path=/")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    (tmp_path / "netrc").write_text("default login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    threading.Thread(target=server.serve_forever).start()
    settings = settings_for(f"http://localhost:{server.server_port}")
    with search.pooled_session(settings) as session:
        for _ in range(2):
            thumbnails.download(session, f"http://localhost:{server.server_port}/a.png", settings)
    server.shutdown()
    server.server_close()
    assert len(heads) == (2 if code == 200 else 4)
    assert not any("Authorization" in head for _, head in heads)
    assert not any("Cookie" in head for path, head in heads if path == "/a.png")


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"]
)
def test_the_internet_may_be_asked(address: str) -> None:
    assert is_public(address)
