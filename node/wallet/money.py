"""Everything about money of one node, put together.

async with open_money(chain, wallet, session_key, journal, settings=…, events=bus, clock=now) as money:
    money.transactor · money.lanes (we pay) · money.till (we are paid) · money.settler · money.service
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import coincurve
import trio

from config.settings import Settings
from contracts.chain import Chain
from node.identity.wallet_key import Wallet
from node.journal.journal import Journal
from node.wallet.cover import Cover
from node.wallet.deposits import Deposits
from node.wallet.lanes import Lanes
from node.wallet.service import WalletService
from node.wallet.settle import Events, Policy, Settler
from node.wallet.till import Till
from node.wallet.transact import Transactor, open_transactor
from protocols import eip712
from protocols.ids import Address


class Money:
    """The parts, wired."""

    def __init__(
        self,
        chain: Chain,
        wallet: Wallet,
        session: coincurve.PrivateKey,
        journal: Journal,
        transactor: Transactor,
        settings: Settings,
        events: Events,
        clock: Callable[[], int],
    ) -> None:
        limits, bank = settings.wallet, Address(chain.bank.address)
        cover = Cover(chain)
        hot = eip712.address_of(session.public_key)
        self.transactor = transactor
        self.lanes = Lanes(
            journal,
            cover,
            wallet,
            session,
            chain_id=chain.chain_id,
            bank=bank,
            max_spend_wei=int(limits.max_spend_wei),
            clock=clock,
        )
        self.till = Till(
            journal, cover, chain_id=chain.chain_id, bank=bank, credit_wei=int(limits.credit_wei), clock=clock
        )
        policy = Policy(above_wei=int(limits.settle_above_wei), every_s=limits.settle_every_s)
        self.settler = Settler(chain, transactor, journal, cover, policy=policy, events=events, clock=clock)
        deposits = Deposits(
            chain,
            transactor,
            wallet,
            hot,
            cover,
            session_ttl_s=limits.session_ttl_s,
            session_cap_wei=int(limits.session_cap_wei),
            events=events,
        )
        self.service = WalletService(
            wallet=wallet,
            session=hot,
            chain=chain,
            transactor=transactor,
            journal=journal,
            deposits=deposits,
            settler=self.settler,
            max_spend_wei=int(limits.max_spend_wei),
            events=events,
            clock=clock,
        )


@asynccontextmanager
async def open_money(
    chain: Chain,
    wallet: Wallet,
    session: coincurve.PrivateKey,
    journal: Journal,
    *,
    settings: Settings,
    events: Events,
    clock: Callable[[], int],
) -> AsyncIterator[Money]:
    """Open transactions are taken up, due vouchers settled, withdrawals finished, all by themselves, until the end."""
    async with (
        open_transactor(
            chain,
            wallet,
            journal,
            confirmations=settings.chain.confirmations,
            max_fee_gwei=settings.chain.max_fee_gwei,
            poll_s=settings.chain.poll_ms / 1000,
            clock=clock,
        ) as transactor,
        trio.open_nursery() as nursery,
    ):
        money = Money(chain, wallet, session, journal, transactor, settings, events, clock)
        nursery.start_soon(money.service.run)
        yield money
        nursery.cancel_scope.cancel()
