"""The hand-over of a content key for one sale, and the evidence when it was wrong.

    buyer:   one-time b, B = b·G                                  B goes on chain with the lock
    seller:  e = HMAC(secret, sale, B), E = e·G                   the same request always gets the same answer
             c = CK xor keccak(address(e·B) || sale)              sent in private, or posted on chain
    buyer:   CK = c xor keccak(address(b·E) || sale)

`address(P)` is an Ethereum address, the only form in which `ecrecover` gives the contract a multiplied point. Both
hashes are over 32-byte words, as `abi.encode` writes them. Revealing b in a dispute opens this one sale only.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import sha256

import coincurve
import msgspec
from eth_hash.auto import keccak

from protocols.exchange import messages
from protocols.sealed import Fault, Payload, cell_key, check, prove

_DOMAIN = b"schwung/handover/1"


class MaskedKey(msgspec.Struct, frozen=True):
    """A content key masked for one sale, as it was sent or posted. A chain event may carry any `parity` of 0..255."""

    ex: bytes
    parity: int
    masked: bytes

    def message(self) -> messages.Handover:
        """As the wire carries it."""
        return messages.Handover(ex=self.ex, parity=self.parity, masked=self.masked)


class KeyEvidence(msgspec.Struct, frozen=True, tag=True):
    """The posted key does not open a cell. Fields in the order of `KeySale.disputeKey`."""

    sale: str
    secret: bytes
    ex: bytes
    parity: int
    masked: bytes
    index: int
    cipher_hash: bytes
    plain_hash: bytes
    key_hash: bytes
    path: tuple[bytes, ...]

    def arguments(self) -> tuple[int, int, bytes, int, bytes, int, bytes, bytes, bytes, list[bytes]]:
        """(id, b, ex, parity, c, i, ctHash, ptHash, keyHash, path)"""
        hashes = self.cipher_hash, self.plain_hash, self.key_hash
        secret = int.from_bytes(self.secret, "big")
        return int(self.sale), secret, self.ex, self.parity, self.masked, self.index, *hashes, list(self.path)


class CellEvidence(msgspec.Struct, frozen=True, tag=True):
    """A cell, opened with its committed key, is not the committed plaintext. In the order of `KeySale.disputeCell`."""

    sale: str
    index: int
    key: bytes
    plain_hash: bytes
    ciphertext: bytes
    path: tuple[bytes, ...]

    def arguments(self) -> tuple[int, int, bytes, bytes, bytes, list[bytes]]:
        """(id, i, k, ptHash, ct, path)"""
        return int(self.sale), self.index, self.key, self.plain_hash, self.ciphertext, list(self.path)


class Unmasked(msgspec.Struct, frozen=True):
    """The outcome of checking a masked key against a payload: a content key without fault, or a fault."""

    content_key: bytes | None
    fault: Fault | None


def one_time_key(random: Callable[[int], bytes]) -> bytes:
    """A fresh one-time secret b of 32 bytes; `random` is `secrets.token_bytes`. Journal it before the lock."""
    while True:  # a draw is outside 1..n-1 once in 2^128
        drawn = random(32)
        if _is_scalar(drawn):
            return drawn


def public_point(secret: bytes) -> tuple[bytes, bytes]:
    """B = b·G as (bx, by), 32 bytes each: the arguments of `KeySale.lock`."""
    raw = coincurve.PrivateKey(secret).public_key.format(compressed=False)
    return raw[1:33], raw[33:]


def handover_secret(seller_secret: bytes, sale: int, buyer_public: tuple[bytes, bytes]) -> bytes:
    """e for one sale. It includes B: a sale id that returns after a reorganisation may be another buyer's."""
    body = _DOMAIN + sale.to_bytes(32, "big") + buyer_public[0] + buyer_public[1]
    for attempt in range(256):
        e = hmac.digest(seller_secret, body + bytes([attempt]), "sha256")
        if _is_scalar(e):
            return e
    raise AssertionError("256 HMACs outside the order of secp256k1")


def mask_key(content_key: bytes, buyer_public: tuple[bytes, bytes], sale: int, e: bytes) -> MaskedKey:
    """The content key for the buyer of one sale. Raises ValueError when the buyer's point is not on the curve."""
    point = coincurve.PrivateKey(e).public_key.format(compressed=True)
    shared = coincurve.PublicKey(b"\x04" + buyer_public[0] + buyer_public[1]).multiply(e)
    return MaskedKey(point[1:], point[0] - 2, _xor(content_key, _pad(shared, sale)))


def unmask_key(secret: bytes, key: MaskedKey, sale: int) -> bytes | None:
    """The content key; None when E is not a point of the curve, which by itself is the seller's fault."""
    if key.parity > 1:
        return None
    try:
        point = coincurve.PublicKey(bytes([2 + key.parity]) + key.ex)
    except ValueError:
        return None
    return _xor(key.masked, _pad(point.multiply(secret), sale))


def try_key(payload: Payload, secret: bytes, key: MaskedKey, sale: int) -> Unmasked:
    """Unmask and check every cell: what a buyer does with a key, received or posted. CPU-bound, minutes for a GiB."""
    content_key = unmask_key(secret, key, sale)
    if content_key is None:
        return Unmasked(None, Fault(0, "key"))
    fault = check(payload, content_key)
    return Unmasked(content_key, fault)


def key_fault_evidence(payload: Payload, index: int, secret: bytes, key: MaskedKey, sale: int) -> KeyEvidence:
    """For a *posted* key that does not open cell `index`. Reveals the one-time secret of this sale."""
    proof = prove(payload, index)
    hashes = proof.cipher_hash, proof.plain_hash, proof.key_hash
    return KeyEvidence(str(sale), secret, key.ex, key.parity, key.masked, index, *hashes, proof.path)


def cell_fault_evidence(payload: Payload, index: int, content_key: bytes, sale: int) -> CellEvidence:
    """For a cell that its committed key opens to something else. Makes this one cell public."""
    proof = prove(payload, index)
    ciphertext = payload.ciphertext(index)
    return CellEvidence(str(sale), index, cell_key(content_key, index), proof.plain_hash, ciphertext, proof.path)


def commitment(key: MaskedKey) -> bytes:
    """What identifies a masked key in a log without telling it."""
    return sha256(key.ex + bytes([key.parity]) + key.masked).digest()


def _pad(shared: coincurve.PublicKey, sale: int) -> bytes:
    address = keccak(shared.format(compressed=False)[1:])[12:]
    return keccak(address.rjust(32, b"\0") + sale.to_bytes(32, "big"))


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _is_scalar(raw: bytes) -> bool:
    try:
        coincurve.PrivateKey(raw)
    except ValueError:
        return False
    return True
