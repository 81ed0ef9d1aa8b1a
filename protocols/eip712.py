"""EIP-712 digests and EIP-2098 signatures: how wallets and session keys sign items and vouchers.

Pure: the caller brings the key. A digest is always 32 bytes, a signature always 64 (r, then s with the parity of y in
its top bit), an address always EIP-55. Signatures with a high s are refused, so that nobody can make a second valid
signature out of a first one (EIP-2).
"""

from __future__ import annotations

from functools import lru_cache

import coincurve
from eth_hash.backends.pysha3 import keccak256 as keccak  # three times as fast as what `eth_hash.auto` prefers

from protocols.errors import BadSignature
from protocols.ids import Address, checksum
from protocols.secp256k1 import recover_point

SIGNATURE_BYTES = 64
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0  # secp256k1 n / 2, SEC 2 §2.4.1

_HALF_ORDER_BYTES = HALF_ORDER.to_bytes(32, "big")
_DOMAIN_CHAIN = keccak(b"EIP712Domain(string name,string version,uint256 chainId)")
_DOMAIN_CONTRACT = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_ITEM = keccak(b"Item(string kind,bytes32 body,string peer)")

checksum_cached = lru_cache(maxsize=4096)(checksum)  # a hash and 40 characters: as dear as a voucher's digest


def domain_separator(name: str, version: str, chain_id: int, contract: bytes | None = None) -> bytes:
    """The EIP-712 domain hash; `contract` is the verifying contract's 20 bytes, or None for a domain without one."""
    if contract is not None and len(contract) != 20:
        raise ValueError(f"a contract address has 20 bytes, not {len(contract)}")
    head = _DOMAIN_CHAIN if contract is None else _DOMAIN_CONTRACT
    tail = b"" if contract is None else bytes(12) + contract
    return keccak(head + keccak(name.encode()) + keccak(version.encode()) + chain_id.to_bytes(32, "big") + tail)


def typed_digest(domain: bytes, struct_hash: bytes) -> bytes:
    """The digest that is signed: keccak(0x1901 ‖ domain separator ‖ struct hash)."""
    return keccak(b"\x19\x01" + domain + struct_hash)


@lru_cache(maxsize=8)
def item_domain(chain_id: int) -> bytes:
    """The domain of everything Schwung gossips, bound to one chain and to no contract."""
    return domain_separator("Schwung", "1", chain_id)


def item_digest(chain_id: int, kind: str, body_hash: bytes, peer_id: str) -> bytes:
    """The digest a wallet signs under an offer, demand, model card or feedback item.

    `body_hash` is 32 bytes, `peer_id` the libp2p identity that may send the item.
    """
    if len(body_hash) != 32:
        raise ValueError(f"a body hash has 32 bytes, not {len(body_hash)}")
    struct = keccak(_ITEM + keccak(kind.encode()) + body_hash + keccak(peer_id.encode()))
    return typed_digest(item_domain(chain_id), struct)


def sign(key: coincurve.PrivateKey, digest: bytes) -> bytes:
    """The 64-byte EIP-2098 signature of a 32-byte digest; RFC 6979 nonce, and libsecp256k1 always gives a low s."""
    full = key.sign_recoverable(digest, hasher=None)
    return full[:32] + bytes([full[32] | full[64] << 7]) + full[33:64]  # type: ignore[no-any-return]


def recover(digest: bytes, signature: bytes) -> Address:
    """The address that signed `digest`. Raises BadSignature for anything that is not a canonical signature."""
    if len(digest) != 32:
        raise ValueError(f"a digest has 32 bytes, not {len(digest)}")
    if len(signature) != SIGNATURE_BYTES:
        raise BadSignature(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    s = bytes([signature[32] & 0x7F]) + signature[33:]
    if s > _HALF_ORDER_BYTES:
        raise BadSignature("signature with a high s")
    point = recover_point(digest, signature[:32] + s, signature[32] >> 7)
    if point is None:
        raise BadSignature("not a signature of any key")
    return checksum_cached(keccak(point)[12:])


def address_of(public: coincurve.PublicKey) -> Address:
    """The account address of a public key."""
    return checksum_cached(keccak(public.format(compressed=False)[1:])[12:])


def rsv(signature: bytes) -> tuple[bytes, bytes, int]:
    """The signature as (r, s, v) with v 27 or 28, for contracts that take the long form (ERC-2612 permit)."""
    s = bytes([signature[32] & 0x7F]) + signature[33:]
    return signature[:32], s, 27 + (signature[32] >> 7)
