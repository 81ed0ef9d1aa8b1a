"""The JSON-RPC client against servers that answer well, badly, too much, or never."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h11
import msgspec
import pytest
import trio

from contracts.errors import BadReply, RpcError, RpcUnavailable, WrongChain
from contracts.rpc import ChainRpc, open_rpc

Answer = Callable[[Any], Awaitable[tuple[int, bytes]]]


def ok(result: Any, number: Any) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": number, "result": result})


async def echo(request: Any) -> tuple[int, bytes]:
    """Answers with the params; a batch in reverse order, as the specification allows."""
    if isinstance(request, list):
        return 200, b"[" + b",".join(ok(one["params"], one["id"]) for one in reversed(request)) + b"]"
    return 200, ok(request["params"], request["id"])


class Server:
    """An HTTP server for one test; counts connections, and closes each after `keep` answers."""

    def __init__(self, answer: Answer, keep: int) -> None:
        self.answer, self.keep, self.connections = answer, keep, 0

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        http = h11.Connection(h11.SERVER)
        for _ in range(self.keep):
            body = await self.request(http, stream)
            if body is None:
                break
            status, reply = await self.answer(msgspec.json.decode(body))
            head = h11.Response(status_code=status, headers=[("content-length", str(len(reply)))])
            parts = [http.send(head), http.send(h11.Data(data=reply)), http.send(h11.EndOfMessage())]
            await stream.send_all(b"".join(part or b"" for part in parts))
            http.start_next_cycle()
        await stream.aclose()

    async def request(self, http: h11.Connection, stream: trio.SocketStream) -> bytes | None:
        body = b""
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await stream.receive_some(65536))
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return body
            elif isinstance(event, h11.ConnectionClosed):
                return None


@asynccontextmanager
async def serving(answer: Answer, keep: int = 100) -> AsyncIterator[tuple[Server, str]]:
    server = Server(answer, keep)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        yield server, f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def test_calls_share_one_connection() -> None:
    with trio.fail_after(5):
        async with serving(echo) as (server, url), open_rpc(url) as rpc:
            assert await rpc.call("m", 1, "two") == [1, "two"]
            assert await rpc.call("m") == []
            assert server.connections == 1


async def test_calls_at_once_get_their_own_answers() -> None:
    out: dict[int, Any] = {}

    async def one(rpc: ChainRpc, place: int) -> None:
        out[place] = await rpc.call("m", place)

    with trio.fail_after(5):
        async with serving(echo) as (server, url), open_rpc(url) as rpc, trio.open_nursery() as nursery:
            for place in range(40):
                nursery.start_soon(one, rpc, place)
        assert out == {place: [place] for place in range(40)}
        assert server.connections <= 8


async def test_a_connection_the_server_closed_is_replaced() -> None:
    with trio.fail_after(5):
        async with serving(echo, keep=1) as (server, url), open_rpc(url) as rpc:
            for place in range(3):
                assert await rpc.call("m", place) == [place]
            assert server.connections == 3


async def test_a_batch_comes_back_in_order_whatever_the_server_does() -> None:
    with trio.fail_after(5):
        async with serving(echo) as (_, url), open_rpc(url) as rpc:
            assert await rpc.batch([("m", [place]) for place in range(250)]) == [[place] for place in range(250)]
            assert await rpc.batch([]) == []


async def test_an_error_answer_keeps_code_message_and_data() -> None:
    async def refuse(request: Any) -> tuple[int, bytes]:
        error = {"code": 3, "message": "execution reverted", "data": "0x08c379a0"}
        return 200, msgspec.json.encode({"jsonrpc": "2.0", "id": request["id"], "error": error})

    with trio.fail_after(5):
        async with serving(refuse) as (_, url), open_rpc(url) as rpc:
            with pytest.raises(RpcError) as caught:
                await rpc.call("m")
    assert (caught.value.code, caught.value.message, caught.value.data) == (3, "execution reverted", "0x08c379a0")


async def test_an_error_in_an_http_500_is_still_an_rpc_error() -> None:
    async def refuse(request: Any) -> tuple[int, bytes]:
        return 500, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"slow down"}}'

    with trio.fail_after(5):
        async with serving(refuse) as (_, url), open_rpc(url) as rpc:
            with pytest.raises(RpcError, match="slow down"):
                await rpc.call("m")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (503, b"<html>busy</html>", RpcUnavailable),
        (200, b"<html>login</html>", BadReply),
        (200, b"", BadReply),
        (200, b'{"jsonrpc":"2.0","id":999,"result":1}', BadReply),
        (200, b'{"result":' + b"[" * 5000 + b"]" * 5000 + b"}", BadReply),
        (200, b'"' + b"x" * 200_000 + b'"', BadReply),
    ],
)
async def test_an_answer_that_is_none_is_refused(status: int, body: bytes, error: type[Exception]) -> None:
    async def answer(request: Any) -> tuple[int, bytes]:
        return status, body

    with trio.fail_after(5):
        async with serving(answer) as (_, url), open_rpc(url, max_reply_bytes=100_000) as rpc:
            with pytest.raises(error):
                await rpc.call("m")


async def test_a_batch_with_a_missing_answer_is_refused() -> None:
    async def answer(request: Any) -> tuple[int, bytes]:
        return 200, b"[" + ok(1, request[0]["id"]) + b"]"

    with trio.fail_after(5):
        async with serving(answer) as (_, url), open_rpc(url) as rpc:
            with pytest.raises(BadReply, match="1 answers to a batch of 2"):
                await rpc.batch([("m", []), ("m", [])])


async def test_a_silent_server_meets_the_deadline_and_its_connection_is_not_used_again() -> None:
    silent = True

    async def answer(request: Any) -> tuple[int, bytes]:
        if silent:
            await trio.sleep_forever()
        return await echo(request)

    with trio.fail_after(5):
        async with serving(answer) as (server, url), open_rpc(url) as rpc:
            with pytest.raises(RpcUnavailable, match=r"within 0\.05 s"):
                await rpc.call("m", timeout_s=0.05)
            silent = False
            assert await rpc.call("m", 7) == [7]
            assert server.connections == 2


async def chain_seven(request: Any) -> tuple[int, bytes]:
    result = "0x7" if request["method"] == "eth_chainId" else request["params"]
    return 200, ok(result, request["id"])


async def test_the_next_endpoint_answers_when_the_first_is_gone() -> None:
    with trio.fail_after(5):
        async with serving(chain_seven) as (server, url), open_rpc(["http://127.0.0.1:1", url], chain_id=7) as rpc:
            assert await rpc.call("m", 1) == [1]
            assert rpc.name == url
            assert await rpc.call("m", 2) == [2]
            assert server.connections == 1


async def test_all_endpoints_gone_is_unavailable() -> None:
    with trio.fail_after(5):
        async with open_rpc(["http://127.0.0.1:1", "http://127.0.0.1:2"]) as rpc:
            with pytest.raises(RpcUnavailable):
                await rpc.call("m")


async def test_a_spare_endpoint_of_another_chain_is_not_believed() -> None:
    with trio.fail_after(5):
        async with serving(chain_seven) as (_, url), open_rpc(["http://127.0.0.1:1", url], chain_id=8) as rpc:
            with pytest.raises(WrongChain, match="serves chain 7, this network is chain 8"):
                await rpc.call("m", 1)


async def test_nobody_listening_is_unavailable_and_no_key_is_told() -> None:
    with trio.fail_after(5):
        async with open_rpc("http://user:pass@127.0.0.1:1/v3/secret-api-key") as rpc:
            with pytest.raises(RpcUnavailable) as caught:
                await rpc.call("m")
    assert "secret" not in str(caught.value)
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://host/x", "http:///nohost"])
def test_an_endpoint_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"host|supported"):
        ChainRpc(url)


async def test_a_unix_socket_whose_answers_come_in_pieces(tmp_path: Path) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async for line in stream:
            request = msgspec.json.decode(line)
            text = ok([{"deep": [{}, "}"]}, request["params"]], request["id"])
            for start in range(0, len(text), 7):
                await stream.send_all(text[start : start + 7])
                await trio.lowlevel.checkpoint()

    path = str(tmp_path / "node.ipc")
    listener = trio.socket.socket(trio.socket.AF_UNIX)
    await listener.bind(path)
    listener.listen(5)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, serve, [trio.SocketListener(listener)])
            async with open_rpc(path) as rpc:
                for place in range(3):
                    assert await rpc.call("m", place) == [{"deep": [{}, "}"]}, [place]]
            nursery.cancel_scope.cancel()
