"""Gas of ModelRegistry and RewardPool: a model's revenue, and the rewards for rating it."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from contracts.params import TOKEN
from protocols.feedback.epoch import Account, EpochTree, Line, account_of, lines_hash, ordered
from protocols.ids import Address
from protocols.merkle import MerkleTree, leaf, word
from protocols.sealed.payload import seal_cells
from tests.bench.money.stand import Stand, hundred_payers

MODEL = sha256(b"model").digest()
HALF = 500_000  # ppm: of the publisher's own data, and of dataset 1
NO_MODEL = bytes(32)


class Models(Stand):
    def measure(self) -> None:
        self.signers, self.payers = hundred_payers()
        self.revenue()
        self.settled = [7 * TOKEN] * 10 + [6 * TOKEN] * 90
        self.epochs()
        self.rated_sales()

    def revenue(self) -> None:
        table = self.table
        terms = (MODEL, 2_000, 1000, NO_MODEL, 0, 0)
        table.put(
            "models.publish, 1 dataset", self.run(self.buyer, "models", "publish", terms, [1], [2 * HALF], bytes(36))
        )
        child = sha256(b"child").digest()
        terms = (child, 2_000, 1000, MODEL, 1_000, 0)
        rows: Any = (terms, [0, 1], [HALF, HALF], bytes(36))
        table.put("models.publish, 2 datasets and a parent", self.run(self.buyer, "models", "publish", *rows))
        table.put("models.settle 1 voucher", *(self.settle(n * TOKEN, 1) for n in (1, 2)))
        ten = [self.settle(n * TOKEN, 10) for n in (3, 4)]
        table.put("models.settle 10 vouchers", *ten)
        hundred = [self.settle(n * TOKEN, 100) for n in (5, 6)]
        table.put("models.settle 100 vouchers", *hundred)
        table.put("= marginal voucher of a model", *((h - t) // 90 for h, t in zip(hundred, ten, strict=True)))
        claim = [self.run(self.seller, "models", "claim", MODEL, 0, 1, 2 * HALF, [])]
        self.settle(7 * TOKEN, 10)
        claim.append(self.run(self.seller, "models", "claim", MODEL, 0, 1, 2 * HALF, []))
        table.put("models.claim, 1 dataset", *claim)
        table.put("models.claimPublisher", self.run(self.buyer, "models", "claimPublisher", MODEL))
        self.of_a_child(child)

    def settle(self, total: int, count: int, model: bytes = MODEL) -> int:
        lane = int.from_bytes(model[-8:], "big")
        batch = self.items(self.suite.addresses["models"], lane, total, self.signers[:count], self.payers[:count])
        return self.run(self.buyer, "models", "settle", model, batch)

    def of_a_child(self, child: bytes) -> None:
        weights = MerkleTree([leaf(word(index) + word(dataset) + word(HALF)) for index, dataset in enumerate((0, 1))])
        claims, shares = [], []
        for total in (1, 2):
            self.settle(total * TOKEN, 1, child)
            claims.append(self.run(self.seller, "models", "claim", child, 1, 1, HALF, weights.proof(1)))
            shares.append(self.run(self.seller, "models", "claimParent", child))
        self.table.put("models.claim, 2 datasets", *claims)
        self.table.put("models.claimParent", *shares)

    # ------------------------------------------------------------------------------------------------ rewards

    def epochs(self) -> None:
        suite, table, proposer = self.suite, self.table, self.other
        suite.give(proposer, TOKEN, "stakes")
        stake = suite.view("rewards", "proposerStake")
        table.put("stakes.stake", self.run(proposer, "stakes", "stake", stake))
        few, many = self.accounts(0, 10), self.accounts(10, 100)
        gas = [self.propose(few)]
        suite.pass_time(suite.view("rewards", "challengeWindow"))
        table.put("rewards.finish", self.run(proposer, "rewards", "finish", 1))
        suite.pass_time(suite.view("rewards", "epochLength"))
        gas.append(self.propose(many))
        table.put("rewards.propose, 10 accounts", gas[0])
        table.put("rewards.propose, 90 accounts", gas[1])
        table.put("= marginal account", (gas[1] - gas[0]) // 80)
        tree = EpochTree(few)
        claims = [self.claim(tree, few, index) for index in range(2)]
        table.put("rewards.claim, 1 of 10 accounts", *claims)

    def accounts(self, first: int, last: int) -> list[Account]:
        """Payers as those who rated the model, with all they have settled."""
        suite = self.suite
        terms = {"fee_bps": suite.view("models", "feeBps"), "beta_ppm": suite.view("rewards", "betaPpm")}
        made = [
            account_of(Address(payer), [Line(MODEL, settled)], had_wei=0, **terms)
            for payer, settled in zip(self.payers[first:last], self.settled[first:last], strict=True)
        ]
        return ordered(made)

    def propose(self, accounts: list[Account]) -> int:
        rows = [
            (one.payer, one.cumulative_wei, one.delta_wei, [(line.model_id, line.up_to_wei) for line in one.lines])
            for one in accounts
        ]
        return self.run(self.other, "rewards", "propose", rows, sha256(b"evidence").digest())

    def claim(self, tree: EpochTree, accounts: list[Account], index: int) -> int:
        one = accounts[index]
        row = (index, one.payer, one.cumulative_wei, one.delta_wei, lines_hash(one.lines))
        return self.run(self.other, "rewards", "claim", 1, row, tree.proof(index))

    def rated_sales(self) -> None:
        sealed = seal_cells([b"x" * 100], sha256(b"content key").digest())
        offer, _ = self.offer(self.suite.register(self.seller, sealed.root, 1))
        sales = [self.bought(offer, self.buyer, 80 + n) for n in range(2)]
        gas = [self.run(self.buyer, "rewards", "rewardSale", s, 5, sha256(b"item").digest()) for s in sales]
        self.table.put("rewards.rewardSale", *gas)
        self.table.put("rewards.withdraw", self.run(self.buyer, "rewards", "withdraw"))
