"""What is taken of a neighbour's gossip RPCs before the library sees it.

Bounds after GossipSub 1.1 (libp2p/specs, gossipsub-v1.1.md, "Spam Protection Measures") and for what the library takes
without any: topics of any length, control messages about topics that nobody here listens to (each of which it
remembers), the same message asked for any number of times in one breath, addresses to be dialled.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Any

import trio
from libp2p.pubsub.pb import rpc_pb2

from node.network.guard.allowance import Allowance
from node.network.guard.conduct import FLOOD, REPEATED, Conduct
from protocols.ids import PeerId

MAX_TOPIC_BYTES = 256
MAX_ID_BYTES = 128  # ours have 46: a peer id and eight bytes
TOPICS_PER_PEER = 2_048  # 512 domains; beyond that a node is told nothing of the rest
RETRANSMISSIONS = 3  # of one message to one neighbour that says it has lost it
REPEATS = 5  # from one neighbour: each way that a message may come twice is gone once
REMEMBERED = 16_384  # messages that came or went twice, over all neighbours
IDS_PER_S, IDS_BURST = 2_000.0, 20_000.0  # of "I have" and "I want": ten times what 20 messages/s take
CHANGES_PER_S, CHANGES_BURST = 50.0, 2.0 * TOPICS_PER_PEER  # of subscriptions, grafts and prunes
EACH = 0.05  # of a flood's points: one id, topic or message costs little, thousands do not


class Intake:
    """Filters the RPCs of all neighbours of one node."""

    def __init__(self, conduct: Conduct) -> None:
        self._conduct = conduct
        self._ids = Allowance(IDS_PER_S, IDS_BURST)
        self._changes = Allowance(CHANGES_PER_S, CHANGES_BURST)
        self._sent: OrderedDict[tuple[PeerId, bytes], int] = OrderedDict()
        self._came: OrderedDict[tuple[PeerId, bytes], int] = OrderedDict()

    def subscriptions(self, peer: PeerId, told: Collection[Any], held: int) -> list[Any]:
        """Those that are taken of what a neighbour with `held` subscriptions tells."""
        fitting = [one for one in told if _is_topic(one.topicid)]
        some = self._changes.take_some(peer, trio.current_time(), len(fitting))
        room = max(0, TOPICS_PER_PEER - held)
        taken = []
        for one in fitting[:some]:
            if one.subscribe:
                if not room:
                    continue
                room -= 1
            taken.append(one)
        self._charge(peer, len(told) - len(taken))
        return taken

    def control(self, peer: PeerId, told: Any, topics: Collection[str]) -> Any:
        """A control message with what is taken of another; `topics` are those that we listen to."""
        taken = rpc_pb2.ControlMessage()
        for ihave in told.ihave:
            ids = self._some(peer, dict.fromkeys(ihave.messageIDs))
            if ids and ihave.topicID in topics:
                taken.ihave.add(topicID=ihave.topicID, messageIDs=ids)
        wanted = self._some(peer, (name for iwant in told.iwant for name in iwant.messageIDs))
        if wanted := [name for name in dict.fromkeys(wanted) if self._again(peer, name)]:
            taken.iwant.add(messageIDs=wanted)
        unwanted = self._some(peer, (name for one in told.idontwant for name in one.messageIDs))
        if unwanted:
            taken.idontwant.add(messageIDs=unwanted)
        changes = self._changes.take_some(peer, trio.current_time(), len(told.graft) + len(told.prune))
        self._charge(peer, len(told.graft) + len(told.prune) - changes)
        for graft in [one for one in told.graft if one.topicID in topics][:changes]:
            taken.graft.add(topicID=graft.topicID)
        for prune in [one for one in told.prune if one.topicID in topics][:changes]:
            taken.prune.add(topicID=prune.topicID, backoff=prune.backoff)  # without its peers: we do not dial those
        return taken

    def came_again(self, peer: PeerId, name: bytes) -> None:
        """A neighbour hands on a message that we have; over `REPEATS` times it does so to harm."""
        if _count(self._came, (peer, name)) > REPEATS:
            self._conduct.blame(peer, REPEATED)

    def _again(self, peer: PeerId, name: bytes) -> bool:
        if _count(self._sent, (peer, name)) <= RETRANSMISSIONS:
            return True
        self._charge(peer, 1)
        return False

    def _some(self, peer: PeerId, names: Iterable[bytes]) -> list[bytes]:
        told = list(names)
        fitting = [name for name in told if len(name) <= MAX_ID_BYTES]
        some = self._ids.take_some(peer, trio.current_time(), len(fitting))
        self._charge(peer, len(told) - some)
        return fitting[:some]

    def _charge(self, peer: PeerId, count: int) -> None:
        if count > 0:
            self._conduct.blame(peer, FLOOD, EACH * count)


def _is_topic(name: str | bytes) -> bool:
    """A topic that is not UTF-8 comes out of the library as bytes."""
    return isinstance(name, str) and len(name.encode()) <= MAX_TOPIC_BYTES


def _count(seen: OrderedDict[tuple[PeerId, bytes], int], key: tuple[PeerId, bytes]) -> int:
    seen[key] = seen.pop(key, 0) + 1
    if len(seen) > REMEMBERED:
        seen.popitem(last=False)
    return seen[key]
