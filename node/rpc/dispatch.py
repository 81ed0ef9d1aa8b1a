"""From one line of JSON to one line of JSON: the letter of JSON-RPC 2.0, without any transport."""

from __future__ import annotations

import re
from time import perf_counter
from typing import Any

import msgspec
import structlog
import trio

from node.observe.metrics import Metrics
from node.rpc.connection import Caller
from node.rpc.errors import CallTimeout, Error, InvalidRequest, ParseError, RpcError, to_error
from node.rpc.method import Method
from node.rpc.registry import Registry

BATCH = 100
REPLY_BYTES = 8 << 20  # a listing has a limit; what is larger than this is a bug or a payload
DEPTH = 64  # params are flat; a filter inside a batch is five deep

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
NOTHING = object()  # the id of a notification


class TooLarge(Exception):
    """A result over REPLY_BYTES."""

    kind = "too_large"
    hint = "ask for less with limit"


class Dispatcher:
    """Answers lines; one for all connections."""

    def __init__(self, registry: Registry, metrics: Metrics | None = None) -> None:
        self._registry = registry
        self._metrics = metrics

    async def answer(self, line: bytes, caller: Caller) -> bytes | None:
        """The reply to a line, None when there is none (notifications)."""
        if _too_deep(line):
            return _encode(_failure(None, to_error(ParseError(f"not JSON, or nested deeper than {DEPTH}"))))
        try:
            message = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
            return _encode(_failure(None, to_error(ParseError(f"not JSON: {err}"))))
        if not isinstance(message, list):
            return _encode(await self._one(message, caller))
        if not 0 < len(message) <= BATCH:
            size = InvalidRequest(f"a batch has 1 to {BATCH} calls, this one has {len(message)}")
            return _encode(_failure(None, to_error(size)))
        replies = [reply for reply in await self._batch(message, caller) if reply is not None]
        return b"[" + b",".join(replies) + b"]" if replies else None

    async def _batch(self, messages: list[Any], caller: Caller) -> list[bytes | None]:
        replies: list[bytes | None] = [None] * len(messages)

        async def one(index: int, message: object) -> None:
            replies[index] = _encode(await self._one(message, caller))

        async with trio.open_nursery() as nursery:
            for index, message in enumerate(messages):
                nursery.start_soon(one, index, message)
        return replies

    async def _one(self, message: object, caller: Caller) -> dict[str, Any] | None:
        try:
            call = _checked(message)
        except RpcError as err:
            id = message.get("id") if isinstance(message, dict) else None
            return _failure(id if _is_id(id) else None, to_error(err))
        id = call.get("id", NOTHING)
        try:
            reply = {"jsonrpc": "2.0", "id": id, "result": await self._run(call, caller)}
        except Exception as err:  # the border of an RPC call
            reply = _failure(id, self._count(call["method"], to_error(err)))
        return None if id is NOTHING else reply

    async def _run(self, call: dict[str, Any], caller: Caller) -> Any:
        method = self._registry.find(call["method"])
        started = perf_counter()
        try:
            with structlog.contextvars.bound_contextvars(rpc=method.name):
                return await _in_time(method, call.get("params", {}), caller)
        finally:
            if self._metrics:
                self._metrics.rpc_seconds.labels(method.name).observe(perf_counter() - started)

    def _count(self, name: str, error: Error) -> Error:
        if self._metrics and error.data.kind != "method_not_found":  # names of others' making have no bound
            self._metrics.rpc_errors.labels(name, error.data.kind).inc()
        return error


async def _in_time(method: Method, params: object, caller: Caller) -> Any:
    with trio.move_on_after(method.deadline_s) as scope:
        return await method.call(params, caller)
    if scope.cancelled_caught:
        raise CallTimeout(f"{method.name} took longer than {method.deadline_s:g} s")
    return None


def _too_deep(line: bytes) -> bool:
    """Whether a text is nested deeper than about DEPTH, or not balanced: the parser recurses on the C stack.

    Pairs are taken out layer by layer, which takes some milliseconds for the longest line.
    """
    if line.count(b"[") + line.count(b"{") <= DEPTH:
        return False
    brackets = _STRING.sub(b"", line).translate(None, _NO_BRACKETS)
    for _ in range(DEPTH):
        fewer = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if fewer == brackets:
            break
        brackets = fewer
    return bool(brackets)


def _checked(message: object) -> dict[str, Any]:
    """Raises InvalidRequest."""
    if not isinstance(message, dict):
        raise InvalidRequest("a request is an object")
    if message.get("jsonrpc") != "2.0":
        raise InvalidRequest('jsonrpc must be "2.0"')
    if not isinstance(message.get("method"), str):
        raise InvalidRequest("method must be a string")
    if not _is_id(message.get("id")):
        raise InvalidRequest("id must be a string, a number or null")
    if not isinstance(message.get("params", {}), (dict, list)):
        raise InvalidRequest("params must be an object or an array")
    return message


def _is_id(id: object) -> bool:
    return id is None or (isinstance(id, (str, int, float)) and not isinstance(id, bool))


def _failure(id: object, error: Error) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "error": error}


def _encode(reply: dict[str, Any] | None) -> bytes | None:
    if reply is None:
        return None
    try:
        data = msgspec.json.encode(reply)
    except (TypeError, ValueError, OverflowError) as err:  # a result that is no JSON is our bug
        return msgspec.json.encode(_failure(reply["id"], to_error(err)))
    if len(data) > REPLY_BYTES:
        return msgspec.json.encode(_failure(reply["id"], to_error(TooLarge(f"the result has {len(data)} bytes"))))
    return data
