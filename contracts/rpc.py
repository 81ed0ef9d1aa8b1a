"""A JSON-RPC 2.0 client for EVM endpoints on trio.

    async with open_rpc("http://127.0.0.1:8545") as rpc:
        head = int(await rpc.call("eth_blockNumber"), 16)

Every call has a deadline, every answer a size limit. A read that meets a connection the endpoint had closed while idle
is sent again on a fresh one; sending a raw transaction twice is harmless, since its hash is its identity.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from contracts.errors import BadReply, RpcError, RpcUnavailable
from contracts.transport import SLOTS, Transport

TIMEOUT_S = 20.0  # public endpoints answer in under 2 s; eth_getLogs over 2,000 blocks may take 10
MAX_REPLY_BYTES = 16 * 1024 * 1024  # 2,000 blocks of our logs stay below 4 MiB
MAX_BATCH = 100  # what public endpoints take at once


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""
    data: Any = None


class _Reply(msgspec.Struct):
    id: int | str | None = None
    result: Any = None
    error: _Error | None = None


class ChainRpc:
    """Calls to one endpoint."""

    def __init__(
        self,
        endpoint: str,
        *,
        timeout_s: float = TIMEOUT_S,
        max_reply_bytes: int = MAX_REPLY_BYTES,
        slots: int = SLOTS,
    ) -> None:
        self._transport = Transport(endpoint, max_bytes=max_reply_bytes, slots=slots)
        self._ids = itertools.count(1)
        self._one = msgspec.json.Decoder(_Reply)
        self._many = msgspec.json.Decoder(list[_Reply] | _Reply)
        self._timeout_s = timeout_s
        self.name = self._transport.name  # for people: without path and credentials

    async def call(self, method: str, *params: Any, timeout_s: float | None = None) -> Any:
        """One call; returns the plain JSON result. Raises RpcUnavailable, BadReply or RpcError."""
        number = next(self._ids)
        reply = self._decode(self._one, await self._send(_request(number, method, params), method, timeout_s))
        if reply.id != number and reply.error is None:
            raise BadReply(f"{method}: the answer is to another call ({reply.id!r})")
        return _result(reply)

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]], *, timeout_s: float | None = None) -> list[Any]:
        """Many calls in few round trips, results in order. Raises as `call` does, for the first that failed."""
        out: list[Any] = []
        for start in range(0, len(calls), MAX_BATCH):
            out += await self._batch(calls[start : start + MAX_BATCH], timeout_s)
        return out

    async def _batch(self, calls: Sequence[tuple[str, Sequence[Any]]], timeout_s: float | None) -> list[Any]:
        numbers = [next(self._ids) for _ in calls]
        requests = [_request(number, method, params) for number, (method, params) in zip(numbers, calls, strict=True)]
        replies = self._decode(self._many, await self._send(requests, f"a batch of {len(calls)}", timeout_s))
        if isinstance(replies, _Reply):  # the endpoint refused the batch as a whole
            _result(replies)
            raise BadReply("a single answer to a batch")
        found = {reply.id: reply for reply in replies}
        if not all(number in found for number in numbers):
            raise BadReply(f"{len(found)} answers to a batch of {len(numbers)}")
        return [_result(found[number]) for number in numbers]

    async def _send(self, request: Any, what: str, timeout_s: float | None) -> bytes:
        seconds = self._timeout_s if timeout_s is None else timeout_s
        with trio.move_on_after(seconds):
            return await self._transport.exchange(msgspec.json.encode(request))
        raise RpcUnavailable(f"{what}: no answer from {self.name} within {seconds:g} s")

    def _decode(self, decoder: Any, body: bytes) -> Any:
        try:
            return decoder.decode(body)
        except (msgspec.DecodeError, RecursionError) as err:
            raise BadReply(f"{self.name} does not answer in JSON-RPC: {err}") from err

    async def close(self) -> None:
        await self._transport.close()


@asynccontextmanager
async def open_rpc(
    endpoint: str, *, timeout_s: float = TIMEOUT_S, max_reply_bytes: int = MAX_REPLY_BYTES
) -> AsyncIterator[ChainRpc]:
    """A client whose connections are closed at the end. Connects at the first call."""
    rpc = ChainRpc(endpoint, timeout_s=timeout_s, max_reply_bytes=max_reply_bytes)
    try:
        yield rpc
    finally:
        await rpc.close()


def _request(number: int, method: str, params: Sequence[Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}


def _result(reply: _Reply) -> Any:
    if reply.error is not None:
        raise RpcError(reply.error.code, reply.error.message, reply.error.data)
    return reply.result
