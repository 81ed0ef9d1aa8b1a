from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
import trio

from node.feedback.standing import Standing
from node.journal.model_accounts import Request
from node.market.catalog.catalog import Catalog
from node.models.errors import BadCall, NoProvider, PaymentRequired, UnknownModel, WrongReceipt
from node.network.errors import PeerVanished
from node.wallet.errors import WalletLocked
from protocols.codec import decode, encode
from protocols.errors import Malformed
from protocols.inference.card import ModelCard, Weight, lane
from protocols.inference.messages import (
    MAX_REPLY_BYTES,
    PROTOCOL,
    InferenceReply,
    InferenceRequest,
    Refusal,
    Terms,
)
from protocols.inference.weights import WeightsTree
from tests.support.items import ALICE, BOB
from tests.support.models import REGISTRY, Chain, Crier, Room, open_room, reviews, silent
from tests.support.wire import Hub
from tests.unit.models.conftest import CONTRIBUTORS, registered

PRICE = 1_000


class Made(NamedTuple):
    """A published retriever: Alice's folder after the daemon has stopped, what the chain knows, and the signed card."""

    model: str
    folder: Path
    chain: Chain
    card: bytes


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Trained once; every test opens a copy."""
    folder = tmp_path_factory.mktemp("made")

    async def make() -> Made:
        chain, catalogs = registered(), []
        async with open_room(Hub(), ALICE, 1, folder, chain, catalogs, await reviews(360, ("", *CONTRIBUTORS))) as room:
            found = await room.models.train("fashion", "retrieval", progress=silent)
            await room.models.publish(str(found["model"]), PRICE)
            (listed,) = catalogs[0].every(ModelCard)
            return Made(str(found["model"]), folder, chain, listed.item.raw)

    return trio.run(make)


@pytest.fixture
async def builder(made: Made, hub: Hub, chain: Chain, catalogs: list[Catalog], tmp_path: Path) -> AsyncIterator[Room]:
    """Alice after a restart."""
    shutil.copytree(made.folder, tmp_path / "builder")
    chain.published.update(made.chain.published)
    chain.weights.update(made.chain.weights)
    records = await reviews(360, ("", *CONTRIBUTORS))
    async with open_room(hub, ALICE, 1, tmp_path / "builder", chain, catalogs, records) as room:
        await room.catalog.load()
        yield room


@pytest.fixture
async def model(made: Made, builder: Room, consumer: Room, contributor: Room) -> str:
    """A retriever that Alice serves and everybody knows."""
    for room in (consumer, contributor):
        await room.catalog.admit(made.card, None)
    builder.models.serve()
    return made.model


async def send(consumer: Room, request: InferenceRequest) -> InferenceReply:
    raw = await consumer.wire.request(ALICE, PROTOCOL, encode(request), timeout_s=5, max_reply_bytes=MAX_REPLY_BYTES)
    return decode(raw, InferenceReply, max_bytes=MAX_REPLY_BYTES)


async def asked(consumer: Room, model: str, cumulative_wei: int, number: int = 1, **changes) -> InferenceRequest:
    voucher = await consumer.purse.promise(REGISTRY, lane(model), cumulative_wei)
    request = InferenceRequest(id=bytes([number]) * 16, model=model, inputs=["a warm coat"], voucher=voucher)
    return msgspec.structs.replace(request, **changes)


class Tamper:
    """Stands in front of the provider and changes, loses or counts what passes."""

    def __init__(self, builder: Room) -> None:
        self._wire = builder.wire
        self._inner = builder.wire._handlers[PROTOCOL]
        self.requests: list[InferenceRequest] = []
        self.lose = 0
        self.change = lambda reply: reply
        builder.wire.serve(PROTOCOL, self, max_request_bytes=1, concurrency=1)

    async def __call__(self, peer, body):
        self.requests.append(decode(body, InferenceRequest, max_bytes=1 << 20))
        reply = await self._inner(peer, body)
        if self.lose:
            self.lose -= 1
            raise PeerVanished("the line broke after the answer was made")
        return encode(self.change(decode(reply, InferenceReply, max_bytes=MAX_REPLY_BYTES)))


async def test_a_call_is_answered_paid_and_receipted(builder: Room, consumer: Room, model: str):
    answer = await consumer.models.call(model, ["a warm coat", "blue jeans"])
    row = await builder.store.get(model)
    runtime = builder.artifacts.runtime(model, row.artifact)
    expected = runtime.run(await builder.embedder.embed(["a warm coat", "blue jeans"], query=True), "query")
    assert np.array(answer["outputs"]) == pytest.approx(expected, abs=1e-6)
    assert answer["paid_wei"] == 2 * PRICE
    assert builder.till.newest[consumer.account.address, lane(model)].cumulative == 2 * PRICE
    assert (await builder.accounts.of(model, consumer.account.address)).served_wei == 2 * PRICE
    call = await consumer.calls.get(bytes.fromhex(answer["receipts"][0]))
    assert call.state == "answered"
    assert call.receipt is not None


async def test_documents_go_through_the_other_side(consumer: Room, model: str):
    query = await consumer.models.call(model, ["a warm coat"])
    document = await consumer.models.call(model, ["a warm coat"], side="document")
    assert query["outputs"] != document["outputs"]


async def test_many_texts_are_many_requests_one_ahead_at_most(builder: Room, consumer: Room, model: str):
    tamper = Tamper(builder)
    answer = await consumer.models.call(model, [f"text {n}" for n in range(70)])
    assert len(answer["outputs"]) == 70
    assert [len(r.inputs) for r in tamper.requests] == [32, 32, 6]
    assert [r.voucher.cumulative for r in tamper.requests] == [32_000, 64_000, 70_000]


async def test_a_lost_answer_is_asked_for_again_and_not_paid_twice(builder: Room, consumer: Room, model: str):
    tamper = Tamper(builder)
    tamper.lose = 2
    await consumer.models.call(model, ["a warm coat"])
    assert len({request.id for request in tamper.requests}) == 1
    assert [request.voucher.cumulative for request in tamper.requests] == [PRICE] * 3
    account = await builder.accounts.of(model, consumer.account.address)
    assert (account.served_wei, account.calls) == (PRICE, 1)
    await consumer.models.call(model, ["a warm coat"])
    assert consumer.purse.sums[lane(model)] == 2 * PRICE


async def test_a_call_without_any_answer_leaves_its_payment_as_credit(builder: Room, consumer: Room, model: str, hub):
    hub.away.add(ALICE)
    with pytest.raises(NoProvider):
        await consumer.models.call(model, ["a warm coat"])
    hub.away.clear()
    await consumer.models.call(model, ["a warm coat"])
    assert consumer.purse.sums[lane(model)] == PRICE
    assert (await consumer.calls.tab(model)).answered_wei == PRICE


async def test_a_unit_that_was_served_and_never_seen_is_shown_before_the_next_is_paid(
    builder: Room, consumer: Room, model: str
):
    """The provider computed, every answer was lost: he shows it when he asks to be paid for the next."""
    tamper = Tamper(builder)
    tamper.lose = 3
    with pytest.raises(NoProvider):
        await consumer.models.call(model, ["a warm coat"])
    assert len((await consumer.models.call(model, ["a warm coat"]))["outputs"]) == 1
    tab = await consumer.calls.tab(model)
    assert (tab.answered_wei, tab.lost_wei, tab.losses) == (2 * PRICE, 0, 0)
    assert consumer.purse.sums[lane(model)] == 2 * PRICE


async def test_of_two_calls_without_an_answer_the_one_that_was_served_is_shown(
    builder: Room, consumer: Room, model: str, hub
):
    """The first never arrived, the second was served and its answers were lost."""
    hub.away.add(ALICE)
    with pytest.raises(NoProvider):
        await consumer.models.call(model, ["a warm coat"])
    hub.away.clear()
    tamper = Tamper(builder)
    tamper.lose = 3
    with pytest.raises(NoProvider):
        await consumer.models.call(model, ["blue jeans"])
    await consumer.models.call(model, ["a red scarf"])
    tab = await consumer.calls.tab(model)
    assert (tab.answered_wei, tab.lost_wei) == (2 * PRICE, 0)


async def test_a_unit_that_was_served_and_never_seen_is_lost_once_after_a_restart(
    builder: Room, consumer: Room, model: str
):
    """Nobody here remembers what was asked: the provider is believed, one unit is gone, no more."""
    tamper = Tamper(builder)
    tamper.lose = 3
    with pytest.raises(NoProvider):
        await consumer.models.call(model, ["a warm coat"])
    consumer.models._calling._unanswered.clear(model)
    assert len((await consumer.models.call(model, ["a warm coat"]))["outputs"]) == 1
    tab = await consumer.calls.tab(model)
    assert (tab.answered_wei, tab.lost_wei, tab.losses) == (PRICE, PRICE, 0)
    assert consumer.purse.sums[lane(model)] == 2 * PRICE


async def test_a_wallet_with_a_new_journal_goes_on_above_what_was_settled(builder: Room, consumer: Room, model: str):
    consumer.chain.before[consumer.account.address] = 7 * PRICE
    await consumer.models.call(model, ["a warm coat"])
    assert consumer.purse.sums[lane(model)] == 8 * PRICE


async def test_a_wallet_with_a_new_journal_believes_once_what_was_served_and_not_settled(
    builder: Room, consumer: Room, model: str
):
    payer = consumer.account.address
    consumer.chain.before[payer] = 7 * PRICE
    served = Request(model=model, payer=payer, id=bytes(16), content=bytes(32), cost_wei=8 * PRICE, units=8)
    await builder.accounts.charge(served, paid_wei=8 * PRICE, now=0)
    await consumer.models.call(model, ["a warm coat"])
    assert consumer.purse.sums[lane(model)] == 9 * PRICE


async def test_a_provider_who_keeps_taking_gets_one_unit(builder: Room, consumer: Room, model: str):
    tamper = Tamper(builder)
    tamper.change = lambda reply: msgspec.structs.replace(reply, receipt=None)
    for _ in range(5):
        with pytest.raises(WrongReceipt):
            await consumer.models.call(model, ["a warm coat"])
    assert consumer.purse.sums[lane(model)] == PRICE
    tamper.change = lambda reply: reply
    await consumer.models.call(model, ["a warm coat"])  # he serves again: what was paid for first, then this
    assert consumer.purse.sums[lane(model)] == 2 * PRICE
    assert (await consumer.calls.tab(model)).answered_wei == 2 * PRICE


async def test_a_provider_who_says_that_he_has_served_before_is_not_believed(builder: Room, consumer: Room, model: str):
    """He takes the voucher and asks for the next: nothing was promised before this call that he could have served."""
    tamper = Tamper(builder)

    def ask_for_more(_: InferenceReply) -> InferenceReply:
        paid = tamper.requests[-1].voucher.cumulative_wei
        terms = Terms(payee=REGISTRY, lane=lane(model), price_wei=str(PRICE), served_wei=paid, cumulative_wei=paid)
        return InferenceReply(refusal=Refusal(kind="payment_required", message="pay for this one", terms=terms))

    tamper.change = ask_for_more
    with pytest.raises(PaymentRequired, match="pay for this one"):
        await consumer.models.call(model, ["a warm coat"])
    for _ in range(4):
        with pytest.raises(NoProvider, match="does not show"):
            await consumer.models.call(model, ["a warm coat"])
    assert consumer.purse.sums[lane(model)] == PRICE


@pytest.mark.parametrize(
    "change",
    [
        lambda reply: msgspec.structs.replace(reply, outputs=reply.outputs[:-4] + b"\0\0\0\0"),
        lambda reply: msgspec.structs.replace(reply, outputs=reply.outputs[:-4]),
        lambda reply: msgspec.structs.replace(reply, width=1),
        lambda reply: msgspec.structs.replace(reply, receipt=msgspec.structs.replace(reply.receipt, units=2)),
        lambda reply: msgspec.structs.replace(
            reply, receipt=msgspec.structs.replace(reply.receipt, cumulative_wei="1")
        ),
        lambda reply: msgspec.structs.replace(
            reply, receipt=msgspec.structs.replace(reply.receipt, signature=b"\1" * 64)
        ),
        lambda reply: msgspec.structs.replace(reply, receipt=msgspec.structs.replace(reply.receipt, at=1)),
    ],
)
async def test_a_receipt_that_does_not_fit_is_refused(builder: Room, consumer: Room, model: str, change):
    Tamper(builder).change = change
    with pytest.raises(WrongReceipt):
        await consumer.models.call(model, ["a warm coat"])
    assert (await consumer.calls.tab(model)).answered_wei == 0


async def test_the_same_request_is_answered_again_without_a_charge(builder: Room, consumer: Room, model: str):
    request = await asked(consumer, model, PRICE)
    first, second = await send(consumer, request), await send(consumer, request)
    assert first.outputs == second.outputs
    assert (await builder.accounts.of(model, consumer.account.address)).served_wei == PRICE


async def test_a_provider_killed_between_charge_and_answer_serves_after_its_restart(
    builder: Room, consumer: Room, model: str, hub, chain, catalogs, tmp_path
):
    tamper = Tamper(builder)
    tamper.lose = 3
    request = await asked(consumer, model, PRICE)
    with pytest.raises(PeerVanished):
        await send(consumer, request)  # charged, computed, and the line broke
    async with open_room(hub, ALICE, 1, tmp_path / "builder", chain, catalogs) as restarted:
        restarted.models.serve()
        assert (await send(consumer, request)).refusal is None
        assert (await restarted.accounts.of(model, consumer.account.address)).served_wei == PRICE
        fresh = await asked(consumer, model, PRICE, number=2)
        assert (await send(consumer, fresh)).refusal.kind == "payment_required"


async def test_a_used_id_with_another_content_is_refused(builder: Room, consumer: Room, model: str):
    await send(consumer, await asked(consumer, model, PRICE))
    reply = await send(consumer, await asked(consumer, model, PRICE, inputs=["something else"]))
    assert reply.refusal.kind == "conflict"
    for _ in range(5):
        assert (await send(consumer, await asked(consumer, model, PRICE))).refusal is None
    assert (await send(consumer, await asked(consumer, model, PRICE))).refusal.kind == "conflict"  # worn out


async def test_money_is_asked_for_with_terms(builder: Room, consumer: Room, model: str):
    reply = await send(consumer, await asked(consumer, model, PRICE, voucher=None))
    assert reply.refusal.kind == "payment_required"
    terms = reply.refusal.terms
    assert (terms.payee, terms.lane, terms.price_wei) == (REGISTRY, lane(model), str(PRICE))
    await send(consumer, await asked(consumer, model, PRICE))
    short = await send(consumer, await asked(consumer, model, PRICE + 1, number=2))
    assert (short.refusal.kind, short.refusal.terms.cumulative_wei) == ("payment_required", str(2 * PRICE))
    assert (await builder.accounts.of(model, consumer.account.address)).served_wei == PRICE


async def test_vouchers_that_do_not_pay_are_refused_before_any_work(builder: Room, consumer: Room, model: str):
    good = await asked(consumer, model, PRICE)
    forged = msgspec.structs.replace(good.voucher, cumulative_wei=str(50 * PRICE))
    elsewhere = await consumer.purse.promise(consumer.account.address, lane(model), PRICE)
    uncovered = await consumer.purse.promise(REGISTRY, lane(model), 10**19)
    before = builder.embedder.embedded
    kinds = [
        (await send(consumer, msgspec.structs.replace(good, voucher=voucher))).refusal.kind
        for voucher in (forged, elsewhere, uncovered)
    ]
    assert kinds == ["voucher_refused", "voucher_refused", "no_cover"]
    assert builder.embedder.embedded == before
    assert (await builder.accounts.of(model, consumer.account.address)).served_wei == 0


async def test_no_cover_reaches_the_caller_with_what_to_do(builder: Room, consumer: Room, model: str):
    consumer.purse.sums[lane(model)] = 10**19
    with pytest.raises(PaymentRequired, match="no_cover") as found:
        await consumer.models.call(model, ["a warm coat"])
    assert "deposit" in found.value.hint


async def test_an_unknown_model_and_a_locked_provider_charge_nothing(builder: Room, consumer: Room, model: str):
    reply = await send(consumer, await asked(consumer, "ab" * 32, PRICE))
    assert reply.refusal.kind == "unknown_model"
    builder.account.locked = True
    reply = await send(consumer, await asked(consumer, model, PRICE))
    assert reply.refusal.kind == "wallet_locked"
    assert not builder.till.newest


async def test_an_unpublished_model_is_not_served(builder: Room, consumer: Room, model: str):
    draft = await builder.models.train("fashion", "classification", progress=silent)
    reply = await send(consumer, await asked(consumer, str(draft["model"]), PRICE))
    assert reply.refusal.kind == "unknown_model"


async def test_bytes_that_are_no_request_are_malformed(consumer: Room, model: str):
    with pytest.raises(Malformed):
        await consumer.wire.request(ALICE, PROTOCOL, b"\xc1junk", timeout_s=5, max_reply_bytes=MAX_REPLY_BYTES)


@pytest.mark.parametrize(
    ("inputs", "side", "words"),
    [
        ([], "query", "0 inputs"),
        (["x"] * 2_049, "query", "2049 inputs"),
        (["fine", "  "], "query", "input 1 is empty"),
        (["x" * 9_000], "query", "9000 characters"),
        (["x"], "both", "side"),
    ],
)
async def test_bad_input_costs_nothing(consumer: Room, model: str, inputs, side, words):
    with pytest.raises(BadCall, match=words):
        await consumer.models.call(model, inputs, side=side)
    assert consumer.purse.sums == {}


async def test_a_model_nobody_serves_is_unknown(consumer: Room):
    with pytest.raises(UnknownModel):
        await consumer.models.call("ab" * 32, ["x"])


async def test_a_locked_consumer_pays_nothing(consumer: Room, model: str):
    consumer.account.locked = True
    with pytest.raises(WalletLocked):
        await consumer.models.call(model, ["x"])


async def test_the_builder_uses_his_own_model_for_nothing(builder: Room, model: str):
    answer = await builder.models.call(model, ["a warm coat"])
    assert answer["paid_wei"] == 0
    assert builder.purse.sums == {}


async def test_calls_of_one_consumer_at_the_same_time_all_count(builder: Room, consumer: Room, model: str):
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(consumer.models.call, model, [f"text {number}"])
    assert (await builder.accounts.of(model, consumer.account.address)).served_wei == 10 * PRICE
    assert (await consumer.calls.tab(model)).answered_wei == 10 * PRICE


async def test_a_classifier_answers_labels(builder: Room, consumer: Room, model: str):
    found = await builder.models.train("fashion", "classification", progress=silent)
    await builder.models.publish(str(found["model"]), PRICE, force=True)  # these names are too easy: 1.0 before
    answer = await consumer.models.call(str(found["model"]), ["it was a nice coat coat", "jeans jeans for my love"])
    assert answer["labels"] == ["coat", "jeans"]
    assert np.array(answer["outputs"]).sum(axis=1) == pytest.approx(np.ones(2), abs=1e-5)


async def test_the_revenue_is_split_and_claimed(builder: Room, consumer: Room, contributor: Room, model: str):
    await consumer.models.call(model, [f"text {n}" for n in range(50)])
    settled = await builder.models.settle()
    assert [batch.paid_wei for batch in settled] == [str(50 * PRICE)]
    assert await builder.models.settle(model) == []
    (card,) = await builder.models.cards()
    weights = {w.address: w.weight_ppm for w in card.weights}
    owed = {one.source: int(one.amount_wei) for one in await contributor.models.claimable()}
    assert owed == {f"model:{model}": 30_000 * weights[contributor.account.address] // 1_000_000}
    receipt = await contributor.models.claim(f"model:{model}")
    assert builder.chain.claimed_amount(receipt) == owed[f"model:{model}"]
    assert [one.amount_wei for one in await contributor.models.claimable()] == ["0"]
    sources = {one.source: int(one.amount_wei) for one in await builder.models.claimable()}
    assert sources[f"publisher:{model}"] == 20_000
    assert sources[f"model:{model}"] == 30_000 * weights[builder.account.address] // 1_000_000
    await builder.models.claim(f"publisher:{model}")
    assert {one.amount_wei for one in await builder.models.claimable() if one.source[0] == "p"} == {"0"}
    with pytest.raises(UnknownModel, match="no part"):
        await contributor.models.claim(f"publisher:{model}")
    assert await consumer.models.claimable() == []


async def test_new_revenue_is_a_new_claim(builder: Room, consumer: Room, contributor: Room, model: str):
    for _ in range(2):
        await consumer.models.call(model, ["x"] * 32)
        await builder.models.settle()
        assert builder.chain.claimed_amount(await contributor.models.claim(f"model:{model}")) > 0
    assert len([key for key in builder.chain.keys if ":claim:" in key]) == 2


async def test_claims_wait_until_the_split_is_active(builder: Room, consumer: Room, contributor: Room, model: str):
    await consumer.models.call(model, ["x"])
    await builder.models.settle()
    builder.chain.active_at = contributor.now + 60
    assert [one.amount_wei for one in await contributor.models.claimable()] == ["0"]
    builder.chain.ahead_s = 60  # the contract asks its own clock
    assert [one.amount_wei for one in await contributor.models.claimable()] != ["0"]


async def forge(builder: Room, consumer: Room, **changes: object) -> None:
    """Bob's wallet signs a newer card of Alice's model and tells it to everybody."""
    (card,) = await builder.models.cards()
    forged = msgspec.structs.replace(card, created_at=card.created_at + 10, **changes)
    await Crier([builder.catalog, consumer.catalog], consumer.account, BOB).announce("model", encode(forged), "fashion")


async def test_a_strangers_card_of_the_model_draws_no_calls(builder: Room, consumer: Room, model: str):
    consumer.now = builder.now = builder.now + 60
    await forge(builder, consumer)
    assert (await consumer.models.call(model, ["a warm coat"]))["provider"] == ALICE
    assert [view.provider for view in await consumer.models.list()] == [ALICE]


async def test_a_strangers_card_does_not_spoil_claims(builder: Room, consumer: Room, contributor: Room, model: str):
    await consumer.models.call(model, ["x"])
    await builder.models.settle()
    weights = [(0, 500_000), (8, 500_000)]
    await forge(
        builder,
        contributor,
        weights=[Weight(dataset=number, address=consumer.account.address, weight_ppm=ppm) for number, ppm in weights],
        weights_root=WeightsTree(weights).root,
    )
    assert [one.source for one in await contributor.models.claimable()] == [f"model:{model}"]
    await contributor.models.claim(f"model:{model}")


async def test_a_card_above_the_price_on_chain_is_not_believed(builder: Room, consumer: Room, model: str):
    (card,) = await builder.models.cards()
    dearer = msgspec.structs.replace(card, created_at=card.created_at + 10, price_wei="999999")
    consumer.now = builder.now = builder.now + 60
    await Crier([builder.catalog, consumer.catalog], builder.account, ALICE).announce(
        "model", encode(dearer), "fashion"
    )
    with pytest.raises(UnknownModel):  # it took the place of the card that the chain bears out
        await consumer.models.call(model, ["x"])
    await Crier([consumer.catalog], builder.account, ALICE).announce(
        "model", encode(msgspec.structs.replace(card, created_at=card.created_at + 20)), "fashion"
    )
    assert (await consumer.models.call(model, ["x"]))["paid_wei"] == PRICE


async def test_a_title_that_two_models_bear_names_none(builder: Room, consumer: Room, model: str):
    assert (await consumer.models.call("fashion retrieval", ["x"]))["model"] == model
    other = await builder.models.train("fashion", "retrieval", filter={"origin": "bought"}, progress=silent)
    await builder.models.publish(str(other["model"]), PRICE)
    with pytest.raises(BadCall, match="2 models"):
        await consumer.models.call("fashion retrieval", ["x"])


async def test_a_card_that_ran_ahead_of_the_chain_counts_once_it_is_mined(builder: Room, consumer: Room, model: str):
    facts = builder.chain.published.pop(bytes.fromhex(model))
    with pytest.raises(UnknownModel):
        await consumer.models.call(model, ["x"])
    builder.chain.published[bytes.fromhex(model)] = facts
    consumer.now += 15
    await consumer.models.call(model, ["x"])


async def test_listings_name_own_models_first_then_others(builder: Room, consumer: Room, model: str):
    (mine,) = await builder.models.list()
    (other,) = await consumer.models.list()
    assert (mine.mine, other.mine, other.provider) == (True, False, ALICE)
    assert other.after == pytest.approx(mine.after, abs=1e-6)
    assert (await consumer.models.get(model))["price_wei"] == PRICE


async def test_models_are_shown_best_rated_first(builder: Room, consumer: Room, model: str):
    other = str((await builder.models.train("fashion", "classification", progress=silent))["model"])
    await builder.models.publish(other, PRICE, force=True)
    assert [view.model for view in await consumer.models.list()] == [model, other]
    consumer.teacher.standing[other] = Standing(0.9, 8)
    assert [(view.model, view.stars, view.ratings) for view in await consumer.models.list()] == [
        (other, 4.6, 8), (model, 3.0, 0)
    ]  # fmt: skip
    assert [card.model for card in await consumer.models.cards()] == [other, model]
