"""Peer ids and addresses in the binary form of libp2p's messages (github.com/multiformats/multiaddr).

Read by hand: a hostile list of them would cost the multiaddress library 50 µs each. Of addresses only those are taken
that can be dialled here: ip4, ip6 or dns with tcp, also through a relay.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from libp2p.peer.id import ID
from libp2p.utils.varint import encode_uvarint

from node.network.addresses import CIRCUIT, MAX_ADDRESS_CHARS
from protocols.errors import BadIdentifier
from protocols.ids import PeerId

_MAX_ADDRESS_BYTES = 300
_IP4, _TCP, _IP6, _P2P, _CIRCUIT = 0x04, 0x06, 0x29, 0x01A5, 0x0122  # github.com/multiformats/multicodec
_NAMES = {0x35: "dns", 0x36: "dns4", 0x37: "dns6"}
_CODES = {name: code for code, name in _NAMES.items()}
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z")


@lru_cache(4_096)
def name_of(raw: bytes) -> PeerId:
    """A binary peer id as text: SHA-256 of a key, or a short key itself. Raises BadIdentifier."""
    hashed = len(raw) == 34 and raw.startswith(b"\x12\x20")
    plain = 2 < len(raw) <= 44 and raw[0] == 0 and raw[1] == len(raw) - 2
    if not hashed and not plain:
        raise BadIdentifier(f"a peer id of {len(raw)} bytes that is none")
    return PeerId(str(ID(raw)))


@lru_cache(4_096)
def bytes_of(peer: PeerId) -> bytes:
    """A peer id's bytes."""
    return bytes(ID.from_base58(peer).to_bytes())


def address_text(raw: bytes, peer: PeerId) -> str:
    """A binary address as text that ends in the peer; "" for one that cannot be dialled here or names another peer."""
    if not 0 < len(raw) <= _MAX_ADDRESS_BYTES:
        return ""
    try:
        host, rest = _host(raw)
        if rest[:1] != bytes([_TCP]) or len(rest) < 3 or not any(rest[1:3]):
            return ""
        relay, named = _peers(rest[3:])
    except (ValueError, IndexError, BadIdentifier):
        return ""
    if named not in ("", peer) or relay == peer:
        return ""
    way = f"/p2p/{relay}{CIRCUIT}" if relay else ""
    text = f"{host}/tcp/{int.from_bytes(rest[1:3], 'big')}{way}/p2p/{peer}"
    return text if len(text) <= MAX_ADDRESS_CHARS else ""


def address_bytes(text: str) -> bytes:
    """An address of ours in binary, without the peer at its end; b"" for one of another shape."""
    start, through, _ = text.partition(CIRCUIT)
    parts = start.split("/")  # "", host kind, host, "tcp", port, "p2p", peer or relay
    if len(parts) < 5 or parts[3] != "tcp":
        return b""
    tail = bytes([_TCP]) + int(parts[4]).to_bytes(2, "big")
    if through:
        relay = bytes_of(PeerId(parts[6]))
        tail += encode_uvarint(_P2P) + encode_uvarint(len(relay)) + relay + encode_uvarint(_CIRCUIT)
    if parts[1] in ("ip4", "ip6"):
        return bytes([_IP4 if parts[1] == "ip4" else _IP6]) + ipaddress.ip_address(parts[2]).packed + tail
    name = parts[2].encode()
    return bytes([_CODES[parts[1]]]) + encode_uvarint(len(name)) + name + tail if parts[1] in _CODES else b""


def _peers(tail: bytes) -> tuple[str, str]:
    """What follows the port: the relay ("" for a direct way), and the peer at the end ("" when it is not named).

    Raises ValueError, IndexError, BadIdentifier.
    """
    first, at = _peer_in(tail, 0)
    if at == len(tail):
        return "", first
    code, at = varint(tail, at)
    last, at = _peer_in(tail, at)
    if code != _CIRCUIT or at != len(tail):
        raise ValueError("another kind of way")
    return first, last


def _peer_in(tail: bytes, at: int) -> tuple[str, int]:
    """A peer that is named at a place, if one is, and where its name ends."""
    if at == len(tail):
        return "", at
    code, at = varint(tail, at)
    size, at = varint(tail, at)
    if code != _P2P or size > len(tail) - at:
        raise ValueError("no peer")
    return name_of(tail[at : at + size]), at + size


def _host(raw: bytes) -> tuple[str, bytes]:
    """The first component and what follows it. Raises ValueError, IndexError."""
    code = raw[0]
    if code == _IP4:
        return f"/ip4/{ipaddress.IPv4Address(raw[1:5])}", raw[5:]
    if code == _IP6:
        return f"/ip6/{ipaddress.IPv6Address(raw[1:17])}", raw[17:]
    size, at = varint(raw, 1)
    name = raw[at : at + size].decode("ascii")
    if code not in _NAMES or not _HOST.match(name):
        raise ValueError("no host that can be dialled")
    return f"/{_NAMES[code]}/{name}", raw[at + size :]


def varint(raw: bytes | bytearray, at: int) -> tuple[int, int]:
    """A number and where it ends. Raises IndexError when it goes on beyond the bytes, ValueError beyond five."""
    value = 0
    for shift in range(0, 35, 7):
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than five bytes")
