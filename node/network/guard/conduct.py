"""What every peer has cost us, and who is refused for it.

Each fault has its points. Points halve every nine minutes, and whoever has `LIMIT` of them is disconnected, not dialled
and refused, with the reason, until his ban ends. That is the behaviour of GossipSub 1.1's peer score (libp2p/specs,
gossipsub-v1.1.md, "Peer Scoring": P4, P7 and the graylist threshold), here for all that a peer does and not only for
its gossip. The half-life is that of GossipSub's implementations in the field, where an invalid message is down to a
hundredth after an hour (ScoreParameterDecay(1 h) in Lotus: 3,600 s / log2(100) = 542 s).

A fault is what nobody does who runs this program as it is: an honest neighbour does not hand on a false signature. What
only we can know, or what bad luck brings about (a duplicate, an expired offer, a slow line), is none. The first ban
takes a quarter of an hour, every further one twice as long as the one before, up to a day; who gave no reason for a
week begins anew. Peers that the operator named (bootstrap, `peers.add`) are banned like others: a connection to one
that sends garbage helps nobody, and who could take over a bootstrap node must not have a licence to flood. They are
waited for and dialled again when the ban is over, and `peers.add` lifts a ban, for the operator knows better.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec
import structlog
import trio

from protocols.ids import PeerId

log = structlog.get_logger(__name__)

LIMIT = 100.0  # points
HALF_LIFE_S = 540.0
FIRST_BAN_S = 15 * 60
LONGEST_BAN_S = 24 * 3_600
CLEAN_AFTER_S = 7 * 24 * 3_600  # after a ban's end: the next one is a first one again
KNOWN = 4_096  # peers with points, and as many with a ban; the oldest are forgotten first


class Fault(NamedTuple):
    """Something that costs us time, in points, and its name for the operator."""

    points: float
    what: str


FORGED = Fault(25, "gossip with a false signature")
INVALID = Fault(10, "gossip that every honest node refuses")
REPEATED = Fault(1, "the same gossip again and again")
MALFORMED = Fault(20, "messages that cannot be read")
OVERSIZE = Fault(20, "frames over the bound")
FALSE = Fault(25, "content that is not what was asked for")
STALLED = Fault(5, "requests begun and not finished")
SILENT = Fault(1, "streams opened for nothing")
FLOOD = Fault(0.5, "more than its share")
RECONNECTED = Fault(5, "connecting over and over")


class Ban(msgspec.Struct, frozen=True):
    """A peer that is refused from `banned_at` to `ends_at` (UTC seconds); `times` counts its bans."""

    peer: PeerId
    reason: str
    banned_at: int
    ends_at: int
    times: int


class BanMemory(Protocol):
    """Where bans are remembered over restarts; `node.journal.bans` is one."""

    async def remember(self, ban: Ban) -> None: ...

    async def forget(self, peer: PeerId) -> None: ...

    async def all(self) -> Sequence[tuple[PeerId, str, int, int, int]]:
        """Peer, reason, beginning, end, times; the latest at the end."""


class NoBans:
    """Forgets at the end of the process."""

    async def remember(self, ban: Ban) -> None:
        return None

    async def forget(self, peer: PeerId) -> None:
        return None

    async def all(self) -> Sequence[tuple[PeerId, str, int, int, int]]:
        return []


class Score:
    """Points that decay; one per peer, or per address."""

    __slots__ = ("_at", "_points", "worst")

    def __init__(self, now: float) -> None:
        self._points = 0.0
        self._at = now
        self.worst: dict[str, float] = {}  # what the points were for

    def points(self, now: float) -> float:
        return float(self._points * 0.5 ** (max(0.0, now - self._at) / HALF_LIFE_S))

    def add(self, fault: Fault, times: float, now: float) -> float:
        """Charge a fault; the points now."""
        self._points = self.points(now) + fault.points * times
        self._at = now
        self.worst[fault.what] = self.worst.get(fault.what, 0.0) + fault.points * times
        return self._points


class Conduct:
    """Keeps the scores and the bans of one node. `blame` never waits; `run` does what follows from it."""

    def __init__(self, memory: BanMemory, clock: Callable[[], float]) -> None:
        self._memory = memory
        self._clock = clock
        self._scores: OrderedDict[PeerId, Score] = OrderedDict()
        self._bans: OrderedDict[PeerId, Ban] = OrderedDict()
        self._fresh: dict[PeerId, Ban] = {}  # not yet acted upon
        self._woken = trio.Event()
        self.on_ban: Callable[[Ban], None] = lambda _ban: None

    async def load(self) -> None:
        """Take up the bans of earlier runs."""
        for entry in (await self._memory.all())[-KNOWN:]:
            self._bans[entry[0]] = Ban(*entry)

    def blame(self, peer: PeerId, fault: Fault, times: float = 1.0) -> None:
        """Charge a peer; at `LIMIT` it is banned."""
        now = self._clock()
        if self._standing(peer, now):
            return
        score = self._scores.get(peer)
        if score is None:
            score = self._scores[peer] = Score(now)
        self._scores.move_to_end(peer)
        if len(self._scores) > KNOWN:
            self._scores.popitem(last=False)
        if score.add(fault, times, now) >= LIMIT:
            self._ban(peer, max(score.worst, key=lambda what: score.worst[what]), now)

    def score(self, peer: PeerId) -> int:
        """0 for who has given no trouble, down to -100."""
        known = self._scores.get(peer)
        if self.ban(peer):
            return -round(LIMIT)
        return -round(known.points(self._clock())) if known else 0

    def ban(self, peer: PeerId) -> Ban | None:
        """The ban that stands against a peer now."""
        return self._standing(peer, self._clock())

    def bans(self) -> list[Ban]:
        """Those that stand, the latest at the end."""
        now = self._clock()
        return [ban for ban in self._bans.values() if ban.ends_at > now]

    async def pardon(self, peer: PeerId) -> bool:
        """Lift a ban and forget all points; whether there was a ban."""
        self._scores.pop(peer, None)
        self._fresh.pop(peer, None)
        stood = self.ban(peer) is not None
        if self._bans.pop(peer, None) is not None:
            await self._memory.forget(peer)
        return stood

    async def run(self, hang_up: Callable[[PeerId], object]) -> None:
        """Remember new bans and call `hang_up` for each; run as one task."""
        while True:
            while self._fresh:
                peer, ban = self._fresh.popitem()
                hang_up(peer)
                await self._memory.remember(ban)
            self._woken = trio.Event()
            await self._woken.wait()

    def _standing(self, peer: PeerId, now: float) -> Ban | None:
        ban = self._bans.get(peer)
        return ban if ban is not None and ban.ends_at > now else None

    def _ban(self, peer: PeerId, reason: str, now: float) -> None:
        last = self._bans.pop(peer, None)
        times = last.times + 1 if last and now < last.ends_at + CLEAN_AFTER_S else 1
        ban = self._bans[peer] = self._fresh[peer] = Ban(peer, reason, int(now), int(now + ban_s(times)), times)
        if len(self._bans) > KNOWN:
            self._bans.popitem(last=False)
        self._scores.pop(peer, None)
        log.warning("peer banned", peer=peer, reason=reason, minutes=round(ban_s(times) / 60), times=times)
        self.on_ban(ban)
        self._woken.set()


def ban_s(times: int) -> float:
    """How long the `times`-th ban of a peer takes."""
    return float(min(LONGEST_BAN_S, FIRST_BAN_S * 2 ** min(times - 1, 10)))
