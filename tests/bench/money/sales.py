"""Gas of KeySale: the honest ways, the disputes, and what follows a fault."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import coincurve
from eth_hash.auto import keccak

from protocols.eip712 import domain_separator, sign, typed_digest
from protocols.exchange.handover import (
    MaskedKey,
    cell_fault_evidence,
    key_fault_evidence,
    mask_key,
    public_point,
)
from protocols.ids import Address, address_bytes
from protocols.sealed import keys, tree
from protocols.sealed.payload import parse, seal_cells
from tests.bench.money.stand import Stand, address_of

CK = sha256(b"content key").digest()


class Sales(Stand):
    def measure(self) -> None:
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
        self.bought(offer, self.buyer, 60)
        again = self.run(self.seller, "sale", "collectAndWithdraw", [offer])
        table.put("sale.collectAndWithdraw (any number of sales)", collected, again)
        table.put("sale.burnFees", self.run(self.seller, "sale", "burnFees"))
        sale, _ = self.lock(offer, self.buyer, 61)
        suite.pass_time(4000)
        table.put("sale.refund, never delivered", self.run(self.buyer, "sale", "refund", sale))
        suite.pass_time(2 * suite.view("sale", "feedbackWindow"))
        table.put(
            "sale.collectAndWithdraw, shares held back", self.run(self.seller, "sale", "collectAndWithdraw", [offer])
        )
        self.disputes()

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

    def deliver(self, sale: int, secret: int, content_key: bytes) -> MaskedKey:
        e = sha256(b"seller %d" % sale).digest()
        masked = mask_key(content_key, public_point(secret.to_bytes(32, "big")), sale, e)
        self.suite.send(self.seller, "sale", "deliver", sale, masked.ex, masked.parity, masked.masked)
        return masked

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
            self.bad_cell(size)

    def bad_cell(self, size: int) -> None:
        """A seller who committed to another plaintext than he encrypted, in cell 1 of 64; two had paid already."""
        payload, root = junk(size)
        offer, _ = self.offer(self.suite.register(self.seller, root, 64))
        paid = [self.bought(offer, self.other, secret) for secret in (73, 74)]
        sale, _ = self.lock(offer, self.buyer, 72)
        self.deliver(sale, 72, CK)
        evidence = cell_fault_evidence(parse(payload), 1, CK, sale)
        gas = self.run(self.buyer, "sale", "disputeCell", *evidence.arguments())
        self.table.put(f"sale.disputeCell won, {size} B", gas)
        reclaims = [self.run(self.other, "sale", "reclaim", one) for one in paid]
        self.table.put("sale.reclaim", *reclaims)
        self.suite.send(self.other, "sale", "withdraw")


def junk(size: int) -> tuple[bytes, bytes]:
    """A payload of 64 cells whose cell 1 is not what was committed to, and its root."""
    leaves, index, bodies = [], [], []
    for i in range(64):
        key = keys.cell_key(CK, i)
        ciphertext = keys.apply_stream(key, bytes(size))
        claimed = keys.plain_hash(key, b"something better") if i == 1 else keys.plain_hash(key, bytes(size))
        index.append(len(ciphertext).to_bytes(2, "big") + claimed + keys.key_hash(key))
        leaves.append(tree.leaf(sha256(ciphertext).digest(), claimed, keys.key_hash(key)))
        bodies.append(ciphertext)
    payload = b"".join([b"SWSEALED" + (1).to_bytes(4, "big") + (64).to_bytes(4, "big"), *index, *bodies])
    return payload, tree.root(leaves)
