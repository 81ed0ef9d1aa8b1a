"""The pure parts of being reached: addresses through relays, what answers amount to, messages, pace and limits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from node.network import BadAddress, Peer
from node.network.addresses import MAX_ADDRESS_CHARS, addresses_of, is_circuit, parse_circuit, parse_peer_address
from node.network.options import RelayLimits
from node.network.outside import wire
from node.network.outside.reachability import Answer, judge, worth_dialling
from node.network.outside.relay import IDLE_S, Pace, RelayService
from node.network.outside.reservations import ways_through
from node.network.outside.wire import HopMessage, StopMessage
from protocols.errors import Malformed
from protocols.ids import PeerId

ANN = PeerId("12D3KooWMbbPVGsZYh3ChQjue712NHHGNybRRXwnuSpezYjGbCDS")
BEN = PeerId("12D3KooWCugzopk9fYBy1pvYVi94Qr2y9PL4CjSpYZUaXir3YWb7")
RELAY = f"/ip4/192.0.2.1/tcp/4001/p2p/{BEN}"
WAY = f"{RELAY}/p2p-circuit/p2p/{ANN}"


def test_a_way_through_a_relay_is_split() -> None:
    peer, target = parse_peer_address(WAY)
    assert (peer, str(target)) == (ANN, WAY)
    circuit = parse_circuit(WAY)
    assert circuit is not None
    assert (circuit.relay, circuit.address, circuit.peer) == (BEN, RELAY, ANN)
    assert parse_circuit(RELAY) is None
    assert is_circuit(WAY)
    assert not is_circuit(RELAY)


@pytest.mark.parametrize(
    "text",
    [
        f"{RELAY}/p2p-circuit",
        f"/p2p/{BEN}/p2p-circuit/p2p/{ANN}",
        f"{WAY}/p2p-circuit/p2p/{BEN}",
        f"{RELAY}/p2p-circuit/p2p/{BEN}",
        f"/ip4/192.0.2.1/udp/4001/quic-v1/p2p/{BEN}/p2p-circuit/p2p/{ANN}",
        f"/dns/{'x' * MAX_ADDRESS_CHARS}/tcp/1/p2p/{BEN}/p2p-circuit/p2p/{ANN}",
    ],
)
def test_other_ways_are_refused(text: str) -> None:
    with pytest.raises(BadAddress):
        parse_peer_address(text)
    assert addresses_of(ANN, [text, WAY, RELAY]) == (WAY,)


def answer(*ports: int, far: bool = False, peer: PeerId = ANN) -> Answer:
    return Answer(peer, "192.0.2.1", ports, far)


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ([], "unknown"),
        ([answer()], "private"),
        ([answer(), answer(4001)], "public"),
        ([answer(4001), answer(far=True)], "private"),  # the neighbours inside the NAT reach us, the world does not
        ([answer(), answer(4001, far=True), answer(far=True)], "public"),
    ],
)
def test_who_is_far_counts_more_than_who_is_near(answers: list[Answer], state: str) -> None:
    assert judge(answers) == state


def test_only_ports_of_nodes_are_dialled_back() -> None:
    assert worth_dialling([22, 4780, 25, 443, 4780, 1023, 1024]) == [4780, 443, 1024]


def test_of_a_relays_addresses_those_that_lead_furthest_are_announced() -> None:
    hosts = ("127.0.0.1", "10.0.0.1", "8.8.8.8")
    own = tuple(f"/ip4/{host}/tcp/1/p2p/{BEN}" for host in hosts)
    relay = Peer(BEN, (*own, f"/ip4/9.9.9.9/tcp/1/p2p/{ANN}/p2p-circuit/p2p/{BEN}"), inbound=False, version="", since=0)
    assert ways_through(relay, ANN) == tuple(f"{address}/p2p-circuit/p2p/{ANN}" for address in (own[2], own[1]))


@given(st.binary(max_size=300), st.sampled_from([HopMessage, StopMessage]))
def test_any_bytes_are_a_message_or_malformed(data: bytes, kind: Any) -> None:
    try:
        message = wire.decode(data, kind)
        wire.named(message)
    except Malformed:
        return
    assert message.HasField("type")


class Scripted:
    """A stream that plays bytes, one read at a time, and then hangs."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.written = bytearray()
        self.ended = ""
        self.muxed_conn = None
        self.muxed_stream = SimpleNamespace()

    async def read(self, n: int) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self._pieces:
            await trio.sleep_forever()
        piece, self._pieces[0] = self._pieces[0][:n], self._pieces[0][n:]
        if not self._pieces[0]:
            del self._pieces[0]
        return piece

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.written += data


@given(st.binary(min_size=1, max_size=40))
async def test_not_a_byte_beyond_a_message_is_read(rest: bytes) -> None:
    stream = Scripted()
    await wire.send(stream, HopMessage(type=HopMessage.CONNECT, peer=wire.name(ANN)))
    replay = Scripted(bytes(stream.written) + rest)
    message = await wire.receive(replay, HopMessage)
    assert wire.named(message) == ANN
    assert b"".join(replay._pieces) == rest


async def test_a_message_that_does_not_come_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    for pieces in ((), (b"\x80",), (b"\x10", b"abc")):
        with pytest.raises(Exception, match="no HopMessage within"):
            await wire.receive(Scripted(*pieces), HopMessage)
    assert trio.current_time() < 4 * wire.CONTROL_S


async def test_bytes_are_spread_over_time_and_all_get_their_turn(autojump_clock: trio.testing.MockClock) -> None:
    pace, done = Pace(1_000), []

    async def take(name: str) -> None:
        for _ in range(5):
            await pace.take(1_000)
            done.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, "a")
        nursery.start_soon(take, "b")
    assert 8.9 < trio.current_time() < 10.1
    assert sorted(done[1:5]) == ["a", "a", "b", "b"]


def service(**limits: int) -> RelayService:
    return RelayService(None, RelayLimits(**limits), lambda _: True, lambda: (), lambda: 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limits", "seconds"), [({}, IDLE_S), ({"circuit_s": 60}, 60.0), ({"circuit_bytes": 10_000}, 0.0)]
)
async def test_a_circuit_ends_in_silence_at_its_time_and_at_its_bytes(
    autojump_clock: trio.testing.MockClock, limits: dict[str, int], seconds: float
) -> None:
    one, other = Scripted(bytes(70_000)), Scripted(b"x")
    assert await service(**limits)._carry(one, other) is False
    assert abs(trio.current_time() - seconds) < 1
    assert len(other.written) <= 70_000
    assert bytes(one.written) in (b"x", b"" if not seconds else b"x")


async def test_a_circuit_ends_with_either_side_and_all_has_arrived() -> None:
    one, other = Scripted(bytes(100_000), b""), Scripted()
    one._pieces.append(b"")
    with trio.fail_after(5):
        assert await service()._carry(one, other) is True
    assert len(other.written) == 100_000
