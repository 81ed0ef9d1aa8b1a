"""What goes wrong between neighbours' catalogues, and what a liar may cost."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import trio

from node.market.catalog import catching
from node.market.catalog.catalog import Listed
from node.market.catalog.quota import Limits
from node.market.catalog.tree import inner_digest, leaf_digest
from node.market.kinds import Body
from node.network.errors import PeerUnreachable
from node.network.guard.conduct import FALSE
from protocols.catalog.messages import (
    ITEMS,
    MAX_PAGE_BYTES,
    MAX_REQUEST_BYTES,
    MAX_TREE_REQUEST_BYTES,
    PROTOCOL,
    Items,
    ItemsRequest,
    Node,
    TreeReply,
    TreeRequest,
)
from protocols.codec import decode, encode
from protocols.envelope import Item
from protocols.ids import PeerId
from protocols.offers.offer import Offer
from tests.support.items import ALICE, BOB, CAROL, NOW, Purse, a_withdrawal, an_offer, signed
from tests.support.wire import Hub
from tests.unit.market.conftest import OpenStall, Stall
from tests.unit.market.test_gossip import until

Nodes = Callable[[TreeRequest], list[Node]]
MALLORY = PeerId("12D3KooWMmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catching, "MEET_INTERVAL_S", 0.02)
    monkeypatch.setattr(catching, "SETTLING_S", 0.02)
    monkeypatch.setattr(catching, "CATCH_UP_INTERVAL_S", 0.1)


def made(count: int, first: int = 1, **changes: object) -> list[Item]:
    return [signed(an_offer(offer_no=n, **changes), Purse(7), ALICE) for n in range(first, first + count)]


async def stock(stall: Stall, items: list[Item]) -> None:
    await stall.gossip.follow("fashion")
    await stall.catalog.keep([stall.catalog.examine(item.raw, None) for item in items])


def offers_at(stall: Stall) -> set[str]:
    return {one.item.id for one in stall.catalog.every(Offer)}


class Asked:
    """Counts what a node is asked."""

    def __init__(self, stall: Stall) -> None:
        self.nodes: list[TreeRequest] = []
        self.items: list[str] = []
        self.bytes = 0
        for protocol in (PROTOCOL, ITEMS):
            self._watch(stall, protocol)

    def _watch(self, stall: Stall, protocol: str) -> None:
        handler = stall.wire._handlers[protocol]

        async def heard(peer: PeerId, body: bytes) -> bytes:
            if protocol == PROTOCOL:
                self.nodes.append(decode(body, TreeRequest, max_bytes=MAX_TREE_REQUEST_BYTES))
            else:
                self.items += [i.hex() for i in decode(body, ItemsRequest, max_bytes=MAX_REQUEST_BYTES).ids]
            reply = await handler(peer, body)
            self.bytes += len(body) + len(reply)
            return reply

        stall.wire._handlers[protocol] = heard


# --- what was not kept at first ---


async def test_what_a_guard_refused_is_fetched_again_when_it_would_let_it_in(open_stall: OpenStall) -> None:
    open_now = False

    async def guard(listed: Listed[Body]) -> bool:
        return open_now

    async with open_stall(ALICE, 1) as alice, open_stall(BOB, 2) as bob:
        await stock(alice, made(3))
        bob.gossip.on_border(guard)
        asked = Asked(alice)
        await bob.gossip.follow("fashion")
        await until(lambda: len(asked.items) == 3)
        await trio.sleep(0.5)
        assert len(asked.items) == 3, "not again at once"
        open_now = True
        bob.now += 31
        await until(lambda: len(offers_at(bob)) == 3)


async def test_what_is_dated_ahead_of_a_slow_clock_comes_when_the_clock_is_there(open_stall: OpenStall) -> None:
    async with open_stall(ALICE, 1) as alice, open_stall(BOB, 2) as bob:
        alice.now = NOW + 1_000
        items = made(2, created_at=NOW + 1_000, expires_at=NOW + 5_000)
        await stock(alice, items)
        await bob.gossip.follow("fashion")
        await until(lambda: not any(bob.catalog.misses(item.id) for item in items))
        assert not offers_at(bob)
        bob.now = NOW + 1_000
        await until(lambda: len(offers_at(bob)) == 2)


async def test_what_found_no_room_comes_when_there_is_room(open_stall: OpenStall) -> None:
    async with open_stall(ALICE, 1) as alice, open_stall(BOB, 2) as bob:
        items = made(4)
        await stock(alice, items)
        bob.catalog.quota.limits = Limits(items_a_signer=2)
        await bob.gossip.follow("fashion")
        await until(lambda: len(offers_at(bob)) == 2)
        bob.catalog.quota.limits = Limits()
        bob.now += 31
        await until(lambda: len(offers_at(bob)) == 4)


async def test_a_lost_store_is_just_another_set(open_stall: OpenStall) -> None:
    async with open_stall(BOB, 2) as bob:
        async with open_stall(ALICE, 1) as alice:
            await stock(alice, made(5))
            await bob.gossip.follow("fashion")
            await until(lambda: len(offers_at(bob)) == 5)
        async with open_stall(ALICE, 3) as alice:  # the same peer, another journal
            await stock(alice, made(1, first=9))
            await until(lambda: len(offers_at(bob)) == 6)


async def test_what_was_withdrawn_here_is_not_fetched_from_who_does_not_know_it_yet(open_stall: OpenStall) -> None:
    async with open_stall(BOB, 2) as bob:
        items = made(3)
        await stock(bob, items)
        await bob.catalog.admit(signed(a_withdrawal(items[0]), Purse(7), ALICE).raw, None)
        async with open_stall(CAROL, 3) as carol:
            await stock(carol, items)
            asked = Asked(carol)
            await until(lambda: len(asked.nodes) > 1)
            assert asked.items == []
            await until(lambda: items[0].id not in offers_at(carol))


async def test_two_that_know_different_things_end_with_the_same(open_stall: OpenStall) -> None:
    dice = random.Random(5)
    items = made(700)
    async with open_stall(ALICE, 1) as alice, open_stall(BOB, 2) as bob:
        await stock(alice, [item for item in items if dice.random() < 0.7])
        await stock(bob, dice.sample(items, 400))
        known = offers_at(alice) | offers_at(bob)
        await until(lambda: offers_at(alice) == offers_at(bob) == known)
        assert alice.catalog.tree("fashion").digest("") == bob.catalog.tree("fashion").digest("")
    async with open_stall(BOB, 2) as again:
        assert offers_at(again) == known


# --- what it costs ---


async def test_few_differences_between_large_catalogues_cost_little(open_stall: OpenStall) -> None:
    async with open_stall(ALICE, 1) as alice, open_stall(BOB, 2) as bob:
        common = made(3_000)
        await stock(bob, common)
        asked = Asked(alice)
        await stock(alice, common + made(10, first=5_000))
        await until(lambda: len(offers_at(bob)) == 3_010)
        assert len(asked.items) == 10
        await trio.sleep(0.3)
        assert asked.bytes < 60_000, "the ids alone are 96 kB"
        before = asked.bytes
        for _ in range(5):
            bob.gossip._catching._visits[ALICE].due.clear()
            await trio.sleep(0.05)
        assert asked.bytes - before < 1_500, "who is level costs one small question"


async def test_who_has_no_room_does_not_fetch_everything_to_find_that_out(open_stall: OpenStall) -> None:
    async with open_stall(ALICE, 1) as alice, open_stall(BOB, 2) as bob:
        items = made(2_000)
        await stock(alice, items)
        bob.catalog.quota.limits = Limits(items_a_signer=1)
        asked = Asked(alice)
        await bob.gossip.follow("fashion")
        await until(lambda: offers_at(bob) and not bob.gossip._catching._visits[ALICE].busy)
        await trio.sleep(0.5)
        assert len(asked.items) <= 5 * 256


async def test_each_item_is_asked_of_one_neighbour(open_stall: OpenStall) -> None:
    async with open_stall(ALICE, 1) as alice, open_stall(CAROL, 3) as carol:
        items = made(1_500)
        await stock(alice, items)
        await stock(carol, items)
        of_alice, of_carol = Asked(alice), Asked(carol)
        async with open_stall(BOB, 2) as bob:
            await bob.gossip.follow("fashion")
            await until(lambda: len(offers_at(bob)) == 1_500)
        assert len(of_alice.items) + len(of_carol.items) == 1_500
        assert of_alice.items, "both have a share"
        assert of_carol.items, "both have a share"


async def test_who_breaks_off_leaves_his_share_to_others(open_stall: OpenStall, hub: Hub) -> None:
    async def hang(peer: PeerId, body: bytes) -> bytes:
        asked.set()
        await broken.wait()
        raise PeerUnreachable("gone in the middle of an answer")

    asked, broken = trio.Event(), trio.Event()
    async with open_stall(ALICE, 1) as alice, open_stall(CAROL, 3) as carol:
        items = made(100)
        await stock(alice, items)
        await stock(carol, items)
        carol.wire._handlers[ITEMS] = hang
        hub.away.add(ALICE)
        async with open_stall(BOB, 2) as bob:
            await bob.gossip.follow("fashion")
            await asked.wait()
            hub.away.clear()
            await trio.sleep(0.3)
            assert not offers_at(bob), "claimed by the one that hangs"
            broken.set()
            await until(lambda: len(offers_at(bob)) == 100)


# --- liars ---


class Liar:
    """A neighbour whose answers are made up."""

    def __init__(
        self, hub: Hub, nodes: Callable[[TreeRequest], list[Node]], items: Callable[[list[str]], Items]
    ) -> None:
        self.wire = hub.wire(MALLORY)
        self.asked_nodes = self.asked_items = 0

        async def tree(_peer: PeerId, body: bytes) -> bytes:
            self.asked_nodes += 1
            return encode(TreeReply(nodes=nodes(decode(body, TreeRequest, max_bytes=MAX_TREE_REQUEST_BYTES))))

        async def envelopes(_peer: PeerId, body: bytes) -> bytes:
            self.asked_items += 1
            ids = [i.hex() for i in decode(body, ItemsRequest, max_bytes=MAX_REQUEST_BYTES).ids]
            return encode(items(ids))

        bounds = {"max_request_bytes": MAX_PAGE_BYTES, "concurrency": 8}
        self.wire.serve(PROTOCOL, tree, **bounds)
        self.wire.serve(ITEMS, envelopes, **bounds)

    @property
    def asked(self) -> int:
        return self.asked_nodes + self.asked_items


def leaf(ids: list[str]) -> Node:
    raw = sorted(bytes.fromhex(id) for id in ids)
    return Node(digest=leaf_digest(raw), ids=raw)


def nothing(ids: list[str]) -> Items:
    return Items(envelopes=[], looked_at=len(ids))


def random_ids(prefix: str, count: int) -> list[str]:
    dice = random.SystemRandom()
    return [prefix + dice.randbytes(32).hex()[len(prefix) :] for _ in range(count)]


def endless(request: TreeRequest) -> list[Node]:
    dice = random.SystemRandom()
    children = [[dice.randbytes(16) for _ in range(16)] for _ in request.prefixes]
    return [Node(digest=inner_digest(below), children=below) for below in children]


def invented(request: TreeRequest) -> list[Node]:
    if request.prefixes == [""]:
        return endless(request)
    return [leaf(random_ids(prefix, 64)) for prefix in request.prefixes]


def false_digest(request: TreeRequest) -> list[Node]:
    return [Node(digest=b"x" * 16, ids=[bytes(32)])]


def foreign_leaf(request: TreeRequest) -> list[Node]:
    return endless(request) if request.prefixes == [""] else [leaf(random_ids("", 3)) for _ in request.prefixes]


@pytest.mark.parametrize("nodes", [endless, invented, false_digest, foreign_leaf])
async def test_a_liar_costs_a_bounded_number_of_questions_and_rests_for_a_while(
    nodes: Nodes, open_stall: OpenStall, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.market.catalog.comparing.MAX_NODES", 2_000)
    liar = Liar(hub, nodes, nothing)
    async with open_stall(ALICE, 1) as alice, open_stall(BOB, 2) as bob:
        await stock(alice, made(5))
        await bob.gossip.follow("fashion")
        for stall in (alice, bob):
            await until(lambda stall=stall: stall.gossip._catching._visits[MALLORY].wasted)
        asked = liar.asked
        assert asked < 80
        assert bob.wire.blamed == [(MALLORY, FALSE.what)]
        await until(lambda: len(offers_at(bob)) == 5)
        await trio.sleep(0.5)
        assert liar.asked == asked, "not asked again"
        hub.away.add(MALLORY)  # nor when he comes back
        await trio.sleep(0.2)
        hub.away.clear()
        await trio.sleep(0.2)
        assert liar.asked == asked


async def test_a_few_invented_ids_at_every_visit_are_noticed_too(open_stall: OpenStall, hub: Hub) -> None:
    liar = Liar(hub, lambda request: [leaf(random_ids("", 2)) for _ in request.prefixes], nothing)
    async with open_stall(BOB, 2) as bob:
        await bob.gossip.follow("fashion")
        await until(lambda: bob.wire.blamed)
        assert liar.asked_items <= 4


@pytest.mark.parametrize("what", ["unasked", "forged", "elsewhere"])
async def test_a_liars_envelopes_keep_nobody_from_the_true_ones(what: str, open_stall: OpenStall, hub: Hub) -> None:
    items = made(3)
    foreign = made(3, domain="food", first=50)

    def envelopes(ids: list[str]) -> Items:
        if what == "forged":  # of this id, with a signature that is none
            forged = {item.id: item.raw[:-64] + bytes(64) for item in items}
            return Items(envelopes=[forged[id] for id in ids], looked_at=len(ids))
        chosen = foreign if what == "elsewhere" else made(3, first=90)
        return Items(envelopes=[item.raw for item in chosen], looked_at=len(ids))

    listed = foreign if what == "elsewhere" else items
    liar = Liar(hub, lambda request: [leaf([item.id for item in listed]) for _ in request.prefixes], envelopes)
    async with open_stall(BOB, 2) as bob:
        await bob.gossip.follow("fashion")
        await until(lambda: liar.asked_items)
        await trio.sleep(0.2)
        assert not offers_at(bob)
        async with open_stall(ALICE, 1) as alice:
            await stock(alice, items)
            await until(lambda: offers_at(bob) == {item.id for item in items})
