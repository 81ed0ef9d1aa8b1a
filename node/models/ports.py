"""What models need of the services below, as small as they need it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

from contracts.bindings.bank import Item as BankItem
from contracts.bindings.models import Challenge, Model, Share, Terms
from contracts.values import Call, Receipt
from node.feedback.standing import Standing
from node.shard.filter import Filter
from node.shard.record import ShardRecord
from node.wallet.settle import Settlement
from protocols.envelope import Item
from protocols.ids import Address, Cid, PeerId
from protocols.voucher import Voucher

Handler = Callable[[PeerId, bytes], Awaitable[bytes]]


class Wire(Protocol):
    """The network."""

    @property
    def peer_id(self) -> PeerId: ...
    async def request(
        self, peer: PeerId, protocol: str, body: bytes, *, timeout_s: float, max_reply_bytes: int
    ) -> bytes: ...
    def serve(self, protocol: str, handler: Handler, *, max_request_bytes: int, concurrency: int) -> None: ...


class Records(Protocol):
    """The shard."""

    def walk(self, where: Filter) -> AsyncIterator[list[ShardRecord]]: ...
    async def fetch(self, ids: Sequence[str]) -> list[ShardRecord]: ...


class Lessons(Protocol):
    """What ratings have taught about bought datasets."""

    async def read(self) -> None: ...
    def lesson(self, dataset: int) -> float:
        """How much its records count in training: 1 as a rule, 0 not at all."""
        ...


class Standings(Protocol):
    """How models stand with those who paid for them."""

    async def read(self) -> None: ...
    def of(self, subject: str) -> Standing: ...


class Wallet(Protocol):
    """The wallet's key; `address` raises NoWallet, `sign` WalletLocked."""

    @property
    def exists(self) -> bool: ...
    @property
    def address(self) -> Address: ...
    @property
    def locked(self) -> bool: ...
    def sign(self, digest: bytes) -> bytes: ...


class Transactor(Protocol):
    """Money steps that happen once."""

    def require_unlocked(self) -> None: ...
    async def once(self, key: str, call: Call) -> Receipt: ...


class Registry(Protocol):
    """`ModelRegistry`."""

    @property
    def address(self) -> str: ...
    def publish(self, *, terms: Terms, datasets: Sequence[int], weights_ppm: Sequence[int], cid: bytes) -> Call: ...
    def settle(self, model_id: bytes, items: Sequence[BankItem]) -> Call: ...
    def claim_many(self, shares: Sequence[Share]) -> Call: ...
    def claim_publisher(self, model_id: bytes) -> Call: ...
    def claim_parent(self, model_id: bytes) -> Call: ...
    def claimed_amount(self, receipt: Receipt) -> int: ...
    def challenge(self, share: Share) -> Call: ...
    def lapse(self, model_id: bytes) -> Call: ...
    def release(self, model_id: bytes) -> Call: ...
    async def model(self, model_id: bytes) -> Model: ...
    async def challenge_of(self, model_id: bytes) -> Challenge: ...
    async def arbiter(self) -> str: ...
    async def challenge_window(self) -> int: ...
    async def challenge_stake(self) -> int: ...
    async def contributor_due(self, model_id: bytes, index: int, weight_ppm: int) -> int: ...
    async def publisher_due(self, model_id: bytes) -> int: ...
    async def parent_due(self, model_id: bytes) -> int: ...
    async def claimed(self, model_id: bytes, index: int) -> int: ...


class Surety(Protocol):
    """The wallet's stake."""

    async def cover(self, need_wei: int) -> None:
        """Make sure that this much may be bound. Raises WalletLocked, InsufficientFunds."""
        ...


class Blocks(Protocol):
    """Where the card's bytes are pinned."""

    async def add(self, data: bytes) -> Cid: ...


class Announcer(Protocol):
    """Who signs an item, keeps it and tells it."""

    async def announce(self, kind: str, body: bytes, domain: str) -> Item: ...


class Till(Protocol):
    """The payee's side of vouchers: checked, covered and journalled when `accept` returns."""

    async def accept(self, voucher: Voucher, *, payee: Address, lane: int) -> int:
        """The sum the lane now stands at, in base units. Raises a VoucherError, ProtocolError."""
        ...


class Purse(Protocol):
    """The payer's side of vouchers."""

    async def promised(self, payee: Address, lane: int) -> int:
        """The sum of the newest voucher we signed on a lane."""
        ...

    async def promise(self, payee: Address, lane: int, cumulative_wei: int) -> Voucher:
        """A voucher up to this sum, journalled; the newest one when the sum is not above it."""
        ...

    async def adopt(self, voucher: Voucher, served_wei: int) -> int:
        """Take up a voucher of ours that the journal has lost; the lane's sum. Raises a VoucherError, ProtocolError."""
        ...


class Events(Protocol):
    """Where state changes are told."""

    def publish(self, topic: str, data: dict[str, object]) -> object: ...


class Progress(Protocol):
    """What a long operation says about itself."""

    def __call__(
        self, done: int | None = None, total: int | None = None, unit: str | None = None, note: str | None = None
    ) -> None: ...


class Settler(Protocol):
    """Who brings a lane's open vouchers to the chain, once each."""

    async def settle(self, payee: Address, lane: int) -> Sequence[Settlement]:
        """Raises VoucherRefused when there is nothing to bring."""
        ...


class Bank(Protocol):
    """`VoucherBank`."""

    async def paid(self, payer: str, payee: str, lane: int) -> int:
        """Base units ever settled on a lane."""
        ...
