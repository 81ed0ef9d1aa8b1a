"""The hot path of a connection, without sockets: whatever the pieces, what goes in comes out."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from noise.backends.default.ciphers import ChaCha20Cipher  # type: ignore[import-untyped]
from noise.state import CipherState  # type: ignore[import-untyped]

from node.network.substrate import inlet as inlets
from node.network.substrate import outlet as outlets
from node.network.substrate.inlet import (  # type: ignore[attr-defined]  # libp2p's names by the package, which silences a warning
    IncompleteReadError,
    Inlet,
)
from node.network.substrate.noisewire import HEADER, RawConnError  # type: ignore[attr-defined]
from node.network.substrate.outlet import BATCH_BYTES, Outlet
from node.network.substrate.pipes import trial

PING = HEADER.pack(0, 2, 1, 0, 9)


def cipher() -> CipherState:
    made = CipherState(SimpleNamespace(cipher_class=ChaCha20Cipher))
    made.initialize_key(bytes(32))
    return made


class Socket:
    """Gives what it was given, in those pieces, and then the end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = deque(piece for piece in pieces if piece)

    async def recv_into(self, target: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        if not self._pieces:
            return 0
        piece = self._pieces.popleft()
        size = min(len(piece), len(target))
        target[:size] = piece[:size]
        if piece[size:]:
            self._pieces.appendleft(piece[size:])
        return size


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(data) + 1) for place in places)
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


def sealed(plain: list[bytes]) -> bytes:
    """Noise messages by stock code."""
    sending = cipher()
    messages = [sending.encrypt_with_ad(None, piece) for piece in plain]
    return b"".join(len(message).to_bytes(2, "big") + message for message in messages)


def inlet(wire: list[bytes], window: int = 1 << 20) -> tuple[Inlet, SimpleNamespace]:
    muxer = SimpleNamespace(
        streams={5: SimpleNamespace(recv_window=window)}, stream_buffers={5: bytearray()}, stream_events={}
    )
    ahead, *rest = wire
    return Inlet(muxer, SimpleNamespace(_drain=lambda _n: b""), Socket(rest), cipher(), ahead), muxer


def run(body: object) -> object:
    async def main() -> object:
        with trio.fail_after(5):
            return await body  # type: ignore[misc]

    return trio.run(main)


@given(st.binary(min_size=1, max_size=300), st.lists(st.integers(0, 10_000)), st.lists(st.integers(0, 10_000)))
def test_data_is_poured_and_the_rest_handed_up_however_it_is_cut(
    body: bytes, messages: list[int], pieces: list[int]
) -> None:
    """Other implementations put several frames into a message, or a frame into several."""
    frames = HEADER.pack(0, 0, 0, 5, len(body)) + body + PING + HEADER.pack(0, 0, 4, 5, len(body)) + body
    source, muxer = inlet(cut(sealed(cut(frames, messages)), pieces))

    async def read() -> list[bytes]:
        return [await source.read(12), await source.read(12), await source.read(len(body))]

    assert run(read()) == [PING, HEADER.pack(0, 0, 4, 5, len(body)), body]  # FIN is for the loop, its body too
    assert muxer.stream_buffers[5] == body
    assert muxer.streams[5].recv_window == (1 << 20) - len(body)


@given(st.integers(1, BATCH_BYTES))
def test_what_an_outlet_seals_an_inlet_opens(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    wire = bytes(Outlet(cipher()).seal(5, memoryview(data)[:size]))
    source, muxer = inlet([wire])
    with pytest.raises(IncompleteReadError):
        run(source.read(12))
    assert muxer.stream_buffers[5] == data[:size]


@given(st.integers(1, 30), st.integers(0, 29))
def test_many_messages_at_once_are_opened_in_order(count: int, damaged: int) -> None:
    """What stands between the data goes up, and a damaged message ends it."""
    bodies = [bytes([n]) * 5_000 for n in range(count)]
    plain = [HEADER.pack(0, 0, 0, 5, len(body)) + body for body in bodies]
    wire = bytearray(sealed([*plain, PING, *plain]))
    source, muxer = inlet([bytes(wire)])
    assert run(source.read(12)) == PING
    assert muxer.stream_buffers[5] == b"".join(bodies)
    with pytest.raises(IncompleteReadError):
        run(source.read(12))
    assert muxer.stream_buffers[5] == b"".join(bodies * 2)
    wire[damaged % count * (2 + 12 + 5_000 + 16) + 20] ^= 1
    source, _ = inlet([bytes(wire)])
    with pytest.raises(RawConnError, match="does not open"):
        run(source.read(12))


def test_a_damaged_message_ends_the_connection() -> None:
    wire = bytearray(sealed([PING]))
    wire[5] ^= 1
    for broken in (bytes(wire), b"\x00\x03abc", b"\x00\x00"):
        source, _ = inlet([broken])
        with pytest.raises(RawConnError, match="does not open"):
            run(source.read(12))


def test_data_for_an_unknown_stream_is_left_to_the_loop() -> None:
    frame = HEADER.pack(0, 0, 0, 7, 3)
    source, muxer = inlet([sealed([frame + b"abc" + PING])])

    async def read() -> list[bytes]:
        return [await source.read(12), await source.read(3), await source.read(12)]

    assert run(read()) == [frame, b"abc", PING]
    assert muxer.stream_buffers[5] == b""


def test_a_frame_over_the_bound_is_left_to_the_loop() -> None:
    frame = HEADER.pack(0, 0, 0, 5, (16 << 20) + 1)
    source, muxer = inlet([sealed([frame + b"abc"])], window=1 << 30)
    assert run(source.read(12)) == frame
    assert muxer.stream_buffers[5] == b""


def test_a_body_that_does_not_come_is_not_waited_for(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.network.substrate.inlet.BODY_S", 0.05)

    class Silent(Socket):
        async def recv_into(self, target: memoryview) -> int:
            await trio.sleep_forever()
            raise AssertionError

    source, _ = inlet([sealed([HEADER.pack(0, 0, 0, 5, 10) + b"abc"])])
    source._socket = Silent([])
    with pytest.raises(trio.TooSlowError):
        run(source.read(12))


def test_the_trial_passes_and_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trial() == ""
    for end in (inlets, outlets):
        with monkeypatch.context() as broken:
            broken.setattr(end, "crypt", lambda *_words: None)
            assert trial() != ""


def test_who_sends_much_has_more_room_until_he_sends_little() -> None:
    data = bytes(30_000)
    much = sealed([HEADER.pack(0, 0, 0, 5, len(data)) + data] * 20)
    little = [sealed([HEADER.pack(0, 0, 0, 5, 1) + b"x"]) for _ in range(inlets.LITTLE + 5)]

    async def main() -> list[int]:
        source, muxer = inlet([b"", much], window=1 << 30)
        rooms = [len(source._raw)]
        with pytest.raises(IncompleteReadError):
            await source.read(12)
        rooms.append(len(source._raw))
        for piece in little:
            source._cipher.n = 0  # each was sealed as the first of its kind
            source._socket = Socket([piece])
            with pytest.raises(IncompleteReadError):
                await source.read(12)
        assert len(muxer.stream_buffers[5]) == 20 * len(data) + len(little)
        return [*rooms, len(source._raw)]

    assert run(main()) == [inlets.RAW_BYTES, inlets.MUCH_BYTES, inlets.RAW_BYTES]


def test_a_thousand_small_messages_are_opened_in_order() -> None:
    frames = [HEADER.pack(0, 0, 0, 5, 1) + bytes([n % 256]) for n in range(1_000)]
    source, muxer = inlet([sealed([*frames, PING])])
    assert run(source.read(12)) == PING
    assert bytes(muxer.stream_buffers[5]) == bytes(n % 256 for n in range(1_000))


def test_pings_without_end_are_read_slowly_and_data_between_them_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inlets, "FRAMES_BURST", 10.0)
    monkeypatch.setattr(inlets, "FRAMES_PER_S", 100.0)
    data = HEADER.pack(0, 0, 0, 5, 3) + b"abc"

    async def main() -> float:
        reader, muxer = inlet([sealed([PING, data] * 40)])
        started = trio.current_time()
        for _ in range(40):
            assert await reader.read(HEADER.size) == PING
        assert bytes(muxer.stream_buffers[5]) in (b"abc" * 39, b"abc" * 40)
        return trio.current_time() - started

    assert run(main()) >= 0.25  # type: ignore[operator]  # thirty frames over the burst, at a hundred a second
