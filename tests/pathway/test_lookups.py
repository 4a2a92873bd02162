"""A name that is not looked up in time is a time-out as any other, and holds nobody for longer."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from perfdb.pathway import lookups
from perfdb.pathway.budget import within
from perfdb.vocabulary import DESIGN_STEPS

STEPS = dict(zip(("vision", "search", "thumbnail", "image"), DESIGN_STEPS, strict=True))


class Resolver:
    """Stands before the system's: answers some names with loopback, and others not until it is let go."""

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = {}
        self.silent: set[str] = set()
        self.asked: list[str] = []
        self.go_on = threading.Event()
        self._real = socket.getaddrinfo

    def __call__(self, host: Any, port: Any, *args: Any, **options: Any) -> Any:
        self.asked.append(host)
        if host in self.silent:
            self.go_on.wait(300)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if host not in self.known:
            return self._real(host, port, *args, **options)
        return [entry for each in self.known[host] for entry in self._real(each, port, *args, **options)]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    found = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", found)
    yield found
    found.go_on.set()
    deadline = time.monotonic() + 30
    while lookups._running and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.fixture
def named_pathway(make_pathway: Callable[..., Any], standin: Any, resolver: Resolver) -> Callable[..., Any]:
    """Return a pathway whose services have names of their own."""
    port = standin.url.rpartition(":")[2]

    def make(**changes: Any) -> Any:
        resolver.known |= {name: ["127.0.0.1"] for name in ("openai.test", "serpapi.test")}
        return make_pathway(
            openai_base_url=f"http://openai.test:{port}/v1",
            serpapi_base_url=f"http://serpapi.test:{port}",
            **changes,
        )

    return make


def test_services_are_found_by_their_names(named_pathway: Any, room: bytes, resolver: Resolver) -> None:
    response = named_pathway().generate(room)

    assert response["success"], response
    assert {"openai.test", "serpapi.test"} <= set(resolver.asked)


@pytest.mark.parametrize(
    ("name", "kind"), [("openai.test", "vision"), ("serpapi.test", "search"), ("shop.test", "thumbnail")]
)
def test_a_resolver_that_is_silent_is_a_time_out(
    named_pathway: Any, room: bytes, resolver: Resolver, standin: Any, name: str, kind: str
) -> None:
    resolver.silent.add(name)
    pathway = named_pathway(max_attempts=1, **{f"{kind}_timeout_s": 0.4})
    if kind == "thumbnail":
        standin.pictures_url = standin.url.replace("127.0.0.1", name)

    response = pathway.generate(room)

    assert "did not answer within 0.4 s" in response["error"]["message"]
    assert response["error"]["step"] == STEPS[kind]
    assert not resolver.go_on.is_set()


def test_a_look_up_that_was_not_answered_is_tried_again(
    named_pathway: Any, room: bytes, resolver: Resolver
) -> None:
    resolver.silent.add("openai.test")

    response = named_pathway(vision_timeout_s=0.3, max_attempts=2).generate(room)

    assert response["error"]["message"].endswith("(after 2 attempts)")


def test_the_time_of_the_whole_design_ends_a_look_up(
    named_pathway: Any, room: bytes, resolver: Resolver
) -> None:
    resolver.silent.add("openai.test")

    error = named_pathway(design_timeout_s=0.5).generate(room)["error"]

    assert (error["type"], error["status"], error["step"]) == ("timeout", 504, "Vision Analysis")


def test_a_name_that_is_none_is_said(named_pathway: Any, room: bytes, resolver: Resolver) -> None:
    pathway = named_pathway(max_attempts=1)
    resolver.known["openai.test"] = []

    assert "could not be reached" in pathway.generate(room)["error"]["message"]


def test_the_next_address_is_tried(named_pathway: Any, room: bytes, resolver: Resolver) -> None:
    pathway = named_pathway()
    for name in ("openai.test", "serpapi.test"):
        resolver.known[name] = ["127.0.0.9", "127.0.0.1"]  # nobody listens at the first

    assert pathway.generate(room)["success"]


def test_a_silent_address_leaves_time_to_the_next() -> None:
    tried: list[tuple[str, float | None]] = []

    def connect(address: str, seconds: float | None) -> str:
        tried.append((address, seconds))
        if len(tried) == 1:
            raise TimeoutError("timed out")
        return address

    with pytest.MonkeyPatch.context() as patched, within(60):
        patched.setattr(lookups, "addresses", lambda host, port: ["192.0.2.1", "192.0.2.2"])
        assert lookups.connected("shop.test", 80, None, connect) == "192.0.2.2"

    assert (tried[0][1] or 0) <= 30 < (tried[1][1] or 0)


def test_who_asks_for_one_name_shares_a_thread_and_few_names_are_asked_for_at_a_time(
    resolver: Resolver,
) -> None:
    resolver.silent |= {f"shop{number}.test" for number in range(lookups.MOST + 8)}

    def ask(number: int) -> None:
        with within(0.5), pytest.raises(TimeoutError):
            lookups.addresses(f"shop{number}.test", 80)

    threads = [
        threading.Thread(target=ask, args=(number,)) for number in range(lookups.MOST + 8) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    asking = [thread for thread in threading.enumerate() if thread.name == "perfdb-lookup"]
    assert len(asking) == len(resolver.asked) == lookups.MOST
    assert all(thread.daemon for thread in asking)


def test_an_address_needs_no_thread(resolver: Resolver) -> None:
    with within(30):
        assert lookups.addresses("127.0.0.1", 80) == ["127.0.0.1"]
        assert lookups.addresses("[::1]", 80) == ["::1"]
    assert not [thread for thread in threading.enumerate() if thread.name == "perfdb-lookup"]


def test_a_child_asks_anew(resolver: Resolver) -> None:
    resolver.silent.add("shop.test")
    with within(0.1), pytest.raises(TimeoutError):
        lookups.addresses("shop.test", 80)
    resolver.known["shop.test"] = ["127.0.0.1"]

    child = os.fork()
    if not child:
        resolver.silent.clear()
        with within(60):
            os._exit(0 if lookups.addresses("shop.test", 80) == ["127.0.0.1"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
