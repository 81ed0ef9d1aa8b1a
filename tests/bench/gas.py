"""Gas of every money step, from real receipts: `python -m tests.bench.gas`.

Whole transactions (21,000 base and calldata included) on anvil with the committed artifacts. "first" writes fresh
storage (a new buyer, a new lane), "again" does not. The peers' figures are those their authors published or that were
measured from their contracts; they do different things, which the last column says.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import coincurve
from eth_hash.auto import keccak

from contracts.anvil import AnvilError, start_anvil
from contracts.params import TOKEN, DeployParams
from protocols.eip712 import domain_separator, sign, typed_digest
from protocols.exchange.handover import (
    cell_fault_evidence,
    key_fault_evidence,
    mask_key,
    public_point,
)
from protocols.ids import Address, address_bytes, checksum
from protocols.sealed import keys, tree
from protocols.sealed.payload import parse, seal_cells
from protocols.voucher import sign_voucher, voucher_domain
from tests.support.suite import Suite

CK = sha256(b"content key").digest()
PRICE = 10 * TOKEN
UNCAPPED = 2**96 - 1
PEERS = (
    ("Ocean: one purchase (no fairness, no refund)", 203_479),
    ("Vana: one trusted read", 222_844),
    ("FDE (BN254): one atomic sale", 264_482),
    ("FairSwap: one optimistic sale", 986_692),
    ("SingularityNET: one claim in a batch", 44_500),
    ("Swarm: one cheque", 73_800),
    ("The Graph: one RAV", 150_000),
    ("x402 batch: one voucher, without base gas", 19_200),
)


@dataclass
class Table:
    """The figures, by step: [first, again]."""

    rows: dict[str, list[int | None]] = field(default_factory=dict)

    def put(self, step: str, first: int | None, again: int | None = None) -> None:
        self.rows[step] = [first, again]

    def first(self, step: str) -> int:
        return self.rows[step][0] or 0

    def again(self, step: str) -> int:
        return self.rows[step][1] or 0

    def __str__(self) -> str:
        lines = [f"{'step':<52}{'first':>11}{'again':>11}"]
        for step, values in self.rows.items():
            first, again = ("" if v is None else f"{v:,}" for v in values)
            lines.append(f"{step:<52}{first:>11}{again:>11}")
        return "\n".join(lines)


class Bench:
    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.table = Table()
        self.seller, self.buyer, self.other = suite.accounts[1:4]
        for who in (self.seller, self.buyer, self.other):
            suite.give(who, 100_000 * TOKEN)

    def run(self, sender: str, contract: str, function: str, *args: Any) -> int:
        self.suite.send(sender, contract, function, *args)
        return self.suite.gas

    # ------------------------------------------------------------------------------------------------ KeySale

    def sale(self) -> None:
        suite, table = self.suite, self.table
        table.put("token.approve", self.run(self.buyer, "token", "approve", suite.addresses["sale"], 2**256 - 1))
        suite.send(self.seller, "token", "approve", suite.addresses["sale"], 2**256 - 1)
        suite.send(self.other, "token", "approve", suite.addresses["sale"], 2**256 - 1)
        sealed = seal_cells([bytes([i]) * 1000 for i in range(64)], CK)
        dataset = suite.register(self.seller, sealed.root, sealed.cells)
        table.put("registry.register", suite.gas)
        offers = [self.offer(dataset), self.offer(dataset)]
        table.put("sale.offer", offers[0][1], offers[1][1])
        offer = offers[0][0]
        self.in_private(offer)
        self.on_chain(offer)
        self.signed_confirmations(offer)
        collected = self.run(self.seller, "sale", "collectAndWithdraw", [offer])
        sale, _ = self.lock(offer, self.buyer, 60)
        suite.send(self.buyer, "sale", "confirm", sale)
        again = self.run(self.seller, "sale", "collectAndWithdraw", [offer])
        table.put("sale.collectAndWithdraw (any number of sales)", collected, again)
        table.put("sale.burnFees", self.run(self.seller, "sale", "burnFees"))
        sale, _ = self.lock(offer, self.buyer, 61)
        suite.pass_time(4000)
        table.put("sale.refund, never delivered", self.run(self.buyer, "sale", "refund", sale))

    def offer(self, dataset: int, bond: int = 20 * PRICE) -> tuple[int, int]:
        events = self.suite.send(self.seller, "sale", "offer", dataset, PRICE, bond)
        return int(events[0][1]["offerId"]), self.suite.gas

    def lock(self, offer: int, buyer: str, secret: int) -> tuple[int, int]:
        bx, by = public_point(secret.to_bytes(32, "big"))
        events = self.suite.send(buyer, "sale", "lock", offer, PRICE, bx, by)
        return int(events[0][1]["saleId"]), self.suite.gas

    def deliver(self, sale: int, secret: int, content_key: bytes) -> Any:
        e = sha256(b"seller %d" % sale).digest()
        masked = mask_key(content_key, public_point(secret.to_bytes(32, "big")), sale, e)
        self.suite.send(self.seller, "sale", "deliver", sale, masked.ex, masked.parity, masked.masked)
        return masked

    def in_private(self, offer: int) -> None:
        """A buyer's first and second sale, one after the other; then one beside an open one, on a desk of its own."""
        locks, confirms = [], []
        for secret in (1, 2):
            sale, gas = self.lock(offer, self.buyer, secret)
            locks.append(gas)
            confirms.append(self.run(self.buyer, "sale", "confirm", sale))
        self.table.put("sale.lock", *locks)
        self.table.put("sale.confirm", *confirms)
        self.table.put("= fair sale, key in private", locks[0] + confirms[0], locks[1] + confirms[1])
        total = []
        for secret in (3, 5):
            sales = [self.lock(offer, self.buyer, secret + n) for n in (0, 1)]
            confirms = [self.run(self.buyer, "sale", "confirm", sale) for sale, _ in sales]
            total.append(sales[1][1] + confirms[1])
        self.table.put("= the same while another sale is open", *total)

    def on_chain(self, offer: int) -> None:
        suite, table = self.suite, self.table
        locks, delivers, claims = [], [], []
        for secret in (10, 11):
            sale, gas = self.lock(offer, self.other, secret)
            locks.append(gas)
            self.deliver(sale, secret, CK)
            delivers.append(suite.gas)
            suite.pass_time(4000)
            claims.append(self.run(self.seller, "sale", "claim", sale))
        table.put("sale.deliver", *delivers)
        table.put("sale.claim", *claims)
        table.put("= fair sale, all on chain", *(locks[n] + delivers[n] + claims[n] for n in (0, 1)))

    def signed_confirmations(self, offer: int) -> None:
        suite = self.suite
        keys_ = [coincurve.PrivateKey(sha256(b"signing buyer %d" % n).digest()) for n in range(10)]
        domain = domain_separator("KeySale", "1", suite.anvil.chain_id, address_bytes(Address(suite.addresses["sale"])))
        sales, signatures, lock_gas = [], [], 0
        for n, key in enumerate(keys_):
            buyer = address_of(key)
            self.adopt(buyer, "sale")
            sale, lock_gas = self.lock(offer, buyer, 20 + n)
            struct = keccak(keccak(b"Confirm(uint256 saleId)") + sale.to_bytes(32, "big"))
            signature = sign(key, typed_digest(domain, struct))
            sales.append(sale)
            signatures.append((signature[:32], signature[32:]))
        gas = self.run(self.seller, "sale", "confirmMany", sales, signatures)
        self.table.put("sale.confirmMany, 10 signed by buyers", gas)
        self.table.put("= fair sale, confirmed in a batch of 10", lock_gas + gas // 10)

    def adopt(self, who: str, *spenders: str) -> None:
        """An account anvil does not hold, with gas, tokens and allowances."""
        self.suite.anvil.call("anvil_impersonateAccount", who)
        self.suite.anvil.call("anvil_setBalance", who, hex(10**20))
        self.suite.give(who, 1000 * TOKEN, *spenders)

    def disputes(self) -> None:
        for cells in (64, 256):
            plain = [bytes([i % 251]) * 1000 for i in range(cells)]
            sealed = seal_cells(plain, CK)
            offer, _ = self.offer(self.suite.register(self.seller, sealed.root, sealed.cells))
            sale, _ = self.lock(offer, self.buyer, 70)
            masked = self.deliver(sale, 70, sha256(b"wrong").digest())
            evidence = key_fault_evidence(parse(sealed.payload), 5, (70).to_bytes(32, "big"), masked, sale)
            gas = self.run(self.buyer, "sale", "disputeKey", *evidence.arguments())
            self.table.put(f"sale.disputeKey won, {cells} cells", gas)
        offer, _ = self.offer(self.suite.register(self.seller, sha256(b"x").digest(), 64))
        sale, _ = self.lock(offer, self.buyer, 71)
        off_curve = (5).to_bytes(32, "big")  # 5^3 + 7 has no root modulo p
        self.suite.send(self.seller, "sale", "deliver", sale, off_curve, 0, bytes(32))
        zero = bytes(32)
        args: tuple[Any, ...] = (sale, 71, off_curve, 0, zero, 0, zero, zero, zero, [])
        self.table.put("sale.disputeKey won, E off the curve", self.run(self.buyer, "sale", "disputeKey", *args))
        for size in (1024, 4096):
            self.table.put(f"sale.disputeCell won, {size} B", self.bad_cell(size))

    def bad_cell(self, size: int) -> int:
        """A seller who committed to another plaintext than the one he encrypted, in cell 1 of 64."""
        leaves, index, bodies = [], [], []
        for i in range(64):
            key = keys.cell_key(CK, i)
            ciphertext = keys.apply_stream(key, bytes(size))
            claimed = keys.plain_hash(key, b"something better") if i == 1 else keys.plain_hash(key, bytes(size))
            hashes = claimed + keys.key_hash(key)
            index.append(len(ciphertext).to_bytes(2, "big") + hashes)
            leaves.append(tree.leaf(sha256(ciphertext).digest(), claimed, keys.key_hash(key)))
            bodies.append(ciphertext)
        payload = b"".join([b"SWSEALED" + (1).to_bytes(4, "big") + (64).to_bytes(4, "big"), *index, *bodies])
        offer, _ = self.offer(self.suite.register(self.seller, tree.root(leaves), 64))
        sale, _ = self.lock(offer, self.buyer, 72)
        self.deliver(sale, 72, CK)
        evidence = cell_fault_evidence(parse(payload), 1, CK, sale)
        return self.run(self.buyer, "sale", "disputeCell", *evidence.arguments())

    # ------------------------------------------------------------------------------------------------ VoucherBank

    def items(
        self, payee: str, lane: int, total: int, signers: list[coincurve.PrivateKey], payers: Sequence[str]
    ) -> Any:
        domain = voucher_domain(self.suite.anvil.chain_id, Address(self.suite.addresses["bank"]))
        made = []
        for key, payer in zip(signers, payers, strict=True):
            signature = sign_voucher(key, domain, Address(payer), Address(payee), lane, total).signature
            made.append((payer, lane, total, signature[:32], signature[32:]))
        return made

    def bank(self) -> None:
        suite, table = self.suite, self.table
        suite.send(suite.admin, "token", "approve", suite.addresses["bank"], 2**256 - 1)
        signers = [coincurve.PrivateKey(sha256(b"payer %d" % n).digest()) for n in range(100)]
        payers = [address_of(k) for k in signers]
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

    # ------------------------------------------------------------------------------------------------ models, rewards

    def models(self) -> None:
        suite, table = self.suite, self.table
        signers = [coincurve.PrivateKey(sha256(b"payer %d" % n).digest()) for n in range(100)]
        payers = [address_of(k) for k in signers]
        model = sha256(b"model").digest()
        lane = int.from_bytes(model[-8:], "big")
        heirs = [self.seller, self.other]
        leaves = [_leaf(n, who, 50) for n, who in enumerate(heirs)]
        root = keccak(b"".join(sorted(leaves)))
        args = (model, root, 100, 2_000, 1000, [1], bytes(36))
        table.put("models.publish, 1 dataset", self.run(self.buyer, "models", "publish", *args))

        def settle(total: int, count: int) -> int:
            batch = self.items(suite.addresses["models"], lane, total, signers[:count], payers[:count])
            return self.run(self.buyer, "models", "settle", model, batch)

        table.put("models.settle 1 voucher", *(settle(n * TOKEN, 1) for n in (1, 2)))
        ten = [settle(n * TOKEN, 10) for n in (3, 4)]
        table.put("models.settle 10 vouchers", *ten)
        hundred = [settle(n * TOKEN, 100) for n in (5, 6)]
        table.put("models.settle 100 vouchers", *hundred)
        table.put("= marginal voucher of a model", *((h - t) // 90 for h, t in zip(hundred, ten, strict=True)))
        claim = [self.run(self.seller, "models", "claim", model, 0, self.seller, 50, [leaves[1]])]
        settle(7 * TOKEN, 10)
        claim.append(self.run(self.seller, "models", "claim", model, 0, self.seller, 50, [leaves[1]]))
        table.put("models.claim, 2 contributors", *claim)
        table.put("models.claimPublisher", self.run(self.buyer, "models", "claimPublisher", model))
        self.adopt(payers[1])
        gas = self.run(payers[1], "rewards", "rewardLane", model, 5, sha256(b"item").digest())
        table.put("rewards.rewardLane", gas)

    def rewards(self) -> None:
        suite, table = self.suite, self.table
        sealed = seal_cells([b"x" * 100], CK)
        offer, _ = self.offer(suite.register(self.seller, sealed.root, 1))
        sales = [self.lock(offer, self.buyer, 80 + n)[0] for n in range(2)]
        for sale in sales:
            suite.send(self.buyer, "sale", "confirm", sale)
        gas = [self.run(self.buyer, "rewards", "rewardSale", s, 5, sha256(b"item").digest()) for s in sales]
        table.put("rewards.rewardSale", *gas)
        table.put("rewards.withdraw", self.run(self.buyer, "rewards", "withdraw"))


def address_of(key: coincurve.PrivateKey) -> str:
    return checksum(keccak(key.public_key.format(compressed=False)[1:])[12:])


def _leaf(index: int, to: str, weight: int) -> bytes:
    words = index.to_bytes(32, "big") + bytes(12) + bytes.fromhex(to[2:]) + weight.to_bytes(32, "big")
    return keccak(keccak(words))


def measure(progress: Callable[[str], None] = lambda _: None) -> Table:
    """Run all steps on a fresh anvil. Raises AnvilError when there is none."""
    with start_anvil() as anvil:
        bench = Bench(Suite(anvil, DeployParams()))
        for name in ("sale", "disputes", "bank", "models", "rewards"):
            progress(name)
            getattr(bench, name)()
        for name, gas in bench.suite.deployment.gas.items():
            if "." not in name:
                bench.table.put(f"deploy {name}", gas)
        return bench.table


def main() -> int:
    try:
        table = measure(lambda name: print(f"… {name}", file=sys.stderr))
    except AnvilError as err:
        print(err, file=sys.stderr)
        return 1
    print(table)
    print("\npeers, for comparison")
    for name, gas in PEERS:
        print(f"{name:<52}{gas:>11,}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
