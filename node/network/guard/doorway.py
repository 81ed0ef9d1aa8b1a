"""Inbound connections until they have shown who they are.

Upstream a socket that connects and says nothing holds one of the host's places until a time-out, and a connection that
has ended holds one for ever (network/swarm.py 1981–1999, 2058–2060). Here those who have not finished the handshake
wait in a doorway of their own; when it is full the one that has waited longest goes, so that silent ones cannot keep
out one that speaks.
"""

from __future__ import annotations

from typing import Any

import structlog
import trio

from node.network.guard.allowance import Allowance
from node.network.private import OTHER_KEY, OtherKey

log = structlog.get_logger(__name__)

PLACES = 64  # an honest handshake takes three round trips: under a second
UPGRADE_S = 8.0
COMPLAINTS = 1 / 60, 5.0  # a scanner must not fill the log


class ConnectionEnded(Exception):
    """Takes the handler of an inbound connection out of the library's wait for the end of the process."""


class Doorway:
    """Stands before one host's `upgrade_inbound_raw_conn`."""

    def __init__(self, swarm: Any, limit: int) -> None:
        self._upgrade = swarm.upgrade_inbound_raw_conn
        self._waiting: dict[trio.CancelScope, None] = {}
        self._complaints = Allowance(*COMPLAINTS)
        swarm.upgrade_inbound_raw_conn = self.enter
        # The library counts also those who wait here; `limit` itself it checks again when a connection is complete.
        swarm._inbound_limiter = trio.CapacityLimiter(limit + 2 * PLACES)

    async def enter(self, raw: Any, address: Any) -> None:
        """Upgrade a connection and stay for its life. Raises ConnectionEnded, or what the library raises."""
        muxed = None
        with trio.CancelScope() as scope:
            if len(self._waiting) >= PLACES:
                next(iter(self._waiting)).cancel()
            self._waiting[scope] = None
            try:
                muxed = await self._upgrade(raw, address)
            except Exception as err:
                self._complain(err, raw)
                raise
            finally:
                self._waiting.pop(scope, None)
        if muxed is not None:
            await muxed.event_closed.wait()
        raise ConnectionEnded

    def _complain(self, err: BaseException, raw: Any) -> None:
        cause: BaseException | None = err
        while cause is not None and not isinstance(cause, OtherKey):
            cause = cause.__cause__
        if cause and self._complaints.take(b"", trio.current_time()):
            log.warning("inbound connection refused", reason=OTHER_KEY, address=raw.get_remote_address())
