"""A payer, a payee and a bank in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import coincurve
import pytest

from node.journal import Journal, open_journal
from node.wallet.cover import Cover
from node.wallet.erc1271 import ContractPayers
from node.wallet.lanes import Lanes
from node.wallet.till import Credit, Till
from protocols import eip712
from protocols.ids import Address
from protocols.voucher import Voucher, sign_voucher, voucher_domain
from tests.support.accounts import HotWallet, wallet_of
from tests.support.bank import FakeChain

CHAIN_ID = 31337
NOW = 1_800_000_000
PAYEE = Address("0x2222222222222222222222222222222222222222")
LANE = 2**64 - 1
SESSION = coincurve.PrivateKey(b"\x51" * 32)
HOT = eip712.address_of(SESSION.public_key)


class World:
    """`now` is the payee's and payer's clock; `payer` the wallet, `chain` what both read."""

    def __init__(self, payer_journal: Journal, payee_journal: Journal) -> None:
        self.now = NOW
        self.chain = FakeChain()
        self.bank = self.chain.bank
        self.payer: HotWallet = wallet_of("alice")
        self.domain = voucher_domain(CHAIN_ID, Address(self.bank.address))
        self.payer_journal, self.payee_journal = payer_journal, payee_journal

    def clock(self) -> int:
        return self.now

    def till(
        self, credit_wei: int = 0, fresh_s: float = 0.0, reread_s: float = 0.0, soft_limit_wei: int = 10**30
    ) -> Till:
        cover = Cover(self.chain, fresh_s=fresh_s)  # type: ignore[arg-type]
        bank = Address(self.bank.address)
        return Till(
            self.payee_journal,
            cover,
            ContractPayers(self.chain, fresh_s=fresh_s),  # type: ignore[arg-type]
            chain_id=CHAIN_ID,
            bank=bank,
            credit=Credit(soft_limit_wei, credit_wei),
            clock=self.clock,
            reread_s=reread_s,
        )

    def lanes(self, max_spend_wei: int = 10**30) -> Lanes:
        return Lanes(
            self.payer_journal,
            Cover(self.chain, fresh_s=0.0),  # type: ignore[arg-type]
            self.payer,
            SESSION,
            chain_id=CHAIN_ID,
            bank=Address(self.bank.address),
            max_spend_wei=max_spend_wei,
            clock=self.clock,
        )

    def voucher(self, sum_wei: int, *, lane: int = LANE, key: coincurve.PrivateKey | None = None) -> Voucher:
        """Signed by the payer, or by `key` for him."""
        return sign_voucher(key or self.payer.key, self.domain, self.payer.address, PAYEE, lane, sum_wei)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_journal(tmp_path / "payer.db") as payer, open_journal(tmp_path / "payee.db") as payee:
        yield World(payer, payee)
