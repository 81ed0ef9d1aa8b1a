"""Only Noise, only Yamux: who speaks another handshake or muxer does not come in, and we do not go to him."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from node.network import Network, PeerUnreachable

# isort: split
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.secio.transport import ID as SECIO
from libp2p.security.secio.transport import Transport as SecioTransport
from libp2p.security.tls.transport import PROTOCOL_ID as TLS
from libp2p.security.tls.transport import TLSTransport
from libp2p.stream_muxer.mplex.mplex import MPLEX_PROTOCOL_ID, Mplex
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from tests.support.network import meet, seed

Make = Callable[[Any], dict[Any, Any]]


def noise(keys: Any) -> dict[Any, Any]:
    return {NOISE: NoiseTransport(keys, noise_privkey=create_noise_key_pair().private_key)}


KINDS: dict[str, tuple[Make, dict[Any, Any]]] = {
    "plaintext": (lambda keys: {PLAINTEXT_PROTOCOL_ID: InsecureTransport(keys)}, {YAMUX: Yamux}),
    "secio": (lambda keys: {SECIO: SecioTransport(keys)}, {YAMUX: Yamux}),
    "tls": (lambda keys: {TLS: TLSTransport(keys)}, {YAMUX: Yamux}),
    "mplex": (noise, {MPLEX_PROTOCOL_ID: Mplex}),
    "right": (noise, {YAMUX: Yamux}),
}


@asynccontextmanager
async def another(kind: str) -> AsyncIterator[Any]:
    """A libp2p host that speaks something else."""
    secure, muxers = KINDS[kind]
    keys = create_new_key_pair(seed("mallory"))
    host = new_host(key_pair=keys, sec_opt=secure(keys), muxer_opt=muxers)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        yield host
        await host.close()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "right"])
async def test_who_speaks_otherwise_does_not_come_in(alice: Network, bob: Network, kind: str) -> None:
    async with another(kind) as mallory:
        with pytest.raises(BaseLibp2pError), trio.fail_after(20):
            await mallory.connect(info_from_p2p_addr(Multiaddr(alice.addresses[0])))
        assert not mallory.get_connected_peers()
        assert not alice.host.get_connected_peers()
        with pytest.raises(PeerUnreachable):
            await alice.connect(str(mallory.get_addrs()[0]))
        assert alice.peers() == []
    await meet(alice, bob)


async def test_the_same_program_with_noise_and_yamux_comes_in(alice: Network) -> None:
    """So that the others are refused for what they speak, and not for what this test does."""
    async with another("right") as guest:
        await guest.connect(info_from_p2p_addr(Multiaddr(alice.addresses[0])))
        assert guest.get_connected_peers()
