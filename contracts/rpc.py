"""A JSON-RPC 2.0 client for EVM endpoints on trio.

    async with open_rpc("http://127.0.0.1:8545") as rpc:
        head = int(await rpc.call("eth_blockNumber"), 16)

Every call has a deadline, every answer a size limit. A read that meets a connection the endpoint had closed while idle
is sent again on a fresh one; sending a raw transaction twice is harmless, since its hash is its identity.

Several endpoints may be given: when one does not answer, the next is asked, and stays the first choice until it fails
in turn. An endpoint is asked for its chain id before its first use: a wrong one among several must not be believed.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from contracts.errors import BadReply, RpcError, RpcUnavailable, WrongChain
from contracts.transport import SLOTS, Transport
from contracts.values import number

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
        endpoints: str | Sequence[str],
        *,
        chain_id: int | None = None,
        timeout_s: float = TIMEOUT_S,
        max_reply_bytes: int = MAX_REPLY_BYTES,
        slots: int = SLOTS,
    ) -> None:
        urls = [endpoints] if isinstance(endpoints, str) else list(endpoints)
        if not urls:
            raise ValueError("no chain endpoint is configured: set chain.rpc")
        self._transports = [Transport(url, max_bytes=max_reply_bytes, slots=slots) for url in urls]
        self._chain_id = chain_id
        self._checked: set[Transport] = set()
        self._ids = itertools.count(1)
        self._one = msgspec.json.Decoder(_Reply)
        self._many = msgspec.json.Decoder(list[_Reply] | _Reply)
        self._timeout_s = timeout_s

    @property
    def name(self) -> str:
        """The endpoint in use, for people: without path and credentials."""
        return self._transports[0].name

    async def call(self, method: str, *params: Any, timeout_s: float | None = None) -> Any:
        """One call; returns the plain JSON result. Raises RpcUnavailable, BadReply or RpcError."""
        mine = next(self._ids)
        reply = self._decode(self._one, await self._send(_request(mine, method, params), method, timeout_s))
        if reply.id != mine and reply.error is None:
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
        requests = [_request(one, method, params) for one, (method, params) in zip(numbers, calls, strict=True)]
        replies = self._decode(self._many, await self._send(requests, f"a batch of {len(calls)}", timeout_s))
        if isinstance(replies, _Reply):  # the endpoint refused the batch as a whole
            _result(replies)
            raise BadReply("a single answer to a batch")
        found = {reply.id: reply for reply in replies}
        if not all(one in found for one in numbers):
            raise BadReply(f"{len(found)} answers to a batch of {len(numbers)}")
        return [_result(found[one]) for one in numbers]

    async def _send(self, request: Any, what: str, timeout_s: float | None) -> bytes:
        body = msgspec.json.encode(request)
        seconds = self._timeout_s if timeout_s is None else timeout_s
        for turn in range(len(self._transports)):
            transport = self._transports[0]
            try:
                return await self._over(transport, body, what, seconds)
            except RpcUnavailable:
                if transport is self._transports[0]:  # else another call has turned the list already
                    self._transports.append(self._transports.pop(0))
                if turn + 1 == len(self._transports):
                    raise
        raise AssertionError("unreachable")

    async def _over(self, transport: Transport, body: bytes, what: str, seconds: float) -> bytes:
        with trio.move_on_after(seconds):
            if self._chain_id is not None and transport not in self._checked:
                await self._check(transport, self._chain_id)
            return await transport.exchange(body)
        raise RpcUnavailable(f"{what}: no answer from {transport.name} within {seconds:g} s")

    async def _check(self, transport: Transport, chain_id: int) -> None:
        """Raises WrongChain."""
        question = msgspec.json.encode(_request(0, "eth_chainId", ()))
        served = number(_result(self._decode(self._one, await transport.exchange(question))))
        if served != chain_id:
            raise WrongChain(f"{transport.name} serves chain {served}, this network is chain {chain_id}")
        self._checked.add(transport)

    def _decode(self, decoder: Any, body: bytes) -> Any:
        try:
            return decoder.decode(body)
        except (msgspec.DecodeError, RecursionError) as err:
            raise BadReply(f"{self.name} does not answer in JSON-RPC: {err}") from err

    async def close(self) -> None:
        for transport in self._transports:
            await transport.close()


@asynccontextmanager
async def open_rpc(
    endpoints: str | Sequence[str],
    *,
    chain_id: int | None = None,
    timeout_s: float = TIMEOUT_S,
    max_reply_bytes: int = MAX_REPLY_BYTES,
) -> AsyncIterator[ChainRpc]:
    """A client whose connections are closed at the end. Connects at the first call."""
    rpc = ChainRpc(endpoints, chain_id=chain_id, timeout_s=timeout_s, max_reply_bytes=max_reply_bytes)
    try:
        yield rpc
    finally:
        await rpc.close()


def _request(mine: int, method: str, params: Sequence[Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": mine, "method": method, "params": list(params)}


def _result(reply: _Reply) -> Any:
    if reply.error is not None:
        raise RpcError(reply.error.code, reply.error.message, reply.error.data)
    return reply.result
