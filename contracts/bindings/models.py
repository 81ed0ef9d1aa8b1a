"""ModelRegistry: published models, the split of their revenue, challenges of their weights."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

from contracts.bindings.bank import Item
from contracts.bindings.binding import Binding, View
from contracts.values import Call, Receipt

NO_PARENT = bytes(32)


class Phase(enum.IntEnum):
    """Where a model's weights stand."""

    UNSTAKED = 0  # nobody's data but the publisher's, or a network without challenges
    STAKED = 1  # may be challenged until `active_at`
    CHALLENGED = 2  # no claims by the weights
    CLOSED = 3  # ruled, lapsed or released


class Model(View, frozen=True):
    """A published model; `received_wei` is after the fee, `active_at` (UTC seconds) when claims begin."""

    publisher: str
    publisher_bps: int
    parent_bps: int
    child_bps: int
    active_at: int
    phase: int
    weights_root: bytes
    parent: bytes
    price_per_unit_wei: int
    received_wei: int
    paid_out_wei: int
    publisher_paid_wei: int
    parent_paid_wei: int

    @property
    def exists(self) -> bool:
        return int(self.publisher, 16) != 0

    def claims_open(self, now: int) -> bool:
        """Whether shares may be claimed at `now` (UTC seconds)."""
        return self.phase != Phase.CHALLENGED and now >= self.active_at


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a publisher says beside the weights; `parent_bps` of the income goes to `parent`, whose `child_bps` is the
    least it takes.
    """

    model_id: bytes
    publisher_bps: int
    price_per_unit_wei: int
    parent: bytes = NO_PARENT
    parent_bps: int = 0
    child_bps: int = 0


class Share(msgspec.Struct, frozen=True):
    """A dataset's leaf in a model's tree of weights; it pays the dataset's owner, dataset 0 the publisher."""

    model_id: bytes
    index: int
    dataset: int
    weight_ppm: int
    proof: tuple[bytes, ...]


class Challenge(View, frozen=True):
    """Who doubted a model's weights, and until when (UTC seconds) the arbiter can rule; the zero address: nobody."""

    challenger: str
    ruling_until: int


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

    def publish(self, terms: Terms, datasets: Sequence[int], weights_ppm: Sequence[int], cid: bytes) -> Call:
        """Datasets ascending, 0 for own unregistered data; the weights sum to 1,000,000 and keep the floor by facts
        (`protocols.inference.weights`). Binds the challenge stake when others' data take part.
        """
        packed = (
            terms.model_id,
            terms.publisher_bps,
            terms.price_per_unit_wei,
            terms.parent,
            terms.parent_bps,
            terms.child_bps,
        )
        return self._call("publish", packed, list(datasets), list(weights_ppm), cid)

    def settle(self, model_id: bytes, items: Sequence[Item]) -> Call:
        """API users' vouchers on this model's lane: the fee, then the split. Anyone may bring them."""
        return self._call("settle", model_id, [item.encoded() for item in items])

    def pay(self, model_id: bytes, amount_wei: int) -> Call:
        """Needs an allowance for this contract."""
        return self._call("pay", model_id, amount_wei)

    def claim(self, share: Share) -> Call:
        return self._call("claim", share.model_id, share.index, share.dataset, share.weight_ppm, list(share.proof))

    def claim_many(self, shares: Sequence[Share]) -> Call:
        rows = [(one.model_id, one.index, one.dataset, one.weight_ppm, list(one.proof)) for one in shares]
        return self._call("claimMany", rows)

    def claim_publisher(self, model_id: bytes) -> Call:
        return self._call("claimPublisher", model_id)

    def claim_parent(self, model_id: bytes) -> Call:
        """Hand the parent's share of what a model received on to the parent, which splits it by its own terms."""
        return self._call("claimParent", model_id)

    def claimed_amount(self, receipt: Receipt) -> int:
        """Base units that the claims of a transaction paid out, the publisher's included."""
        claims = [*receipt.events("Claimed", self.address), *receipt.events("PublisherClaimed", self.address)]
        return sum(claim["amount"] for claim in claims)

    def parent_paid(self, receipt: Receipt) -> int:
        """Base units that a transaction handed on to parents."""
        return sum(one["amount"] for one in receipt.events("ParentPaid", self.address))

    def burn_fees(self) -> Call:
        return self._call("burnFees")

    def challenge(self, share: Share) -> Call:
        """Doubt a model's weights as the owner of the leaf's dataset; binds the challenge stake."""
        return self._call("challenge", share.model_id, share.index, share.dataset, share.weight_ppm, list(share.proof))

    def rule(self, model_id: bytes, datasets: Sequence[int], weights_ppm: Sequence[int], *, wrong: bool) -> Call:
        """By the arbiter, with the published list; wrong: the weights become those by facts."""
        return self._call("rule", model_id, wrong, list(datasets), list(weights_ppm))

    def lapse(self, model_id: bytes) -> Call:
        """End a challenge on which the arbiter was silent."""
        return self._call("lapse", model_id)

    def release(self, model_id: bytes) -> Call:
        """Free the publisher's stake after a window in which nobody challenged."""
        return self._call("release", model_id)

    async def model(self, model_id: bytes) -> Model:
        return await self._struct(Model, "models", model_id)

    async def challenge_of(self, model_id: bytes) -> Challenge:
        return await self._struct(Challenge, "challenges", model_id)

    async def contributor_due(self, model_id: bytes, index: int, weight_ppm: int) -> int:
        """Base units a leaf may claim once claims are open, if it is in the tree."""
        return await self._whole("contributorDue", model_id, index, weight_ppm)

    async def publisher_due(self, model_id: bytes) -> int:
        return await self._whole("publisherDue", model_id)

    async def parent_due(self, model_id: bytes) -> int:
        """Base units that `claim_parent` would hand on now."""
        return await self._whole("parentDue", model_id)

    async def claimed(self, model_id: bytes, index: int) -> int:
        return await self._whole("claimed", model_id, index)

    async def fee_bps(self) -> int:
        return await self._whole("feeBps")

    async def fees_burnt(self) -> int:
        return await self._whole("feesBurnt")

    async def fees_due(self) -> int:
        """Base units of fees that wait to be burnt."""
        return await self._whole("feesDue")

    async def arbiter(self) -> str:
        """Who rules on challenges; the zero address where there are none."""
        return await self._account("arbiter")

    async def challenge_window(self) -> int:
        """Seconds after `publish`; 0 where there are no challenges."""
        return await self._whole("challengeWindow")

    async def challenge_stake(self) -> int:
        """Base units that the publisher and the challenger put at stake."""
        return await self._whole("challengeStake")
