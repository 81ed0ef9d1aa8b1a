"""ModelRegistry: published models and the split of their revenue."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from contracts.bindings.bank import Item
from contracts.bindings.binding import Binding, View
from contracts.values import Call, Receipt


class Model(View, frozen=True):
    """A published model; `received_wei` is after the fee, `active_at` (UTC seconds) when claims begin."""

    publisher: str
    publisher_bps: int
    active_at: int
    weights_root: bytes
    total_weight: int
    price_per_unit_wei: int
    received_wei: int
    paid_out_wei: int
    publisher_paid_wei: int


class Share(msgspec.Struct, frozen=True):
    """A contributor's leaf in a model's tree of weights."""

    model_id: bytes
    index: int
    to: str
    weight: int
    proof: tuple[bytes, ...]


class ModelRegistry(Binding):
    """Model ids are 32 bytes; a model's lane is the low 64 bits of its id."""

    def lane_of(self, model_id: bytes) -> int:
        """The lane without asking the chain: uint64(uint256(modelId))."""
        return int.from_bytes(model_id[-8:], "big")

    async def lane(self, model_id: bytes) -> int:
        """The lane as the contract computes it."""
        return await self._whole("laneOf", model_id)

    async def model_of_lane(self, lane: int) -> bytes:
        """The model that owns a lane; 32 zero bytes when none does."""
        value: bytes = await self._read("modelOfLane", lane)
        return value

    def publish(
        self,
        *,
        model_id: bytes,
        weights_root: bytes,
        total_weight: int,
        publisher_bps: int,
        price_per_unit_wei: int,
        datasets: Sequence[int],
        cid: bytes,
    ) -> Call:
        return self._call(
            "publish", model_id, weights_root, total_weight, publisher_bps, price_per_unit_wei, list(datasets), cid
        )

    def settle(self, model_id: bytes, items: Sequence[Item]) -> Call:
        """API users' vouchers on this model's lane: the fee, then the split. Anyone may bring them."""
        return self._call("settle", model_id, [item.encoded() for item in items])

    def pay(self, model_id: bytes, amount_wei: int) -> Call:
        """Needs an allowance for this contract."""
        return self._call("pay", model_id, amount_wei)

    def claim(self, share: Share) -> Call:
        return self._call("claim", share.model_id, share.index, share.to, share.weight, list(share.proof))

    def claim_many(self, shares: Sequence[Share]) -> Call:
        rows = [(one.model_id, one.index, one.to, one.weight, list(one.proof)) for one in shares]
        return self._call("claimMany", rows)

    def claim_publisher(self, model_id: bytes) -> Call:
        return self._call("claimPublisher", model_id)

    def claimed_amount(self, receipt: Receipt) -> int:
        """Base units that the claims of a transaction paid out, the publisher's included."""
        claims = [*receipt.events("Claimed", self.address), *receipt.events("PublisherClaimed", self.address)]
        return sum(claim["amount"] for claim in claims)

    def burn_fees(self) -> Call:
        return self._call("burnFees")

    async def model(self, model_id: bytes) -> Model:
        return await self._struct(Model, "models", model_id)

    async def contributor_due(self, model_id: bytes, index: int, weight: int) -> int:
        """Base units a leaf may claim now, if it is in the tree."""
        return await self._whole("contributorDue", model_id, index, weight)

    async def publisher_due(self, model_id: bytes) -> int:
        return await self._whole("publisherDue", model_id)

    async def claimed(self, model_id: bytes, index: int) -> int:
        return await self._whole("claimed", model_id, index)

    async def fee_bps(self) -> int:
        return await self._whole("feeBps")

    async def fees_burnt(self) -> int:
        return await self._whole("feesBurnt")
