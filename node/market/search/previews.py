"""Buying previews of hits: one owner at a time, within a budget, at most one purchase ahead of what was delivered.

An owner who says that he has shown what did not come has to show it again before anything more is signed; so who takes
the money and shows nothing gets one purchase, however often he is asked. Only what a crash of ours cut off is believed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import msgspec
import structlog
import trio

from node.market.ports import Wire
from node.network.errors import NetworkError, PeerUnreachable, PeerVanished
from node.wallet.errors import AheadTooFar, WalletError
from protocols.codec import decode, encode
from protocols.errors import ProtocolError
from protocols.ids import Address, PeerId, parse_address
from protocols.search.messages import (
    LANE,
    MAX_REPLY_BYTES,
    PREVIEWS,
    PreviewReply,
    PreviewRequest,
    SearchTerms,
)
from protocols.voucher import Voucher
from protocols.wei import parse_wei

log = structlog.get_logger(__name__)

TIMEOUT_S = 5.0
MISSING_KEPT = 8  # purchases of one owner that did not come

_Asked = tuple[bytes, list[int]]  # a query and places of its reply


class Purse(Protocol):
    """The payer's side of vouchers. What signs may raise WalletError."""

    async def promised(self, payee: Address, lane: int) -> int:
        """The sum of the newest voucher we signed on a lane."""
        ...

    async def pay(self, payee: Address, lane: int, price_wei: int) -> Voucher:
        """A voucher for one more purchase. While the last one is outstanding, its voucher comes again."""
        ...

    async def promise(self, payee: Address, lane: int, cumulative_wei: int) -> Voucher:
        """A voucher up to this sum; the newest one when the sum is not above it."""
        ...

    async def received(self, payee: Address, lane: int) -> None:
        """What was paid for has come."""
        ...

    async def adopt(self, voucher: Voucher, served_wei: int) -> int:
        """Take up a voucher of ours that the journal has lost. Raises WalletError or ProtocolError."""
        ...


class Opened(msgspec.Struct, frozen=True):
    """The previews of the first places, and what they cost in base units."""

    previews: list[str] = []
    paid_wei: int = 0


class Previews:
    """Opens hits that cost."""

    def __init__(self, purse: Purse, wire: Wire) -> None:
        self._purse = purse
        self._wire = wire
        self._lanes: dict[Address, trio.Lock] = defaultdict(trio.Lock)
        self._missing: dict[Address, list[_Asked]] = defaultdict(list)  # paid for since our start, and not come

    async def open(
        self, peer: PeerId, query: bytes, terms: SearchTerms, places: Sequence[int], budget_wei: int
    ) -> Opened:
        """As many of the places as the budget allows, in their order; none when the owner or the wallet refuses."""
        try:
            price_wei, payee = parse_wei(terms.price_wei), parse_address(terms.payee)
            wanted = list(places[: budget_wei // max(price_wei, 1)])
            if not wanted or len(query) != 16:
                return Opened()
            async with self._lanes[payee]:
                return await self._buy(peer, query, payee, wanted, price_wei * len(wanted))
        except (NetworkError, ProtocolError, WalletError) as err:
            log.info("previews were not opened", peer=peer, reason=str(err))
            return Opened()

    async def _buy(self, peer: PeerId, query: bytes, payee: Address, places: list[int], cost_wei: int) -> Opened:
        promised_wei = await self._purse.promised(payee, LANE)
        try:
            voucher = await self._purse.pay(payee, LANE, cost_wei)
        except AheadTooFar:  # less than this is outstanding: it is shown, and the terms say what of it was served
            voucher = await self._purse.promise(payee, LANE, 0)
        was_open = voucher.cumulative == promised_wei
        try:
            reply = await self._ask(peer, query, places, voucher)
            if reply.refused and reply.terms is not None:
                served = parse_wei(reply.terms.served_wei)
                if await self._is_true(peer, payee, served, reply.terms.held, voucher, was_open=was_open):
                    voucher = await self._purse.promise(payee, LANE, served + cost_wei)
                    reply = await self._ask(peer, query, places, voucher)
        except (NetworkError, ProtocolError) as err:
            surely_not = isinstance(err, PeerUnreachable) and not isinstance(err, PeerVanished)
            self._miss(payee, query, places, perhaps_served=not surely_not)
            raise
        if len(reply.previews) != len(places):
            log.info("previews were refused", peer=peer, reason=reply.refused)
            self._miss(payee, query, places, perhaps_served=not reply.refused)
            return Opened()
        await self._came(payee)
        return Opened(reply.previews, cost_wei)

    async def _is_true(
        self, peer: PeerId, payee: Address, served_wei: int, held: Voucher | None, voucher: Voucher, *, was_open: bool
    ) -> bool:
        """Whether to go on from what an owner says he has served. Nobody is believed beyond what we signed before."""
        if held is not None and held.cumulative > voucher.cumulative:  # our journal is younger than what he shows
            await self._purse.adopt(held, served_wei)
            return served_wei <= await self._purse.promised(payee, LANE)
        if not was_open or served_wei > voucher.cumulative:
            return False
        missing = self._missing.get(payee)
        if not missing:  # a crash of ours cut it off
            return True
        for query, places in reversed(missing):
            if len((await self._ask(peer, query, places, voucher)).previews) == len(places):
                await self._came(payee)
                return True
        return False

    def _miss(self, payee: Address, query: bytes, places: list[int], *, perhaps_served: bool) -> None:
        """Only one of them can have been served, since one payment stands open at a time."""
        missing = self._missing[payee]
        if perhaps_served or not missing:
            missing.append((query, places))
            del missing[:-MISSING_KEPT]

    async def _came(self, payee: Address) -> None:
        await self._purse.received(payee, LANE)
        self._missing.pop(payee, None)

    async def _ask(self, peer: PeerId, query: bytes, places: list[int], voucher: Voucher) -> PreviewReply:
        request = encode(PreviewRequest(query=query, places=places, voucher=voucher))
        raw = await self._wire.request(peer, PREVIEWS, request, timeout_s=TIMEOUT_S, max_reply_bytes=MAX_REPLY_BYTES)
        return decode(raw, PreviewReply, max_bytes=MAX_REPLY_BYTES)
