"""Length-prefixed frames: a 4-byte big-endian length, then that many bytes. The bound is checked before reading."""

from __future__ import annotations

import struct

from protocols.errors import Malformed

HEADER_BYTES = 4
_HEADER = struct.Struct("!I")


def frame(body: bytes) -> bytes:
    """The body behind its length."""
    return _HEADER.pack(len(body)) + body


def frame_length(header: bytes, *, max_bytes: int) -> int:
    """The length a header announces. Raises Malformed above `max_bytes`."""
    (length,) = _HEADER.unpack(header)
    if length > max_bytes:
        raise Malformed(f"a frame of {length} bytes was announced, the limit is {max_bytes}")
    return int(length)
