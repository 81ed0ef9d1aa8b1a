"""Where connections of others come in: by the address before their first byte, by the peer when it has shown who it is.

Streams are at the `border`; how long a connection may take to show who it is, the `doorway` knows.
"""

from __future__ import annotations

from typing import Any

import structlog
import trio
from libp2p.network.exceptions import SwarmException

from node.network.guard.allowance import Allowance
from node.network.guard.border import CLOSE_S
from node.network.guard.conduct import RECONNECTED, Conduct
from node.network.guard.turnstile import Refused, Turnstile
from node.network.substrate.substrate import shielded
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

CONNECTS_PER_S, CONNECT_BURST = 0.2, 30.0  # of one peer; a node that restarts needs one
HEARINGS_PER_S, HEARINGS_BURST = 1 / 60, 3.0  # connections of a banned peer: it comes in as far as to be told why


class Gate:
    """Stands before one swarm."""

    def __init__(self, swarm: Any, conduct: Conduct, turnstile: Turnstile) -> None:
        self._conduct = conduct
        self._turnstile = turnstile
        self._connects = Allowance(CONNECTS_PER_S, CONNECT_BURST)
        self._hearings = Allowance(HEARINGS_PER_S, HEARINGS_BURST)
        self._take_in = swarm._handle_inbound_connection
        self._add = swarm.add_conn
        swarm._handle_inbound_connection = self.enter
        self._connections = swarm.get_connections
        swarm.add_conn = self.add
        swarm.close_peer = self.close

    async def enter(self, raw: Any, address: Any) -> None:
        """Take a connection in, and stay for its life."""
        remote = raw.get_remote_address()
        try:
            with self._turnstile.enter(str(remote[0]) if remote else ""):
                await self._take_in(raw, address)
        except Refused as err:
            log.debug("connection refused", reason=str(err))
            with shielded(CLOSE_S):
                await raw.close()

    async def add(self, muxed: Any, direction: str = "unknown") -> Any:
        """Begin to speak with a peer that is known now, or close. Raises SwarmException."""
        reason = self._why_not(PeerId(str(muxed.peer_id)), direction)
        if not reason:
            return await self._add(muxed, direction)
        scope = getattr(muxed, "_resource_scope", None)
        if scope is not None:  # only a connection that was added gives it back at its end
            scope.close()
        with shielded(CLOSE_S):
            await muxed.close()
        raise SwarmException(reason)

    async def close(self, peer: Any) -> None:
        """Close all connections to a peer.

        Upstream's (network/swarm.py 2341–2371) forgets, at its end, also one that has come meanwhile: it would live on,
        unknown to everybody.
        """
        async with trio.open_nursery() as nursery:
            for connection in self._connections(peer):
                nursery.start_soon(_end, connection)

    def _why_not(self, peer: PeerId, direction: str) -> str:
        inbound, now = direction == "inbound", trio.current_time()
        if self._conduct.ban(peer) and not (inbound and self._hearings.take(peer, now)):
            return f"{peer} is banned"
        if inbound and not self._connects.take(peer, now):
            self._conduct.blame(peer, RECONNECTED)
            return f"{peer} connects too often"
        return ""


async def _end(connection: Any) -> None:
    try:
        await connection.close()
    except Exception as err:  # as upstream has it: whatever goes wrong in parting, the others are parted with too
        log.debug("a connection ended badly", error=repr(err))
