"""The socket as clients meet it: golden transcripts, limits, permissions, ends."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from node.observe.events import EventBus
from node.observe.metrics import Metrics
from node.rpc import server
from node.rpc.dispatch import Dispatcher
from node.rpc.method import Method
from node.rpc.methods import events
from node.rpc.registry import Registry
from node.rpc.server import SocketTaken, open_rpc
from node.rpc.values import Result
from tests.unit.rpc import toy
from tests.unit.rpc.client import Client, connect
from tests.unit.rpc.transcript import check, steps


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("test")


@pytest.fixture
async def path(tmp_path: Path, bus: EventBus, metrics: Metrics) -> AsyncIterator[Path]:
    registry = Registry([*toy.methods(), *events.methods(bus)])
    async with open_rpc(tmp_path / "node.sock", Dispatcher(registry, metrics)):
        yield tmp_path / "node.sock"


async def play(name: str, client: Client, bus: EventBus) -> None:
    for mark, text in steps(name):
        if mark == "-->":
            await client.send(text)
        elif mark == "!!":
            topic, _, data = text.partition(" ")
            bus.publish(topic, json.loads(data))
        elif text != "nothing":
            check(await client.line(), text)
    await client.send('{"jsonrpc":"2.0","id":"end","method":"toy.add","params":[0,0]}')
    check(await client.line(), '{"id":"end","result":{"sum":0}}')  # so every silence was a silence


async def test_basics(path: Path, bus: EventBus) -> None:
    async with connect(path) as client:
        await play("basics.txt", client, bus)


async def test_events(path: Path, bus: EventBus) -> None:
    for n, topic in ((1, "deals"), (2, "jobs"), (3, "deals")):
        bus.publish(topic, {"n": n})
    async with connect(path) as client:
        await play("events.txt", client, bus)


async def test_the_socket_is_private_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    async with open_rpc(path, Dispatcher(Registry())):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_a_stale_socket_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    await server.bind(path).aclose()
    async with open_rpc(path, Dispatcher(Registry(toy.methods()))), connect(path) as client:
        assert await client.call("toy.add", a=1) == {"sum": 2}
    path.write_text("precious")
    with pytest.raises(SocketTaken, match="is not a socket"):
        async with open_rpc(path, Dispatcher(Registry())):
            pass
    assert path.read_text() == "precious"


async def test_a_client_that_stops_sending_still_gets_its_answers(path: Path) -> None:
    async with connect(path) as client:
        await client.send('{"jsonrpc":"2.0","id":1,"method":"toy.add","params":[1,2]}')
        await client.stream.send_eof()
        check(await client.line(), '{"id":1,"result":{"sum":3}}')
        assert await client.line() == b""


async def test_a_line_over_the_limit_ends_the_connection(path: Path) -> None:
    async with connect(path) as client, trio.open_nursery() as nursery:

        async def flood() -> None:
            with suppress(trio.BrokenResourceError):
                await client.stream.send_all(b"x" * (server.LINE_BYTES + 100_000))

        nursery.start_soon(flood)
        check(await client.line(), '{"id":null,"error":{"code":-32600,"message":"a line has at most 1048576 bytes"}}')
        with suppress(trio.BrokenResourceError):  # the kernel says it so when bytes were left unread
            assert await client.line() == b""


async def test_a_line_of_exactly_the_limit_is_read(path: Path) -> None:
    call = b'{"jsonrpc":"2.0","id":1,"method":"toy.add","params":[1,2]'
    async with connect(path) as client:
        await client.send(call + b" " * (server.LINE_BYTES - len(call) - 1) + b"}")
        check(await client.line(), '{"id":1,"result":{"sum":3}}')


async def test_the_connection_after_the_last_is_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 2)
    async with connect(path) as one, connect(path) as two:
        await one.call("toy.add", a=1)
        await two.call("toy.add", a=1)
        async with connect(path) as three:
            assert await three.line() == b""
    async with connect(path) as four:
        assert await four.call("toy.add", a=1) == {"sum": 2}


async def test_a_stranger_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_is_ours", lambda stream: False)
    async with connect(path) as client:
        assert await client.line() == b""


async def test_no_more_calls_run_at_once_than_allowed(tmp_path: Path) -> None:
    running = most = 0
    gate = trio.Event()

    async def wait() -> Result:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        return {}

    dispatcher = Dispatcher(Registry([Method("toy.wait", wait)]))
    async with open_rpc(tmp_path / "s", dispatcher), connect(tmp_path / "s") as client:
        for n in range(server.IN_FLIGHT + 10):
            await client.send(json.dumps({"jsonrpc": "2.0", "id": n, "method": "toy.wait"}))
        await trio.sleep(0.1)
        assert running == server.IN_FLIGHT
        gate.set()
        ids = {json.loads(await client.line())["id"] for _ in range(server.IN_FLIGHT + 10)}
    assert ids == set(range(server.IN_FLIGHT + 10))
    assert most == server.IN_FLIGHT


async def test_a_call_runs_to_its_end_when_the_client_is_gone(tmp_path: Path) -> None:
    started, finished = trio.Event(), trio.Event()

    async def pay() -> Result:
        started.set()
        await trio.sleep(0.05)
        finished.set()
        return {}

    async with open_rpc(tmp_path / "s", Dispatcher(Registry([Method("toy.pay", pay)]))):
        async with connect(tmp_path / "s") as client:
            await client.send('{"jsonrpc":"2.0","id":1,"method":"toy.pay"}')
            with trio.fail_after(2):
                await started.wait()
        with trio.fail_after(2):
            await finished.wait()


async def test_a_closed_connection_forgets_its_subscriptions(path: Path, bus: EventBus) -> None:
    async with connect(path) as client:
        await client.call("events.subscribe", topics=["*"])
    with trio.fail_after(2):
        while bus._subscriptions:
            await trio.sleep(0.01)


async def test_a_reader_that_is_too_slow_is_told_what_it_missed(tmp_path: Path) -> None:
    bus = EventBus(ring=2)
    for n in range(5):
        bus.publish("deals", {"n": n})
    async with open_rpc(tmp_path / "s", Dispatcher(Registry(events.methods(bus)))), connect(tmp_path / "s") as client:
        await client.call("events.subscribe", topics=["deals"], since=1)
        check(await client.line(), '{"method":"events.dropped","params":{"subscription":"0x1","dropped":2}}')
        check(await client.line(), '{"method":"events.event","params":{"seq":4}}')


async def test_a_result_that_cannot_be_sent_is_an_error_and_not_the_end(path: Path) -> None:
    async with connect(path) as client:
        await client.send('{"jsonrpc":"2.0","id":1,"method":"toy.odd"}')
        check(await client.line(), '{"id":1,"error":{"code":-32603,"data":{"kind":"internal"}}}')
        await client.send('{"jsonrpc":"2.0","id":2,"method":"toy.huge"}')
        check(await client.line(), '{"id":2,"error":{"code":-32019,"data":{"kind":"too_large"}}}')


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[" * 100_000, b'{"a":"\xed\xa0\x80"}', b"\x00"])
async def test_bytes_that_are_no_json_are_answered(path: Path, line: bytes) -> None:
    async with connect(path) as client:
        await client.send(line)
        check(await client.line(), '{"id":null,"error":{"code":-32700}}')


async def test_depth_is_bounded_and_brackets_in_texts_do_not_count(path: Path) -> None:
    def call(value: str) -> str:
        return f'{{"jsonrpc":"2.0","id":1,"method":"toy.add","params":[{value}]}}'

    async with connect(path) as client:
        await client.send(call("[" * 70 + "]" * 70))
        check(await client.line(), '{"id":null,"error":{"code":-32700,"message":"not JSON, or nested deeper than 64"}}')
        await client.send(call(json.dumps('[\\"{' * 300)))
        check(await client.line(), '{"id":1,"error":{"code":-32602}}')
        await client.send("[" + ",".join([call("1")] * 100) + "]")
        assert len(json.loads(await client.line())) == 100


async def test_calls_are_counted(path: Path, metrics: Metrics) -> None:
    async with connect(path) as client:
        await client.call("toy.add", a=1)
        await client.send('{"jsonrpc":"2.0","id":1,"method":"toy.bug"}')
        assert b"hunter2" not in await client.line()
        await client.send('{"jsonrpc":"2.0","id":1,"method":"evil.name"}')
        await client.line()
    text = metrics.render().decode()
    assert 'schwung_rpc_seconds_count{method="toy.add"} 1.0' in text
    assert 'schwung_rpc_errors_total{kind="internal",method="toy.bug"} 1.0' in text
    assert "evil.name" not in text
