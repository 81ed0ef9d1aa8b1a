"""Public-key recovery straight on libsecp256k1, through coincurve's binding.

coincurve's own objects cost a tenth of a recovery, and a payee recovers a key for each voucher. Recovery is needed even
when the signer's key is known: verification ignores the parity bit, so a signature with a flipped one would pass here
and be worthless on chain, where the VoucherBank recovers.
"""

from __future__ import annotations

from typing import Any

from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT

_context: Any = GLOBAL_CONTEXT.ctx
_UNCOMPRESSED = 2  # SECP256K1_EC_UNCOMPRESSED, secp256k1.h


def recover_point(digest: bytes, r_and_s: bytes, parity: int) -> bytes | None:
    """The signer's public key as 64 bytes (x, y), or None when no key gives this signature.

    `digest` has 32 bytes, `r_and_s` 64, `parity` is 0 or 1: the caller has checked that.
    """
    signature = ffi.new("secp256k1_ecdsa_recoverable_signature *")
    if not lib.secp256k1_ecdsa_recoverable_signature_parse_compact(_context, signature, r_and_s, parity):
        return None
    key = ffi.new("secp256k1_pubkey *")
    if not lib.secp256k1_ecdsa_recover(_context, key, signature, digest):
        return None
    point, size = ffi.new("unsigned char [65]"), ffi.new("size_t *", 65)
    lib.secp256k1_ec_pubkey_serialize(_context, point, size, key, _UNCOMPRESSED)
    return bytes(ffi.buffer(point, 65)[1:])
