"""Publish and subscribe by GossipSub 1.2, made loss-free at the rates we use and safe against hostile messages.

What differs from py-libp2p's defaults, and why, stands at `make_gossip`, `Mesh` and `Router`. Policy on overflow: a
subscriber that does not keep up loses the *newest* messages (they are counted in `dropped` and can be had again by
catalogue sync); a publisher waits for room in the queues to its peers, and a peer that makes none is disconnected, so
that it reads on from where it stood when it is back.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
import trio
from google.protobuf.message import DecodeError
from libp2p.custom_types import TProtocol
from libp2p.exceptions import ParseError
from libp2p.io.exceptions import IOException
from libp2p.io.exceptions import MessageTooLarge as FrameTooLarge
from libp2p.network.connection.exceptions import RawConnError
from libp2p.peer.id import ID
from libp2p.pubsub import rpc_queue
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import ValidationError
from libp2p.pubsub.utils import maybe_consume_signed_record
from libp2p.pubsub.validators import signature_validator

from node.network.addresses import to_id
from node.network.errors import MessageTooLarge
from node.network.gossip.frames import Frames
from node.network.gossip.mesh import Mesh, Sending
from node.network.gossip.rpcs import TOPICS_PER_PEER, Intake
from node.network.guard.allowance import Allowance
from node.network.guard.conduct import FLOOD, FORGED, INVALID, MALFORMED, OVERSIZE, Conduct
from protocols.errors import ProtocolError, RuleBroken
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

MAX_MESSAGE_BYTES = 64 * 1024  # gossip carries references and small items; a mesh of 6 sends each byte 6 times
MAX_RPC_BYTES = 512 * 1024  # a control message beside a few publications
QUEUE = 4_096  # RPCs waiting for one peer; upstream: 32, and what does not fit is dropped silently
QUEUE_FULL = QUEUE // 2  # a publisher waits above this, so that there is room for what others told
ROOM_S = 10.0
REJOIN_S = 0.5
BUFFER = 1_024  # messages waiting for one subscriber
RATE = 200.0  # messages a second that one neighbour may hand us, over all topics: of its own, and as many of others
BURST = 2_000.0
CHECK_S = 5.0

Check = Callable[[PeerId, bytes], "bool | Awaitable[bool]"]


class Message(msgspec.Struct, frozen=True):
    """A message as its author signed it; `peer` is the author, not the neighbour who handed it on."""

    topic: str
    peer: PeerId
    data: bytes


class Queues(dict[ID, rpc_queue.RpcQueue]):
    """The queue to each neighbour; one that takes another's place ends it.

    Upstream looks whether there is a stream, waits for a new one, and then registers it (pubsub/pubsub.py
    `_handle_new_peer`): when two do so at the same time, the sender of the first one's queue waits for ever.
    """

    def __setitem__(self, neighbour: ID, queue: rpc_queue.RpcQueue) -> None:
        earlier = self.get(neighbour)
        if earlier is not None and earlier is not queue:
            earlier.close()
        super().__setitem__(neighbour, queue)


class Router(Sending):
    """Pubsub whose every inbound path is bounded, checked cheapest first, and unable to end the process."""

    def __init__(self, host: Any, gossipsub: GossipSub, conduct: Conduct) -> None:
        super().__init__(
            host,
            gossipsub,
            strict_signing=True,
            max_subscriptions_per_rpc=TOPICS_PER_PEER,
            max_subscriptions_per_peer=TOPICS_PER_PEER,
            max_inbound_rpc_size=MAX_RPC_BYTES,
            validation_timeout=CHECK_S,
        )
        # Upstream starts at the seconds of the clock: after a burst and a restart the numbers would repeat, and peers
        # would take new messages for old ones.
        self.counter = time.time_ns()
        self.sinks: dict[str, trio.MemorySendChannel[Message]] = {}
        self.conduct = conduct
        self.dropped = 0
        self.refused = 0
        self._intake = Intake(conduct)
        self._handed_on, self._own = Allowance(RATE, BURST), Allowance(RATE, BURST)
        self._checking: set[bytes] = set()
        self.peer_queues = Queues()
        self._records: dict[ID, bytes] = {}  # the last signed record of each neighbour: every RPC brings it again

    def notify_subscriptions(self, publish_message: Any) -> None:
        """Hand a valid message of somebody else to the subscriber of its topic."""
        if publish_message.from_id == self.my_id.to_bytes():
            return
        topic = publish_message.topicIDs[0]
        sink = self.sinks.get(topic)
        if sink is None:
            return
        author = PeerId(str(ID(publish_message.from_id)))
        try:
            sink.send_nowait(Message(topic, author, publish_message.data))
        except trio.WouldBlock:
            self.dropped += 1
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            del self.sinks[topic]

    def is_peer_blacklisted(self, peer_id: ID) -> bool:
        """Whether the library shall not speak with a peer."""
        return self.conduct.ban(PeerId(str(peer_id))) is not None

    async def push_msg(self, msg_forwarder: ID, msg: Any) -> None:
        """Every message, our own and others', comes through here.

        Stands for upstream's (pubsub/pubsub.py 1704–1795), which does not say why it refuses.
        """
        name = self._msg_id_constructor(msg)
        if name in self._checking or self.seen_messages.has(name):  # in the first case its check awaits
            return
        self._checking.add(name)
        try:
            if msg_forwarder == self.my_id or await self._is_valid(msg_forwarder, msg):
                self.seen_messages.add(name)
                self.notify_subscriptions(msg)
                await self.router.publish(msg_forwarder, msg)
            else:
                self.refused += 1
        except Exception as err:  # a hostile message must not end the service
            self.refused += 1
            log.debug("gossip message refused", peer=str(msg_forwarder), error=repr(err))
        finally:
            self._checking.discard(name)

    async def _is_valid(self, neighbour: ID, msg: Any) -> bool:
        if msg.from_id == self.my_id.to_bytes():  # what we have told long ago comes back
            return False
        if not _is_signed(msg):
            self.conduct.blame(PeerId(str(neighbour)), FORGED)
            return False
        try:
            await self.validate_msg(neighbour, msg)
        except ValidationError:
            return False
        return True

    def _acceptable(self, neighbour: ID, peer: PeerId, msg: Any) -> bool:
        """Whether a neighbour's message is worth a look; what is checked here costs next to nothing."""
        fits = (
            len(msg.topicIDs) == 1
            and msg.topicIDs[0] in self.sinks
            and len(msg.data) <= MAX_MESSAGE_BYTES
            and len(msg.seqno) == 8
            and 0 < len(msg.from_id) <= 64
            and len(self._checking) < QUEUE
        )
        if not fits:
            return False
        name = neighbour.to_bytes()
        if msg.from_id != name:  # who hands on what others flood is not to blame, and his own words are heard as ever
            return self._handed_on.take(name, trio.current_time())
        if self._own.take(name, trio.current_time()):
            return True
        self.conduct.blame(peer, FLOOD)
        return False

    async def stream_handler(self, stream: Any) -> None:
        """Read one neighbour's messages until it goes, or says what no neighbour says."""
        neighbour = stream.muxed_conn.peer_id
        peer = PeerId(str(neighbour))
        try:
            await self.continuously_read_stream(stream)
        except (FrameTooLarge, ParseError, DecodeError) as err:
            self.conduct.blame(peer, OVERSIZE if isinstance(err, FrameTooLarge) else MALFORMED)
            self._handle_dead_peer(neighbour)
            raise
        except (IOException, RawConnError) as err:
            log.debug("a neighbour has gone", peer=peer, error=repr(err))
        finally:
            self._records.pop(neighbour, None)
        self._lose(stream.muxed_conn)

    async def continuously_read_stream(self, stream: Any) -> None:
        """Stands for upstream's (pubsub/pubsub.py 560–668), which takes whatever an RPC holds and never says whose."""
        neighbour = stream.muxed_conn.peer_id
        peer = PeerId(str(neighbour))
        frames = Frames(stream, MAX_RPC_BYTES)
        while self.manager.is_running:
            rpc = rpc_pb2.RPC()
            rpc.ParseFromString(await frames.next())
            if self._record_holds(neighbour, rpc):
                await self._hear(neighbour, peer, rpc)

    async def _hear(self, neighbour: ID, peer: PeerId, rpc: Any) -> None:
        for msg in rpc.publish:
            name = self._msg_id_constructor(msg)
            if self.seen_messages.has(name):
                self._intake.came_again(peer, name)
                self.router.also_has(neighbour, name)
            elif self._acceptable(neighbour, peer, msg):
                self.manager.run_task(self.push_msg, neighbour, msg)
            else:
                self.refused += 1
        held = self._peer_subscription_count.get(neighbour, 0)
        for one in self._intake.subscriptions(peer, rpc.subscriptions, held):
            self.handle_subscription(neighbour, one)
            await trio.lowlevel.checkpoint()  # each starts three tasks of the library: a thousand take seconds
        if rpc.HasField("control"):
            control = self._intake.control(peer, rpc.control, self.sinks)
            await self.router.handle_rpc(rpc_pb2.RPC(control=control), neighbour)

    def _record_holds(self, neighbour: ID, rpc: Any) -> bool:
        if not rpc.senderRecord or self._records.get(neighbour) == rpc.senderRecord:
            return True
        holds = maybe_consume_signed_record(rpc, self.host, neighbour)
        if holds:
            self._records[neighbour] = rpc.senderRecord
        return bool(holds)

    def rejoin(self, neighbour: ID) -> None:
        """One of several connections to a neighbour has ended, perhaps the one on which we tell it things."""
        self.manager.run_task(self._rejoin, neighbour)

    async def _rejoin(self, neighbour: ID) -> None:
        await trio.sleep(REJOIN_S)  # until the end of the old stream has been noticed
        if neighbour not in self.peers:
            await self._handle_new_peer_with_retry(neighbour)

    def _handle_dead_peer(self, peer_id: ID) -> None:
        super()._handle_dead_peer(peer_id)
        for waiting in self.router.back_off.values():  # kept for ever, of everybody who has ever come by
            waiting.pop(peer_id, None)

    def _lose(self, connection: Any) -> None:
        """Forget the stream we have to a neighbour who has gone.

        Upstream does so only if the neighbour is not back when it looks. Who restarts quickly would never be told again
        what we listen to, and gossip between the two would be silent for good.
        """
        ours = self.peers.get(connection.peer_id)
        if ours is not None and (ours.muxed_conn is connection or ours.muxed_conn.is_closed):
            self._handle_dead_peer(connection.peer_id)


def make_gossip(host: Any, conduct: Conduct) -> tuple[Router, GossipSub]:
    """A router and its mesh, not running yet."""
    _widen_queues()
    mesh = Mesh(
        [TProtocol("/meshsub/1.2.0"), TProtocol("/meshsub/1.1.0")],
        degree=6,
        degree_low=4,
        degree_high=8,
        heartbeat_interval=1,  # upstream: 120 s, which is how long a node would wait to join a mesh
        heartbeat_initial_delay=0.3,
        gossip_window=5,
        gossip_history=10,  # seconds in which a lost message can be asked for again
        adaptive_gossip_enabled=False,  # "adapting" sets the heartbeat to 30 s when a network is small
        spam_protection_enabled=False,  # 10 a second and forwarder; hits honest neighbours. Ours: RATE
        eclipse_protection_enabled=False,  # counts distinct IPs, of which a local network has one
        unsubscribe_back_off=2,
    )
    return Router(host, mesh, conduct), mesh


def _widen_queues() -> None:
    # the default argument is bound in the class, so the module's constant alone would not do
    rpc_queue.RpcQueue.__init__.__defaults__ = (QUEUE, MAX_RPC_BYTES)


class Gossip:
    """What the node uses: `publish` and `subscribe`."""

    def __init__(self, router: Router) -> None:
        self._router = router

    @property
    def dropped(self) -> int:
        """Messages that a subscriber was too slow for."""
        return self._router.dropped

    @property
    def refused(self) -> int:
        """Messages that failed a bound, a signature or a check."""
        return self._router.refused

    def listeners(self, topic: str) -> int:
        """How many connected peers subscribe to the topic."""
        return len(self._router.peer_topics.get(topic, ()))

    def listens(self, peer: PeerId, topic: str) -> bool:
        """Whether a connected peer subscribes to the topic, which need not be one of ours."""
        return to_id(peer) in self._router.peer_topics.get(topic, ())

    def topics(self) -> list[str]:
        """What we listen to."""
        return list(self._router.sinks)

    def lonely(self, enough: int) -> list[str]:
        """Our topics with fewer than `enough` listeners beside us."""
        return [topic for topic in self._router.sinks if self.listeners(topic) < enough]

    def rejoin(self, peer: PeerId) -> None:
        """A connection to a peer has ended, and another stands: gossip goes on over that one."""
        self._router.rejoin(to_id(peer))

    async def publish(self, topic: str, data: bytes) -> int:
        """Sign and send; returns how many connected peers listen to the topic (0 is no error: they may join).

        Raises MessageTooLarge. Waits while a neighbour is behind, for `ROOM_S`; then it is disconnected.
        """
        if len(data) > MAX_MESSAGE_BYTES:
            raise MessageTooLarge(f"{len(data)} bytes on {topic}, the limit is {MAX_MESSAGE_BYTES}")
        await self._room(topic)
        await self._router.publish(topic, data)
        return self.listeners(topic)

    async def _room(self, topic: str) -> None:
        """Wait until all have taken most of what waits for them; who does not is left to catch up by himself."""
        with trio.move_on_after(ROOM_S):
            while self._behind(topic):  # noqa: ASYNC110 - the queues are the library's and have no event
                await trio.sleep(0.01)
        for peer in self._behind(topic):
            self._router.give_up(peer)

    def _behind(self, topic: str) -> list[ID]:
        queues = self._router.peer_queues
        return [p for p in self._router.peer_topics.get(topic, ()) if p in queues and len(queues[p]) > QUEUE_FULL]

    async def subscribe(self, topic: str, check: Check, buffer: int = BUFFER) -> trio.MemoryReceiveChannel[Message]:
        """Join a topic. `check(author, data)` decides before a message is delivered or handed on; cheap tests first.

        False: it goes no further, and nobody is to blame (it may be late, or only we cannot use it). A ProtocolError
        other than RuleBroken: every honest node refuses it, and the neighbour who handed it on loses score.
        Messages of our own are not delivered. Raises ValueError for a topic that is already subscribed.
        """
        if topic in self._router.sinks:
            raise ValueError(f"{topic} is subscribed already")
        send, receive = trio.open_memory_channel[Message](buffer)
        self._router.sinks[topic] = send
        self._router.set_topic_validator(topic, _validator(check, self._router.conduct), True)
        await self._router.subscribe(topic)
        return receive

    async def unsubscribe(self, topic: str) -> None:
        """Leave a topic; its channel ends."""
        sink = self._router.sinks.pop(topic, None)
        if sink is not None:
            sink.close()
        self._router.remove_topic_validator(topic)
        await self._router.unsubscribe(topic)


def _validator(check: Check, conduct: Conduct) -> Callable[[ID, Any], Awaitable[bool]]:
    async def validate(neighbour: ID, msg: Any) -> bool:
        author = PeerId(str(ID(msg.from_id)))
        try:
            verdict = check(author, msg.data)
            return bool(await verdict) if inspect.isawaitable(verdict) else bool(verdict)
        except Exception as err:  # a check that stumbles over a message has refused it
            log.debug("gossip check failed", topic=msg.topicIDs[0], peer=author, error=repr(err))
            if isinstance(err, ProtocolError) and not isinstance(err, RuleBroken):
                conduct.blame(PeerId(str(neighbour)), INVALID)
            return False

    return validate


def _is_signed(msg: Any) -> bool:
    try:
        return bool(signature_validator(msg))
    except Exception as err:  # a key that is none, raised as whatever the library's parser stumbles over
        log.debug("a key that cannot be read", error=repr(err))
        return False
