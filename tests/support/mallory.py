"""A hostile peer on the library's own host, with none of our bounds: what it sends is what the attack says.

async with mallory() as foe:
    await foe.meet(alice)                      # connected and greeted, as anybody may
    stream = await foe.stream("/test/echo/1")  # negotiated; `bare` gives one that is not
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

import trio

import node.network  # noqa: F401 - first: it imports libp2p without the deprecation warning of a part we do not use

# isort: split
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.config import ConnectionConfig
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.utils import encode_varint_prefixed
from multiaddr import Multiaddr

from node.network import Network
from node.network.host import NoAutoConnector
from node.network.peers import HELLO, own_hello
from node.network.streams import BROKEN
from protocols.codec import encode
from protocols.framing import frame
from protocols.ids import PeerId
from tests.support.network import options, seed

GONE = (*BROKEN, BaseLibp2pError, trio.TooSlowError)
GOSSIP = "/meshsub/1.2.0"


class Mallory:
    """One hostile peer."""

    def __init__(self, host: Any) -> None:
        self.host = host
        self.peer_id = PeerId(str(host.get_id()))
        self._victim: Any = None
        self._numbers = count(1)

    async def meet(self, victim: Network, *, greet: bool = True) -> None:
        """Connect anew, and say hello like everybody."""
        await self.connect(victim.addresses[0])
        if greet:
            with trio.fail_after(10):
                await self.greet()

    async def connect(self, address: str) -> None:
        """Connect anew."""
        target = info_from_p2p_addr(Multiaddr(address))
        self._victim = target.peer_id
        swarm = self.host.get_network()
        with trio.fail_after(10):
            await swarm.close_peer(target.peer_id)
            swarm.unblock_peer(target.peer_id)
            await self.host.connect(target)

    async def greet(self) -> bytes:
        """Say hello; the answer, a refusal included."""
        return await self.ask(HELLO, encode(own_hello(options(), [])))

    async def ask(self, protocol: str, body: bytes) -> bytes:
        """One request; the reply as it came."""
        stream = await self.stream(protocol)
        await stream.write(frame(body))
        reply = b""
        with suppress(*GONE):
            while data := await stream.read(65_536):
                reply += data
        with suppress(*GONE):
            await stream.close()
        return reply

    async def stream(self, protocol: str) -> Any:
        """A stream that speaks a protocol of the victim's."""
        with trio.fail_after(10):
            return await self.host.new_stream(self._victim, [TProtocol(protocol)])

    async def bare(self) -> Any:
        """A stream on which nothing has been said; the muxer's own bound on how many there are does not hold."""
        for connection in self.host.get_network().get_connections(self._victim):
            connection.muxed_conn.stream_backlog_semaphore = trio.Semaphore(1)
        with trio.fail_after(10):
            return await self.host.get_network().new_stream(self._victim)

    def is_connected(self) -> bool:
        """Whether the victim still has us."""
        connections = self.host.get_network().get_connections(self._victim)
        return any(not connection.is_closed for connection in connections)

    # -- gossip

    def message(self, topic: str, data: bytes, *, signed: bool = True) -> Any:
        """A message of our own, with a new number."""
        message = rpc_pb2.Message(
            from_id=self.host.get_id().to_bytes(),
            data=data,
            topicIDs=[topic],
            seqno=next(self._numbers).to_bytes(8, "big"),
        )
        message.signature = bytes(64)
        if signed:
            message.ClearField("signature")
            key = self.host.get_private_key()
            message.signature = key.sign(PUBSUB_SIGNING_PREFIX.encode() + message.SerializeToString())
        return message


async def tell(stream: Any, rpc: Any) -> bool:
    """Write a gossip RPC; False when nobody takes it any more."""
    try:
        with trio.fail_after(10):
            await stream.write(encode_varint_prefixed(rpc.SerializeToString()))
    except GONE:
        return False
    return True


@asynccontextmanager
async def mallory(name: str = "mallory") -> AsyncIterator[Mallory]:
    """A hostile peer, gone at the end of the block."""
    keys = create_new_key_pair(seed(name))
    noise = NoiseTransport(keys, noise_privkey=create_noise_key_pair().private_key)
    host = new_host(
        key_pair=keys,
        sec_opt={TProtocol(NOISE): noise},
        muxer_opt={TProtocol(YAMUX): Yamux},
        connection_config=ConnectionConfig(min_connections=0, low_watermark=0),
    )
    swarm = host.get_network()
    swarm.auto_connector = NoAutoConnector(swarm)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        try:
            yield Mallory(host)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(5):
                await host.close()
