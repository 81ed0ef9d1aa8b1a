"""Frames poured into their places, however the bytes are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.network.substrate.sinks import Sink
from protocols.framing import frame


def poured(sink: Sink, wire: bytes, places: list[int]) -> int:
    """Pour the bytes in pieces; how many were taken."""
    ends = sorted(place % (len(wire) + 1) for place in places)
    taken = 0
    for start, end in zip([0, *ends], [*ends, len(wire)], strict=True):
        piece = memoryview(wire)[start:end]
        took = sink.pour(piece)
        taken += took
        if took < len(piece):
            break
    return taken


@given(st.lists(st.binary(max_size=40), max_size=6), st.binary(max_size=20), st.lists(st.integers(0, 1_000)))
def test_frames_land_in_their_places_and_the_rest_is_left(bodies: list[bytes], rest: bytes, cuts: list[int]) -> None:
    rooms = [bytearray(len(body)) for body in bodies]
    sink = Sink([memoryview(room) for room in rooms])
    wire = b"".join(map(frame, bodies))
    assert poured(sink, wire + rest, cuts) == len(wire)
    assert rooms == bodies
    assert sink.done
    assert sink.odd is None
    assert sink.collect() == len(wire)
    assert sink.collect() == 0


@given(st.integers(0, 40).filter(lambda size: size != 9), st.lists(st.integers(0, 1_000)))
def test_a_frame_of_another_size_is_not_taken(size: int, cuts: list[int]) -> None:
    first, second = bytearray(3), bytearray(9)
    sink = Sink([memoryview(first), memoryview(second)])
    wire = frame(b"abc") + frame(b"x" * size)
    assert poured(sink, wire, cuts) == len(frame(b"abc")) + 4
    assert (sink.done, sink.odd, sink.filled) == (True, size, 1)
    assert second == bytes(9)


def test_it_says_how_much_it_wants_at_least() -> None:
    sink = Sink([memoryview(bytearray(10))])
    assert sink.wants == 4
    sink.pour(memoryview(frame(b"0123456789")[:6]))
    assert sink.wants == 8
