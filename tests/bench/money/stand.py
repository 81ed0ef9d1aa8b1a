"""Where gas is measured: a suite on its own anvil, a seller, a buyer and another, and signed vouchers of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import coincurve
from eth_hash.auto import keccak

from contracts.params import TOKEN
from protocols.exchange.handover import public_point
from protocols.ids import Address, checksum
from protocols.voucher import sign_voucher, voucher_domain
from tests.bench.money.table import Table
from tests.support.suite import Suite

PRICE = 10 * TOKEN
UNCAPPED = 2**96 - 1
Item = tuple[str, int, int, bytes, bytes]


class Stand:
    """Three people with tokens, and the table that is filled. Subclasses measure one part of the suite each."""

    def __init__(self, suite: Suite, table: Table) -> None:
        self.suite = suite
        self.table = table
        self.seller, self.buyer, self.other = suite.accounts[1:4]
        for who in (self.seller, self.buyer, self.other):
            suite.give(who, 100_000 * TOKEN)

    def measure(self) -> None:
        raise NotImplementedError

    def run(self, sender: str, contract: str, function: str, *args: Any) -> int:
        self.suite.send(sender, contract, function, *args)
        return self.suite.gas

    def adopt(self, who: str, *spenders: str) -> None:
        """An account anvil does not hold, with gas, tokens and allowances."""
        self.suite.anvil.call("anvil_impersonateAccount", who)
        self.suite.anvil.call("anvil_setBalance", who, hex(10**20))
        self.suite.give(who, 1000 * TOKEN, *spenders)

    def offer(self, dataset: int, bond: int = 20 * PRICE) -> tuple[int, int]:
        events = self.suite.send(self.seller, "sale", "offer", dataset, PRICE, bond)
        return int(events[0][1]["offerId"]), self.suite.gas

    def lock(self, offer: int, buyer: str, secret: int) -> tuple[int, int]:
        bx, by = public_point(secret.to_bytes(32, "big"))
        events = self.suite.send(buyer, "sale", "lock", offer, PRICE, bx, by)
        return int(events[0][1]["saleId"]), self.suite.gas

    def bought(self, offer: int, buyer: str, secret: int) -> int:
        """A sale that is paid."""
        sale, _ = self.lock(offer, buyer, secret)
        self.suite.send(buyer, "sale", "confirm", sale)
        return sale

    def items(
        self, payee: str, lane: int, total: int, signers: Sequence[coincurve.PrivateKey], payers: Sequence[str]
    ) -> list[Item]:
        """Vouchers over `total`, one of each payer."""
        domain = voucher_domain(self.suite.anvil.chain_id, Address(self.suite.addresses["bank"]))
        made = []
        for key, payer in zip(signers, payers, strict=True):
            signature = sign_voucher(key, domain, Address(payer), Address(payee), lane, total).signature
            made.append((payer, lane, total, signature[:32], signature[32:]))
        return made


def hundred_payers() -> tuple[list[coincurve.PrivateKey], list[str]]:
    """The keys and addresses of a hundred API users."""
    signers = [coincurve.PrivateKey(sha256(b"payer %d" % n).digest()) for n in range(100)]
    return signers, [address_of(key) for key in signers]


def address_of(key: coincurve.PrivateKey) -> str:
    return checksum(keccak(key.public_key.format(compressed=False)[1:])[12:])
