"""Signed items for tests: wallets with fixed keys, and offers, demands and withdrawals that keep every rule."""

from __future__ import annotations

import coincurve
import msgspec

from protocols import eip712
from protocols.codec import encode
from protocols.demand import demand as demands
from protocols.demand.demand import Demand
from protocols.envelope import Item, sign_item
from protocols.ids import Address, PeerId
from protocols.offers import offer as offers
from protocols.offers import withdrawal as withdrawals
from protocols.offers.offer import Centroid, Offer
from protocols.offers.withdrawal import Withdrawal
from protocols.quality import Quality

NOW = 1_800_000_000
CHAIN_ID = 31_337
NETWORK = "testing"
ALICE = PeerId("12D3KooWAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
BOB = PeerId("12D3KooWBbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
CAROL = PeerId("12D3KooWCccccccccccccccccccccccccccccccccccccccccccc")


class Purse:
    """A wallet that is always unlocked; `number` makes its key."""

    def __init__(self, number: int) -> None:
        self._key = coincurve.PrivateKey(number.to_bytes(32, "big"))

    @property
    def address(self) -> Address:
        return eip712.address_of(self._key.public_key)

    def sign(self, digest: bytes) -> bytes:
        return eip712.sign(self._key, digest)


def an_offer(**changes: object) -> Offer:
    """An offer that keeps every rule."""
    offer = Offer(
        network=NETWORK,
        chain_id=CHAIN_ID,
        title="Dresses, reviewed",
        domain="fashion",
        licence="CC0-1.0",
        cid="bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
        root=bytes(32),
        cells=64,
        cell_bytes=512,
        records=300,
        size_bytes=30_000,
        languages={"en": 1_000_000},
        quality=Quality(validity=900_000),
        model_id="sha256:test:mean",
        sketch=[Centroid(vector=bytes([127, 0, 0, 0, 0, 0, 0, 0]), weight=1_000_000, focus=1_000_000)],
        dataset=1,
        offer_no=1,
        block=10,
        price_wei="5000000000000000000",
        created_at=NOW,
        expires_at=NOW + 3_600,
    )
    return msgspec.structs.replace(offer, **changes)


def a_demand(**changes: object) -> Demand:
    """A demand that `an_offer` meets."""
    demand = Demand(
        network=NETWORK,
        chain_id=CHAIN_ID,
        domain="fashion",
        vector=bytes([127, 0, 0, 0, 0, 0, 0, 0]),
        model_id="sha256:test:mean",
        max_price_wei="6000000000000000000",
        created_at=NOW,
        expires_at=NOW + 3_600,
    )
    return msgspec.structs.replace(demand, **changes)


def a_withdrawal(item: Item, domain: str = "fashion") -> Withdrawal:
    """Takes `item` back."""
    return Withdrawal(network=NETWORK, chain_id=CHAIN_ID, domain=domain, target=item.id, at=NOW)


def signed(body: object, purse: Purse, peer: PeerId) -> Item:
    """Any body in its envelope."""
    kind = {Offer: offers.KIND, Demand: demands.KIND, Withdrawal: withdrawals.KIND}[type(body)]
    return sign_item(kind, encode(body), peer=peer, signer=purse.address, chain_id=CHAIN_ID, sign=purse.sign)
