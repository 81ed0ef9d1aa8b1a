"""The node's account in the voucher bank: put money in, take it out, keep the session key authorised."""

from __future__ import annotations

import secrets

import structlog

from contracts.bindings.bank import Delegate
from contracts.chain import Chain
from contracts.values import Receipt
from node.wallet.cover import Cover
from node.wallet.errors import InsufficientFunds, WalletError
from node.wallet.moment import moment
from node.wallet.permit import permit_digest
from node.wallet.settle import Events
from node.wallet.transact import Account, Transactor
from protocols import eip712
from protocols.ids import Address

log = structlog.get_logger(__name__)

PERMIT_S = 3_600  # a permit is used at once; an hour leaves room for a fee spike


class Deposits:
    """Deposit, withdraw, session key."""

    def __init__(
        self,
        chain: Chain,
        transactor: Transactor,
        wallet: Account,
        session: Address,
        cover: Cover,
        *,
        session_ttl_s: int,
        session_cap_wei: int,
        events: Events,
    ) -> None:
        self._chain = chain
        self._transactor = transactor
        self._wallet = wallet
        self._session = session
        self._cover = cover
        self._session_ttl_s = session_ttl_s
        self._session_cap_wei = session_cap_wei
        self._events = events

    async def deposit(self, amount_wei: int, key: str | None = None) -> dict[str, str]:
        """Move tokens into the voucher bank, and authorise the session key. `key` makes a repeated call one deposit.

        Raises InsufficientFunds, WalletLocked, or as `Transactor.once`.
        """
        self._transactor.require_unlocked()
        if amount_wei <= 0:
            raise WalletError("a deposit must be above 0")
        who, bank = self._wallet.address, self._chain.bank
        have = await self._chain.token.balance(who)
        if have < amount_wei:
            raise InsufficientFunds("token", have, amount_wei, who)
        name = key or secrets.token_hex(8)
        deadline = await self._chain.timestamp() + PERMIT_S
        digest = permit_digest(
            await self._chain.token.domain_separator(),
            owner=who,
            spender=Address(bank.address),
            value_wei=amount_wei,
            nonce=await self._chain.token.permit_nonce(who),
            deadline=deadline,
        )
        call = bank.deposit_with_permit(who, amount_wei, deadline, *eip712.rsv(self._wallet.sign(digest)))
        receipt = await self._transactor.once(f"deposit:{name}", call)
        await self.keep_session()
        self._cover.forget(who)
        self._events.publish("wallet", {"state": "deposited", "amount": str(amount_wei), "hash": receipt.hash})
        return {"amount": str(amount_wei), "hash": receipt.hash, "deposited": str((await bank.account(who)).free_wei)}

    async def keep_session(self) -> bool:
        """Authorise the session key anew when less than half of its time or cap is left. Raises as `once`."""
        who, bank, now = self._wallet.address, self._chain.bank, await self._chain.timestamp()
        hot = await bank.delegate(who, self._session)
        if not session_worn(hot, self._session_ttl_s, self._session_cap_wei, now):
            return False
        live = hot.until > now
        # A live cap cannot be lowered on chain; what was spent does not count towards the new one
        cap = max(hot.cap_wei, hot.spent_wei + self._session_cap_wei) if live else self._session_cap_wei
        until = now + self._session_ttl_s
        key = f"session:{self._session}:{hot.until}:{hot.cap_wei}"
        await self._transactor.once(key, bank.set_delegate(self._session, until, cap))
        self._cover.forget(who)
        log.info("session key authorised", session=self._session, until=until, cap_wei=cap)
        return True

    async def withdraw(self, amount_wei: int | None = None) -> dict[str, str]:
        """Ask for tokens back from the bank (all of them without an amount); what is ready is paid out first.

        The bank pays after its delay, so that payees can bring what they hold; `run` fetches it then.
        Raises InsufficientFunds, WalletLocked, or as `Transactor.once`.
        """
        self._transactor.require_unlocked()
        if amount_wei is not None and amount_wei <= 0:
            raise WalletError("a withdrawal must be above 0")
        paid = await self.finish_exit()
        account = await self._chain.bank.account(self._wallet.address)
        amount = account.free_wei if amount_wei is None else amount_wei
        if account.free_wei == 0 and paid:
            return {"state": "paid", "paid": str(paid), "amount": "0"}
        if not 0 < amount <= account.free_wei:
            raise InsufficientFunds("deposit", account.free_wei, max(amount, 1), self._wallet.address)
        receipt = await self._transactor.once(f"exit:{secrets.token_hex(8)}", self._chain.bank.start_exit(amount))
        (started,) = receipt.events("ExitStarted", self._chain.bank.address)
        self._cover.forget(self._wallet.address)
        self._events.publish("wallet", {"state": "leaving", "amount": str(amount), "hash": receipt.hash})
        ready = moment(started["readyAt"])
        return {"state": "leaving", "amount": str(amount), "ready_at": ready, "paid": str(paid), "hash": receipt.hash}

    async def reserve(self, payee: Address, lane: int, amount_wei: int, until: int) -> dict[str, str]:
        """Turn part of the deposit into hard cover for one lane until a time (UTC seconds); what is there is kept, and
        its end only moves away. Nobody else is paid from it, and it cannot be taken back before.

        Raises InsufficientFunds, WalletLocked, or as `Transactor.once`.
        """
        self._transactor.require_unlocked()
        who, bank = self._wallet.address, self._chain.bank
        if amount_wei < 0 or until <= await self._chain.timestamp():
            raise WalletError("a reserve needs an amount and an end in the future")
        free = (await bank.account(who)).free_wei
        if amount_wei > free:
            raise InsufficientFunds("deposit", free, amount_wei, who)
        key = f"reserve:{secrets.token_hex(8)}"
        receipt = await self._transactor.once(key, bank.reserve(payee, lane, amount_wei, until))
        return self._reserved(receipt)

    async def release(self, payee: Address, lane: int) -> dict[str, str]:
        """Give what is reserved for a lane, and whose time is over, back to the deposit. Raises as `reserve`."""
        self._transactor.require_unlocked()
        before = await self._chain.bank.lane(self._wallet.address, payee, lane)
        if before.reserved_until > await self._chain.timestamp():
            raise WalletError(f"it is reserved until {moment(before.reserved_until)}: the payee counts on it")
        key = f"release:{secrets.token_hex(8)}"
        receipt = await self._transactor.once(key, self._chain.bank.release(payee, lane))
        return self._reserved(receipt)

    def _reserved(self, receipt: Receipt) -> dict[str, str]:
        (event,) = receipt.events("Reserved", self._chain.bank.address)
        self._cover.forget(self._wallet.address)
        reserved, until = str(event["amount"]), moment(event["until"])
        self._events.publish("wallet", {"state": "reserved", "amount": reserved, "until": until, "hash": receipt.hash})
        return {
            "payee": event["payee"],
            "lane": str(event["lane"]),
            "reserved": reserved,
            "until": until,
            "hash": receipt.hash,
        }

    async def finish_exit(self) -> int:
        """Fetch a withdrawal whose delay is over; base units paid, 0 when there is none. Raises as `once`."""
        account = await self._chain.bank.account(self._wallet.address)
        if not account.exiting_wei or await self._chain.timestamp() < account.exit_at:
            return 0
        receipt = await self._transactor.once(f"exit:finish:{account.exit_at}", self._chain.bank.finish_exit())
        paid = sum(int(event["amount"]) for event in receipt.events("Exited", self._chain.bank.address))
        self._cover.forget(self._wallet.address)
        self._events.publish("wallet", {"state": "withdrawn", "amount": str(paid), "hash": receipt.hash})
        return paid


def session_worn(hot: Delegate, ttl_s: int, cap_wei: int, now: int) -> bool:
    """Less than half of the session key's time or cap is left."""
    return hot.until - now < ttl_s // 2 or hot.left_wei < cap_wei // 2
