"""The sending end of a connection: several DATA frames sealed into one buffer, for one write to the kernel."""

from __future__ import annotations

from typing import Any

from node.network.helping import Work, share
from node.network.noisewire import (
    DATA,
    FRAME_BYTES,
    HEADER,
    LENGTH_BYTES,
    TAG_BYTES,
    WORTH_SHARING,
    WRITE_BYTES,
    crypt,
)

BATCH_FRAMES = 9
BATCH_BYTES = BATCH_FRAMES * WRITE_BYTES


class Outlet:
    """Seals the DATA frames that leave a connection. Its user holds the connection's write lock."""

    def __init__(self, cipher: Any) -> None:
        self._cipher = cipher
        self._plain = [memoryview(bytearray(HEADER.size + WRITE_BYTES)) for _ in range(2)]  # one a hand
        self._sealed = memoryview(bytearray(BATCH_FRAMES * FRAME_BYTES))

    async def seal_shared(self, stream_id: int, data: memoryview) -> memoryview:
        """As `seal`, with another core's help where that is worth it; cannot be cancelled."""
        work, count, end = self._plan(stream_id, data)
        if count < WORTH_SHARING:
            return self.seal(stream_id, data)
        self._cipher.n += count
        await share(work, count)
        return self._sealed[:end]

    def seal(self, stream_id: int, data: memoryview) -> memoryview:
        """At most `BATCH_BYTES` as frames of a stream; good until the next call."""
        work, count, end = self._plan(stream_id, data)
        self._cipher.n += count
        for place in range(count):
            work(place, 0)
        return self._sealed[:end]

    def _plan(self, stream_id: int, data: memoryview) -> tuple[Work, int, int]:
        """What seals one frame, how many there are, and their bytes in all."""
        count, first = -(-len(data) // WRITE_BYTES), self._cipher.n

        def work(place: int, hand: int) -> None:
            piece = data[place * WRITE_BYTES : (place + 1) * WRITE_BYTES]
            plain = self._plain[hand][: HEADER.size + len(piece)]
            HEADER.pack_into(plain, 0, 0, DATA, 0, stream_id, len(piece))
            plain[HEADER.size :] = piece
            sealed = self._sealed[place * FRAME_BYTES :][: LENGTH_BYTES + len(plain) + TAG_BYTES]
            sealed[:LENGTH_BYTES] = (len(plain) + TAG_BYTES).to_bytes(LENGTH_BYTES, "big")
            crypt(self._cipher, "encrypt_into", first + place, plain, sealed[LENGTH_BYTES:])

        return work, count, len(data) + count * (FRAME_BYTES - WRITE_BYTES)
