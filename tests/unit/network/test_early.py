"""Proposing a protocol: in one go, to any peer, and not a byte too far."""

from __future__ import annotations

import pytest

from node.network.early import propose
from node.network.errors import PeerRefused, PeerVanished
from protocols.ids import PeerId

PEER = PeerId("12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo")
HEADER = b"\x13/multistream/1.0.0\n"
PROPOSED = b"\x0d/test/echo/1\n"


class Scripted:
    """A stream that gives `answers` in pieces of at most `piece` bytes, and notes what happens to it."""

    def __init__(self, answers: bytes, piece: int = 1 << 20) -> None:
        self._left = answers
        self._piece = piece
        self.acts: list[str] = []
        self.written = b""

    async def write(self, data: bytes) -> None:
        self.acts.append("write")
        self.written += data

    async def read(self, n: int) -> bytes:
        self.acts.append("read")
        taken, self._left = self._left[: min(n, self._piece)], self._left[min(n, self._piece) :]
        return taken

    @property
    def left(self) -> bytes:
        return self._left


@pytest.mark.parametrize("piece", [1, 2, 7, 1 << 20])
async def test_header_and_proposal_leave_before_anything_is_waited_for(piece: int) -> None:
    stream = Scripted(HEADER + PROPOSED + b"what the peer says first", piece)
    await propose(stream, PEER, "/test/echo/1")
    assert stream.written == HEADER + PROPOSED
    assert stream.acts.count("write") == 1
    assert stream.acts[0] == "write"
    assert stream.left == b"what the peer says first"


@pytest.mark.parametrize(
    "answers", [HEADER + b"\x03na\n", b"\x03na\n", HEADER + b"\x00", HEADER + b"\xff" + bytes(255), PROPOSED + HEADER]
)
async def test_a_peer_that_agrees_to_something_else_refuses(answers: bytes) -> None:
    with pytest.raises(PeerRefused) as refused:
        await propose(Scripted(answers), PEER, "/test/echo/1")
    assert refused.value.reason == "unknown_protocol"


@pytest.mark.parametrize("answers", [b"", HEADER[:5], HEADER, HEADER + PROPOSED[:-1]])
async def test_a_stream_that_ends_meanwhile_is_gone(answers: bytes) -> None:
    with pytest.raises(PeerVanished):
        await propose(Scripted(answers), PEER, "/test/echo/1")
