"""Identifiers as they are written, one NewType each, and the parsers that refuse anything else.

Hashes are 32 raw bytes in memory and on the wire, `0x…` hex in JSON-RPC. Items (offers, demands, model cards, feedback)
are named by a hash over author and body, so an id fixes the content.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import NewType

from eth_hash.auto import keccak

from protocols.errors import BadIdentifier

PeerId = NewType("PeerId", str)  # base58btc multihash, as libp2p prints it
Cid = NewType("Cid", str)  # CIDv1, base32
Address = NewType("Address", str)  # EIP-55 checksummed
ItemId = NewType("ItemId", str)  # 64 hex digits
OfferId = NewType("OfferId", str)
DemandId = NewType("DemandId", str)
ModelId = NewType("ModelId", str)
RecordId = NewType("RecordId", str)
DealId = NewType("DealId", str)

_HEX64 = re.compile(r"[0-9a-f]{64}")
_HEX_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_PEER = re.compile(r"[1-9A-HJ-NP-Za-km-z]{32,64}")
_CID = re.compile(r"b[a-z2-7]{50,120}|Qm[1-9A-HJ-NP-Za-km-z]{44}")
_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


def parse_item_id(text: str) -> ItemId:
    """64 lower-case hex digits. Raises BadIdentifier."""
    if not _HEX64.fullmatch(text):
        raise BadIdentifier(f"{text[:80]!r} is not an item id (64 hex digits)")
    return ItemId(text)


def parse_peer_id(text: str) -> PeerId:
    """A base58 peer id. Raises BadIdentifier."""
    if not _PEER.fullmatch(text):
        raise BadIdentifier(f"{text[:80]!r} is not a peer id")
    return PeerId(text)


def parse_cid(text: str) -> Cid:
    """A CIDv1 in base32 or a CIDv0. Raises BadIdentifier."""
    if not _CID.fullmatch(text):
        raise BadIdentifier(f"{text[:130]!r} is not a CID")
    return Cid(text)


def parse_domain(text: str) -> str:
    """A domain is a lower-case DNS-like label of 1 to 32 characters; it names gossip topics. Raises BadIdentifier."""
    if not _DOMAIN.fullmatch(text):
        raise BadIdentifier(f"domain {text[:80]!r}: use 1 to 32 of a-z, 0-9 and '-', not at the ends")
    return text


def parse_address(text: str) -> Address:
    """An account address in any case; returned with its EIP-55 checksum. A wrong checksum in mixed case is refused."""
    if not _HEX_ADDRESS.fullmatch(text):
        raise BadIdentifier(f"{text[:80]!r} is not an address (0x and 40 hex digits)")
    checked = checksum(bytes.fromhex(text[2:]))
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and text != checked:
        raise BadIdentifier(f"{text} has a wrong EIP-55 checksum")
    return checked


@lru_cache(maxsize=4096)  # a hash and 40 characters: the same signers come again and again
def checksum(raw: bytes) -> Address:
    """20 bytes to their EIP-55 spelling."""
    if len(raw) != 20:
        raise BadIdentifier(f"an address has 20 bytes, not {len(raw)}")
    digits = raw.hex()
    marks = keccak(digits.encode()).hex()
    return Address("0x" + "".join(c.upper() if int(m, 16) > 7 else c for c, m in zip(digits, marks, strict=False)))


def address_bytes(address: Address) -> bytes:
    """The 20 bytes of an address."""
    return bytes.fromhex(address[2:])


def item_id(kind: str, peer: PeerId, signer: Address, body: bytes) -> ItemId:
    """The id of an item: hex SHA-256 over what its author signed and who he is.

    The author belongs to it: otherwise anybody could wrap a stranger's body in an own envelope and, heard first, keep
    the stranger's item out of every catalogue.
    """
    head = f"{kind}\0{peer}\0{signer}\0".encode()
    return ItemId(hashlib.sha256(head + body).hexdigest())


def domain_bytes(domain: str) -> bytes:
    """A domain or licence name as the contracts know it: UTF-8, zero-padded to 32 bytes."""
    raw = domain.encode()
    if not 0 < len(raw) <= 32:
        raise BadIdentifier(f"{domain[:80]!r} must have 1 to 32 bytes")
    return raw.ljust(32, b"\0")
