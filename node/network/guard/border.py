"""Where streams of others come in: by peer and by protocol, each with its bounds.

Every inbound stream passes `Border`, from its first byte to the end of its handler. Upstream negotiates with anybody,
reads names of any length and lets an exception in a handler fall through to the root nursery.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

import structlog
import trio
from libp2p.exceptions import BaseLibp2pError, ParseError
from libp2p.host.ping import ID as PING
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.io.exceptions import IOException
from libp2p.protocol_muxer.exceptions import MultiselectError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator

from node.network.guard.allowance import READ_BURST, READS, Allowance, Metered
from node.network.guard.conduct import FLOOD, MALFORMED, SILENT, Conduct, Fault
from node.network.substrate.substrate import READ_BYTES, shielded
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

MAX_STREAMS_PER_PEER = 128  # inbound, at once; an honest node needs a handful, the muxer would take 10,000
MAX_NEGOTIATING = 64  # of those, without a protocol yet
STREAMS_PER_S, STREAM_BURST = 200.0, 2_000.0  # of one peer: as many as one core can open
NEGOTIATION_S = 10
NEGOTIATION_BYTES = 4_096
CLOSE_S = 2.0
LINGER_S = 5.0  # for the other side to close what we have closed


class Quota(NamedTuple):
    """What one peer may have of a protocol: streams at a time, new ones a second and at once, reads of a stream."""

    streams: int = 64
    per_s: float = 200.0
    burst: float = 2_000.0
    reads_per_s: float = READS


# The library's own handlers know no bounds; those of ours count requests besides (`serving.Slots`).
QUOTAS = {
    str(IDENTIFY): Quota(4, 1.0, 20.0, 100.0),
    str(ID_PUSH): Quota(2, 0.5, 10.0, 100.0),
    str(PING): Quota(4, 2.0, 50.0, 100.0),
    "/meshsub/1.1.0": Quota(4, 0.5, 20.0),
    "/meshsub/1.2.0": Quota(4, 0.5, 20.0),
}

Handler = Callable[[Any], Awaitable[None]]
K = TypeVar("K", bound=Hashable)


class Border:
    """The one place through which every inbound stream comes: bounds them by peer and lets no exception out."""

    def __init__(self, host: Any, conduct: Conduct, welcome: str) -> None:
        """`welcome` is the one protocol that a banned peer may speak: there it is told why."""
        self._multiselect = host.multiselect
        self._conduct = conduct
        self._welcome = welcome
        self._open: Counter[PeerId] = Counter()
        self._negotiating: Counter[PeerId] = Counter()
        self._speaking: Counter[tuple[PeerId, str]] = Counter()
        self._rate = Allowance(STREAMS_PER_S, STREAM_BURST)
        self._rates: dict[Quota, Allowance] = {}

    async def __call__(self, stream: Any) -> None:
        peer = PeerId(str(stream.muxed_conn.peer_id))
        if not self._has_room(peer):
            self._conduct.blame(peer, FLOOD)
            await drop(stream)
            return
        with _counted(self._open, peer):
            try:
                with _counted(self._negotiating, peer):
                    protocol, handler = await self._negotiate(peer, stream)
                await self._serve(peer, protocol, handler, stream)
                await _see_off(stream)
            except Exception as err:
                log.debug("stream handler failed", peer=peer, protocol=stream.get_protocol(), error=repr(err))
                await drop(stream)

    def _has_room(self, peer: PeerId) -> bool:
        return (
            self._open[peer] < MAX_STREAMS_PER_PEER
            and self._negotiating[peer] < MAX_NEGOTIATING
            and self._rate.take(peer, trio.current_time())
        )

    async def _negotiate(self, peer: PeerId, stream: Any) -> tuple[str, Handler]:
        try:
            asked = MultiselectCommunicator(_Short(stream, NEGOTIATION_BYTES))
            protocol, handler = await self._multiselect.negotiate(asked, NEGOTIATION_S)
        except (MultiselectError, ParseError, ValueError) as err:
            fault = _fault_in(err)
            if fault is not None:
                self._conduct.blame(peer, fault)
            raise
        if handler is None:
            raise MultiselectError(f"no handler for {protocol}")
        return str(protocol), handler

    async def _serve(self, peer: PeerId, protocol: str, handler: Handler, stream: Any) -> None:
        if protocol != self._welcome and self._conduct.ban(peer):
            await drop(stream)
            return
        quota = QUOTAS.get(protocol, Quota())
        rate = self._rates.setdefault(quota, Allowance(quota.per_s, quota.burst))
        key = peer, protocol
        if self._speaking[key] >= quota.streams or not rate.take(key, trio.current_time()):
            self._conduct.blame(peer, FLOOD)
            await drop(stream)
            return
        stream.set_protocol(protocol)
        with _counted(self._speaking, key):
            slow = protocol in QUOTAS and quota.reads_per_s != READS
            burst = READ_BURST * quota.reads_per_s / READS
            await handler(Metered(stream, quota.reads_per_s, burst) if slow else stream)


@contextmanager
def _counted(counter: Counter[K], key: K) -> Iterator[None]:
    """One more of a key inside the block; a key with none is dropped."""
    counter[key] += 1
    try:
        yield
    finally:
        counter[key] -= 1
        if counter[key] <= 0:
            del counter[key]


class _Short:
    """A stream of which only so many bytes are read: a name may announce any length."""

    def __init__(self, stream: Any, most: int) -> None:
        self._stream = stream
        self._left = most

    async def write(self, data: bytes) -> None:
        await self._stream.write(data)

    async def read(self, n: int | None = None) -> bytes:
        if self._left <= 0:
            raise ParseError("a negotiation without end")
        data: bytes = await self._stream.read(self._left if n is None else min(n, self._left))
        self._left -= len(data)
        return data


def _fault_in(err: BaseException) -> Fault | None:
    """What was wrong with a negotiation; nothing when the other side has merely gone."""
    cause: BaseException | None = err
    while cause is not None:
        if isinstance(cause, trio.TooSlowError):
            return SILENT
        if isinstance(cause, ParseError | ValueError):
            return MALFORMED
        if isinstance(cause, IOException):
            return None
        last, cause = cause, cause.__cause__ or cause.__context__
    return SILENT if "timeout" in str(last) else MALFORMED


async def _see_off(stream: Any) -> None:
    """Wait until the other side has closed too: a stream that it keeps half open keeps a buffer of ours."""
    muxed = stream.muxed_stream
    with trio.move_on_after(LINGER_S) as scope, suppress(BaseLibp2pError):
        while not muxed.closed and await muxed.read(READ_BYTES):
            pass
    if scope.cancelled_caught:
        await drop(stream)


async def drop(stream: Any) -> None:
    """Reset a stream, whatever state it is in."""
    with shielded(CLOSE_S):
        try:
            await stream.reset()
        except Exception as err:  # it may be gone in many ways, and gone is what we want
            log.debug("reset failed", error=repr(err))
