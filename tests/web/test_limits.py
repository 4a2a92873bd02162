"""One address does not take the turns of another, nor do its old questions those of its new ones.

Of: web/connections.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from perfdb.web.connections import origin
from perfdb.web.limits import MOST_AT_ONCE, MOST_WAITING, AnswerLimits

COSTLY = "/api/v1/bottlenecks"
LIST = "/api/v1/alerts"


class Asked:
    """Ask an app that answers when it is asked to; keep who was let in, and the status of each answer."""

    def __init__(self) -> None:
        self.let_in: list[str] = []
        self.status: dict[str, int] = {}
        self.go_on = asyncio.Semaphore(0)
        self.limits = AnswerLimits(self.app, 30.0)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.let_in.append(scope["name"])
        await self.go_on.acquire()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def ask(self, name: str, address: str, path: str) -> None:
        async def send(message: Any) -> None:
            if "status" in message:
                self.status[name] = message["status"]

        async def receive() -> Any:
            raise AssertionError("nothing is read")

        scope = {"type": "http", "method": "GET", "path": path, "client": (address, 1), "name": name}
        await self.limits(scope, receive, send)

    async def after(self, questions: list[tuple[str, str]], path: str) -> None:
        """Ask one after the other, then have all answered."""
        tasks = []
        for name, address in questions:
            tasks.append(asyncio.create_task(self.ask(name, address, path)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        for _ in tasks:
            self.go_on.release()
        await asyncio.gather(*tasks)


@pytest.mark.parametrize(("path", "at_once"), [(COSTLY, 1), (LIST, MOST_AT_ONCE)])
def test_the_question_of_another_address_is_next(path: str, at_once: int) -> None:
    async def main() -> Asked:
        asked = Asked()
        greedy = [(f"greedy {number}", "10.0.0.1") for number in range(at_once + MOST_WAITING + 20)]
        await asked.after([*greedy[:-5], ("owner", "10.0.0.2"), *greedy[-5:]], path)
        return asked

    asked = asyncio.run(main())
    assert asked.status["owner"] == 200
    assert asked.let_in.index("owner") == at_once


def test_of_one_address_the_oldest_that_waits_goes_and_the_newest_is_next() -> None:
    async def main() -> Asked:
        asked = Asked()
        await asked.after([(str(number), "127.0.0.1") for number in range(MOST_WAITING + 5)], COSTLY)
        return asked

    asked = asyncio.run(main())
    last = MOST_WAITING + 4
    assert asked.let_in[:2] == ["0", str(last)]
    assert [name for name, status in asked.status.items() if status == 503] == ["1", "2", "3", "4"]


def test_who_gives_up_leaves_the_turn_to_others() -> None:
    async def main() -> Asked:
        asked = Asked()
        first = asyncio.create_task(asked.ask("first", "a", COSTLY))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(asked.ask("second", "a", COSTLY))
        await asyncio.sleep(0.01)
        second.cancel()
        first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        asked.go_on.release()
        await asked.ask("third", "a", COSTLY)
        return asked

    assert asyncio.run(main()).status == {"third": 200}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_a_network_of_addresses_is_one_client(host: str, expected: str) -> None:
    assert origin(host) == expected
