"""The bytes of Yamux frames in Noise messages, as stock code writes them: a length of two bytes, then one message."""

from __future__ import annotations

import struct
from typing import Any

from cryptography.exceptions import InvalidTag
from libp2p.network.connection.exceptions import RawConnError

HEADER = struct.Struct("!BBHII")  # of a Yamux frame: version, type, flags, stream, length
DATA = 0  # the type
WRITE_BYTES = 65_507  # Noise's 65,519 bytes of plaintext less the 12 of a header: one frame, one message
LENGTH_BYTES = 2
TAG_BYTES = 16
MESSAGE_BYTES = 65_535
FRAME_BYTES = LENGTH_BYTES + HEADER.size + WRITE_BYTES + TAG_BYTES  # of a full frame on the wire


def crypt(cipher: Any, verb: str, number: int, source: memoryview, target: memoryview) -> None:
    """Seal or open the message of that number (Noise specification, 5.1 and 12.3)."""
    nonce = b"\0\0\0\0" + number.to_bytes(8, "little")  # OverflowError long after the heat death
    try:
        getattr(cipher.cipher.cipher, verb)(nonce, source, None, target)
    except (InvalidTag, ValueError) as err:
        raise RawConnError("a message that this connection's key does not open") from err
