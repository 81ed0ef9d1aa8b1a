"""Profiles of wants between traders on a real chain: sold with consent, paid by voucher, and what cheats get.

Who can cheat whom, and the most that is lost:

    who pays and gets nothing, or garbage        the price of one profile, ever: nothing more is signed for that seller
    who sells and is not paid                    nothing: the voucher comes first
    a voucher or a question sent again           the same profile again, a few times, charged once
    a seller who makes his wants up              the price of one profile, and one voice in the map; trust, no remedy
    one who buys and hands it on                 cannot be prevented; it is not signed, so he cannot prove whose it is
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import pytest
import trio

from contracts.bindings.bank import Item
from node.journal.profile_sales import MAX_REPEATS
from node.market.profiles import buying as profiles_buying
from node.market.profiles.adverts import sellers
from node.market.profiles.making import FLOOR
from node.wallet.errors import WalletLocked
from protocols.codec import decode, encode
from protocols.demand.demand import Demand
from protocols.errors import RuleBroken
from protocols.profile.messages import (
    LANE,
    MAX_REPLY_BYTES,
    PROTOCOL,
    Payment,
    Profile,
    ProfileReply,
    ProfileRequest,
)
from tests.integration.test_exchange import TEXTS, TOKENS, Place, chain, fund, place
from tests.support.items import ALICE, BOB, CAROL
from tests.support.trader import Trader

__all__ = ["chain", "place"]  # fixtures

pytestmark = pytest.mark.chain

PRICE_WEI = 3 * TOKENS + 7
MANY = 100 * TOKENS
WANTS = [
    f"this {cut} dress in {colour} fits true to size, I would wear it to {where}"
    for cut in ("wrap", "long")
    for colour in ("navy", "emerald", "rust")
    for where in ("a wedding", "work")
]
OTHERS = [
    f"Manual {part}-{verb}: the {part} of the pump is {verb} with a {tool} before winter."
    for part in ("seal", "valve", "gasket", "rotor", "filter", "inlet", "bearing", "housing")
    for verb in ("greased", "replaced", "checked", "cleaned")
    for tool in ("rag", "key", "brush")
]

Handler = Callable[[object, bytes], Awaitable[bytes]]


async def deposit(place: Place, *traders: Trader) -> None:
    """A thousand tokens for each, ten of them where vouchers are paid from."""
    await fund(place, *traders)
    for one in traders:
        await one.transactor.allow(one.chain.bank.address, 10 * TOKENS)
        await one.transactor.once("deposit", one.chain.bank.deposit(one.account.address, 10 * TOKENS))


async def meet(alice: Trader, *others: Trader, texts: list[str] = WANTS, epsilon: int = 0) -> None:
    """Alice wants things and sells her profile; the others hear of it."""
    for one in others:
        await one.gossip.follow("fashion")
    for number, text in enumerate(texts):
        await alice.demands.post(text, "fashion", (number + 1) * TOKENS)
    await alice.profiles.sell("fashion", PRICE_WEI, ["demands"], epsilon)
    for one in others:
        await until(lambda one=one: alice.account.address in {s.item.signer for s in sellers(one.catalog, "fashion")})


async def until(true: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not true():
            await trio.sleep(0.01)


async def lane(payer: Trader, payee: Trader) -> int:
    """What stands signed between two, above what the chain has paid in other tests of this module."""
    settled = await payer.chain.bank.paid(payer.account.address, payee.account.address, LANE)
    return await payer.lanes.promised(payee.account.address, LANE) - settled


async def ask(buyer: Trader, seller: Trader, payment: Payment | None = None, domain: str = "fashion") -> ProfileReply:
    """One question on the wire, as anybody can send it."""
    body = encode(ProfileRequest(domain=domain, payment=payment))
    raw = await buyer.wire.request(seller.wire.peer_id, PROTOCOL, body, timeout_s=5, max_reply_bytes=MAX_REPLY_BYTES)
    return decode(raw, ProfileReply, max_bytes=MAX_REPLY_BYTES)


async def test_a_profile_is_bought_and_paid_to_the_unit_and_met(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        await deposit(place, bob)
        await bob.own([*TEXTS, *OTHERS])  # what is near is judged among all that he has
        await meet(alice, bob)
        with bob.events.subscribe(["profiles"]) as told, alice.events.subscribe(["profiles", "matches"]) as heard:
            asked = await bob.profile_desk.query("fashion", MANY)
            with trio.fail_after(5):
                event, sold = await anext(aiter(told)), await anext(aiter(heard))
            assert (asked.paid_wei, asked.profiles) == (PRICE_WEI, 1)
            assert [(one.state, one.paid_wei, one.reason) for one in asked.sellers] == [("bought", PRICE_WEI, "")]
            assert sum(need.wants for need in asked.items) <= len(WANTS)
            assert sum(need.weight for need in asked.items) == pytest.approx(1, abs=0.01), "one voice a consumer"
            best = asked.items[0]
            assert (best.consumers, best.supply.unoffered) == (1, best.supply.records)
            assert best.supply.records > 0
            assert (event.data["paid_wei"], event.data["unoffered"]) == (
                str(PRICE_WEI), sum(need.supply.unoffered for need in asked.items),
            )  # fmt: skip
            assert (sold.data["payer"], sold.data["price_wei"]) == (bob.account.address, str(PRICE_WEI))
            offer = await bob.offers.publish("fashion", "Dresses, as they are wanted")
            met = await anext(aiter(heard))
            assert met.data["offer"] == offer.item.id
            after = await bob.profile_desk.query("fashion", 0)
            assert (after.paid_wei, after.items[0].supply.unoffered) == (0, 0), "all of it is on offer now"
        (taking,) = await alice.till.pending()
        assert (taking.lane, taking.due_wei) == (LANE, PRICE_WEI)
        before = await alice.chain.token.balance(alice.account.address)
        deposited = (await bob.chain.bank.account(bob.account.address)).free_wei
        item = Item(taking.payer, taking.lane, taking.cumulative_wei, taking.signature)
        call = alice.chain.bank.settle(alice.account.address, [item], into_bank=False)
        await alice.transactor.once("settle", call)
        assert await alice.chain.token.balance(alice.account.address) == before + PRICE_WEI
        assert (await bob.chain.bank.account(bob.account.address)).free_wei == deposited - PRICE_WEI


async def test_nothing_is_sold_without_consent_and_nothing_after_it_ended(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        await deposit(place, bob)
        await bob.gossip.follow("fashion")
        for text in WANTS:
            await alice.demands.post(text, "fashion", TOKENS)
        assert (await ask(bob, alice)).refused
        assert (await ask(bob, alice)).terms is None
        await meet(alice, bob, texts=[])
        assert (await bob.profile_desk.query("fashion", MANY)).paid_wei == PRICE_WEI
        assert await alice.profiles.stop("fashion")
        await until(lambda: not sellers(bob.catalog, "fashion"))
        late = Payment(query=bytes(16), digest=bytes(32), voucher=(await bob.lanes.every())[0].voucher)
        for payment in (None, late):
            reply = await ask(bob, alice, payment)
            assert reply.refused
            assert (reply.profile, reply.terms) == (b"", None)
        assert await alice.profiles._store.editions("fashion") == []
        given, *others = await alice.profiles.consents("fashion")
        assert not others
        assert (given.price_wei, given.sources, given.epsilon) == (PRICE_WEI, ("demands",), 0)
        assert 0 < given.given_at <= given.ended_at
        assert not await alice.profiles.stop("fashion"), "there is nothing left to stop"
        with pytest.raises(RuleBroken):
            await alice.profiles.sell("fashion", 0, ["demands"], 0)


async def test_a_locked_wallet_consents_and_revokes_at_once_and_advertises_later(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        await meet(alice, bob)
        alice.account.locked = True
        await alice.profiles.stop("fashion")
        assert (await ask(bob, alice)).refused, "a signature is not what ends a consent"
        assert sellers(bob.catalog, "fashion")
        given = await alice.profiles.sell("shoes", PRICE_WEI, ["demands"], 0)
        assert not given.advert
        with pytest.raises(WalletLocked):
            await alice.demands.post("shoes", "shoes", TOKENS)
        alice.account.locked = False
        await alice.profiles._adverts.tell()
        await until(lambda: not sellers(bob.catalog, "fashion"))
        assert sellers(alice.catalog, "shoes")


async def test_no_word_of_a_want_is_on_the_wire(place: Place) -> None:
    secret = "zanzibarian"
    texts = [f"{secret} {text}" for text in WANTS]
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        await deposit(place, bob)
        seen: list[bytes] = []
        _overhear(alice, seen)
        _overhear(bob, seen)
        await meet(alice, bob, texts=texts)
        found = await alice.search.run(f"{secret} dress", domain="fashion", limit=3)
        assert found.items == []
        assert (await bob.profile_desk.query("fashion", MANY)).paid_wei == PRICE_WEI
        assert len(seen) > len(texts), "demands, the advert, questions and answers"
        assert any(len(one) > 64 for one in seen)
        for one in seen:
            assert secret[:5].encode() not in one
        assert all(secret in alice.demands.text_of(listed.item.id) for listed in alice.catalog.every(Demand))
        assert all(not bob.demands.text_of(listed.item.id) for listed in bob.catalog.every(Demand))


def _overhear(one: Trader, seen: list[bytes]) -> None:
    """Everything that a trader sends, tells or answers."""
    request, publish = one.wire.request, one.wire.publish

    async def asking(peer: object, protocol: str, body: bytes, **bounds: object) -> bytes:
        seen.append(body)
        reply = await request(peer, protocol, body, **bounds)  # type: ignore[arg-type]
        seen.append(reply)
        return reply

    async def telling(topic: str, data: bytes) -> None:
        seen.append(data)
        await publish(topic, data)

    one.wire.request, one.wire.publish = asking, telling  # type: ignore[method-assign, assignment]


async def test_searches_are_remembered_only_while_their_consent_holds(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        await bob.gossip.follow("fashion")
        store, model = alice.profiles._store, alice.embedder.model_id

        async def search_all() -> int:
            for text in WANTS:
                await alice.search.run(text, domain="fashion", limit=1)
                await alice.search.run(text, domain=None, limit=1)  # of no domain: nobody's business
            await trio.sleep(0.1)
            return len(await store.past("searches", "fashion", model, 0))

        assert await search_all() == 0, "nobody consented"
        await alice.profiles.sell("fashion", PRICE_WEI, ["demands"], 0)
        assert await search_all() == 0, "to demands only"
        await alice.profiles.sell("fashion", PRICE_WEI, ["searches", "calls"], 0)
        with trio.fail_after(10):
            while len(await store.past("searches", "fashion", model, 0)) < len(WANTS):
                await search_all()
        for _ in range(FLOOR):
            alice.events.publish("models", {"state": "called", "domain": "fashion", "model": "m"})
        with trio.fail_after(10):
            while len(await store.past("calls", "fashion", model, 0)) < FLOOR:
                await trio.sleep(0.01)
        reply = await ask(bob, alice)
        assert reply.terms is not None
        assert reply.terms.wants >= FLOOR
        terms = await alice.profiles.terms("fashion")
        assert terms is not None
        profile = decode(terms[1].body, Profile, max_bytes=MAX_REPLY_BYTES)
        assert (profile.sources, profile.calls) == (["searches", "calls"], FLOOR)
        assert await alice.profiles.forget("fashion") >= len(WANTS)
        assert (await ask(bob, alice)).terms is None, "it begins again, from nothing"
        await search_all()
        await alice.profiles.stop("fashion")
        assert await store.past("searches", "fashion", model, 0) == []
        assert await search_all() == 0


async def test_fewer_wants_than_the_floor_are_not_told(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        few = [*WANTS[: FLOOR - 1], WANTS[0], WANTS[1]]  # asked twice is one want
        await meet(alice, bob, texts=few)
        assert (await ask(bob, alice)).terms is None
        asked = await bob.profile_desk.query("fashion", MANY)
        assert (asked.paid_wei, asked.items) == (0, [])
        assert [one.state for one in asked.sellers] == ["refused"]
        await alice.demands.post(WANTS[FLOOR], "fashion", TOKENS)
        reply = await ask(bob, alice)
        assert reply.terms is not None
        assert reply.terms.wants == FLOOR


async def test_the_same_edition_is_not_paid_twice_and_stays_what_it_is(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob, place.trader(CAROL, 3) as carol:
        await deposit(place, bob, carol)
        await meet(alice, bob, carol, epsilon=1_000)
        first = await bob.profile_desk.query("fashion", MANY, query="mine")
        assert first.paid_wei == PRICE_WEI
        for query in ("mine", "", "another"):
            again = await bob.profile_desk.query("fashion", MANY, query=query)
            assert (again.paid_wei, [one.state for one in again.sellers]) == (0, ["held"])
        await carol.profile_desk.query("fashion", MANY)
        (of_bob,), (of_carol,) = await bob.profile_buyer.held("fashion"), await carol.profile_buyer.held("fashion")
        assert of_bob.body == of_carol.body, "noise drawn for each buyer would be averaged away"
        assert (await alice.profile_sales.sold("fashion")) == (2, 2 * PRICE_WEI)


async def test_a_budget_is_kept(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob, place.trader(CAROL, 3) as carol:
        await deposit(place, bob)
        await meet(alice, bob)
        for text in WANTS:
            await carol.demands.post(f"{text} again", "fashion", TOKENS)
        await carol.profiles.sell("fashion", PRICE_WEI + 1, ["demands"], 0)
        await until(lambda: len(sellers(bob.catalog, "fashion")) == 2)
        assert (await bob.profile_desk.query("fashion", PRICE_WEI - 1)).paid_wei == 0
        one = await bob.profile_desk.query("fashion", 2 * PRICE_WEI)
        assert (one.paid_wei, one.profiles) == (PRICE_WEI, 1), "the cheaper one"
        both = await bob.profile_desk.query("fashion", 2 * PRICE_WEI)
        assert (both.paid_wei, both.profiles) == (PRICE_WEI + 1, 2)
        assert max(need.consumers for need in both.items) == 2
        assert (await bob.profile_desk.query("fashion", MANY, least=1_000)).paid_wei == 0


async def test_who_cannot_pay_gets_nothing_and_owes_nothing(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 5) as bob:
        await meet(alice, bob)
        asked = await bob.profile_desk.query("fashion", MANY)
        assert (asked.paid_wei, asked.profiles) == (0, 0)
        assert "deposit" in asked.sellers[0].reason
        assert await alice.till.pending() == []
        assert await alice.profile_sales.sold("fashion") == (0, 0)


async def test_a_voucher_buys_once_whoever_sends_it_again(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob, place.trader(CAROL, 3) as carol:
        await deposit(place, bob)
        await meet(alice, bob, carol)
        await bob.profile_desk.query("fashion", MANY)
        (held,) = await bob.profile_buyer.held("fashion")
        voucher = (await bob.lanes.every())[0].voucher
        paid = Payment(query=held.purchase, digest=held.digest, voucher=voucher)
        assert alice.profiles._clock() - held.at < 60
        assert (await ask(carol, alice, paid)).refused, "his purchase is not hers"
        assert (await ask(bob, carol, paid)).refused, "she sells nothing"
        other = Payment(query=b"another purchase", digest=held.digest, voucher=voucher)
        answered = [await ask(bob, alice, paid) for _ in range(MAX_REPEATS)] + [
            await ask(bob, alice, one) for one in (paid, other)
        ]
        assert [bool(one.profile) for one in answered] == [True] * MAX_REPEATS + [False] * 2
        assert await alice.profile_sales.sold("fashion") == (1, PRICE_WEI)
        await alice.profiles.sell("fashion", PRICE_WEI, ["demands"], 500)  # another edition
        terms = (await ask(bob, alice)).terms
        assert terms is not None
        newer = Payment(query=b"a second purchas", digest=terms.digest, voucher=voucher)
        assert (await ask(bob, alice, newer)).refused == "the voucher does not cover the profile"


async def test_a_flood_of_questions_makes_one_profile(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        await meet(alice, bob)
        await ask(bob, alice)
        before = alice.embedder.embedded
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(ask, bob, alice)
        assert alice.embedder.embedded == before


# --- trouble on the way ---


async def test_an_answer_that_was_lost_comes_without_being_paid_again(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        await deposit(place, bob)
        await meet(alice, bob)
        serve: Handler = alice.wire._handlers[PROTOCOL]  # type: ignore[assignment]

        async def lose(peer: object, body: bytes) -> bytes:
            reply = await serve(peer, body)
            return b"\xc1" if b"payment" in body and decode(body, ProfileRequest, max_bytes=4_096).payment else reply

        alice.wire._handlers[PROTOCOL] = lose
        lost = await bob.profile_desk.query("fashion", MANY)
        assert (lost.paid_wei, lost.profiles) == (PRICE_WEI, 0)
        alice.wire._handlers[PROTOCOL] = serve
        again = await bob.profile_desk.query("fashion", MANY)
        assert (again.paid_wei, again.profiles) == (0, 1)
        assert await lane(bob, alice) == PRICE_WEI
        assert await alice.profile_sales.sold("fashion") == (1, PRICE_WEI)


async def test_a_seller_who_hangs_costs_a_deadline_and_is_gone_on_with(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        await deposit(place, bob)
        await meet(alice, bob)
        serve: Handler = alice.wire._handlers[PROTOCOL]  # type: ignore[assignment]

        async def hang(peer: object, body: bytes) -> bytes:
            reply = await serve(peer, body)
            if decode(body, ProfileRequest, max_bytes=4_096).payment:
                await trio.sleep_forever()
            return reply

        alice.wire._handlers[PROTOCOL] = hang
        monkeypatch.setattr(profiles_buying, "DEADLINE_S", 2.0)
        with trio.fail_after(60):
            cut = await bob.profile_desk.query("fashion", MANY)
        assert (cut.paid_wei, cut.profiles) == (PRICE_WEI, 0), "what was signed is told"
        assert "no time" in cut.sellers[0].reason
        monkeypatch.undo()
        alice.wire._handlers[PROTOCOL] = serve
        again = await bob.profile_desk.query("fashion", MANY)
        assert (again.paid_wei, again.profiles) == (0, 1)
        assert await lane(bob, alice) == PRICE_WEI


@pytest.mark.parametrize("answer", ["garbage", "silence", "another profile", "a refusal that claims the money"])
async def test_who_takes_the_money_and_does_not_deliver_gets_one_price(place: Place, answer: str) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        await deposit(place, bob)
        await meet(alice, bob)
        serve: Handler = alice.wire._handlers[PROTOCOL]  # type: ignore[assignment]
        terms = (await ask(bob, alice)).terms
        assert terms is not None

        async def cheat(peer: object, body: bytes) -> bytes:
            request = decode(body, ProfileRequest, max_bytes=4_096)
            if request.payment is None:
                return await serve(peer, body)
            if answer == "silence":
                return encode(ProfileReply())
            if answer == "garbage":
                return encode(ProfileReply(profile=b"\x81\xa1v\x01" * 9))
            if answer == "another profile":
                served = decode(await serve(peer, body), ProfileReply, max_bytes=MAX_REPLY_BYTES)
                profile = decode(served.profile, Profile, max_bytes=MAX_REPLY_BYTES)
                fewer = msgspec.structs.replace(profile, updated_at=profile.updated_at - 86_400)
                return encode(ProfileReply(profile=encode(fewer)))
            claimed = msgspec.structs.replace(terms, served_wei=request.payment.voucher.cumulative_wei)
            return encode(ProfileReply(refused="you had it", terms=claimed))

        alice.wire._handlers[PROTOCOL] = cheat
        spent = 0
        for _ in range(4):
            spent += (await bob.profile_desk.query("fashion", MANY)).paid_wei
        assert spent == await lane(bob, alice) == PRICE_WEI, "one price, ever"


@pytest.mark.parametrize("moment", ["begun", "signed", "served"])
async def test_a_purchase_that_a_crash_cut_off_is_finished_and_paid_once(
    place: Place, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(Exception):
        pass

    async with place.trader(ALICE, 1) as alice:
        async with place.trader(BOB, 2) as bob:
            await deposit(place, bob)
            await meet(alice, bob)
            step = {"begun": (bob.lanes, "pay"), "signed": (bob.wire, "request"), "served": (bob.lanes, "received")}
            where, name = step[moment]
            whole = getattr(where, name)

            async def dying(*args: object, **rest: object) -> object:
                if name == "request" and b"voucher" not in args[2]:  # type: ignore[operator]
                    return await whole(*args, **rest)
                raise Died

            monkeypatch.setattr(where, name, dying)
            with pytest.raises(BaseExceptionGroup):
                await bob.profile_desk.query("fashion", MANY, query="the same")
            monkeypatch.undo()
        async with place.trader(BOB, 2) as bob:
            await until(lambda: bool(sellers(bob.catalog, "fashion")))
            again = await bob.profile_desk.query("fashion", MANY, query="the same")
            assert again.profiles == 1
            assert await lane(bob, alice) == PRICE_WEI
            third = await bob.profile_desk.query("fashion", MANY)
            assert (third.paid_wei, third.profiles) == (0, 1)
            assert await alice.profile_sales.sold("fashion") == (1, PRICE_WEI)
            for text in WANTS:
                await alice.demands.post(f"{text}, with shoes", "shoes", TOKENS)
            await bob.gossip.follow("shoes")
            await alice.profiles.sell("shoes", PRICE_WEI, ["demands"], 0)
            await until(lambda: len(sellers(bob.catalog)) == 2)
            assert (await bob.profile_desk.query("shoes", MANY)).profiles == 1, "the lane goes on"
            assert await lane(bob, alice) == 2 * PRICE_WEI


async def test_a_buyer_who_lost_his_journal_goes_on_from_what_he_signed(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        await deposit(place, bob)
        await meet(alice, bob)
        for text in WANTS:
            await alice.demands.post(f"{text}, with shoes", "shoes", TOKENS)
        await bob.gossip.follow("shoes")
        await alice.profiles.sell("shoes", PRICE_WEI, ["demands"], 0)
        await until(lambda: len(sellers(bob.catalog)) == 2)
        for bought, domain in enumerate(("fashion", "shoes"), 1):
            await bob.profile_desk.query(domain, MANY)
            for table in ("voucher_promises", "profile_purchases"):
                sql = f"DELETE FROM {table}"
                await bob.lanes._promises._journal.write(lambda conn, sql=sql: conn.execute(sql))
            again = await bob.profile_desk.query(domain, MANY)
            assert again.profiles == 1
            assert await lane(bob, alice) == bought * PRICE_WEI, "he had paid for it"
        (taking,) = await alice.till.pending()
        assert taking.due_wei == 2 * PRICE_WEI


async def test_a_seller_who_invents_his_wants_is_told_from_his_demands(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob, place.trader(CAROL, 3) as carol:
        await deposit(place, bob)
        await meet(alice, bob)
        for text in WANTS[:FLOOR]:
            await carol.demands.post(text, "fashion", TOKENS)
        invented = [f"tractor spare part {n}: hydraulic pump seal" for n in range(8)]
        for text in invented:
            await carol.profiles._demands.add(f"made up {text}", text, "fashion", TOKENS, carol.profiles.now)
        for text in WANTS[:FLOOR]:  # what she really wants does not stand in what she sells
            for row in await carol.profiles._demands.all():
                if row.text == text:
                    await carol.profiles._demands.withdraw(row.demand)
        await carol.profiles.sell("fashion", PRICE_WEI, ["demands"], 0)
        await until(lambda: len(sellers(bob.catalog, "fashion")) == 2)
        asked = await bob.profile_desk.query("fashion", MANY)
        assert asked.profiles == 2
        assert bob.profile_desk._trust.factors.get(CAROL, 1.0) < 1
        assert bob.profile_desk._trust.factors.get(ALICE, 1.0) == 1
        assert bob.profile_desk._chosen("fashion")[0].item.peer == ALICE
        voices = [need.weight for need in (await bob.profile_desk.query("fashion", 0)).items]
        assert sum(voices) < 2, "she has less than one voice"
