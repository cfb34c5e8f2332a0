"""The Prometheus endpoint: GET /metrics, from the snapshot that `tally stats --json` prints.

It is served by tallyd's own event loop, because the state belongs to it; prometheus_client's server
would read that from another thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from tally.config import parse_address
from tally.errors import ConfigError

from .metric_families import Snapshot, families

log = logging.getLogger("tallyd.metrics")

REQUEST_BYTES_MAX = 8192
REQUEST_SECONDS_MAX = 5.0


class _SnapshotCollector(Collector):
    """Families made from one snapshot."""

    def __init__(self, snapshot: Snapshot, ended_seconds_max: float):
        self._snapshot, self._ended_seconds_max = snapshot, ended_seconds_max

    def collect(self) -> Iterable[Metric]:
        return families(self._snapshot, self._ended_seconds_max)


def render(snapshot: Snapshot, ended_seconds_max: float) -> bytes:
    """The snapshot in Prometheus's text format, without jobs that ended longer ago than that."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_SnapshotCollector(snapshot, ended_seconds_max))
    return bytes(generate_latest(registry))


class MetricsServer:
    """As much of HTTP as a scraper needs: one GET per connection, bounded in size and time."""

    def __init__(self, server: asyncio.Server):
        self._server = server

    @classmethod
    async def start(
        cls,
        address: str,
        snapshot: Callable[[], Awaitable[dict[str, Any]]],
        ended_seconds_max: float,
    ) -> MetricsServer:
        """Listen. ConfigError if the address cannot be had.

        ended_seconds_max: how long a job that has ended keeps numbers of its own."""

        async def page() -> bytes:
            return render(await snapshot(), ended_seconds_max)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(REQUEST_SECONDS_MAX):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(await _respond(head, page))
                    await writer.drain()
            except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
                pass  # the scraper's loss
            finally:
                writer.close()

        host, port = parse_address(address)
        try:
            server = await asyncio.start_server(serve, host, port, limit=REQUEST_BYTES_MAX)
        except OSError as error:
            raise ConfigError(
                f"metrics_address: {address} cannot be used: {error.strerror}"
            ) from None
        log.info("metrics at http://%s:%d/metrics", *server.sockets[0].getsockname()[:2])
        return cls(server)

    @property
    def port(self) -> int:
        """The port that was had, which matters if 0 was asked for."""
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening."""
        self._server.close()
        await self._server.wait_closed()


async def _respond(head: bytes, page: Callable[[], Awaitable[bytes]]) -> bytes:
    words = head.split(b"\r\n", 1)[0].split()
    if len(words) != 3 or words[0] not in (b"GET", b"HEAD"):
        return _response("405 Method Not Allowed", "text/plain", b"use GET\n")
    if words[1].split(b"?")[0] != b"/metrics":
        return _response("404 Not Found", "text/plain", b"try /metrics\n")
    body = await page()
    return _response("200 OK", CONTENT_TYPE_LATEST, body if words[0] == b"GET" else b"")


def _response(status: str, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
