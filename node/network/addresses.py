"""Multiaddresses as people and peers write them, checked before anything dials them."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

from node.network.errors import BadAddress
from protocols.ids import PeerId

MAX_ADDRESS_CHARS = 256
MAX_ADDRESSES = 8  # of one peer; a host with more interfaces than that announces the useful ones
_HOSTS = ("ip4", "ip6", "dns", "dns4", "dns6")


def parse_listen(text: str) -> Multiaddr:
    """An address to listen on: /ip4/…/tcp/… or /ip6/…/tcp/…. Raises BadAddress."""
    address = _parse(text)
    names = [protocol.name for protocol in address.protocols()]
    if len(names) != 2 or names[0] not in ("ip4", "ip6") or names[1] != "tcp":
        raise BadAddress(f"cannot listen on {text!r}: write /ip4/0.0.0.0/tcp/4001 or /ip6/::/tcp/4001")
    return address


def parse_peer_address(text: str) -> tuple[PeerId, Multiaddr]:
    """`/ip4/…/tcp/…/p2p/ID` to the peer and the address to dial. Raises BadAddress."""
    address = _parse(text)
    names = [protocol.name for protocol in address.protocols()]
    if len(names) != 3 or names[0] not in _HOSTS or names[1:] != ["tcp", "p2p"]:
        raise BadAddress(f"cannot dial {text[:MAX_ADDRESS_CHARS]!r}: write /ip4/HOST/tcp/PORT/p2p/PEER")
    info = info_from_p2p_addr(address)
    return PeerId(str(info.peer_id)), info.addrs[0]


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
