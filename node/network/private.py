"""Private networks: every connection is encrypted with one key that all members have, before anything else is said.

The format is that of libp2p's specification (pnet/Private-Networks-PSK-V1.md), as go-libp2p and Kubo speak it: each
side sends a nonce of 24 bytes and then XSalsa20 of everything. libp2p 0.8.1's own part uses Salsa20 with 8 bytes and
so understands nobody but itself, and a wrong key leaves it waiting: it reads noise as a length and waits for that many
bytes. Here the first bytes tell, because behind the cipher both sides begin with the same line of multistream.
"""

from __future__ import annotations

import re
import struct
from hashlib import sha256
from os import urandom
from pathlib import Path
from typing import Any

from Crypto.Cipher import Salsa20
from libp2p.io.exceptions import IOException
from libp2p.network import swarm as swarm_module
from libp2p.network.connection.raw_connection import RawConnection

from node.network.errors import BadNetworkKey

KEY_BYTES = 32
NONCE_BYTES = 24
MAX_FILE_BYTES = 1_024  # the file has 95 bytes
FIRST_WORDS = b"\x13/multistream/1.0.0\n"
OTHER_KEY = "the peer speaks another private network key, or none"

_FILE = re.compile(rb"/key/swarm/psk/1\.0\.0/\r?\n/(\w+)/\r?\n([^\r\n]*)(?:\r?\n)*\Z")


class OtherKey(IOException):  # type: ignore[misc]
    """What arrived is not encrypted with our key. An IOException, because the library's handshake carries those out."""


def read_key(path: str) -> bytes:
    """The key in a file as go-ipfs writes it, or b"" for an empty path. Raises BadNetworkKey with what is wrong."""
    if not path:
        return b""
    try:
        with Path(path).expanduser().open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as err:
        raise BadNetworkKey(f"cannot read the private network key {path}: {err.strerror}") from err
    try:
        return parse_key(text)
    except BadNetworkKey as err:
        raise BadNetworkKey(f"{path}: {err}") from err


def parse_key(text: bytes) -> bytes:
    """The 32 bytes of a key file: `/key/swarm/psk/1.0.0/`, `/base16/`, and 64 hex digits, a line each."""
    if len(text) > MAX_FILE_BYTES:
        raise BadNetworkKey(f"larger than {MAX_FILE_BYTES} bytes, so not a private network key")
    found = _FILE.match(text)
    if not found:
        raise BadNetworkKey("not three lines: /key/swarm/psk/1.0.0/, /base16/, 64 hex digits")
    coding, digits = found.groups()
    if coding != b"base16":
        raise BadNetworkKey(f"coded as /{coding.decode('ascii', 'replace')}/; only /base16/ is read")
    if not re.fullmatch(rb"[0-9a-fA-F]{64}", digits):
        raise BadNetworkKey(f"the third line must be 64 hex digits, it has {len(digits)} characters")
    key = bytes.fromhex(digits.decode())
    if len(set(key)) < 4:  # all zeros, or a pattern typed by hand; chance makes one in 10^60
        raise BadNetworkKey("this key can be guessed")
    return key


def fingerprint(key: bytes) -> str:
    """What operators may compare aloud."""
    return sha256(b"schwung private network" + key).hexdigest()[:16]


def install() -> None:
    """Have the library wrap connections in ours wherever a host has a key."""
    swarm_module.new_protected_conn = lambda conn, key: PrivateConnection(conn, bytes.fromhex(key))


class PrivateConnection(RawConnection):  # type: ignore[misc]
    """A raw connection under the cipher."""

    def __init__(self, inner: Any, key: bytes) -> None:
        self._inner = inner
        self._key = key
        self._sealing: Any = None
        self._opening: Any = None
        self._nonce = bytearray()
        self._expected = FIRST_WORDS

    @property
    def is_initiator(self) -> bool:
        return bool(self._inner.is_initiator)

    async def write(self, data: bytes) -> None:
        if self._sealing is None:
            nonce = urandom(NONCE_BYTES)
            self._sealing = cipher(self._key, nonce)
            await self._inner.write(nonce + self._sealing.encrypt(data))
        else:
            await self._inner.write(self._sealing.encrypt(bytes(data)))

    async def read(self, n: int | None = None) -> bytes:
        if n == 0:
            return b""
        while self._opening is None:
            piece = await self._inner.read(NONCE_BYTES - len(self._nonce))
            self._nonce += piece
            if not piece or self._nonce.startswith(FIRST_WORDS):  # hung up, or speaks in the clear
                raise OtherKey(OTHER_KEY)
            if len(self._nonce) == NONCE_BYTES:
                self._opening = cipher(self._key, bytes(self._nonce))
        data = await self._inner.read(n)
        if not data:
            if self._expected:
                raise OtherKey(OTHER_KEY)
            return b""
        opened: bytes = self._opening.decrypt(data)
        return self._checked(opened)

    def _checked(self, opened: bytes) -> bytes:
        if self._expected:
            size = min(len(self._expected), len(opened))
            if opened[:size] != self._expected[:size]:
                raise OtherKey(OTHER_KEY)
            self._expected = self._expected[size:]
        return opened

    async def close(self) -> None:
        await self._inner.close()

    def get_remote_address(self) -> tuple[str, int] | None:
        address: tuple[str, int] | None = self._inner.get_remote_address()
        return address

    def get_transport_addresses(self) -> list[Any]:
        return list(self._inner.get_transport_addresses())

    def get_connection_type(self) -> Any:
        return self._inner.get_connection_type()


def cipher(key: bytes, nonce: bytes) -> Any:
    """XSalsa20 (Bernstein, "Extending the Salsa20 nonce"): Salsa20 under a key made of the first 16 bytes of nonce."""
    return Salsa20.new(key=_hsalsa20(key, nonce[:16]), nonce=nonce[16:])


def _hsalsa20(key: bytes, nonce: bytes) -> bytes:
    c, k, n = struct.unpack("<4I", b"expand 32-byte k"), struct.unpack("<8I", key), struct.unpack("<4I", nonce)
    x = [c[0], *k[:4], c[1], *n, c[2], *k[4:], c[3]]
    for _ in range(10):
        for a, b, d, e in _COLUMNS + _ROWS:
            x[b] ^= _rotate(x[a] + x[e], 7)
            x[d] ^= _rotate(x[b] + x[a], 9)
            x[e] ^= _rotate(x[d] + x[b], 13)
            x[a] ^= _rotate(x[e] + x[d], 18)
    return struct.pack("<8I", *(x[i] for i in (0, 5, 10, 15, 6, 7, 8, 9)))


_COLUMNS = ((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11))
_ROWS = ((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14))


def _rotate(value: int, by: int) -> int:
    value &= 0xFFFFFFFF
    return (value << by | value >> (32 - by)) & 0xFFFFFFFF
