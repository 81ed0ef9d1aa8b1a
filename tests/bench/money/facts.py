"""Gas of Reputation and Directory."""

from __future__ import annotations

from contracts.params import TOKEN, text32
from tests.bench.money.models import MODEL
from tests.bench.money.stand import PRICE, Stand, hundred_payers


class Facts(Stand):
    """After the sales and the models: their ends are what is counted."""

    def measure(self) -> None:
        suite, table = self.suite, self.table
        offer, _ = self.offer(1, 100 * PRICE)
        sales = [self.bought(offer, self.buyer, 100 + n) for n in range(12)]
        ones = [self.count([sales[n]]) for n in range(2)]
        table.put("reputation.countSales 1", *ones)
        ten = self.count(sales[2:12])
        table.put("reputation.countSales 10", ten)
        table.put("= marginal sale counted", (ten - ones[1]) // 9)
        bad = next(
            n for n in range(1, suite.view("sale", "offerCount") + 1) if suite.view("sale", "offers", n)[10] == 3
        )
        table.put("reputation.countFault", self.run(self.other, "reputation", "countFault", bad))
        self.lanes()
        self.directory()

    def count(self, sales: list[int]) -> int:
        return self.run(self.other, "reputation", "countSales", sales)

    def lanes(self) -> None:
        signers, payers = hundred_payers()
        gas = [self.run(self.other, "reputation", "countLane", MODEL, payers[0])]
        lane = int.from_bytes(MODEL[-8:], "big")
        items = self.items(self.suite.addresses["models"], lane, 9 * TOKEN, signers[:1], payers[:1])
        self.suite.send(self.other, "models", "settle", MODEL, items)
        gas.append(self.run(self.other, "reputation", "countLane", MODEL, payers[0]))
        self.table.put("reputation.countLane", *gas)

    def directory(self) -> None:
        suite, name = self.suite, text32("sale")
        gas = [self.run(suite.admin, "directory", "schedule", name, suite.addresses["bank"]) for _ in range(2)]
        self.table.put("directory.schedule", *gas)
        suite.pass_time(suite.view("directory", "delay"))
        self.table.put("directory.enact", self.run(self.other, "directory", "enact", name))
