"""Bitswap 1.2 (specs.ipfs.tech/bitswap-protocol) over our host: serve blocks that we have, ask peers for blocks that
we want.

Written anew over the library's message types, because the library's client stores whatever anybody sends, answers on
the asker's stream (which Kubo does not read) and sends whole blocks to those who only ask whether we have them. Here:

- what arrives is hashed, and only a block that we asked for is handed on; the rest is counted and dropped;
- answers go on a stream of our own to the asker, a few blocks a message, from a bounded list of wants for each peer;
- a stream that a peer opens stays open for its next message (Kubo ≥ 0.37 sends follow-up wants there).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import structlog
import trio
from google.protobuf.message import DecodeError
from libp2p.bitswap.pb.bitswap_pb2 import Message
from libp2p.custom_types import TProtocol

from node.network.addresses import to_id
from node.network.blockwire import MAX_WANTS, Answers, close, messages, prefix_of, send, with_version
from node.network.errors import NetworkError, PeerUnreachable
from node.network.guard.allowance import Allowance
from node.network.guard.conduct import FLOOD, MALFORMED
from node.network.network import Network
from node.network.streams import BROKEN
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

PROTOCOLS = ("/ipfs/bitswap/1.2.0", "/ipfs/bitswap/1.1.0")
REPLY_BYTES = 1 << 20  # blocks of one message, at least one block
OPEN_S = 10.0
STREAMS_PER_PEER = 8
SHARE_BYTES, SHARE_BYTES_PER_S = float(64 << 30), float(8 << 20)  # of one peer, as in node.blocks.serving
SHARE_PAUSE_S = 0.2
UNASKED = 0.2  # of a flood's points: one that we asked two peers for comes twice, a thousand are a flood

# version, codec, sha2-256, 32 bytes; a block asked for by a version 0 CID comes with its prefix
_PREFIXES = {
    b"\x01\x55\x12\x20": b"\x01\x55\x12\x20",
    b"\x01\x70\x12\x20": b"\x01\x70\x12\x20",
    b"\x00\x70\x12\x20": b"\x01\x70\x12\x20",
}


class Source(Protocol):
    """Where the blocks that we serve come from, by the 36 bytes of their CID."""

    async def read(self, cid: bytes) -> bytes | None: ...

    async def holds(self, cid: bytes) -> bool: ...


class Bitswap:
    """One per network; made by `serve_bitswap`."""

    def __init__(self, network: Network, source: Source, nursery: trio.Nursery) -> None:
        self._network = network
        self._host = network.host
        self._source = source
        self._nursery = nursery
        self._asked: dict[bytes, list[Asking]] = {}
        self._answers: dict[PeerId, Answers] = {}
        self._streams: Counter[PeerId] = Counter()
        self.sent_bytes = 0  # of blocks, to all peers
        self._shares = Allowance(SHARE_BYTES_PER_S, SHARE_BYTES)
        self.unasked = 0  # blocks that came without having been asked for
        for protocol in PROTOCOLS:
            self._host.set_stream_handler(TProtocol(protocol), self._on_stream)

    @asynccontextmanager
    async def asking(self, peer: PeerId) -> AsyncIterator[Asking]:
        """A session with one peer. Raises PeerUnreachable when it cannot be reached or does not speak Bitswap."""
        await self._network.reach(peer)
        stream = await self._open(peer)
        asking = Asking(peer, self, stream)
        watch = trio.CancelScope()
        self._nursery.start_soon(asking.watch, watch)
        try:
            yield asking
        finally:
            watch.cancel()
            asking.close()
            await close(stream)

    async def _open(self, peer: PeerId) -> Any:
        try:
            with trio.fail_after(OPEN_S):
                return await self._host.new_stream(to_id(peer), [TProtocol(name) for name in PROTOCOLS])
        except (*BROKEN, trio.TooSlowError) as err:
            raise PeerUnreachable(f"no Bitswap with {peer}: {err}") from err

    async def _on_stream(self, stream: Any) -> None:
        peer = PeerId(str(stream.muxed_conn.peer_id))
        if self._streams[peer] >= STREAMS_PER_PEER:
            await stream.reset()
            return
        self._streams[peer] += 1
        try:
            async for message in messages(stream):
                await self._on_message(peer, message)
        except (DecodeError, ValueError) as err:
            log.debug("bitswap message refused", peer=peer, error=str(err))
            self._network.blame(peer, MALFORMED)
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]
            await close(stream)

    async def _on_message(self, peer: PeerId, message: Any) -> None:
        for block in message.payload:
            self._on_block(peer, block.prefix, block.data)
        for presence in message.blockPresences:
            if presence.type == Message.DontHave:
                for asking in self._asked.get(with_version(presence.cid), ()):
                    if asking.peer == peer:
                        asking.hear(with_version(presence.cid), None)
        if message.wantlist.entries or message.wantlist.full:
            self._on_wants(peer, message.wantlist)

    def _on_block(self, peer: PeerId, prefix: bytes, data: bytes) -> None:
        known = _PREFIXES.get(prefix)
        name = known + hashlib.sha256(data).digest() if known else b""
        waiting = self._asked.get(name)
        if not waiting:
            self.unasked += 1
            log.debug("block that nobody asked for", peer=peer, size=len(data))
            self._network.blame(peer, FLOOD, UNASKED)
            return
        for asking in list(waiting):
            asking.hear(name, data)

    def _on_wants(self, peer: PeerId, wantlist: Any) -> None:
        answers = self._answers.get(peer)
        if answers is None:
            answers = self._answers[peer] = Answers()
            self._nursery.start_soon(self._answer, peer, answers)
        if wantlist.full:
            answers.clear()
        for entry in wantlist.entries:
            if entry.cancel:
                answers.cancel(entry.block)
            else:
                answers.want(entry.block, have_only=entry.wantType == Message.Wantlist.Have, say_no=entry.sendDontHave)

    async def _answer(self, peer: PeerId, answers: Answers) -> None:
        """Send one peer what it wants; ends, with its stream, when nothing was wanted for a while."""
        stream = None
        try:
            while await answers.wait():
                message = await self._collect(answers)
                if message is None:
                    continue
                size = sum(len(block.data) for block in message.payload)
                while not self._shares.take(peer, trio.current_time(), size):  # noqa: ASYNC110 - only time fills it
                    await trio.sleep(SHARE_PAUSE_S)
                stream = await self._send(peer, stream, message)
                self.sent_bytes += size
        except (NetworkError, *BROKEN, trio.TooSlowError) as err:
            log.debug("bitswap answers ended", peer=peer, error=str(err))
        finally:
            if self._answers.get(peer) is answers:
                del self._answers[peer]
            if stream is not None:
                await close(stream)

    async def _send(self, peer: PeerId, stream: Any | None, message: Any) -> Any:
        """Send on the stream of the last answer, or on a new one: a peer that has restarted asks before we notice."""
        if stream is not None:
            try:
                await send(stream, message)
            except BROKEN:
                await close(stream)
            else:
                return stream
        stream = await self._open(peer)
        await send(stream, message)
        return stream

    async def _collect(self, answers: Answers) -> Any | None:
        message, size = Message(), 0
        while size < REPLY_BYTES and (want := answers.take()):
            name, have_only, say_no = want
            cid = with_version(name)
            if have_only:
                found = await self._source.holds(cid)
                if found or say_no:
                    message.blockPresences.add(cid=name, type=Message.Have if found else Message.DontHave)
                continue
            data = await self._source.read(cid)
            if data is not None:
                message.payload.add(prefix=prefix_of(name), data=data)
                size += len(data)
            elif say_no:
                message.blockPresences.add(cid=name, type=Message.DontHave)
        return message if message.payload or message.blockPresences else None

    def expect(self, asking: Asking, cid: bytes) -> None:
        """From now on a block with this CID is wanted."""
        self._asked.setdefault(cid, []).append(asking)

    def forget(self, asking: Asking, cid: bytes) -> None:
        """It is no longer wanted."""
        waiting = self._asked.get(cid)
        if waiting and asking in waiting:
            waiting.remove(asking)
            if not waiting:
                del self._asked[cid]


class Asking:
    """Wants of ours at one peer."""

    def __init__(self, peer: PeerId, bitswap: Bitswap, stream: Any) -> None:
        self.peer = peer
        self._bitswap = bitswap
        self._stream = stream
        self._wanted: set[bytes] = set()
        # Bounded by what we ask for: a block is taken once for each want.
        self.send, self._receive = trio.open_memory_channel[tuple[bytes, bytes | None]](MAX_WANTS)

    async def want(self, cids: Sequence[bytes]) -> None:
        """Ask for blocks; raises PeerUnreachable when the stream is gone."""
        message = Message()
        for cid in cids:
            message.wantlist.entries.add(block=cid, priority=1, sendDontHave=True, wantType=Message.Wantlist.Block)
            if cid not in self._wanted:
                self._wanted.add(cid)
                self._bitswap.expect(self, cid)
        try:
            await send(self._stream, message)
        except (*BROKEN, trio.TooSlowError) as err:
            raise PeerUnreachable(f"{self.peer} takes no more wants") from err

    async def next(self) -> tuple[bytes, bytes | None]:
        """The next block (CID and bytes, hashed and right) or the peer's word that it does not have it (None).

        Raises PeerUnreachable when the peer has gone.
        """
        try:
            return await self._receive.receive()
        except trio.EndOfChannel as err:
            raise PeerUnreachable(f"{self.peer} has gone") from err

    async def watch(self, scope: trio.CancelScope) -> None:
        """Nothing is ever said on our own stream: a read ends only when the peer or the connection does."""
        with scope:
            try:
                await self._stream.read(1)
            except BROKEN as err:
                log.debug("bitswap peer has gone", peer=self.peer, error=str(err))
            self.send.close()

    def hear(self, cid: bytes, data: bytes | None) -> None:
        """An answer has come; a second one to the same want is dropped."""
        if cid in self._wanted:
            self._wanted.discard(cid)
            self._bitswap.forget(self, cid)
            with suppress(trio.ClosedResourceError):  # the peer has gone meanwhile
                self.send.send_nowait((cid, data))

    def close(self) -> None:
        """Want nothing any more."""
        for cid in self._wanted:
            self._bitswap.forget(self, cid)
        self._wanted.clear()


@asynccontextmanager
async def serve_bitswap(network: Network, source: Source) -> AsyncIterator[Bitswap]:
    """Serve blocks to any peer and be able to ask for some."""
    async with trio.open_nursery() as nursery:
        yield Bitswap(network, source, nursery)
        nursery.cancel_scope.cancel()
