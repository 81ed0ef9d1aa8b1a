"""Confirmations that buyers sign and the seller brings, many in one transaction."""

from __future__ import annotations

import os

import coincurve
import pytest
import trio

from node.exchange.batches import Batches
from node.journal.confirmations import Confirmation
from protocols import eip712
from protocols.codec import encode
from protocols.exchange import events as ev
from protocols.exchange.confirmation import confirm_digest, sale_domain
from protocols.exchange.handover import public_point
from protocols.exchange.messages import (
    MAX_REPLY_BYTES,
    PROTOCOL,
    Confirmed,
    ConfirmRequest,
    OpeningsRequest,
    Refusal,
    Reply,
    read_reply,
)
from protocols.ids import Address
from tests.integration.test_exchange import TOKENS, Place, chain, meet, place
from tests.support import hostile
from tests.support.accounts import wallet_of
from tests.support.items import ALICE, BOB
from tests.support.money import fresh_suite, suite
from tests.support.suite import Suite
from tests.support.trader import Trader

__all__ = ["chain", "fresh_suite", "place", "suite"]  # fixtures

pytestmark = pytest.mark.chain

LONE_GAS = 40_000  # of a confirmation by the buyer's own transaction, at least
SALES = 3  # as many as the bond of a trader's offer covers at once


async def locked(buyer: Trader, deal: str) -> int:
    """The number of the sale that a deal has locked."""
    with trio.fail_after(30):
        while (row := await buyer.deals.get(deal)) is None or not row.sale:
            await trio.sleep(0.005)
    return int(row.sale)


async def say(buyer: Trader, offer: str, sale: int, signature: bytes) -> Reply:
    """Give a signature to the seller, as his buyer or as anybody."""
    request = encode(ConfirmRequest(offer=offer, sale=str(sale), signature=signature))
    raw = await buyer.wire.request(ALICE, PROTOCOL, request, timeout_s=10, max_reply_bytes=MAX_REPLY_BYTES)
    return read_reply(raw)


def digest(buyer: Trader, sale: int) -> bytes:
    return confirm_digest(sale_domain(buyer.chain.chain_id, Address(buyer.chain.sale.address)), sale)


async def test_several_sales_are_confirmed_in_one_transaction_that_the_seller_pays(place: Place) -> None:
    async with place.trader(ALICE, 1, confirm_wait_s=2.5) as alice, place.trader(BOB, 2) as bob:
        offer = await meet(alice, bob, place)
        deals = [await bob.desk.buy(offer, 1_000 * TOKENS) for _ in range(SALES)]
        for deal in deals:
            assert await bob.over(deal) == "settled"
            view = await bob.desk.view(deal)
            assert [tx.step for tx in view.txs] == ["lock"]
            assert await alice.over(f"sale-{view.sale}") == "paid"
        batches = await alice.transactions.under("confirm:")
        assert [step.state for step in batches] == ["done"]
        terms = await bob.chain.sale.offer_terms(bob.offers.get(offer).body.offer_no)
        assert (terms.open, terms.uncollected) == (0, SALES)


async def test_only_the_buyers_own_signature_under_this_sale_is_taken(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile.become("silent-buyer", monkeypatch.setattr)
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        offer = await meet(alice, bob, place)
        deal = await bob.desk.buy(offer, 1_000 * TOKENS)
        sale = await locked(bob, deal)
        with trio.fail_after(30):
            while (await bob.desk.view(deal)).state != "confirming":
                await trio.sleep(0.01)
        stranger = coincurve.PrivateKey(os.urandom(32))
        for signature in (
            os.urandom(64),
            eip712.sign(stranger, digest(bob, sale)),
            bob.account.sign(digest(bob, sale + 1)),
            bob.account.sign(confirm_digest(sale_domain(1, Address(bob.chain.sale.address)), sale)),
            alice.account.sign(digest(bob, sale)),
        ):
            reply = await say(bob, offer, sale, signature)
            assert isinstance(reply, Refusal)
            assert reply.kind == "bad_signature"
        unknown = await say(bob, offer, sale + 1, bob.account.sign(digest(bob, sale + 1)))
        assert isinstance(unknown, Refusal)
        assert unknown.kind == "no_sale"
        assert await bob.chain.sale.earned(sale >> 64) == 0
        for _ in range(2):  # again after it is paid: he may not have heard that it was taken
            assert isinstance(await say(bob, offer, sale, bob.account.sign(digest(bob, sale))), Confirmed)
            assert await alice.over(f"sale-{sale}") == "paid"


async def test_a_confirmation_that_the_contract_passes_over_is_told_so_and_stops_no_other(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile.become("silent-buyer", monkeypatch.setattr)
    async with place.trader(ALICE, 1, confirm_wait_s=0.5) as alice, place.trader(BOB, 2) as bob:
        offer = await meet(alice, bob, place)
        bad, good = [await locked(bob, await bob.desk.buy(offer, 1_000 * TOKENS)) for _ in range(2)]
        told: dict[int, object] = {}
        batches: Batches = alice.batches

        async def bring(sale: int, signature: bytes) -> None:
            told[sale] = await batches.bring(Confirmation(str(sale), signature), by=1 << 40)

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bring, bad, alice.account.sign(digest(alice, bad)))
                nursery.start_soon(bring, good, bob.account.sign(digest(bob, good)))
        assert told == {bad: ev.Skipped(), good: None}
        assert (await bob.chain.sale.sale(good)).is_paid
        assert (await bob.chain.sale.sale(bad)).is_locked
        assert len(await alice.transactions.under("confirm:")) == 1


async def test_an_offer_that_is_just_being_published_is_asked_for_again(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        offer = await meet(alice, bob, place)
        row = await alice.publications.by_offer(offer)
        assert row is not None
        await alice.publications.advance(row.publication, "offered", offer="")  # a crash before it was noted
        ask = encode(OpeningsRequest(offer=offer))
        raw = await bob.wire.request(ALICE, PROTOCOL, ask, timeout_s=10, max_reply_bytes=MAX_REPLY_BYTES)
        reply = read_reply(raw)
        assert isinstance(reply, Refusal)
        assert reply.kind == "not_yet"

        async def note_it() -> None:
            await trio.sleep(1.5)
            await alice.publications.advance(row.publication, "announced", offer=offer)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(note_it)
            assert (await bob.desk.sample(offer, None)).ok


@pytest.mark.parametrize("size", [1, 2, 5, 10, 20, 40])
def test_what_a_confirmation_costs_by_the_size_of_its_batch(size: int, suite: Suite) -> None:
    """`pytest -s -k what_a_confirmation_costs` prints the table: whole transactions, divided by their sales."""
    seller, buyer, price = suite.accounts[1], wallet_of("bob"), TOKENS
    suite.anvil.call("anvil_impersonateAccount", buyer.address)
    for owner in (seller, buyer.address):
        suite.give(owner, 200 * TOKENS, "sale")
    dataset = suite.register(seller, os.urandom(32), cells=8)
    offer = suite.send(seller, "sale", "offer", dataset, price, size * price)[-1][1]["offerId"]
    domain = sale_domain(suite.deployment.chain_id, Address(suite.addresses["sale"]))
    gas = []
    for _ in range(2):
        sales = []
        for _ in range(size):
            point = public_point(os.urandom(32))
            sales.append(suite.send(buyer.address, "sale", "lock", offer, price, *point)[0][1]["saleId"])
        signed = [buyer.sign(confirm_digest(domain, sale)) for sale in sales]
        paid = suite.send(seller, "sale", "confirmMany", sales, [(one[:32], one[32:]) for one in signed])
        assert len(paid) == size
        gas.append(suite.gas // size)
    print(f"confirmMany of {size:>2}: {gas[0]:>6} gas a sale, {gas[1]:>6} with the next batch")
    assert size == 1 or gas[1] < LONE_GAS
