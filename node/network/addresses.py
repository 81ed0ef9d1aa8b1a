"""Multiaddresses as people and peers write them, checked before anything dials them."""

from __future__ import annotations

import socket
from collections.abc import Iterable

import msgspec
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from node.network.errors import BadAddress
from protocols.ids import PeerId

MAX_ADDRESS_CHARS = 256
MAX_ADDRESSES = 8  # of one peer; a host with more interfaces than that announces the useful ones
CIRCUIT = "/p2p-circuit"
_HOSTS = ("ip4", "ip6", "dns", "dns4", "dns6")
_DIRECT = ["tcp", "p2p"]
_CIRCUIT = ["tcp", "p2p", "p2p-circuit", "p2p"]


def parse_listen(text: str) -> Multiaddr:
    """An address to listen on: /ip4/…/tcp/… or /ip6/…/tcp/…. Raises BadAddress."""
    address = _parse(text)
    names = [protocol.name for protocol in address.protocols()]
    if len(names) != 2 or names[0] not in ("ip4", "ip6") or names[1] != "tcp":
        raise BadAddress(f"cannot listen on {text!r}: write /ip4/0.0.0.0/tcp/4001 or /ip6/::/tcp/4001")
    return address


class Circuit(msgspec.Struct, frozen=True):
    """The way to a peer through a relay; `address` is the relay's own, with its id."""

    relay: PeerId
    address: str
    peer: PeerId


def parse_peer_address(text: str) -> tuple[PeerId, Multiaddr]:
    """`/ip4/…/tcp/…/p2p/ID` to the peer and the address to dial, which for a way through a relay is the whole text.

    Raises BadAddress.
    """
    address = _parse(text)
    names = [protocol.name for protocol in address.protocols()]
    if names[:1] and names[0] in _HOSTS and names[1:] in (_DIRECT, _CIRCUIT):
        *start, peer = str(address).split("/p2p/")
        if peer not in start[-1]:  # a way to somebody through himself
            return PeerId(peer), Multiaddr(start[0]) if names[1:] == _DIRECT else address
    raise BadAddress(
        f"cannot dial {text[:MAX_ADDRESS_CHARS]!r}: write /ip4/HOST/tcp/PORT/p2p/PEER, or for a peer behind a relay "
        "/ip4/HOST/tcp/PORT/p2p/RELAY/p2p-circuit/p2p/PEER"
    )


def parse_circuit(text: str) -> Circuit | None:
    """A way through a relay, or None for a direct one. Raises BadAddress."""
    peer, address = parse_peer_address(text)
    way, through, _ = str(address).partition(CIRCUIT)
    return Circuit(PeerId(way.rpartition("/")[2]), way, peer) if through else None


def is_circuit(text: str) -> bool:
    """Whether an address leads through a relay; the text has been parsed before."""
    return CIRCUIT in text


def dialable(address: str) -> tuple[str, ...]:
    """Our own address as others may dial it: "all interfaces" becomes loopback and that of the default route."""
    for wildcard, loopback, remote in (
        ("/ip4/0.0.0.0/", "127.0.0.1", "192.0.2.1"),
        ("/ip6/::/", "::1", "2001:db8::1"),
    ):
        if address.startswith(wildcard):
            kind = wildcard.split("/")[1]
            hosts = dict.fromkeys((_interface(kind, remote), loopback))
            return tuple(f"/{kind}/{host}/{address.removeprefix(wildcard)}" for host in hosts if host)
    return (address,)


def _interface(kind: str, remote: str) -> str:
    """The own address from which a remote one would be reached; nothing is sent to find out."""
    family = socket.AF_INET if kind == "ip4" else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((remote, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def addresses_of(peer: PeerId, texts: Iterable[str]) -> tuple[str, ...]:
    """Those of a peer's claimed addresses that can be dialled and name the peer itself; at most `MAX_ADDRESSES`."""
    good: list[str] = []
    for text in texts:
        try:
            named, _ = parse_peer_address(text)
        except BadAddress:
            continue
        if named == peer and text not in good:
            good.append(text)
        if len(good) == MAX_ADDRESSES:
            break
    return tuple(good)


def to_id(peer: PeerId) -> ID:
    """The library's id. Raises BadAddress when the text is none."""
    try:
        return ID.from_base58(peer)
    except ValueError as err:
        raise BadAddress(f"{peer[:80]!r} is not a peer id") from err


def _parse(text: str) -> Multiaddr:
    if len(text) > MAX_ADDRESS_CHARS:
        raise BadAddress(f"an address of {len(text)} characters, the limit is {MAX_ADDRESS_CHARS}")
    if not text.startswith("/"):  # the library would add it
        raise BadAddress(f"{text!r} is not a multiaddress: it begins with a slash")
    try:
        return Multiaddr(text)
    except Exception as err:  # the library raises many kinds, ValueError and its own among them
        raise BadAddress(f"{text!r} is not a multiaddress") from err
