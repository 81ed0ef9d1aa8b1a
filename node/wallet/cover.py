"""What stands behind a payer's vouchers on chain, read at one block and remembered for a short time.

Hard cover is what the payer has reserved for one lane: nobody else gets it. Soft cover is the rest of his deposit,
without what he has announced to take out: whoever settles first gets it. Settling a lane takes its hard cover first, so

    soft − Σ over the lanes of max(0, newest voucher − paid − hard)        all at one block

does not change by it: a remembered snapshot stays true until the payer leaves, or pays somebody else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec
import trio

from contracts.bindings.bank import Delegate, Lane
from contracts.chain import Chain
from contracts.errors import ChainError
from node.wallet.errors import ChainSilent

FRESH_S = 30.0  # how long a snapshot is believed; an exit takes at least minutes
STALE_S = 600.0  # how long it is believed while the chain cannot be read
REMEMBERED = 4_096  # payers; a stranger beyond that is read anew

# A reserve or a hot key that ends sooner is worth nothing: by then the payee settles, in a round of his and some blocks
END_MARGIN_S = 120

LaneKey = tuple[str, int]  # payee, lane


class Snapshot(msgspec.Struct, frozen=True):
    """A payer's deposit and some lanes at one block, times in UTC seconds."""

    free_wei: int
    exiting_wei: int
    exit_at: int
    lanes: Mapping[LaneKey, Lane]
    delegate: Delegate | None
    block: int
    read_at: float
    signer: str = ""  # whose standing `delegate` is

    @property
    def soft_wei(self) -> int:
        """What is left of the deposit once the announced exit is over."""
        return max(0, self.free_wei - self.exiting_wei)

    def hard_wei(self, lane: LaneKey, now: int) -> int:
        """What is reserved for a lane, for long enough."""
        known = self.lanes.get(lane)
        return known.reserved_wei if known and known.reserved_until >= now + END_MARGIN_S else 0

    def payable_wei(self, lane: LaneKey) -> int:
        """What a settlement of `lane` would find at this block, whether or not it may leave soon."""
        known = self.lanes.get(lane)
        return self.free_wei + (known.reserved_wei if known else 0)

    def owed_wei(self, sums: Mapping[LaneKey, int]) -> int:
        """What the newest vouchers (their sums by lane) promise beyond what was paid."""
        return sum(max(0, sum_wei - self.paid(lane)) for lane, sum_wei in sums.items())

    def uncovered_wei(self, sums: Mapping[LaneKey, int], now: int, voidable: Collection[LaneKey] = ()) -> int:
        """What they promise beyond hard cover. `voidable`: lanes whose voucher the payer could void at once."""
        return sum(
            max(0, sum_wei - self.paid(lane) - (0 if lane in voidable else self.hard_wei(lane, now)))
            for lane, sum_wei in sums.items()
        )

    def paid(self, lane: LaneKey) -> int:
        known = self.lanes.get(lane)
        return known.paid_wei if known else 0


class Cover:
    """Snapshots of payers, by payer and signer."""

    def __init__(
        self, chain: Chain, *, fresh_s: float = FRESH_S, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._chain = chain
        self._fresh_s = fresh_s
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], Snapshot] = OrderedDict()
        self._reading = trio.CapacityLimiter(4)  # strangers cannot make us flood the endpoint

    def forget(self, payer: str) -> None:
        """After a deposit or an exit of ours."""
        for key in [key for key in self._known if key[0] == payer]:
            del self._known[key]

    async def of(
        self, payer: str, signer: str, lanes: Iterable[LaneKey], *, max_age_s: float | None = None
    ) -> Snapshot:
        """A snapshot that has all of `lanes`, at most `max_age_s` old (as configured when None; 0 reads it now).

        Raises ChainSilent when there is none and the chain cannot be read.
        """
        wanted = set(lanes)
        known = self._known.get((payer, signer))
        age = self._clock() - known.read_at if known else float("inf")
        if known and age < (self._fresh_s if max_age_s is None else max_age_s) and wanted <= known.lanes.keys():
            self._known.move_to_end((payer, signer))
            return known
        try:
            fresh = await self._read(payer, signer, wanted | (set(known.lanes) if known else set()))
        except ChainError as err:
            if known and age < STALE_S and wanted <= known.lanes.keys():
                return known
            raise ChainSilent(f"what stands behind {payer} cannot be read: {err}") from err
        self._known[payer, signer] = fresh
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return fresh

    async def _read(self, payer: str, signer: str, lanes: set[LaneKey]) -> Snapshot:
        async with self._reading:
            wanted, block = list(lanes), await self._chain.block_number()
            account, rows, delegate = await self._chain.bank.standing(payer, wanted, signer, block)
        return Snapshot(
            free_wei=account.free_wei,
            exiting_wei=account.exiting_wei,
            exit_at=account.exit_at,
            lanes=dict(zip(wanted, rows, strict=True)),
            delegate=None if signer == payer else delegate,
            block=block,
            read_at=self._clock(),
            signer=signer,
        )
