"""Where frames of known sizes go as they arrive: out of the opened message into their places, with one copy."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.framing import HEADER_BYTES


class Sink:
    """Takes a stream's bytes as frames, one for each target and of its size."""

    def __init__(self, targets: Sequence[memoryview]) -> None:
        self._targets = targets
        self._header = bytearray()
        self._at = 0
        self.filled = 0  # targets
        self.odd: int | None = None  # a length that is not its target's; nothing is taken after it
        self.poured = 0  # bytes that the muxer has not been told of

    @property
    def done(self) -> bool:
        return self.odd is not None or self.filled == len(self._targets)

    @property
    def wants(self) -> int:
        """How many bytes it takes at least before it could be done."""
        if len(self._header) < HEADER_BYTES:
            return HEADER_BYTES - len(self._header)
        return len(self._targets[self.filled]) - self._at

    def pour(self, data: memoryview) -> int:
        """Take what is wanted of these bytes; how many that was."""
        at = 0
        while at < len(data) and not self.done:
            if len(self._header) < HEADER_BYTES:
                at += self._begin(data[at : at + HEADER_BYTES - len(self._header)])
                continue
            target = self._targets[self.filled]
            size = min(len(target) - self._at, len(data) - at)
            target[self._at : self._at + size] = data[at : at + size]
            at += size
            self._at += size
            if self._at == len(target):
                self._next()
        self.poured += at
        return at

    def collect(self) -> int:
        """How many bytes were taken since the last time this was asked."""
        poured, self.poured = self.poured, 0
        return poured

    def _begin(self, piece: memoryview) -> int:
        self._header += piece
        if len(self._header) == HEADER_BYTES:
            length, expected = int.from_bytes(self._header, "big"), len(self._targets[self.filled])
            if length != expected:
                self.odd = length
            elif not expected:
                self._next()
        return len(piece)

    def _next(self) -> None:
        self.filled += 1
        self._at = 0
        self._header.clear()
