"""What the chain knows of people and names: shares held back and taken back, facts counted, names that change."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import coincurve
import pytest
import trio
from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address

from contracts.anvil import find_anvil, start_anvil
from contracts.bindings.sale import SaleState
from contracts.chain import Chain, open_chain
from contracts.params import TOKEN, DeployParams
from contracts.values import Call, Receipt
from protocols.exchange.handover import key_fault_evidence, mask_key, public_point
from protocols.ids import Address, checksum
from protocols.sealed.payload import parse, seal_cells
from protocols.voucher import sign_voucher, voucher_domain
from tests.support.suite import Suite

pytestmark = pytest.mark.skipif(find_anvil() is None, reason="no anvil: run `make npm`")

PRICE = 10 * TOKEN
WINDOW_S = 1_000
DELAY_S = 500
CK = sha256(b"content key").digest()
MODEL = sha256(b"model").digest()
ZERO = "0x" + "00" * 20


class Place:
    """A suite, its people, and the chain as a node sees it."""

    def __init__(self, suite: Suite, chain: Chain) -> None:
        self.suite, self.chain = suite, chain
        self.seller, self.buyer, self.other = map(to_checksum_address, suite.accounts[1:4])

    async def send(self, sender: str, call: Call) -> Receipt:
        """A binding's call, from one of anvil's own accounts."""
        await self.chain.simulate(call, sender)
        plain = {"from": sender, "to": call.to, "data": "0x" + call.data.hex(), "gas": hex(10_000_000)}
        digest = self.suite.anvil.call("eth_sendTransaction", plain)
        with trio.fail_after(5):  # anvil mines a moment after it has answered
            while (receipt := await self.chain.receipt(digest)) is None:
                await trio.sleep(0.002)
        assert receipt.ok
        return receipt

    async def offer(self, payload_root: bytes, cells: int) -> int:
        dataset = self.suite.register(self.seller, payload_root, cells)
        return self.chain.sale.offered(await self.send(self.seller, self.chain.sale.offer(dataset, PRICE, 5 * PRICE)))

    async def lock(self, offer: int, buyer: str, secret: int) -> int:
        bx, by = public_point(secret.to_bytes(32, "big"))
        return self.chain.sale.locked(await self.send(buyer, self.chain.sale.lock(offer, PRICE, bx, by)))

    async def buy(self, offer: int, buyer: str, secret: int) -> int:
        sale = await self.lock(offer, buyer, secret)
        await self.send(buyer, self.chain.sale.confirm(sale))
        return sale


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with start_anvil() as anvil:
        made = Suite(anvil, DeployParams(holdback_bps=3_000, feedback_window_s=WINDOW_S, directory_delay_s=DELAY_S))
        for who in made.accounts[1:4]:
            made.give(who, 10_000 * TOKEN, "sale", "bank")
        yield made


async def test_a_share_is_held_and_then_the_sellers(suite: Suite) -> None:
    async with open_chain(suite.anvil.rpc_url, suite.addresses, suite.anvil.chain_id) as chain:
        at = Place(suite, chain)
        offer = await at.offer(sha256(b"root").digest(), 4)
        sale = await at.buy(offer, at.buyer, 1)
        share = await chain.sale.held_share(PRICE)
        assert (share, await chain.sale.holdback_bps()) == (3 * TOKEN, 3_000)
        assert await chain.sale.held(offer) == share
        assert await chain.sale.earned(offer) == PRICE - share - await chain.sale.fee_of(PRICE)
        assert (await chain.sale.sale(sale)).deadline == await chain.timestamp()  # when it was paid
        assert await chain.sale.bond_window() == 3_600  # the dispute window is the longer one
        suite.pass_time(2 * await chain.sale.feedback_window())
        assert await chain.sale.held(offer) == 0
        assert await chain.sale.earned(offer) == PRICE - await chain.sale.fee_of(PRICE)


async def test_a_fault_gives_buyers_their_shares_and_the_seller_a_fact(suite: Suite) -> None:
    async with open_chain(suite.anvil.rpc_url, suite.addresses, suite.anvil.chain_id) as chain:
        at = Place(suite, chain)
        before = await chain.reputation.facts(at.seller)
        sealed = seal_cells([bytes([i]) * 50 for i in range(5)], CK)
        offer = await at.offer(sealed.root, sealed.cells)
        assert await chain.sale.seller_of(offer) == at.seller
        paid = await at.buy(offer, at.other, 2)
        await wrong_key(at, offer, sealed.payload)
        assert await chain.sale.held(offer) == 0
        assert chain.sale.reclaimed(await at.send(at.other, chain.sale.reclaim(paid))) == 3 * TOKEN
        found = await chain.sale.sale(paid)
        assert (found.state, found.is_reclaimed, found.was_paid, found.is_paid) == (
            SaleState.RECLAIMED,
            True,
            True,
            False,
        )
        receipt = await at.send(at.buyer, chain.reputation.count_sales([paid, paid, offer << 64 | 99]))
        assert chain.reputation.counted_sales(receipt) == [paid]
        assert await chain.reputation.is_sale_counted(paid)
        assert not await chain.reputation.is_fault_counted(offer)
        await at.send(at.buyer, chain.reputation.count_fault(offer))
        assert await chain.reputation.is_fault_counted(offer)
        after = await chain.reputation.facts(at.seller)
        assert after.disputes_lost == before.disputes_lost + 1
        assert (after.sold, after.sold_wei) == (before.sold + 1, before.sold_wei + PRICE)
        assert after.since == found.deadline
        buyer = await chain.reputation.facts(at.other)
        assert (buyer.bought, buyer.spent_wei, buyer.disputes_lost) == (1, PRICE, 0)


async def wrong_key(at: Place, offer: int, payload: bytes) -> None:
    """The seller delivers a key that opens nothing, and the buyer shows it."""
    secret = (3).to_bytes(32, "big")
    sale = await at.lock(offer, at.buyer, 3)
    masked = mask_key(sha256(b"wrong").digest(), public_point(secret), sale, sha256(b"e").digest())
    await at.send(at.seller, at.chain.sale.deliver(sale, masked.ex, masked.parity, masked.masked))
    at.suite.send(
        at.buyer, "sale", "disputeKey", *key_fault_evidence(parse(payload), 4, secret, masked, sale).arguments()
    )


async def test_what_a_payer_settled_with_a_model_is_counted(suite: Suite) -> None:
    async with open_chain(suite.anvil.rpc_url, suite.addresses, suite.anvil.chain_id) as chain:
        at = Place(suite, chain)
        suite.send(at.seller, "models", "publish", (MODEL, 10_000, 1, bytes(32), 0, 0), [0], [1_000_000], bytes(36))
        key = coincurve.PrivateKey(sha256(b"payer").digest())
        payer = checksum(keccak(key.public_key.format(compressed=False)[1:])[12:])
        suite.send(at.buyer, "bank", "deposit", payer, 100 * TOKEN)
        domain = voucher_domain(suite.anvil.chain_id, Address(suite.addresses["bank"]))
        before = await chain.reputation.facts(at.seller)
        for cumulative in (4 * TOKEN, 9 * TOKEN):
            lane = chain.models.lane_of(MODEL)
            made = sign_voucher(key, domain, Address(payer), Address(chain.models.address), lane, cumulative).signature
            suite.send(at.other, "models", "settle", MODEL, [(payer, lane, cumulative, made[:32], made[32:])])
            await at.send(at.other, chain.reputation.count_lane(MODEL, payer))
            assert await chain.reputation.lane_counted(MODEL, payer) == cumulative
        facts = await chain.reputation.facts(payer)
        assert (facts.spent_wei, facts.bought) == (9 * TOKEN, 0)
        assert (await chain.reputation.facts(at.seller)).sold_wei == before.sold_wei + 9 * TOKEN
        assert (await chain.reputation.facts(ZERO)).since == 0


async def test_a_name_changes_when_everybody_had_time_to_look(suite: Suite) -> None:
    async with open_chain(suite.anvil.rpc_url, suite.addresses, suite.anvil.chain_id) as chain:
        at, directory = Place(suite, chain), chain.directory
        assert await directory.names() == [name for name in suite.addresses if name != "directory"]
        assert await directory.lookup("sale") == chain.sale.address
        await at.send(suite.admin, directory.schedule("sale", chain.bank.address))
        await at.send(suite.admin, directory.schedule("bank", chain.sale.address))
        change = await directory.pending("sale")
        assert change.target == chain.bank.address
        assert change.ready_at <= await chain.timestamp() + await directory.delay()
        await at.send(suite.admin, directory.cancel("bank"))
        assert (await directory.pending("bank")).target == ZERO
        suite.pass_time(DELAY_S)
        assert await directory.lookup("sale") == chain.sale.address
        await at.send(at.other, directory.enact("sale"))
        assert await directory.lookup("sale") == chain.bank.address
        assert await directory.lookup("unheard of") == ZERO
