"""grpc.health.v1 for a server that serves until it drains: one change, told to every watcher at once.

The published implementation for asyncio writes to watchers while it holds the lock that a change needs, so one watcher
who doesn't read keeps a server from draining; and it forgets all watchers when one leaves. Here a watcher only waits
for an event, and its stream ends once it was told NOT_SERVING, so that it doesn't hold up the drain.

Source: the GRPC Health Checking Protocol (grpc/grpc, doc/health-checking.md).
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
_Response = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # no types are published for it
    """Says SERVING for the whole server ("") and for each of `services`, until `stop` is called."""

    def __init__(self, *services: str) -> None:
        self._services = {"", *services}
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Says NOT_SERVING from now on."""
        self._stopped.set()

    async def Check(self, request: Any, context: Context) -> Any:
        """Answers for one service; NOT_FOUND for one that isn't here."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service[:80]!r} is here")
        return self._now()

    async def Watch(self, request: Any, context: Context) -> AsyncGenerator[Any, None]:
        """Tells the state now and its one change; for a service that isn't here, SERVICE_UNKNOWN and nothing more."""
        known = request.service in self._services
        yield self._now() if known else _Response(status=_Response.SERVICE_UNKNOWN)
        if not self._stopped.is_set():
            await self._stopped.wait()
            if known:
                yield self._now()

    def _now(self) -> Any:
        return _Response(status=_Response.NOT_SERVING if self._stopped.is_set() else _Response.SERVING)
