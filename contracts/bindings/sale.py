"""KeySale: sells the content key of a publicly pinned payload, many times, and judges its faults."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from contracts.bindings.binding import Binding, View
from contracts.values import Call, Receipt


class SaleState(IntEnum):
    NONE = 0
    LOCKED = 1
    DELIVERED = 2
    PAID = 3
    REFUNDED = 4
    RECLAIMED = 5  # paid, and the share held back was taken back


class OfferStatus(IntEnum):
    NONE = 0
    OPEN = 1
    CLOSED = 2
    BAD = 3


class OfferTerms(View, frozen=True):
    """An offer as the contract keeps it. `max_open` sales may be open at once: the bond covers no more."""

    seller: str
    dataset: int
    price_wei: int
    bond_wei: int
    root: bytes
    cells: int
    max_open: int
    open: int
    sold: int
    uncollected: int
    status: int
    closed_at: int

    @property
    def is_open(self) -> bool:
        return self.status == OfferStatus.OPEN

    @property
    def is_bad(self) -> bool:
        """A fault was proved: its open sales can be refunded."""
        return self.status == OfferStatus.BAD


class Sale(View, frozen=True):
    """One sale. Until `deadline` (UTC seconds) the seller may deliver, or, once delivered, the buyer may dispute.

    Once paid, `deadline` is the time of the payment."""

    buyer: str
    price_wei: int
    deadline: int
    state: int
    commitment: bytes

    @property
    def is_locked(self) -> bool:
        return self.state == SaleState.LOCKED

    @property
    def is_delivered(self) -> bool:
        return self.state == SaleState.DELIVERED

    @property
    def is_paid(self) -> bool:
        return self.state == SaleState.PAID

    @property
    def is_refunded(self) -> bool:
        return self.state == SaleState.REFUNDED

    @property
    def was_paid(self) -> bool:
        """Paid, whether or not the share held back was taken back since."""
        return self.state in (SaleState.PAID, SaleState.RECLAIMED)

    @property
    def is_reclaimed(self) -> bool:
        return self.state == SaleState.RECLAIMED


class KeySale(Binding):
    """A sale's id is `offer << 64 | number of the sale`."""

    def offer(self, dataset: int, price_wei: int, bond_wei: int) -> Call:
        return self._call("offer", dataset, price_wei, bond_wei)

    def offered(self, receipt: Receipt) -> int:
        """The id that an `offer` transaction made."""
        return int(self._emitted(receipt, "Offered")["offerId"])

    def close(self, offer: int) -> Call:
        return self._call("close", offer)

    def take_bond(self, offer: int) -> Call:
        return self._call("takeBond", offer)

    def lock(self, offer: int, max_price_wei: int, bx: bytes, by: bytes) -> Call:
        """(bx, by) is the buyer's one-time public key, 32 bytes each."""
        return self._call("lock", offer, max_price_wei, bx, by)

    def locked(self, receipt: Receipt) -> int:
        """The sale that a `lock` transaction made."""
        return int(self._emitted(receipt, "Locked")["saleId"])

    def deliver(self, sale: int, ex: bytes, parity: int, masked_key: bytes) -> Call:
        return self._call("deliver", sale, ex, parity, masked_key)

    def confirm(self, sale: int) -> Call:
        return self._call("confirm", sale)

    def confirm_many(self, sales: Sequence[int], signatures: Sequence[bytes]) -> Call:
        """Confirmations that buyers signed (EIP-712 `Confirm(uint256 saleId)`), 64 bytes each."""
        return self._call("confirmMany", list(sales), [(one[:32], one[32:]) for one in signatures])

    def claim(self, sale: int) -> Call:
        return self._call("claim", sale)

    def refund(self, sale: int) -> Call:
        return self._call("refund", sale)

    def reclaim(self, sale: int) -> Call:
        """By the buyer of a paid sale of a bad offer: the share held back, once, while it was not ripe."""
        return self._call("reclaim", sale)

    def reclaimed(self, receipt: Receipt) -> int:
        """Base units that a `reclaim` moved to the buyer's credit."""
        return int(self._emitted(receipt, "Reclaimed")["amount"])

    def dispute_key(
        self,
        sale: int,
        secret: int,
        ex: bytes,
        parity: int,
        masked_key: bytes,
        cell: int,
        ciphertext_hash: bytes,
        plaintext_hash: bytes,
        key_hash: bytes,
        path: Sequence[bytes],
    ) -> Call:
        """The delivered key does not open `cell`; `secret` is the buyer's one-time private key."""
        return self._call(
            "disputeKey",
            sale,
            secret,
            ex,
            parity,
            masked_key,
            cell,
            ciphertext_hash,
            plaintext_hash,
            key_hash,
            list(path),
        )

    def dispute_cell(
        self, sale: int, cell: int, key: bytes, plaintext_hash: bytes, ciphertext: bytes, path: Sequence[bytes]
    ) -> Call:
        """A cell, opened with its committed key, is not the committed plaintext."""
        return self._call("disputeCell", sale, cell, key, plaintext_hash, ciphertext, list(path))

    def collect(self, offers: Sequence[int]) -> Call:
        return self._call("collect", list(offers))

    def withdraw(self) -> Call:
        return self._call("withdraw")

    def collect_and_withdraw(self, offers: Sequence[int]) -> Call:
        """How a seller is paid: what these offers earned, and all credit, in one transaction."""
        return self._call("collectAndWithdraw", list(offers))

    def withdrawn(self, receipt: Receipt) -> int:
        """Base units that a withdrawal paid out."""
        return int(self._emitted(receipt, "Withdrawn")["amount"])

    def burn_fees(self) -> Call:
        return self._call("burnFees")

    async def offer_terms(self, offer: int) -> OfferTerms:
        return await self._struct(OfferTerms, "offers", offer)

    async def sale(self, sale: int) -> Sale:
        return await self._struct(Sale, "sales", sale)

    async def credit(self, account: str) -> int:
        """Base units `account` may withdraw now."""
        return await self._whole("credit", account)

    async def earned(self, offer: int) -> int:
        """Base units that `collect` would move to the seller's credit."""
        return await self._whole("earned", offer)

    async def held(self, offer: int) -> int:
        """Base units of paid prices that are the seller's, but not ripe yet; 0 once the offer was proved bad."""
        return await self._whole("held", offer)

    async def held_share(self, price_wei: int) -> int:
        """The part of a price that is held back when it is paid."""
        return await self._whole("heldShare", price_wei)

    async def seller_of(self, offer: int) -> str:
        return await self._account("sellerOf", offer)

    async def min_bond(self) -> int:
        return await self._whole("minBond")

    async def fee_bps(self) -> int:
        return await self._whole("feeBps")

    async def fee_of(self, price_wei: int) -> int:
        return await self._whole("feeOf", price_wei)

    async def fees_burnt(self) -> int:
        return await self._whole("feesBurnt")

    async def fees_due(self) -> int:
        """Base units of fees that wait to be burnt."""
        return await self._whole("feesDue")

    async def deliver_window(self) -> int:
        """Seconds."""
        return await self._whole("deliverWindow")

    async def dispute_window(self) -> int:
        """Seconds."""
        return await self._whole("disputeWindow")

    async def holdback_bps(self) -> int:
        return await self._whole("holdbackBps")

    async def feedback_window(self) -> int:
        """Seconds; what is paid in one window ripens at the start of the one after the next."""
        return await self._whole("feedbackWindow")

    async def bond_window(self) -> int:
        """Seconds the bond stays after closing: the longer of the dispute and the feedback window."""
        return await self._whole("bondWindow")
