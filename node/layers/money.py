"""How use is paid: vouchers on both sides, deposits, settlement, the wallet as its owner sees it."""

from __future__ import annotations

import msgspec

from config.settings import Wallet
from node.identity.keyfile import session_key
from node.layers.base import Base, now
from node.wallet.cover import Cover
from node.wallet.deposits import Deposits
from node.wallet.erc1271 import ContractPayers
from node.wallet.lanes import Lanes
from node.wallet.leaving import Leaving
from node.wallet.service import WalletService
from node.wallet.settle import Policy, Settler
from node.wallet.till import Credit, Till
from protocols.eip712 import address_of
from protocols.ids import Address


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """Metered payments, on both sides, and the wallet as its owner sees it."""

    lanes: Lanes
    till: Till
    settler: Settler
    wallet: WalletService


def open_money(base: Base) -> Money:
    """Vouchers, deposits, settlement."""
    chain, settings = base.chain, base.settings
    bank, session, cover = Address(chain.bank.address), session_key(base.paths.session), Cover(chain)
    contracts, money = ContractPayers(chain), settings.wallet
    settler = Settler(
        chain, base.transactor, base.journal, cover, contracts, policy=policy(money), events=base.events, clock=now
    )
    till = Till(
        base.journal,
        cover,
        contracts,
        chain_id=chain.chain_id,
        bank=bank,
        credit=Credit(soft_limit_wei=money.soft_limit_wei, credit_wei=money.credit_wei),
        half_full=settler.wake,
        clock=now,
    )
    lanes = Lanes(
        base.journal,
        cover,
        base.wallet,
        session,
        chain_id=chain.chain_id,
        bank=bank,
        max_spend_wei=settings.wallet.max_spend_wei,
        clock=now,
    )
    deposits = Deposits(
        chain,
        base.transactor,
        base.wallet,
        address_of(session.public_key),
        cover,
        session_ttl_s=settings.wallet.session_ttl_s,
        session_cap_wei=settings.wallet.session_cap_wei,
        events=base.events,
    )
    wallet = WalletService(
        wallet=base.wallet,
        session=address_of(session.public_key),
        chain=chain,
        transactor=base.transactor,
        journal=base.journal,
        deposits=deposits,
        settler=settler,
        max_spend_wei=settings.wallet.max_spend_wei,
        events=base.events,
        clock=now,
    )
    base.nursery.start_soon(wallet.run)
    base.nursery.start_soon(Leaving(chain, cover, settler, poll_s=base.poll_s).run)
    return Money(lanes=lanes, till=till, settler=settler, wallet=wallet)


def policy(wallet: Wallet) -> Policy:
    """When to settle. Half of what a payer may owe is worth it in any case: he could not go on otherwise."""
    return Policy(
        above_wei=min(wallet.settle_above_wei, wallet.soft_limit_wei // 2),
        every_s=wallet.settle_every_s,
        gas_multiple=wallet.settle_gas_multiple,
        coin_price_wei=wallet.coin_price_wei,
    )
