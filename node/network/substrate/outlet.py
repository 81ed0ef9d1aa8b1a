"""The sending end of a connection: several DATA frames sealed into one buffer, for one write to the kernel."""

from __future__ import annotations

from typing import Any

from node.network.substrate.noisewire import DATA, FRAME_BYTES, HEADER, LENGTH_BYTES, TAG_BYTES, WRITE_BYTES, crypt

BATCH_FRAMES = 9
BATCH_BYTES = BATCH_FRAMES * WRITE_BYTES


class Outlet:
    """Seals the DATA frames that leave a connection. Its user holds the connection's write lock.

    On the loop's own thread: handing half of a batch to a second one costs an idle machine more than it gains.
    """

    def __init__(self, cipher: Any) -> None:
        self._cipher = cipher
        self._plain = memoryview(bytearray(HEADER.size + WRITE_BYTES))
        self._sealed = memoryview(bytearray(BATCH_FRAMES * FRAME_BYTES))

    def seal(self, stream_id: int, data: memoryview) -> memoryview:
        """At most `BATCH_BYTES` as frames of a stream; good until the next call."""
        end = 0
        for at in range(0, len(data), WRITE_BYTES):
            piece = data[at : at + WRITE_BYTES]
            plain = self._plain[: HEADER.size + len(piece)]
            HEADER.pack_into(plain, 0, 0, DATA, 0, stream_id, len(piece))
            plain[HEADER.size :] = piece
            sealed = self._sealed[end:][: LENGTH_BYTES + len(plain) + TAG_BYTES]
            sealed[:LENGTH_BYTES] = (len(plain) + TAG_BYTES).to_bytes(LENGTH_BYTES, "big")
            crypt(self._cipher, "encrypt_into", self._cipher.n, plain, sealed[LENGTH_BYTES:])
            self._cipher.n += 1
            end += len(sealed)
        return self._sealed[:end]
