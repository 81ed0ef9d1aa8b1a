"""Bytes from a peer to a valid item: cheap checks first, the signature last, then the rules of its kind."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import structlog
import trio

from node.market.catalog.listed import Listed
from node.market.kinds import KINDS, Body, Context
from protocols.envelope import open_item
from protocols.errors import ProtocolError, RuleBroken
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

EXAMINED = 512  # the gossip validator and the reader see the same bytes within milliseconds
THREADS = 2  # the curve's arithmetic runs beside the interpreter
AT_ONCE = 64


class Refused(msgspec.Struct, frozen=True):
    """An authentic item that breaks a rule, now at least."""

    id: str
    reason: ProtocolError


class Examiner:
    """Examines envelopes, one by one or many in threads; `refused` is told of authentic ones that break a rule."""

    def __init__(self, context: Context, clock: Callable[[], int], refused: Callable[[str], None]) -> None:
        self._context = context
        self._clock = clock
        self._refused = refused
        self._examined: OrderedDict[bytes, Listed[Body]] = OrderedDict()
        self._threads = trio.CapacityLimiter(THREADS)

    def examine(self, raw: bytes, author: PeerId | None) -> Listed[Body]:
        """Check an envelope and its body. Raises ProtocolError."""
        known = self._examined.get(raw)
        if known is not None and (author is None or author == known.item.peer):
            return known
        listed = check(raw, author, self._context, self._clock())
        if isinstance(listed, Refused):
            self._refused(listed.id)
            raise listed.reason
        self._examined[raw] = listed
        if len(self._examined) > EXAMINED:
            self._examined.popitem(last=False)
        return listed

    async def relayed(self, raws: Sequence[bytes]) -> list[Listed[Body]]:
        """Those of many envelopes that are valid, whoever hands them on."""
        parts = [raws[start : start + AT_ONCE] for start in range(0, len(raws), AT_ONCE)]
        found: list[list[Listed[Body] | Refused]] = [[] for _ in parts]

        async def look(place: int) -> None:
            work = partial(check_many, parts[place], self._context, self._clock())
            found[place] = await trio.to_thread.run_sync(work, limiter=self._threads)

        async with trio.open_nursery() as nursery:
            for place in range(len(parts)):
                nursery.start_soon(look, place)
        every = [one for part in found for one in part]
        for one in every:
            if isinstance(one, Refused):
                self._refused(one.id)
        return [one for one in every if isinstance(one, Listed)]


def check(raw: bytes, author: PeerId | None, context: Context, now: int) -> Listed[Body] | Refused:
    """Pure, for any thread. Raises ProtocolError when it is not authentic."""
    item = open_item(raw, chain_id=context.chain_id, author=author)
    try:
        kind = KINDS.get(item.kind)
        if kind is None:
            raise RuleBroken(f"items of kind {item.kind[:16]!r} are not known here")
        return Listed(item=item, body=kind.read(item, context, now))
    except ProtocolError as err:
        return Refused(item.id, err)


def check_many(raws: Sequence[bytes], context: Context, now: int) -> list[Listed[Body] | Refused]:
    """Without those that are not authentic."""
    found: list[Listed[Body] | Refused] = []
    for raw in raws:
        try:
            found.append(check(raw, None, context, now))
        except ProtocolError as err:
            log.debug("an envelope is not authentic", kind=err.kind, reason=str(err))
    return found
