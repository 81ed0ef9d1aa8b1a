"""The producer's side of `/schwung/profile/1`: from whom to buy within a budget, and never the same thing twice.

    a purchase is journalled ── its voucher signed and journalled ── asked for ── checked ── kept

The id of a purchase follows from the caller's query id, the seller and the domain, so asking again under the same
query id, or after `kill -9`, goes on with the same purchase. What a seller owes us is asked for before anything more is
signed for him: who takes the money and sends nothing, or garbage, gets the price of one profile, ever. An edition that
is held already is not bought again, nor is anything from one seller twice a day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import msgspec
import structlog
import trio

from node.embed import Embedder
from node.journal.profile_purchases import ProfilePurchases, Purchase
from node.market.catalog.catalog import Listed
from node.market.ports import Wire
from node.market.profiles.purchase import HELD_S, Bill, Checkout, Purse, Unshown
from node.network.errors import NetworkError
from node.wallet.errors import WalletError
from protocols.errors import ProtocolError
from protocols.ids import Address, PeerId
from protocols.profile.advert import Advert
from protocols.wei import parse_wei

log = structlog.get_logger(__name__)

AT_ONCE = 8  # sellers asked at the same time
DEADLINE_S = 100.0  # of one query, all sellers together


class Outcome(msgspec.Struct, frozen=True):
    """What came of one seller: `bought`, `held` (bought before), or `refused` and why. `paid_wei` was signed now."""

    peer: PeerId
    seller: Address
    state: str
    paid_wei: int = 0
    reason: str = ""


class ProfileBuyer:
    """Buys profiles."""

    def __init__(
        self, *, embedder: Embedder, store: ProfilePurchases, purse: Purse, wire: Wire, clock: Callable[[], int]
    ) -> None:
        self._checkout = Checkout(embedder, store, purse, wire, clock)
        self._store = store
        self._clock = clock
        self._lanes: dict[Address, trio.Lock] = defaultdict(trio.Lock)

    async def buy(
        self, listed: Sequence[Listed[Advert]], query: str, budget_wei: int, *, least: int = 0
    ) -> list[Outcome]:
        """As many of these as the budget allows, in their order; what one seller does not take is left for the next.

        Profiles of fewer than `least` wants are not bought.
        """
        outcomes: list[Outcome] = []
        waiting, left_wei = list(listed), budget_wei
        until = trio.current_time() + DEADLINE_S
        while (wave := _affordable(waiting, left_wei)) and trio.current_time() < until:
            waiting = [one for one in waiting if one not in wave]
            found = await self._wave(wave, query, least, until)
            left_wei -= sum(outcome.paid_wei for outcome in found)
            outcomes += found
        return outcomes

    async def held(self, domain: str) -> list[Purchase]:
        """The newest profile of each seller that was bought and is not too old."""
        return await self._store.held(domain, self._clock() - HELD_S)

    async def _wave(self, wave: Sequence[Listed[Advert]], query: str, least: int, until: float) -> list[Outcome]:
        found: dict[int, Outcome] = {}

        async def one(place: int, listed: Listed[Advert]) -> None:
            found[place] = await self._outcome(listed, query, least, until)

        async with trio.open_nursery() as nursery:
            for place, listed in enumerate(wave):
                nursery.start_soon(one, place, listed)
        return [found[place] for place in sorted(found)]

    async def _outcome(self, listed: Listed[Advert], query: str, least: int, until: float) -> Outcome:
        seller, bill = listed.item.signer, Bill()
        state, reason = "refused", "no time is left; the next query goes on with it"
        with trio.move_on_at(until):
            try:
                async with self._lanes[seller]:
                    state, reason = await self._checkout.buy(listed, query, least, bill), ""
            except (NetworkError, ProtocolError, WalletError, Unshown) as err:
                log.info("a profile was not bought", peer=listed.item.peer, reason=str(err))
                reason = str(err)
        return Outcome(peer=listed.item.peer, seller=seller, state=state, paid_wei=bill.signed_wei, reason=reason)


def _affordable(waiting: Sequence[Listed[Advert]], left_wei: int) -> list[Listed[Advert]]:
    """The first AT_ONCE whose advertised prices fit into the budget together."""
    wave: list[Listed[Advert]] = []
    for one in waiting:
        price_wei = parse_wei(one.body.price_wei)
        if len(wave) < AT_ONCE and price_wei <= left_wei:
            wave.append(one)
            left_wei -= price_wei
    return wave
