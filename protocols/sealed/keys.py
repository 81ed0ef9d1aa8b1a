"""The keys of a sealed payload: one content key, and from it one key for each cell.

Opening a cell reveals that cell's key only; the content key and the other cells stay secret (SHA-256 is one-way). Each
key encrypts exactly one message, which is what makes the constant nonce of `apply_stream` safe (DESIGN §4).
"""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

KEY_BYTES = 32
_ZERO = bytes(16)  # OpenSSL's form of RFC 8439: 4 bytes of little-endian counter, then the 12 bytes of nonce


def cell_key(content_key: bytes, index: int) -> bytes:
    """k_i = sha256(CK || be32(i)), as `KeySale.disputeKey` recomputes it."""
    return sha256(content_key + index.to_bytes(4, "big")).digest()


def apply_stream(key: bytes, data: bytes) -> bytes:
    """ChaCha20 of RFC 8439 with counter 0 and nonce 0. Encrypts and decrypts; a key must serve one message only."""
    return Cipher(algorithms.ChaCha20(key, _ZERO), None).encryptor().update(data)


def key_hash(key: bytes) -> bytes:
    """The commitment to a cell key: sha256("k" || k_i)."""
    return sha256(b"k" + key).digest()


def plain_hash(key: bytes, plaintext: bytes) -> bytes:
    """The commitment to a plaintext, salted by its key so that guessing rows fails: sha256("p" || k_i || m_i)."""
    return sha256(b"p" + key + plaintext).digest()


def require_key(key: bytes) -> None:
    """Raise ValueError unless `key` has 32 bytes; without it a short content key would be accepted silently."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a content key has {KEY_BYTES} bytes, not {len(key)}")
