"""Gas of VoucherBank: deposits, batches of vouchers, hot keys, cover, exits."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import coincurve

from contracts.params import TOKEN
from protocols.ids import checksum
from tests.bench.money.stand import UNCAPPED, Stand, address_of, hundred_payers


class Bank(Stand):
    def measure(self) -> None:
        suite, table = self.suite, self.table
        suite.send(suite.admin, "token", "approve", suite.addresses["bank"], 2**256 - 1)
        signers, payers = hundred_payers()
        gas = [self.run(suite.admin, "bank", "deposit", payer, 1000 * TOKEN) for payer in payers]
        table.put("bank.deposit", gas[0], self.run(suite.admin, "bank", "deposit", payers[0], TOKEN))
        payees = [checksum(sha256(b"payee %d" % n).digest()[:20]) for n in range(5)]

        def settle(payee: str, total: int, count: int, lane: int = 1) -> int:
            batch = self.items(payee, lane, total, signers[:count], payers[:count])
            return self.run(self.seller, "bank", "settle", payee, batch, False)

        one = [settle(payees[0], n * TOKEN, 1) for n in (1, 2)]
        table.put("bank.settle 1", *one)
        into = []
        for total in (TOKEN, 2 * TOKEN):
            items = self.items(self.other, 1, total, signers[:1], payers[:1])
            into.append(self.run(self.other, "bank", "settle", self.other, items, True))
        table.put("bank.settle 1 into the bank", *into)
        ten = [settle(payees[1], n * TOKEN, 10) for n in (1, 2)]
        table.put("bank.settle 10 payers", *ten)
        hundred = [settle(payees[2], n * TOKEN, 100) for n in (1, 2)]
        table.put("bank.settle 100 payers", *hundred)
        table.put("= marginal voucher", *((h - t) // 90 for h, t in zip(hundred, ten, strict=True)))
        self.delegates(signers, settle_to=payees[3])
        self.cover(signers, payers, payees[4])

    def delegates(self, hot: list[coincurve.PrivateKey], settle_to: str) -> None:
        suite, payer = self.suite, self.buyer
        suite.send(suite.admin, "bank", "deposit", payer, 100 * TOKEN)
        for lane, (name, cap) in enumerate((("uncapped", UNCAPPED), ("capped", 50 * TOKEN))):
            signer = address_of(hot[lane])
            self.table.put(f"bank.setDelegate ({name})", self.run(payer, "bank", "setDelegate", signer, 2**40, cap))
            gas = []
            for total in (TOKEN, 2 * TOKEN):
                items = self.items(settle_to, lane, total, [hot[lane]], [payer])
                gas.append(self.run(self.seller, "bank", "settle", settle_to, items, False))
            self.table.put(f"bank.settle 1, signed by a delegate ({name})", *gas)

    def cover(self, signers: list[coincurve.PrivateKey], payers: Sequence[str], payee: str) -> None:
        suite, table = self.suite, self.table
        self.adopt(payers[0])
        until = suite.now() + 10_000
        table.put("bank.reserve", *(self.run(payers[0], "bank", "reserve", payee, 9, TOKEN, until) for _ in (0, 1)))
        batch = self.items(payee, 9, TOKEN, signers[:1], payers[:1])
        table.put("bank.settle 1 from reserve", self.run(self.seller, "bank", "settle", payee, batch, False))
        table.put("bank.startExit", self.run(payers[0], "bank", "startExit", TOKEN))
        suite.pass_time(4000)
        table.put("bank.finishExit", self.run(payers[0], "bank", "finishExit"))
