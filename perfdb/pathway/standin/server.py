"""A real HTTP server on loopback that speaks for OpenAI, SerpAPI and a picture shop.

The official SDKs talk to it unchanged. It waits as its latency model says,
fails as its faults say, and logs every request, so that what perfdb measured
can be compared with what the server did.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from perfdb.pathway.settings import PathwaySettings
from perfdb.pathway.standin.handler import Handler
from perfdb.pathway.standin.named import play
from perfdb.pathway.standin.state import Server, State


class StandIn(State):
    """The outside services of the design pipeline, on 127.0.0.1.

    Use it as a context manager, or call ``close``. ``latency``, ``faults`` and ``log`` may be
    used while it serves.

    Args:
        seed: of latencies, faults and products.
        time_scale: seconds waited per second of the real services; 0 answers at once.
        concurrency_limit: requests beyond so many at once are answered 429; None for no limit.
        port: 0 takes a free one.
        strict: refuse every request that the real services would refuse.
        faults: what goes wrong, as ``KIND=NAME`` or ``KIND=NAME:SHARE`` (see ``named``).

    Raises:
        ValueError: no fault has such a name.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        time_scale: float = 0.0,
        concurrency_limit: int | None = None,
        port: int = 0,
        strict: bool = False,
        faults: Sequence[str] = (),
    ) -> None:
        super().__init__(seed, time_scale)
        for text in faults:
            play(self.faults, text)
        self.concurrency_limit = concurrency_limit
        self.strict = strict
        self._server = Server(("127.0.0.1", port), Handler)
        self._server.standin = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True, name="stand-in"
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return self._server.url

    def adapted(self, settings: PathwaySettings) -> PathwaySettings:
        """Return the settings changed to use this server; back-off shrinks with the time scale."""
        shrunk = min(1.0, self.latency.time_scale) or 0.01
        return replace(
            settings,
            openai_base_url=f"{self.url}/v1",
            serpapi_base_url=self.url,
            openai_api_key="sk-stand-in",
            serpapi_api_key="stand-in",
            backoff_s=settings.backoff_s * shrunk,
            max_backoff_s=settings.max_backoff_s * shrunk,
        )

    def settings(self, **changes: Any) -> PathwaySettings:
        """Return default pathway settings that use this server; ``changes`` are any of them."""
        return replace(self.adapted(PathwaySettings()), **changes)

    def close(self) -> None:
        """Stop serving and close every connection."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()
        self._thread.join(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
