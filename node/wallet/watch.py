"""Follow signed transactions until they are final: send again what was dropped, raise the fee of what is stuck,
recognise what another process of the same wallet has displaced.

Final is what is `confirmations` deep. A deeper reorganisation is met all the same: what has ended is looked at again at
every new block for a while, and when its receipt is gone the step is open again and its bytes are sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import structlog
import trio

from contracts.chain import Chain
from contracts.errors import ChainError, Reverted, RpcError
from contracts.values import Call, Receipt, number
from node.identity.errors import NoWallet
from node.journal.transactions import Attempt, State, Step, Transactions
from node.wallet.eip1559 import GWEI, Draft, Fees, current_fees, sign_transaction
from protocols.ids import Address

log = structlog.get_logger(__name__)

FIRST_POLL_S = 0.02  # a development chain mines at once; the pause grows from here to poll_s
STUCK_BLOCKS = 8  # our fees hold for six full blocks in a row: beyond that they are too low
UNDONE_S, UNDONE_BLOCKS = 1_800, 64  # how long, and how deep, what has ended is looked at again
LOST_SIGHTINGS = 2  # an endpoint behind a balancer may know the nonce before it knows the receipt


class Signer(Protocol):
    @property
    def address(self) -> Address: ...
    @property
    def locked(self) -> bool: ...
    def sign(self, digest: bytes) -> bytes: ...


class Look(msgspec.Struct, frozen=True):
    """The chain at one moment: its head, and how many of our transactions are final by then."""

    head: int
    final_nonce: int


class Watcher:
    """One task over all open steps of the wallet."""

    def __init__(
        self,
        chain: Chain,
        wallet: Signer,
        store: Transactions,
        *,
        confirmations: int,
        max_fee_wei: int,
        poll_s: float,
        clock: Callable[[], int],
    ) -> None:
        self._chain = chain
        self._wallet = wallet
        self._store = store
        self._depth = max(1, confirmations)  # blocks from the transaction's own to the head, both counted
        self._max_fee_wei = max_fee_wei
        self._poll_s = poll_s
        self._clock = clock
        self._woken = trio.Event()
        self._waiting: dict[str, trio.Event] = {}
        self._lost: dict[str, int] = {}
        self._head_hash = ""
        self._well = True
        self.stuck: dict[str, str] = {}  # key of an open step → what keeps it from being mined

    def wake(self) -> None:
        """Something was signed: look at once."""
        self._woken.set()

    async def outcome(self, key: str) -> Step:
        """Wait until the step is no longer open."""
        event = self._waiting.setdefault(key, trio.Event())
        step = await self._store.get(key)  # after the event is there: its end cannot slip through between
        if step is not None and step.state == "open":
            await event.wait()
            step = await self._store.get(key)
        if step is None:
            raise LookupError(key)
        return step

    async def run(self) -> None:
        """Until cancelled. Trouble with the chain is waited out."""
        pause = FIRST_POLL_S
        while True:
            self._woken = trio.Event()
            busy = await self._round()
            with trio.move_on_after(pause if busy else float("inf")):
                await self._woken.wait()
                pause = FIRST_POLL_S
            pause = min(pause * 1.5, self._poll_s)

    async def _round(self) -> bool:
        """Look at every open step once. False when there is none."""
        try:
            sender = self._wallet.address
        except NoWallet:
            return False
        steps = await self._store.open(sender)
        ended = await self._store.ended_since(sender, self._clock() - UNDONE_S)
        if not steps and not ended:
            return False
        try:
            await self._look(sender, steps, ended)
        except ChainError as err:
            if self._well:
                log.warning("the chain cannot be read, transactions wait", error=str(err), open=len(steps))
            self._well = False
        else:
            self._well = True
        return True

    async def _look(self, sender: Address, steps: list[Step], ended: list[Step]) -> None:
        block = await self._chain.block()
        if block is None:
            return
        if block.hash != self._head_hash:
            self._head_hash = block.hash
            await self._recheck(ended, block.number)
        if not steps:
            return
        final = max(0, block.number - self._depth + 1)
        look = Look(block.number, await self._chain.nonce(sender, final))
        for step in steps:  # receipts are asked for after the nonce: a final nonce of ours has one by then
            await self._follow(step, look)

    async def _recheck(self, ended: list[Step], head: int) -> None:
        """Take up again what a reorganisation took back."""
        shallow = [step for step in ended if head - _block(step) <= UNDONE_BLOCKS]
        receipts = await self._chain.rpc.batch([("eth_getTransactionReceipt", [step.hash]) for step in shallow])
        for step, plain in zip(shallow, receipts, strict=True):
            if not plain:
                await self._undone(step)
            elif step.hash in self._lost:
                del self._lost[step.hash]

    async def _undone(self, step: Step) -> None:
        if not self._seen_lost(step):
            self._head_hash = ""  # look again at once: an endpoint behind a balancer may not have it yet
            return
        log.warning("a reorganisation took a transaction back", key=step.key, transaction=step.hash)
        await self._store.reopen(msgspec.structs.replace(step, state="open", receipt=None, note=""))
        self._woken.set()

    def _seen_lost(self, step: Step) -> bool:
        """Whether a step was found missing often enough to believe it."""
        self._lost[step.hash] = self._lost.get(step.hash, 0) + 1
        if self._lost[step.hash] < LOST_SIGHTINGS:
            return False
        del self._lost[step.hash]
        return True

    async def _follow(self, step: Step, look: Look) -> None:
        attempts = [attempt for attempt in await self._store.attempts(step.key) if attempt.nonce == step.nonce]
        calls = [("eth_getTransactionReceipt", [attempt.hash]) for attempt in attempts]
        mined = next((plain for plain in await self._chain.rpc.batch(calls) if plain), None)
        if mined is not None:
            await self._confirm(step, mined, look)
        elif look.final_nonce > step.nonce:
            await self._displaced(step)
        elif look.head - attempts[-1].at_block >= STUCK_BLOCKS and await self._raise_fee(step, attempts[-1], look.head):
            return
        elif not await self._chain.knows(attempts[-1].hash):
            await self._send(attempts[-1])

    async def _confirm(self, step: Step, plain: dict[str, Any], look: Look) -> None:
        """Final when it is deep enough, and its block is still the one that stands at that height."""
        receipt = self._chain.parse_receipt(plain)
        if look.head - receipt.block + 1 < self._depth:
            return
        if await self._chain.block_hash(receipt.block) != receipt.block_hash:
            return
        note = "" if receipt.ok else await self._reason(step, receipt)
        await self._finish(
            step,
            "done" if receipt.ok else "reverted",
            mined=receipt.hash,
            receipt=msgspec.json.encode(plain),
            note=note,
        )
        log.info("transaction final", key=step.key, transaction=receipt.hash, ok=receipt.ok, gas=receipt.gas_used)

    async def _reason(self, step: Step, receipt: Receipt) -> str:
        """The custom error of a mined refusal, by running the call again on the state it met."""
        if receipt.gas_used >= step.gas:
            return "OutOfGas"
        call = Call(step.target, step.data, int(step.value_wei))
        for block in (receipt.block - 1, receipt.block):
            try:
                await self._chain.simulate(call, step.sender, block)
            except Reverted as err:
                return err.name
            except ChainError:
                break
        return "unknown"

    async def _displaced(self, step: Step) -> None:
        if not self._seen_lost(step):
            return
        log.warning("another process used this wallet's nonce", key=step.key, nonce=step.nonce, transaction=step.hash)
        await self._finish(step, "lost", note=f"nonce {step.nonce} was used by another transaction")

    async def _send(self, attempt: Attempt) -> None:
        try:
            await self._chain.rpc.call("eth_sendRawTransaction", "0x" + attempt.raw.hex())
        except RpcError as err:  # it stays open: a later round sees whether it was displaced
            log.debug("sending again was refused", transaction=attempt.hash, error=err.message)
        else:
            log.debug("transaction sent again", key=attempt.key, transaction=attempt.hash)

    async def _raise_fee(self, step: Step, newest: Attempt, head: int) -> bool:
        """Sign the step again under its nonce with a higher fee: at most one of the forms can be mined.

        False when it must go on under the fee it has: the cap is reached, or the wallet is locked.
        """
        waiting = Fees(0, int(newest.tip_wei), int(newest.max_fee_wei))
        fees = waiting.bumped().at_least(await current_fees(self._chain))
        obstacle = self._obstacle(waiting, fees)
        if obstacle:
            if step.key not in self.stuck:
                log.warning("a transaction is stuck", key=step.key, transaction=newest.hash, reason=obstacle)
            self.stuck[step.key] = obstacle
            return False
        fees = Fees(fees.base, min(fees.tip, self._max_fee_wei), min(fees.max_fee, self._max_fee_wei))
        call = Call(step.target, step.data, int(step.value_wei))
        draft = Draft(self._chain.chain_id, step.nonce, step.gas, fees.tip, fees.max_fee, call)
        raw, name = sign_transaction(draft, self._wallet.sign)
        now = self._clock()
        attempt = Attempt(name, step.key, step.nonce, raw, str(fees.tip), str(fees.max_fee), head, now)
        await self._store.sign(msgspec.structs.replace(step, hash=name, updated_at=now), attempt)
        self.stuck.pop(step.key, None)
        log.info("fee raised", key=step.key, transaction=name, max_fee_wei=fees.max_fee)
        await self._send(attempt)
        return True

    def _obstacle(self, waiting: Fees, fees: Fees) -> str:
        """Why a stuck transaction cannot be given a higher fee; "" when it can."""
        if waiting.bumped().max_fee > self._max_fee_wei:
            now, cap = (fees.base + fees.tip) / GWEI, self._max_fee_wei / GWEI
            return f"not mined under the highest fee allowed: gas costs {now:.2f} gwei, the cap is {cap:.2f} gwei"
        if self._wallet.locked:
            return "not mined under its fee, and the wallet is locked: unlock it to raise the fee"
        return ""

    async def _finish(
        self, step: Step, state: State, *, mined: str = "", receipt: bytes | None = None, note: str = ""
    ) -> None:
        await self._store.finish(step.key, state, self._clock(), mined=mined, receipt=receipt, note=note)
        self.stuck.pop(step.key, None)
        if (event := self._waiting.pop(step.key, None)) is not None:
            event.set()


def _block(step: Step) -> int:
    """The block a step was mined in."""
    return number(msgspec.json.decode(step.receipt or b"{}").get("blockNumber") or "0x0")
