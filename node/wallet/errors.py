"""What can go wrong with money.

WalletError
├── InsufficientFunds    the account has less than a step needs (kind insufficient_funds, exit code 6)
├── FeesTooHigh          gas costs more than chain.max_fee_gwei
├── StillPending         sent, journalled, not final yet: the same step may be asked again at any time
├── SendRefused          the endpoint would not take the transaction
├── KeyReused            a bug of ours: two different steps under one journal key
├── SpendLimit           the node's own limit for a day
├── ChainSilent          what stands behind a payer cannot be read now
└── VoucherError
    ├── VoucherRefused   a voucher that does not pay for what it is meant to pay (with a reason)
    │   └── Outdated         we hold a newer one by the same signer, and show it to him
    ├── NoCover          the payer's deposit does not cover what he would owe
    └── AheadTooFar      we would sign more than one unit beyond what we received

From below: node.identity.errors.WalletLocked, NoWallet; contracts.errors.Reverted, RpcUnavailable.
"""

from __future__ import annotations

from config.amounts import tokens
from node.identity.errors import NoWallet, WalletLocked
from protocols.voucher import Voucher

__all__ = [
    "AheadTooFar",
    "ChainSilent",
    "FeesTooHigh",
    "InsufficientFunds",
    "KeyReused",
    "NoCover",
    "NoWallet",
    "Outdated",
    "SendRefused",
    "SpendLimit",
    "StillPending",
    "VoucherError",
    "VoucherRefused",
    "WalletError",
    "WalletLocked",
]


class WalletError(Exception):
    """Trouble with money; the message says whether any moved."""

    kind = "wallet"
    hint = "look at wallet.history for what was sent"


class InsufficientFunds(WalletError):
    """`have` and `need` in wei of `what` ("native", "token" or "deposit")."""

    kind = "insufficient_funds"

    def __init__(self, what: str, have: int, need: int, account: str = "") -> None:
        where = f" at {account}" if account else ""
        have_text, need_text = _amounts(have, need, "coins" if what == "native" else "tok")
        super().__init__(f"{what} balance is {have_text}{where}, this step needs {need_text}")
        self.what = what
        self.have = have
        self.need = need
        self.hint = {
            "native": "send native coins for gas to the wallet's address",
            "deposit": "deposit more: schwung wallet deposit",
        }.get(what, "send tokens to the wallet's address")


def _amounts(have: int, need: int, unit: str) -> tuple[str, str]:
    """Both for people; to the last base unit where rounding would hide the difference."""
    short = tokens(have), tokens(need)
    if short[0] == short[1] or "<" in short[0] + short[1]:
        return f"{have} wei", f"{need} wei"
    return f"{short[0]} {unit}", f"{short[1]} {unit}"


class FeesTooHigh(WalletError):
    kind = "fees_too_high"
    hint = "wait, or raise chain.max_fee_gwei; nothing was sent"


class StillPending(WalletError):
    kind = "still_pending"
    hint = "nothing is lost: the node goes on with it by itself; ask again later"


class SendRefused(WalletError):
    kind = "send_refused"
    hint = "look at the message; the step may be tried again"


class KeyReused(WalletError):
    kind = "key_reused"
    hint = "report this with the log"


class SpendLimit(WalletError):
    kind = "spend_limit"
    hint = "raise wallet.max_spend_wei, or wait until tomorrow"


class ChainSilent(WalletError):
    kind = "chain_unavailable"
    hint = "the chain endpoint does not answer; try again later"


class VoucherError(WalletError):
    kind = "voucher"


class VoucherRefused(VoucherError):
    kind = "voucher_refused"
    hint = "the payer must send a voucher that raises this lane by at least the price"


class Outdated(VoucherRefused):
    """`held` is the voucher we hold: a payer who has lost his journal goes on from it."""

    def __init__(self, message: str, held: Voucher) -> None:
        super().__init__(message)
        self.held = held


class NoCover(VoucherError):
    kind = "no_cover"
    hint = "the payer must deposit more: schwung wallet deposit"


class AheadTooFar(VoucherError):
    kind = "ahead_too_far"
    hint = "the last unit was paid and not received: take another provider"
