"""What follows from a ban: the peer is hung up on, kept away from and remembered, its address held to account."""

from __future__ import annotations

import time

import structlog
import trio

from node.network.errors import PeerBanned, Refuse
from node.network.guard.conduct import Ban, BanMemory, Conduct
from node.network.guard.turnstile import Turnstile
from node.network.links import Links
from node.network.options import NetworkOptions
from node.network.peers import OnEvent, PeerBook
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

HEARING_S = 3.0  # a banned peer that comes may say hello and is told why; then it goes


class Guard:
    """One per network; made before its host, which asks it at every connection and stream."""

    def __init__(self, bans: BanMemory, options: NetworkOptions, on_event: OnEvent) -> None:
        self.conduct = Conduct(bans, time.time)
        self.turnstile = Turnstile(options.max_per_address, options.local_leniency, trio.current_time)
        self._on_event = on_event
        self._to_part, self._parting = trio.open_memory_channel[tuple[PeerId, float]](1_024)
        self.conduct.on_ban = self._on_ban

    def check(self, peer: PeerId) -> None:
        """Raise PeerBanned for a peer that we keep away from."""
        ban = self.conduct.ban(peer)
        if ban is not None:
            raise PeerBanned(f"{peer} is {told(ban)}")

    def refuse(self, peer: PeerId) -> None:
        """Raise Refuse with the reason for a peer that is banned."""
        ban = self.conduct.ban(peer)
        if ban is not None:
            raise Refuse(f"you are {told(ban)}", "banned")

    def came(self, peer: PeerId) -> None:
        """A peer has connected; a banned one has come to be told so."""
        if self.conduct.ban(peer) is not None:
            self._part(peer, HEARING_S)

    async def run(self, links: Links, book: PeerBook) -> None:
        """Hang up on those who have to go, as one task."""

        async def part(peer: PeerId, wait_s: float) -> None:
            await trio.sleep(wait_s)
            if self.conduct.ban(peer) is not None:  # it may have been pardoned meanwhile
                await links.hang_up(peer)

        def hang_up(peer: PeerId) -> None:
            for host in set(links.hosts(peer)):
                self.turnstile.note(host)
            book.remove(peer)  # at once: it may be back before its connection has ended
            self._part(peer, 0)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.conduct.run, hang_up)
            async for peer, wait_s in self._parting:
                nursery.start_soon(part, peer, wait_s)

    def _part(self, peer: PeerId, wait_s: float) -> None:
        try:
            self._to_part.send_nowait((peer, wait_s))
        except trio.WouldBlock:  # a thousand wait already: this one is refused at every stream, and goes by itself
            log.warning("too many peers to hang up on", peer=peer)

    def _on_ban(self, ban: Ban) -> None:
        data = {"peer": ban.peer, "reason": ban.reason, "ends_at": ban.ends_at, "times": ban.times}
        self._on_event("peer.banned", data)


def told(ban: Ban) -> str:
    """A ban as people read it."""
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ban.ends_at))
    return f"banned until {until} for {ban.reason}"
