"""What supervisors and Prometheus ask: is it alive, is it ready, how is it doing.

/livez     200 while the loop runs
/readyz    200 when every health check passes that is no mere warning, else 503 with the failed checks' names
/metrics   Prometheus text, behind the token
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route


class Finding(Protocol):
    """One health check's outcome."""

    @property
    def name(self) -> str: ...
    @property
    def fails(self) -> bool: ...


class Health(Protocol):
    """The node's checks."""

    async def report(self) -> Sequence[Finding]: ...


class Metrics(Protocol):
    """The node's numbers."""

    def render(self) -> bytes: ...


def routes(health: Health, metrics: Metrics) -> list[Route]:
    """The endpoints."""

    async def livez(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        failed = [finding.name for finding in await health.report() if finding.fails]
        return JSONResponse({"ready": not failed, "failed": failed}, 503 if failed else 200)

    async def numbers(request: Request) -> Response:
        return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [
        Route("/livez", livez, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", numbers, methods=["GET"]),
    ]
