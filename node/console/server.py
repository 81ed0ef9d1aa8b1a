"""The console's HTTP server: Starlette on hypercorn, in the daemon's own trio loop, on 127.0.0.1 and nowhere else.

async with open_console(4781, folder / "console.token", models=…, health=…, metrics=…) as console:
    console.url                     # http://127.0.0.1:4781
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import hypercorn.trio
import structlog
import trio
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from node.console import openai, probes
from node.console.errors import INVALID, PortTaken, Refused
from node.console.guard import App, Guard
from node.console.token import load_token

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings its stubs, which hide trio's own types from mypy

log = structlog.get_logger(__name__)

HOST = "127.0.0.1"
START_TIMEOUT_S = 10.0
GRACE_S = 2.0  # for answers under way when the node stops
BACKLOG = 64


class Console:
    """A running console. The token is for `Authorization: Bearer …`."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token


def build_app(token: str, *, models: openai.Models, health: probes.Health, metrics: probes.Metrics) -> App:
    """The ASGI application behind its guard."""
    app = Starlette(
        routes=[*probes.routes(health, metrics), *openai.routes(models)],
        exception_handlers={HTTPException: _http_error},
    )
    return Guard(app, token)


@asynccontextmanager
async def open_console(
    port: int, token_path: Path, *, models: openai.Models, health: probes.Health, metrics: probes.Metrics
) -> AsyncIterator[Console]:
    """Serve until the block ends. Raises TokenExposed, PortTaken."""
    token = await trio.to_thread.run_sync(load_token, token_path)
    app = build_app(token, models=models, health=health, metrics=metrics)
    listener = _listen(port)
    url = f"http://{HOST}:{listener.getsockname()[1]}"
    stop, ended = trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:
        await _start(nursery, app, listener, stop, ended)
        log.info("console listens", url=url)
        try:
            yield Console(url, token)
        finally:
            stop.set()
            with trio.CancelScope(deadline=trio.current_time() + GRACE_S + 1, shield=True):
                await ended.wait()
            nursery.cancel_scope.cancel()


async def _start(nursery: trio.Nursery, app: App, listener: socket.socket, stop: trio.Event, ended: trio.Event) -> None:
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]  # hypercorn owns it now, and closes it
    config.backlog = BACKLOG
    config.graceful_timeout = GRACE_S
    config.shutdown_timeout = GRACE_S
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.h11_max_incomplete_size = 32 << 10
    config.max_app_queue_size = 16

    async def serve(*, task_status: TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            await hypercorn.trio.serve(app, config, shutdown_trigger=stop.wait, task_status=task_status, mode="asgi")
        finally:
            ended.set()

    with trio.fail_after(START_TIMEOUT_S):
        await nursery.start(serve)


def _listen(port: int) -> socket.socket:
    """Bound by us and not by hypercorn, which would leave the socket open when the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
    except OSError as err:
        listener.close()
        raise PortTaken(f"the console cannot listen on {HOST}:{port}: {err.strerror or err}") from err
    return listener


async def _http_error(request: Request, err: Exception) -> Response:
    status = err.status_code if isinstance(err, HTTPException) else 500
    words = {404: f"there is no {request.url.path[:200]} here", 405: f"{request.method} is not for this path"}
    refused = Refused(status, words.get(status, str(err)), type=INVALID, code="not_found" if status == 404 else "http")
    return JSONResponse(refused.body, status)
