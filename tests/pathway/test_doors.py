"""A body that does not end is given up; who waits for a design after it is not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("fastapi")

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from perfdb.pathway.doors import UploadLimit

SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "POST",
    "path": "/designs",
    "headers": [],
    "query_string": b"",
}


async def service(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await asyncio.sleep(0.2)  # a design takes longer than its upload
    await PlainTextResponse(str(len(body)))(scope, receive, send)


def answer_to(*parts: Message) -> tuple[int, bytes]:
    """Return status and body of the answer to a body of these parts, of which the last one never comes."""
    sent: list[Message] = []

    async def ask() -> None:
        left = list(parts)

        async def receive() -> Message:
            if left:
                return left.pop(0)
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        await asyncio.wait_for(UploadLimit(service, lambda: 1_000, 0.1)(SCOPE, receive, send), 60)

    asyncio.run(ask())
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize(
    "parts", [(), ({"type": "http.request", "body": b"half", "more_body": True},)], ids=["nothing", "half"]
)
def test_a_body_that_does_not_end_is_a_408(parts: tuple[Message, ...]) -> None:
    status, body = answer_to(*parts)
    assert status == 408
    assert b'"success":false' in body


def test_a_design_may_take_longer_than_its_upload() -> None:
    assert answer_to({"type": "http.request", "body": b"whole", "more_body": False}) == (200, b"5")
