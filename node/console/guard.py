"""The gate in front of every HTTP request: the right Host, no foreign Origin, the token, a bounded body.

The Host check is what keeps a web page on another site from reaching a console on 127.0.0.1 through its own DNS name
(DNS rebinding); the token keeps other users of the machine out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from node.console.errors import INVALID, Refused
from node.console.token import matches

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
OPEN_PATHS = frozenset({"/livez", "/readyz"})  # they tell nothing but yes or no, and probes cannot carry tokens
MAX_BODY_BYTES = 4 << 20  # 2,048 short texts, or 500 of the longest


class Guard:
    """ASGI middleware."""

    def __init__(self, app: App, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            refused = self._check(Request(scope))
            if refused is None:
                await self._app(scope, receive, send)
            else:
                headers = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else None
                await JSONResponse(refused.body, refused.status, headers)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _check(self, request: Request) -> Refused | None:
        host = request.headers.get("host", "")
        if host_name(host) not in LOCAL_HOSTS:
            return Refused(421, f"this console answers on 127.0.0.1 only, not {host[:80]!r}", type=INVALID, code="host")
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return Refused(403, "requests of other sites' pages are refused", type=INVALID, code="origin")
        if request.url.path in OPEN_PATHS:
            return None
        if not matches(request.headers.get("authorization", ""), self._token):
            message = "the bearer token is missing or wrong; it stands in the file console.token of the node's folder"
            return Refused(401, message, type=INVALID, code="invalid_api_key")
        return None


def host_name(host: str) -> str:
    """The name of a Host header without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()


async def body(request: Request) -> bytes:
    """The request's body, at most MAX_BODY_BYTES. Raises Refused before more is read."""
    parts, size = [], 0
    async with aclosing(request.stream()) as stream:
        async for part in stream:
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise Refused(413, f"the body is over {MAX_BODY_BYTES} bytes", type=INVALID, code="request_too_large")
            parts.append(part)
    return b"".join(parts)
