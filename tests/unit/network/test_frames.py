"""Gossip RPCs as they come in: any cut of the bytes gives the same frames, and hostile ones end in known errors."""

from __future__ import annotations

import itertools
import random

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from node.network.gossip import frames
from node.network.gossip.frames import RPC_BURST, RPCS_PER_S, Frames

MOST = 300


def framed(body: bytes) -> bytes:
    return length(len(body)) + body


def length(size: int) -> bytes:
    return bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])


class Wire:
    """A stream whose bytes come in given pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self.reads = 0

    async def read(self, n: int) -> bytes:
        await trio.lowlevel.checkpoint()
        self.reads += 1
        return self._pieces.pop(0) if self._pieces else b""


async def taken(pieces: list[bytes]) -> list[bytes]:
    reader, found = Frames(Wire([piece for piece in pieces if piece]), MOST), []
    try:
        while True:
            found.append(await reader.next())
    except frames.IncompleteReadError:
        return found


@given(st.lists(st.binary(max_size=MOST), max_size=8), st.lists(st.integers(0, 3_000), max_size=6))
def test_any_cut_gives_the_same_frames(bodies: list[bytes], cuts: list[int]) -> None:
    data = b"".join(framed(body) for body in bodies)
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert trio.run(taken, pieces) == bodies


@given(st.binary(max_size=2_000))
def test_hostile_bytes_end_in_known_errors(data: bytes) -> None:
    try:
        found = trio.run(taken, [data])
    except (frames.FrameTooLarge, frames.ParseError):
        return
    assert sum(map(len, found)) <= len(data)


async def test_a_frame_over_the_bound_is_refused_before_it_is_read() -> None:
    wire = Wire([length(MOST + 1), b"x" * (MOST + 1)])
    with pytest.raises(frames.FrameTooLarge, match="301"):
        await Frames(wire, MOST).next()
    assert wire.reads == 1


async def test_a_length_that_does_not_end_is_refused() -> None:
    with pytest.raises(frames.ParseError):
        await Frames(Wire([b"\xff" * 5]), MOST).next()


async def test_many_that_came_together_cost_one_read() -> None:
    wire = Wire([b"".join(framed(random.randbytes(20)) for _ in range(100))])
    reader = Frames(wire, MOST)
    for _ in range(100):
        assert len(await reader.next()) == 20
    assert wire.reads == 1


async def test_empty_frames_are_taken_at_their_rate(autojump_clock: trio.testing.MockClock) -> None:
    reader = Frames(Wire([bytes(60_000)]), MOST)
    start = trio.current_time()
    for _ in range(int(RPC_BURST + 10 * RPCS_PER_S)):
        assert await reader.next() == b""
    assert 9.9 < trio.current_time() - start < 11
