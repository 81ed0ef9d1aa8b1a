"""Where gossip is sent, and how: GossipSub's mesh, with each message encoded once and written with what waits.

What differs from py-libp2p 0.8.1, with its lines there, and why (measured by `python -m tests.bench.gossip`):

- `GossipSub.publish` (pubsub/gossipsub.py 972–1089): encodes and measures a message anew for every neighbour, signs
  each RPC's sender anew when its addresses changed, and remembers the time of every message for good.
- `GossipSub.emit_control_message`, `send_recent_messages` (2148–2164, 726–794): a signed record of the sender in each
  RPC, which every receiver checks, twice; addresses come with our own hello. The second one writes past the queue,
  into the middle of what the queue's task is writing.
- `Pubsub.handle_sending_messages`, `write_msg` (pubsub/pubsub.py 1250–1270, 1826–1864): a write for every RPC; and what
  they do not expect ends them without a word, while messages pile up for the neighbour.
- IDONTWANT (gossipsub.py 2166–2197) goes out when the message itself does, and to the same neighbours: too late to
  spare anything. Here it goes out at once, and the message a little later (`HOLD_S`). Of ten nodes on four cores each
  sends 1.5 to 3.5 copies of a 6.6 kB offer, the fewer the less the machine has to do, in place of 6 without it
  (`--steady --set '{"node.network.gossip.mesh.DONT_WANT_BYTES": 1000000}'`); it costs a sixth more CPU.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple

import structlog
import trio
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.utils.varint import encode_uvarint

log = structlog.get_logger(__name__)

WRITE_BYTES = 64 * 1024  # what waits for a neighbour is joined up to here: one write, few frames
FLOOD_PUBLISH = True  # see `Mesh`
# What others told is held back a little: who says by then that he has it need not get it from us. Longer when the
# author himself told us: he told all whom he is connected to, and handing on is for the others; once on its way.
HOLD_S, HOLD_DIRECT_S = 0.05, 0.25
TICK_S = 0.01
DONT_WANT_BYTES = 1_024  # at least so large, and we say at once that we have it; go-libp2p-pubsub's threshold


class Packed:
    """An RPC as it is written, made once for all to whom it goes."""

    __slots__ = ("frame",)

    def __init__(self, rpc: Any) -> None:
        data = rpc.SerializeToString()
        self.frame: bytes = encode_uvarint(len(data)) + data


class Sending(Pubsub):  # type: ignore[misc]
    """The outbound side of a router."""

    def __init__(self, *args: Any, **changes: Any) -> None:
        super().__init__(*args, **changes)
        self._opening: set[ID] = set()

    async def _handle_new_peer(self, peer_id: ID) -> None:
        """Open our stream to a neighbour, one at a time: of two the first would wait for ever for something to send."""
        if peer_id in self._opening:
            return
        self._opening.add(peer_id)
        try:
            await super()._handle_new_peer(peer_id)
        finally:
            self._opening.discard(peer_id)

    async def handle_sending_messages(self, peer_id: ID, stream: Any, queue: Any) -> None:
        """Write what waits for a neighbour; one that cannot be written to is lost, and greeted anew if still there."""
        try:
            while (rpc := await queue.pop()) is not None:
                await stream.write(_joined(rpc, queue))
        except Exception as err:  # whatever ends a stream, and it must not end in silence
            log.debug("gossip to a neighbour broke off", peer=str(peer_id), error=repr(err))
        if self.peers.get(peer_id) is stream:
            self._handle_dead_peer(peer_id)

    def give_up(self, peer: ID) -> None:
        """Hang up on a neighbour that does not take what it is told: it may come back, and catch up."""
        queue = self.peer_queues.get(peer)
        if queue is not None and not queue.closed:
            queue.close()
            log.info("a neighbour does not take what it is told, hanging up", peer=str(peer))
            self.manager.run_task(self.host.get_network().close_peer, peer)


def _joined(rpc: Any, queue: Any) -> bytes:
    frame = _frame(rpc)
    if not len(queue):
        return frame
    frames, size = [frame], len(frame)
    while size < WRITE_BYTES and (more := queue._queue.pop()) is not None:
        frames.append(_frame(more))
        size += len(frames[-1])
    return b"".join(frames)


def _frame(rpc: Any) -> bytes:
    packed: Packed = rpc if type(rpc) is Packed else Packed(rpc)
    return packed.frame


class Held(NamedTuple):
    """A message of others that waits to be handed on, and the neighbours that have it."""

    due: float
    message: Any
    holders: set[ID]


class Mesh(GossipSub):  # type: ignore[misc]
    """GossipSub that hands its own messages to all who listen, not to its mesh alone.

    Flood publishing, as GossipSub 1.1 (libp2p/specs) has it. A node that has just started has an empty mesh until its
    next heartbeat, and what it tells by then would reach nobody: its neighbours join the mesh instead of being gossiped
    to. It costs nothing: those who hear it from the author need it from nobody else. Ten nodes, 20 messages/s: 4.7 ms
    CPU and 3.4 copies a message and node with it, 5.9 ms and 4.8 without (`python -m tests.bench.gossip --steady --set
    '{"node.network.gossip.mesh.FLOOD_PUBLISH": false}'`, four cores, load 12 to 18).
    """

    def __init__(self, *args: Any, **changes: Any) -> None:
        super().__init__(*args, **changes)
        self._held: OrderedDict[bytes, Held] = OrderedDict()
        self._holding = trio.Event()
        self.sent = 0  # copies of messages, our own and others'
        self._dice = random.Random()  # noqa: S311 - spreads work, guards nothing

    async def run(self) -> None:
        self.manager.run_daemon_task(self._hand_on)
        await super().run()

    async def publish(self, msg_forwarder: ID, pubsub_msg: Any) -> None:
        """Send our own message, or hand on one that was found valid."""
        self.mcache.put(pubsub_msg)
        for topic in pubsub_msg.topicIDs:
            self.time_since_last_publish[topic] = int(time.time())
        name = self.pubsub.get_message_id(pubsub_msg)
        hold_s = HOLD_DIRECT_S if msg_forwarder == ID(pubsub_msg.from_id) else HOLD_S
        if msg_forwarder == self.pubsub.my_id or not hold_s:
            self._send(name, pubsub_msg, {msg_forwarder})
            return
        if len(pubsub_msg.data) >= DONT_WANT_BYTES:
            self._say_enough(name, pubsub_msg, msg_forwarder)
        due = trio.current_time() + self._dice.uniform(hold_s / 3, hold_s)
        self._held[name] = Held(due, pubsub_msg, {msg_forwarder})
        self._holding.set()

    def also_has(self, neighbour: ID, name: bytes) -> None:
        """A neighbour has handed us a message that we have already."""
        held = self._held.get(name)
        if held is not None:
            held.holders.add(neighbour)

    async def _hand_on(self) -> None:
        while True:
            await self._holding.wait()
            now = trio.current_time()
            for name, held in [(name, held) for name, held in self._held.items() if held.due <= now]:
                del self._held[name]
                self._send(name, held.message, held.holders)
            if not self._held:
                self._holding = trio.Event()
            else:
                await trio.sleep(TICK_S)

    def _send(self, name: bytes, message: Any, holders: set[ID]) -> None:
        packed = Packed(rpc_pb2.RPC(publish=[message]))
        for peer in set(self._get_peers_to_send(message.topicIDs, self.pubsub.my_id, ID(message.from_id), name)):
            if peer not in holders:
                self.sent += 1
                self._queue(peer, packed)

    def _say_enough(self, name: bytes, message: Any, forwarder: ID) -> None:
        """Tell the mesh that we have a message, before anybody sends it to us again (GossipSub 1.2)."""
        enough = rpc_pb2.ControlIDontWant(messageIDs=[name])
        packed = Packed(rpc_pb2.RPC(control=rpc_pb2.ControlMessage(idontwant=[enough])))
        for peer in self.mesh.get(message.topicIDs[0], set()) - {forwarder, ID(message.from_id)}:
            self._queue(peer, packed)

    async def send_recent_messages(self, peer_id: ID, topic: str) -> None:
        """What was told in the last seconds, for one who has just joined."""
        for name in self.mcache.window(topic):
            message = self.mcache.get(name)
            if message is not None:
                self._queue(peer_id, Packed(rpc_pb2.RPC(publish=[message])))

    async def emit_control_message(self, control_msg: Any, to_peer: ID) -> None:
        self.send_rpc(to_peer, rpc_pb2.RPC(control=control_msg), priority=True)

    def _queue(self, peer: ID, packed: Packed) -> None:
        queue = self.pubsub.peer_queues.get(peer)
        if queue is not None and not queue.closed and not queue.push(packed):
            self.pubsub.give_up(peer)

    def _get_peers_to_send(
        self, topic_ids: Iterable[str], msg_forwarder: ID, origin: ID, msg_id: bytes | None = None
    ) -> Iterable[ID]:
        topics = list(topic_ids)
        chosen = set(super()._get_peers_to_send(topics, msg_forwarder, origin, msg_id))
        if origin == self.pubsub.my_id and FLOOD_PUBLISH:
            listeners = {peer for topic in topics for peer in self.pubsub.peer_topics.get(topic, ())}
            chosen |= listeners & self.peer_protocol.keys()
        return chosen - {msg_forwarder, origin}
