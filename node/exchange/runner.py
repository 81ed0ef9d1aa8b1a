"""Drives one sans-I/O machine: steps it under a lock, journals every state before acting on it, runs its actions.

What the machine wants done (`protocols/exchange/machine.py`) is carried out by `Actor`s of the buyer and the seller,
each in a task of its own, and comes back as an event. An action that is running already is not started again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import structlog
import trio

from contracts.errors import ChainError, Reverted
from node.identity.errors import WalletLocked
from node.wallet.errors import FeesTooHigh, InsufficientFunds, SendRefused, SpendLimit, WalletError
from protocols.exchange import machine
from protocols.exchange.events import Call, Clock, Failed

log = structlog.get_logger(__name__)

S = TypeVar("S", machine.BuyerState, machine.SellerState)
NEVER_SENT = (Reverted, InsufficientFunds, FeesTooHigh, SendRefused, SpendLimit)

Spawn = Callable[..., None]  # starts a task, unless the service is stopping: then a restart resumes what was left
Perform = Callable[[Any], Awaitable[Any]]  # an action -> the event that it led to, or None


class Runner(Generic[S]):
    """One deal in memory."""

    def __init__(
        self,
        state: S,
        *,
        save: Callable[[S], Awaitable[None]],
        perform: Perform,
        clock: Callable[[], Clock],
        spawn: Spawn,
    ) -> None:
        self.state: S = state
        self._save: Callable[[S], Awaitable[None]] = save
        self._perform = perform
        self._clock = clock
        self._spawn = spawn
        self._lock = trio.Lock()
        self._running: list[Any] = []
        self.changed = trio.Event()

    @property
    def over(self) -> bool:
        """Whether nothing can follow."""
        return machine.ended(self.state)

    async def feed(self, event: Any) -> list[Any]:
        """Tell the machine something; returns what it newly wants done, which is under way when this returns."""
        async with self._lock:
            after, actions = machine.step(self.state, event, self._clock())
            if after != self.state:
                await self._save(after)
                self.state = after
                self.changed.set()
                self.changed = trio.Event()
        self._start(actions)
        return actions

    def resume(self) -> None:
        """Start everything the present state wants done: after a restart, or when the wallet was unlocked."""
        self._start(machine.resume(self.state))

    def _start(self, actions: list[Any]) -> None:
        for action in actions:
            if action not in self._running:
                self._running.append(action)
                self._spawn(self._act, action)

    async def _act(self, action: Any) -> None:
        try:
            event = await self._perform(action)
        finally:
            self._running.remove(action)
        if event is not None:
            await self.feed(event)


async def attempt(call: Call, send: Callable[[], Awaitable[object]]) -> Failed | None:
    """Send a transaction; None when it is mined (the contract's log then moves the machine on).

    A locked wallet is no outcome: after a restart it is the normal state, and the call goes out with the unlock.
    """
    try:
        await send()
    except WalletLocked as err:
        log.info("a call waits for the wallet", call=call)
        return Failed(call, str(err), certain=False)
    except NEVER_SENT as err:
        log.warning("a call was not carried out", call=call, kind=err.kind, reason=str(err))
        return Failed(call, str(err), certain=True)
    except (ChainError, WalletError) as err:
        log.warning("a call is still open", call=call, kind=err.kind, reason=str(err))
        return Failed(call, str(err), certain=False)
    return None
