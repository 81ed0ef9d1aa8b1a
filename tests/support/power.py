"""Power cuts inside a process: at the n-th line of the journal or the n-th transaction sent, right before or after it.

    power = Power(cut=None)                 # counts
    with power.over(purse): …               # every journal line and every sent transaction is a step
    Power(cut=Cut(3, before=True))          # the same run dies at its fourth step

After the cut nothing gets out any more, neither to the disk nor to the chain, whatever `finally` clauses try: what is
left behind is what SIGKILL would have left. The steps are found by running, so that a new one cannot be forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
import trio

from tests.support.money import Purse

T = TypeVar("T")


class PowerCut(BaseException):
    """Not an Exception: nobody may handle it."""


class Cut(msgspec.Struct, frozen=True):
    """Which step, counted from 0; right before it or right after."""

    step: int
    before: bool


class Power:
    """`steps` names every step of the run so far; with a cut it dies there."""

    def __init__(self, cut: Cut | None = None) -> None:
        self.cut = cut
        self.steps: list[str] = []
        self.off = False

    @contextmanager
    def over(self, purse: Purse) -> Iterator[None]:
        """Count, and cut, what this purse's journal and endpoint do."""
        journal, rpc = purse.journal, purse.chain.rpc
        write, call, batch = journal.write, rpc.call, rpc.batch

        async def write_or_die(fn: Callable[..., T]) -> T:
            return await self._step(fn.__qualname__.replace(".<locals>.run", ""), write, fn)  # type: ignore[return-value]

        async def call_or_die(method: str, *params: Any, **options: Any) -> Any:
            if method == "eth_sendRawTransaction":
                return await self._step(method, call, method, *params, **options)
            return await self._alive(call, method, *params, **options)

        async def batch_or_die(*args: Any, **options: Any) -> Any:
            return await self._alive(batch, *args, **options)

        try:
            journal.write, rpc.call, rpc.batch = write_or_die, call_or_die, batch_or_die  # type: ignore[method-assign]
            yield
        finally:
            journal.write, rpc.call, rpc.batch = write, call, batch  # type: ignore[method-assign]

    async def _step(self, name: str, act: Callable[..., Any], *args: Any, **options: Any) -> Any:
        await self._alive(trio.lowlevel.checkpoint)
        here = len(self.steps)
        self.steps.append(name)
        if self.cut == Cut(here, before=True):
            self._die()
        done = await act(*args, **options)
        if self.cut == Cut(here, before=False):
            self._die()
        return done

    async def _alive(self, act: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if self.off:
            raise PowerCut
        return await act(*args, **options)

    def _die(self) -> None:
        self.off = True
        raise PowerCut
