"""What a relay learns of those it carries, and what it does with those who mean it ill."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from node.network import Network, PeerUnreachable

# isort: split
from libp2p.relay.circuit_v2.protocol import CircuitV2Protocol
from libp2p.relay.circuit_v2.resources import RelayLimits as LibraryLimits
from libp2p.tools.anyio_service import background_trio_service

from node.network.addresses import to_id
from node.network.errors import NetworkError
from node.network.host import drop
from node.network.outside import wire
from node.network.outside.relay import CIRCUITS_OF_ONE
from node.network.outside.wire import HopMessage, StopMessage
from protocols.errors import Malformed
from protocols.ids import PeerId
from tests.integration.test_network_relay import hidden, reply, until
from tests.support.network import NETWORK, member

OTHER = PeerId("12D3KooWMbbPVGsZYh3ChQjue712NHHGNybRRXwnuSpezYjGbCDS")
KEY = os.urandom(32)


class Tap(CircuitV2Protocol):  # type: ignore[misc]
    """The library's relay, with an ear."""

    def __init__(self, host: Any) -> None:
        super().__init__(host, LibraryLimits(3_600, 1 << 30, 8, 8), allow_hop=True)
        self.heard = bytearray()

    async def _read_stream_with_retry(self, stream: Any, max_retries: int = 1) -> bytes | None:
        data: bytes | None = await super()._read_stream_with_retry(stream, max_retries)
        self.heard += data or b""
        return data


@asynccontextmanager
async def tapped(key: bytes) -> AsyncIterator[tuple[Network, Tap]]:
    async with member("rita", relay=None, private_key=key) as rita:
        tap = Tap(rita.host)
        async with background_trio_service(tap):
            await tap.event_started.wait()
            yield rita, tap


@pytest.mark.parametrize("key", [b"", KEY], ids=["open", "private"])
async def test_a_relay_sees_no_plaintext_and_may_be_another_programs(key: bytes) -> None:
    async with (
        tapped(key) as (rita, tap),
        hidden("ned", rita, private_key=key) as ned,
        hidden("nora", rita, private_key=key) as nora,
    ):
        body = b"nobody but us two " * 2_000
        assert await reply(nora, ned.peer_id, body) == body
        assert nora.relays(ned.peer_id) == (rita.peer_id,)
        assert len(tap.heard) > 2 * len(body)
        for clear in (body[:32], body[-32:], b"/schwung/", b"yamux", NETWORK.encode()):
            assert clear not in tap.heard
        assert (b"/multistream/1.0.0" in tap.heard) == (not key)  # the one thing that is said before the handshake


@asynccontextmanager
async def asked(network: Network, peer: PeerId, protocol: str, message: Any) -> AsyncIterator[Any]:
    """A stream to a peer on which one message, or any bytes, has been sent."""
    stream = await network._links.stream(peer, protocol)
    try:
        if isinstance(message, bytes):
            await stream.write(message)
        else:
            await wire.send(stream, message)
        yield stream
    finally:
        await drop(stream)


async def status(network: Network, peer: PeerId, message: Any, protocol: str = wire.HOP) -> int:
    """The status that a relay, or the peer behind one, gives to a message; 0 when it hangs up."""
    kind = HopMessage if protocol == wire.HOP else StopMessage
    async with asked(network, peer, protocol, message) as stream:
        try:
            return int((await wire.receive(stream, kind)).status)
        except (NetworkError, Malformed):
            return 0


def connect_to(raw: bytes) -> Any:
    message = HopMessage(type=HopMessage.CONNECT)
    message.peer.id = raw
    return message


async def test_a_place_is_the_askers_own_whatever_name_he_gives() -> None:
    async with member("rita") as rita, hidden("ned", rita) as ned, member("mallory", listen=()) as mallory:
        await mallory.connect(rita.addresses[0])
        forged = connect_to(to_id(OTHER).to_bytes())
        forged.type = HopMessage.RESERVE
        for _ in range(5):
            assert await status(mallory, rita.peer_id, forged) == wire.OK
        assert rita.standing.serving["reservations"] == 2  # ned's, mallory's
        assert await status(mallory, rita.peer_id, connect_to(to_id(OTHER).to_bytes())) == wire.NO_RESERVATION
        assert await status(mallory, rita.peer_id, connect_to(to_id(ned.peer_id).to_bytes())) == wire.OK


NONSENSE = [
    (b"\xff\xff\xff\x7f", wire.MALFORMED_MESSAGE),
    (b"\x81\x20" + bytes(4_097), wire.MALFORMED_MESSAGE),
    (b"\x05\xff\xff\xff\xff\xff", wire.MALFORMED_MESSAGE),
    (b"\x00", wire.MALFORMED_MESSAGE),  # says nothing; RESERVE is 0, and is said
    (HopMessage(type=HopMessage.STATUS, status=wire.OK), wire.UNEXPECTED_MESSAGE),
    (HopMessage(type=HopMessage.CONNECT), wire.MALFORMED_MESSAGE),
    (connect_to(b"x" * 65), wire.MALFORMED_MESSAGE),
    (connect_to(b"\0"), wire.NO_RESERVATION),
]


async def test_nonsense_is_answered_and_leaves_nothing_behind() -> None:
    async with member("rita") as rita, hidden("ned", rita) as ned, hidden("nora", rita) as nora:
        for number, (message, expected) in enumerate(NONSENSE):
            async with member(
                f"mallory{number}", listen=(), use_relays=False
            ) as mallory:  # one alone would soon be banned
                await mallory.connect(rita.addresses[0])
                assert await status(mallory, rita.peer_id, message) in (expected, 0), message
        assert await status(nora, rita.peer_id, connect_to(to_id(nora.peer_id).to_bytes())) == wire.PERMISSION_DENIED
        assert rita.standing.serving == {"reservations": 2, "circuits": 0}
        assert await reply(nora, ned.peer_id, b"still there") == b"still there"


async def test_a_stranger_borrows_nothing() -> None:
    async with member("rita") as rita, member("mallory", network_id="elsewhere") as mallory:
        await mallory._links.dial(rita.peer_id, rita.addresses)
        assert await status(mallory, rita.peer_id, HopMessage(type=HopMessage.RESERVE)) == wire.PERMISSION_DENIED
        assert rita.standing.serving["reservations"] == 0


async def test_nobody_borrows_over_what_is_borrowed_already() -> None:
    async with member("rita") as rita, hidden("ned", rita) as ned, hidden("nora", rita) as nora:
        await reply(nora, ned.peer_id, b"")
        assert await status(nora, ned.peer_id, HopMessage(type=HopMessage.RESERVE)) == wire.PERMISSION_DENIED


async def test_only_a_relay_of_ours_brings_visitors() -> None:
    async with member("mallory") as mallory, member("nora", listen=(), use_relays=False) as nora:
        await nora.connect(mallory.addresses[0])
        visitor = StopMessage(type=StopMessage.CONNECT, peer=wire.name(OTHER))
        assert await status(mallory, nora.peer_id, visitor, wire.STOP) == wire.PERMISSION_DENIED


async def test_one_peer_opens_few_circuits_at_a_time() -> None:
    async with member("rita") as rita, hidden("ned", rita) as ned, member("mallory", listen=()) as mallory:
        await mallory.connect(rita.addresses[0])
        answers: list[int] = []

        async def hold(task_status: trio.TaskStatus[None]) -> None:
            async with asked(mallory, rita.peer_id, wire.HOP, connect_to(to_id(ned.peer_id).to_bytes())) as stream:
                answers.append(int((await wire.receive(stream, HopMessage)).status))
                task_status.started()
                await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            for _ in range(CIRCUITS_OF_ONE + 2):
                await nursery.start(hold)
            nursery.cancel_scope.cancel()
        assert answers == [wire.OK] * CIRCUITS_OF_ONE + [wire.RESOURCE_LIMIT_EXCEEDED] * 2
        await until(lambda: rita.standing.serving["circuits"] == 0)


async def test_a_visitor_who_is_somebody_else_does_not_come_in() -> None:
    """A lying relay: it leads whoever dials ned to mallory."""
    async with member("rita") as rita, hidden("mallory", rita) as mallory, member("nora", listen=()) as nora:
        await nora.connect(rita.addresses[0])
        stream = None

        async def lead_astray(led: Any) -> None:
            nonlocal stream
            await wire.receive(led, HopMessage)
            stream = await rita._links.stream(mallory.peer_id, wire.STOP)
            await wire.send(stream, StopMessage(type=StopMessage.CONNECT, peer=wire.name(nora.peer_id)))
            await wire.receive(stream, StopMessage)
            await wire.send(led, HopMessage(type=HopMessage.STATUS, status=wire.OK))
            assert rita._outside.relay is not None
            await rita._outside.relay._carry(led, stream)

        rita.host.set_stream_handler(wire.HOP, lead_astray)
        with pytest.raises(PeerUnreachable):
            await nora.connect(f"{rita.addresses[0]}/p2p-circuit/p2p/{OTHER}")
        assert {peer.peer for peer in nora.peers()} == {rita.peer_id}
        assert stream is not None
