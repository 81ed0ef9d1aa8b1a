"""Money steps that happen once, whatever dies in between.

    async with open_transactor(chain, wallet, journal, …) as transactor:
        receipt = await transactor.once("deal:7:lock", chain.sale.lock(…))

`once` writes the signed transaction into the journal under the step's key before it is sent. Asked again with the same
key, after a crash or at the same time, it takes up that very transaction: a nonce is mined once, so the step is.

    killed before the journal      nothing happened; the step begins anew
    killed before or after sending the watcher sends the same bytes again; the chain knows them or takes them
    killed after it was mined      the receipt is found by the hash in the journal
    nonce used by another process  all forms of the step are void for good; it is signed anew with the next nonce
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec
import structlog
import trio

from contracts.chain import Chain
from contracts.errors import ChainError, Reverted, RpcError
from contracts.values import Call, Receipt
from node.identity.errors import WalletLocked
from node.journal.journal import Journal
from node.journal.transactions import Attempt, Step, Transactions
from node.wallet.eip1559 import GWEI, Draft, Fees, current_fees, sign_transaction
from node.wallet.errors import FeesTooHigh, InsufficientFunds, KeyReused, SendRefused, StillPending
from node.wallet.watch import Watcher
from protocols.ids import Address

log = structlog.get_logger(__name__)

WAIT_S = 300.0  # a full block time of any chain many times over; the watcher goes on after that
GAS_MARGIN = (115, 100)  # the state may move between estimate and inclusion: +15 %
UNLIMITED = 2**256 - 1
# What endpoints say of a transaction that they, or the chain, have already: no reason to worry
_HARMLESS = (
    "already known",
    "alreadyknown",
    "already imported",
    "known transaction",
    "nonce too low",
    "nonce is too low",
    "underpriced",
)


class Account(Protocol):
    """The wallet as it is used here; `sign` raises WalletLocked."""

    @property
    def address(self) -> Address: ...
    @property
    def locked(self) -> bool: ...
    def sign(self, digest: bytes) -> bytes: ...


class Waiting(msgspec.Struct, frozen=True):
    """A step that is not signed yet, and why; `since` in UTC seconds."""

    key: str
    call: Call
    why: str
    since: int


class Transactor:
    """Sends for one wallet. Use `open_transactor`: without its watcher nothing is ever final."""

    def __init__(
        self,
        chain: Chain,
        wallet: Account,
        store: Transactions,
        *,
        max_fee_wei: int,
        poll_s: float,
        clock: Callable[[], int],
        watcher: Watcher,
    ) -> None:
        self._chain = chain
        self._wallet = wallet
        self._store = store
        self._max_fee_wei = max_fee_wei
        self._poll_s = poll_s
        self._clock = clock
        self._watcher = watcher
        self._nonce_lock = trio.Lock()
        self._waiting: dict[str, Waiting] = {}

    @property
    def address(self) -> Address:
        """The wallet's address. Raises NoWallet."""
        return self._wallet.address

    def require_unlocked(self) -> None:
        """Raises NoWallet or WalletLocked: to be asked before work that ends in a payment."""
        if self._wallet.address and self._wallet.locked:
            raise WalletLocked

    async def once(self, key: str, call: Call, *, timeout_s: float = WAIT_S) -> Receipt:
        """Carry out `call` exactly once under `key`; returns when it is final.

        When an earlier transaction under `key` is under way or done, it counts, even if its arguments were others (a
        price may have moved since): what was really done stands in the receipt.

        Raises Reverted (no effect; asking again tries again), InsufficientFunds, WalletLocked, FeesTooHigh,
        SendRefused, StillPending (after `timeout_s`; it goes on all the same), or ChainError while nothing is sent yet.
        """
        obstacle: FeesTooHigh | None = None
        try:
            with trio.move_on_after(timeout_s):
                while True:
                    try:
                        return await self._through(key, call)
                    except FeesTooHigh as err:  # spikes pass
                        obstacle = err
                        self._wait(key, call, str(err))
                        await trio.sleep(self._poll_s)
        finally:
            self._waiting.pop(key, None)
        step = await self._store.get(key)
        if step is None or step.state != "open":
            raise obstacle or StillPending(f"{key}: nothing was sent within {timeout_s:g} s")
        raise StillPending(f"{key}: transaction {step.hash} is not final after {timeout_s:g} s")

    def waiting(self) -> list[Waiting]:
        """The steps that are not signed yet, because gas is too dear."""
        return list(self._waiting.values())

    def obstacles(self) -> dict[str, str]:
        """What holds up which step, signed or not; it goes on by itself when that has passed."""
        return {**{one.key: one.why for one in self._waiting.values()}, **self._watcher.stuck}

    def _wait(self, key: str, call: Call, why: str) -> None:
        if key not in self._waiting:
            log.warning("a transaction waits", key=key, reason=why)
        since = self._waiting[key].since if key in self._waiting else self._clock()
        self._waiting[key] = Waiting(key, call, why, since)

    async def _through(self, key: str, call: Call) -> Receipt:
        step = await self._store.get(key)
        while True:
            self._require_same(key, call, step)
            if step is None or step.state in ("lost", "refused", "reverted"):
                await self._prepare(key, call)
            step = await self._watcher.outcome(key)
            if step.state == "done":
                return self._chain.parse_receipt(msgspec.json.decode(step.receipt or b"{}"))
            if step.state == "reverted":
                raise Reverted(step.note or "unknown", transaction=step.hash)

    def _require_same(self, key: str, call: Call, step: Step | None) -> None:
        """A key names one function of one contract, called by one wallet."""
        if step is None:
            return
        before = (step.sender, step.target, step.data[:4])
        if before != (self._wallet.address, call.to, call.data[:4]):
            raise KeyReused(f"the journal has another transaction under {key}: {step.hash}")

    async def _prepare(self, key: str, call: Call) -> None:
        """Estimate, price, sign, journal, send: one at a time, so that nonces leave in order."""
        self.require_unlocked()
        async with self._nonce_lock:
            step = await self._store.get(key)
            if step is not None and (step.state in ("open", "done") or await self._mined_after_all(step)):
                return
            gas = await self._gas(call)
            fees = await self._fees()
            need_wei = call.value + gas * fees.max_fee
            await self._require_native(need_wei)
            head = await self._chain.block_number()
            nonce = await self._next_nonce()
            now = self._clock()
            raw, name, gas = await self._sign(key, nonce, gas, fees, call)
            attempt = Attempt(name, key, nonce, raw, str(fees.tip), str(fees.max_fee), head, now)
            step = Step(
                key=key,
                sender=self._wallet.address,
                target=call.to,
                data=call.data,
                value_wei=str(call.value),
                state="open",
                nonce=nonce,
                gas=gas,
                hash=name,
                receipt=None,
                note="",
                created_at=step.created_at if step else now,
                updated_at=now,
            )
            try:
                await self._store.sign(step, attempt)
                await self._send_first(attempt, need_wei)
            finally:
                self._watcher.wake()

    async def _sign(self, key: str, nonce: int, gas: int, fees: Fees, call: Call) -> tuple[bytes, str, int]:
        """The signed transaction, its hash and its gas limit.

        Signing is deterministic: two steps with equal calls would be one transaction when the second takes the nonce
        that the first was refused under. A unit of gas keeps them apart.
        """
        while True:
            draft = Draft(self._chain.chain_id, nonce, gas, fees.tip, fees.max_fee, call)
            raw, name = sign_transaction(draft, self._wallet.sign)
            if await self._store.owner(name) in (None, key):
                return raw, name, gas
            gas += 1

    async def _mined_after_all(self, step: Step) -> bool:
        """A step given up may be mined all the same: by a reorganisation, or a node that said no and meant yes."""
        if step.state == "reverted":
            return False
        for attempt in await self._store.attempts(step.key):
            if await self._chain.receipt(attempt.hash) is not None:
                reopened = msgspec.structs.replace(step, state="open", nonce=attempt.nonce, hash=attempt.hash)
                await self._store.reopen(reopened)
                self._watcher.wake()
                return True
        return False

    async def _gas(self, call: Call) -> int:
        """The estimate and a margin. It is a dry run too: a refusal surfaces here, before a nonce is spent."""
        try:
            estimate = await self._chain.estimate(call, self._wallet.address)
        except Reverted as err:
            if err.name == "ERC20InsufficientBalance" and len(err.values) == 3:
                account, have, need = err.values
                raise InsufficientFunds("token", have, need, account) from err
            raise
        except RpcError as err:
            if "insufficient funds" not in err.message.lower():
                raise
            have = await self._chain.native_balance(self._wallet.address)
            fees = await current_fees(self._chain)
            raise InsufficientFunds("native", have, call.value + 21_000 * fees.max_fee, self._wallet.address) from err
        return estimate * GAS_MARGIN[0] // GAS_MARGIN[1]

    async def _fees(self) -> Fees:
        fees = await current_fees(self._chain)
        if fees.base + fees.tip > self._max_fee_wei:
            raise FeesTooHigh(
                f"gas costs {(fees.base + fees.tip) / GWEI:.2f} gwei, the cap is {self._max_fee_wei / GWEI:.2f} gwei"
            )
        return Fees(fees.base, fees.tip, min(fees.max_fee, self._max_fee_wei))

    async def _require_native(self, need: int) -> None:
        have = await self._chain.native_balance(self._wallet.address)
        if have < need:
            raise InsufficientFunds("native", have, need, self._wallet.address)

    async def _next_nonce(self) -> int:
        """What the endpoint has seen, or one above what we have signed and it has not seen yet."""
        ours = [step.nonce + 1 for step in await self._store.open(self._wallet.address)]
        return max([await self._chain.nonce(self._wallet.address), *ours])

    async def _send_first(self, attempt: Attempt, need_wei: int) -> None:
        try:
            await self._chain.rpc.call("eth_sendRawTransaction", "0x" + attempt.raw.hex())
        except RpcError as err:
            if any(text in err.message.lower() for text in _HARMLESS):
                return
            await self._store.finish(attempt.key, "refused", self._clock(), note=err.message[:200])
            if "insufficient funds" in err.message.lower():
                have = await self._chain.native_balance(self._wallet.address)
                raise InsufficientFunds("native", have, need_wei, self._wallet.address) from err
            raise SendRefused(f"{attempt.key}: the chain endpoint refused the transaction: {err.message}") from err
        except ChainError as err:  # it may have arrived: the watcher finds out
            log.warning("sending met trouble", key=attempt.key, transaction=attempt.hash, error=str(err))

    async def allow(self, spender: str, amount_wei: int) -> None:
        """Let a contract of ours take at least `amount_wei` of tokens. Raises as `once`.

        The allowance is unlimited: our contracts are immutable and only ever take from whoever calls them, and an
        approval for each payment would cost a third of a sale's gas.
        """
        if await self._chain.token.allowance(self.address, spender) >= amount_wei:
            return
        # The nonce in the key: an approval that was taken back by hand can be given again
        key = f"allow:{spender}:{await self._chain.nonce(self.address, 'latest')}"
        await self.once(key, self._chain.token.approve(spender, UNLIMITED))


@asynccontextmanager
async def open_transactor(
    chain: Chain,
    wallet: Account,
    journal: Journal,
    *,
    confirmations: int = 1,
    max_fee_gwei: float = 200,
    poll_s: float = 1.0,
    clock: Callable[[], int] = lambda: int(time.time()),
) -> AsyncIterator[Transactor]:
    """A transactor with its watcher running: what an earlier process left open is taken up at once."""
    store = Transactions(journal)
    max_fee_wei = round(max_fee_gwei * GWEI)
    watcher = Watcher(
        chain, wallet, store, confirmations=confirmations, max_fee_wei=max_fee_wei, poll_s=poll_s, clock=clock
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        yield Transactor(chain, wallet, store, max_fee_wei=max_fee_wei, poll_s=poll_s, clock=clock, watcher=watcher)
        nursery.cancel_scope.cancel()
