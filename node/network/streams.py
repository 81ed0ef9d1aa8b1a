"""Streams between two peers: one request and one reply, or a dialogue of frames.

Both sides write length-prefixed frames (`protocols.framing`); a bound is checked against the announced length before a
byte of the body is read, and every read and write stands under a deadline. A reply frame begins with one status byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import trio
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.stream.exceptions import StreamEOF

from node.network.errors import (
    DeadlineExceeded,
    Foreigner,
    NetworkError,
    PeerBusy,
    PeerRefused,
    PeerUnreachable,
    PeerVanished,
    ReplyTooLarge,
)
from node.network.host import drop
from node.network.substrate.outlet import BATCH_BYTES
from node.network.substrate.sinks import Sink
from node.network.substrate.substrate import READ_BYTES, pour_into, read_into, shielded, widen_now
from protocols.codec import Message, decode, encode
from protocols.errors import Malformed
from protocols.framing import HEADER_BYTES, frame, frame_length
from protocols.ids import PeerId

IDLE_S = 30.0  # a peer that neither sends nor takes a byte for this long is gone
CLOSE_S = 2.0
BROKEN = (BaseLibp2pError, OSError, EOFError, trio.BrokenResourceError, trio.ClosedResourceError)

OK = b"\x00"
REFUSED = b"\x01"
MAX_REFUSAL_BYTES = 2_048


class Refusal(Message, frozen=True):
    """Why a peer said no."""

    kind: str
    reason: str


class Odd(NamedTuple):
    """A frame of another size than was expected: its place, and the size that was announced."""

    place: int
    size_bytes: int


class Dialogue:
    """Frames in both directions over one stream. Used by one task at a time in each direction."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._ahead = bytearray()
        self._begun = False
        self.connection = stream.muxed_conn
        self.peer = PeerId(str(stream.muxed_conn.peer_id))

    async def send(self, body: bytes, *, timeout_s: float = IDLE_S) -> None:
        """Write one frame. Raises DeadlineExceeded, PeerVanished."""
        await self.send_framed(memoryview(frame(body)), timeout_s=timeout_s)

    async def send_framed(self, data: memoryview, *, timeout_s: float = IDLE_S) -> None:
        """Write bytes that are whole frames already. Raises as `send`; `timeout_s` is for each 256 KiB."""
        try:
            for at in range(0, len(data), BATCH_BYTES):
                with trio.fail_after(timeout_s):
                    await self._stream.write(data[at : at + BATCH_BYTES])
        except trio.TooSlowError as err:
            raise DeadlineExceeded(f"{self.peer} took no data for {timeout_s:g} s") from err
        except BROKEN as err:
            raise PeerVanished(f"the stream to {self.peer} broke while we were writing") from err

    async def receive(self, *, max_bytes: int, timeout_s: float = IDLE_S) -> bytes:
        """Read one frame. Raises ReplyTooLarge before reading an oversized one, DeadlineExceeded, PeerVanished.

        `timeout_s` is the longest silence, not the whole time: the caller bounds that.
        """
        header = await self._take(HEADER_BYTES, timeout_s)
        try:
            length = frame_length(header, max_bytes=max_bytes)
        except Malformed as err:
            raise ReplyTooLarge(f"{self.peer}: {err}") from err
        self._begun = True
        body = await self._take(length, timeout_s)
        self._begun = False
        return body

    async def receive_into(self, target: memoryview, *, timeout_s: float) -> int:
        """Read one frame of at most the target's size into it, within `timeout_s` in all, and give its length.

        Raises as `receive`. Spares the copies of a large frame.
        """
        header = memoryview(bytearray(HEADER_BYTES))
        try:
            with trio.fail_after(timeout_s):
                await self._fill(header)
                length = frame_length(bytes(header), max_bytes=len(target))
                await self._fill(target[:length])
        except trio.TooSlowError as err:
            raise DeadlineExceeded(f"{self.peer} did not send a frame within {timeout_s:g} s") from err
        except Malformed as err:
            raise ReplyTooLarge(f"{self.peer}: {err}") from err
        return length

    @property
    def halted(self) -> bool:
        """Whether a frame has begun to come and has not come whole."""
        return bool(self._ahead) or self._begun

    async def receive_all(self, targets: Sequence[memoryview], *, timeout_s: float) -> Odd | None:
        """Read a frame into each target; the first frame that has not its target's size ends it, and is told of.

        `timeout_s` is the longest that one frame may take. Raises as `receive`. The targets are written to until this
        returns, and with the fewest copies there can be.
        """
        sink = Sink(targets)
        with memoryview(bytes(self._ahead)) as ahead:
            del self._ahead[: sink.pour(ahead)]
        sink.collect()
        try:
            await pour_into(self._stream, sink, timeout_s)
        except trio.TooSlowError as err:
            raise DeadlineExceeded(f"{self.peer} did not send a frame within {timeout_s:g} s") from err
        except StreamEOF as err:
            raise PeerVanished(f"{self.peer} ended the stream") from err
        except BROKEN as err:
            raise PeerVanished(f"the stream to {self.peer} broke") from err
        return None if sink.odd is None else Odd(sink.filled, sink.odd)

    async def widen(self, window_bytes: int) -> None:
        """Take so much ahead of our reading, from now on; for who asks only for what he has room for.

        Raises PeerVanished.
        """
        try:
            await widen_now(self._stream, window_bytes)
        except BROKEN as err:
            raise PeerVanished(f"the stream to {self.peer} broke") from err

    async def _fill(self, target: memoryview) -> None:
        at = min(len(target), len(self._ahead))
        target[:at] = self._ahead[:at]
        del self._ahead[:at]
        try:
            while at < len(target):
                got = await read_into(self._stream, target[at:])
                if not got:
                    raise PeerVanished(f"{self.peer} ended the stream")
                at += got
        except StreamEOF as err:
            raise PeerVanished(f"{self.peer} ended the stream") from err
        except BROKEN as err:
            raise PeerVanished(f"the stream to {self.peer} broke") from err

    async def finish(self) -> None:
        """Say that nothing more comes from us; the other direction stays open."""
        with trio.move_on_after(CLOSE_S):
            try:
                await self._stream.close_write()
            except BROKEN:
                return

    async def close(self) -> None:
        """Close both directions; never raises for a stream that is already gone."""
        with shielded(CLOSE_S):
            try:
                await self._stream.close()
            except BROKEN:
                await drop(self._stream)

    async def reset(self) -> None:
        """Tear the stream down: the peer sees an error, not an end."""
        await drop(self._stream)

    async def _take(self, size: int, timeout_s: float) -> bytes:
        while len(self._ahead) < size:
            self._ahead += await self._read(timeout_s)
        with memoryview(self._ahead) as view:
            taken = bytes(view[:size])  # a slice of the bytearray itself would be copied twice
        del self._ahead[:size]
        return taken

    async def _read(self, timeout_s: float) -> bytes:
        try:
            with trio.fail_after(timeout_s):
                data: bytes = await self._stream.read(READ_BYTES)
        except trio.TooSlowError as err:
            raise DeadlineExceeded(f"{self.peer} was silent for {timeout_s:g} s") from err
        except StreamEOF as err:
            raise PeerVanished(f"{self.peer} ended the stream") from err
        except BROKEN as err:
            raise PeerVanished(f"the stream to {self.peer} broke") from err
        if not data:
            raise PeerVanished(f"{self.peer} ended the stream")
        return data


def refusal(kind: str, reason: str) -> bytes:
    """The reply that says no."""
    return REFUSED + encode(Refusal(kind=kind[:64], reason=reason[:400]))


def open_reply(peer: PeerId, reply: bytes) -> bytes:
    """The body of a reply. Raises PeerRefused (PeerBusy, Foreigner) with the peer's reason, Malformed for nonsense."""
    status, body = reply[:1], reply[1:]
    if status == OK:
        return body
    if status != REFUSED:
        raise Malformed(f"{peer} answered with status {status.hex() or 'none'}")
    said = decode(body, Refusal, max_bytes=MAX_REFUSAL_BYTES)
    refused = {"busy": PeerBusy, "foreign_network": Foreigner}.get(said.kind, PeerRefused)
    raise refused(f"{peer} refused: {said.reason}", said.kind)


async def converse(dialogue: Dialogue, body: bytes, max_bytes: int) -> bytes:
    """Send and receive at the same time: a peer that refuses early stops reading, and a long request would stall."""
    sent = False
    answer: bytes | NetworkError

    async def send() -> None:
        nonlocal sent
        try:
            await dialogue.send(body)
        except NetworkError:
            return  # the reader below hears of it too, or has its answer already
        sent = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        try:
            answer = await dialogue.receive(max_bytes=max_bytes, timeout_s=float("inf"))
        except NetworkError as err:
            answer = err
        nursery.cancel_scope.cancel()
    if isinstance(answer, bytes):
        return answer
    if isinstance(answer, PeerVanished) and not sent:
        raise PeerUnreachable(str(answer)) from answer
    raise answer


class deadline:  # noqa: N801 - reads as a statement
    """`trio.fail_after` that raises our DeadlineExceeded with what was waited for."""

    def __init__(self, seconds: float, what: str) -> None:
        self._what = what
        self._seconds = seconds
        self._scope = trio.CancelScope()

    def __enter__(self) -> None:
        self._scope.deadline = trio.current_time() + self._seconds
        self._scope.__enter__()

    def __exit__(self, kind: Any, err: Any, trace: Any) -> None:
        self._scope.__exit__(kind, err, trace)
        if self._scope.cancelled_caught:
            raise DeadlineExceeded(f"{self._what} within {self._seconds:g} s")
