"""wallet: the money of this node. Locked is a normal state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from node.rpc.method import Method
from node.rpc.values import Amount, Duration, Limit, Name, Result, Secret, items, seconds, shown, when

LaneNumber = Annotated[str, Meta(pattern=r"^[0-9]{1,20}\Z")]  # 64 bits: more than JSON's whole numbers
View = Mapping[str, Any] | msgspec.Struct


class Batch(Protocol):
    """Vouchers settled in one transaction."""

    @property
    def vouchers(self) -> int: ...
    @property
    def paid_wei(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def gas(self) -> int: ...


class Wallet(Protocol):
    """What the wallet does for this noun."""

    async def create(self, passphrase: str) -> str: ...
    async def unlock(self, passphrase: str, for_s: float | None) -> None: ...
    def lock(self) -> None: ...
    async def balance(self) -> View: ...
    async def deposit(self, amount_wei: int) -> View: ...
    async def withdraw(self, amount_wei: int | None) -> View: ...
    async def reserve(self, payee: str, lane: int | None, amount_wei: int, until: int) -> View: ...
    async def release(self, payee: str, lane: int | None) -> View: ...
    async def history(self, limit: int, after: str | None) -> tuple[Sequence[View], str | None]: ...
    async def lanes(self) -> Sequence[View]: ...
    async def settle(self) -> Sequence[Batch]: ...


def methods(wallet: Wallet) -> list[Method]:
    """Create, unlock, lock, balance, deposit, withdraw, reserve, release, settle, lanes, history."""

    async def create(passphrase: Secret) -> Result:
        """Make this node's account; it stays locked. There is one, and it is never replaced."""
        return {"address": await wallet.create(passphrase)}

    async def unlock(passphrase: Secret, for_: Duration | None = None) -> Result:
        """Keep the key in memory, for a while (`90`, `30m`, `1h`) or until `wallet.lock`."""
        await wallet.unlock(passphrase, None if for_ is None else seconds(for_))
        return {"locked": False}

    async def lock() -> Result:
        """Forget the key."""
        wallet.lock()
        return {"locked": True}

    async def balance() -> Result:
        """token, native, deposited, reserved, credit (to withdraw), owed (vouchers not yet settled)."""
        return dict(shown(await wallet.balance()))

    async def deposit(amount: Amount) -> Result:
        """Move tokens into the voucher bank, to pay calls and searches from."""
        return dict(shown(await wallet.deposit(int(amount))))

    async def withdraw(amount: Amount | None = None) -> Result:
        """Take tokens out of the voucher bank; without an amount, all. The bank pays after its delay."""
        return dict(shown(await wallet.withdraw(None if amount is None else int(amount))))

    async def reserve(payee: Name, amount: Amount, until: Name, lane: LaneNumber | None = None) -> Result:
        """Set a part of the deposit aside for one payee, who then serves beyond what he lets others owe him.

        `payee` is an address, with its lane, or a model. Nobody else is paid from it, and it cannot be had back before
        `until`, a time, RFC 3339.
        """
        return dict(shown(await wallet.reserve(payee, _lane(lane), int(amount), when(until, "until"))))

    async def release(payee: Name, lane: LaneNumber | None = None) -> Result:
        """Give what was reserved for a payee, and whose time is over, back to the deposit."""
        return dict(shown(await wallet.release(payee, _lane(lane))))

    async def settle() -> Result:
        """Bring every voucher that others gave us to the chain now; the node also does it by itself."""
        batches = await wallet.settle()
        return {
            "amount_wei": str(sum(int(batch.paid_wei) for batch in batches)),
            "vouchers": sum(batch.vouchers for batch in batches),
            "gas": sum(batch.gas for batch in batches),
            "tx": batches[0].hash if batches else None,
            **items(batches),
        }

    async def lanes() -> Result:
        """Every voucher lane: what we promised to whom, what others promised to us, what of it is settled."""
        return items(await wallet.lanes())

    async def history(limit: Limit = 50, after: Name | None = None) -> Result:
        """What moved money, newest first."""
        rows, cursor = await wallet.history(limit, after)
        return items(rows, cursor)

    return [
        Method("wallet.create", create),
        Method("wallet.unlock", unlock),
        Method("wallet.lock", lock),
        Method("wallet.balance", balance),
        Method("wallet.deposit", deposit, deadline_s=300),
        Method("wallet.withdraw", withdraw, deadline_s=300),
        Method("wallet.reserve", reserve, deadline_s=300),
        Method("wallet.release", release, deadline_s=300),
        Method("wallet.settle", settle, deadline_s=300),
        Method("wallet.lanes", lanes),
        Method("wallet.history", history),
    ]


def _lane(text: str | None) -> int | None:
    return None if text is None else int(text)
