"""Provider records over real hosts: told, found by strangers to the teller, bounded against liars."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

from node.blocks import EmbeddedBlocks, NotFound, open_embedded
from node.blocks.dag import root_of
from node.blocks.sources import key_of as key_of_root
from node.network import Network
from node.network.addresses import to_id
from node.network.dht import addresses as ids
from node.network.dht import wire as dhtwire
from node.network.dht.answers import QUESTIONS_AT_ONCE, STREAMS_OF_PEER
from node.network.dht.records import KEYS_OF_PEER
from node.network.dht.table import place, point
from node.network.dht.wire import Contact
from node.network.streams import BROKEN, Dialogue
from protocols.ids import PeerId
from tests.support.network import NETWORK, meet, member

# the library's; imported where its import warnings are handled
Message: Any = vars(dhtwire)["Message"]
encode_uvarint: Any = vars(dhtwire)["encode_uvarint"]
KAD = f"/schwung/{NETWORK}/kad/1.0.0"


def key_of(text: str) -> bytes:
    """A multihash, as provider records are named."""
    return b"\x12\x20" + hashlib.sha256(text.encode()).digest()


def ghost(number: int) -> Contact:
    """A peer that is nowhere."""
    name = ids.name_of(key_of(f"ghost {number}"))
    return Contact(name, (f"/ip4/127.0.0.1/tcp/1/p2p/{name}",))


KEY = key_of("a payload")


@asynccontextmanager
async def members(count: int) -> AsyncIterator[list[Network]]:
    """Nodes in a line: each has met the one before it only."""
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(member(f"node {number}")) for number in range(count)]
        for one, next_one in pairwise(found):
            await meet(one, next_one)
        yield found


async def test_what_one_provides_is_found_by_one_who_never_met_it() -> None:
    async with members(8) as nodes:
        key = key_of("a payload")
        with trio.fail_after(60):
            assert await nodes[0].dht.provide(key) >= 6
            assert await nodes[7].dht.providers(key, limit=4, timeout_s=20) == [nodes[0].peer_id]
            await nodes[7].reach(nodes[0].peer_id)
            assert await nodes[7].dht.providers(key_of("another"), limit=4, timeout_s=20) == []


async def test_a_record_outlives_the_line_to_its_provider_and_a_withdrawn_one_is_not_told_by_him() -> None:
    async with members(3) as (alice, bob, carol):
        key = key_of("a payload")
        with trio.fail_after(60):
            await alice.dht.provide(key)
            alice.dht.withdraw(key)
            await alice.disconnect(bob.peer_id)
            assert await carol.dht.providers(key, limit=4, timeout_s=20) == [alice.peer_id]
            assert await alice.dht.providers(key, limit=4, timeout_s=20) == []


async def test_connections_that_only_a_search_made_end_when_many_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.network.dht.guests.KEPT", 4)
    async with AsyncExitStack() as stack:
        wanderer = await stack.enter_async_context(member("wanderer", max_connections=16))
        hub = await stack.enter_async_context(member("hub"))
        others = [await stack.enter_async_context(member(f"node {number}")) for number in range(10)]
        with trio.fail_after(120):
            await meet(hub, wanderer, *others)
            assert await wanderer.dht.provide(KEY) >= 10
            assert await wanderer.dht.providers(key_of("another"), limit=1, timeout_s=60) == []
            assert len(wanderer.peers()) <= 8, "half of what may stand"
            assert hub.peer_id in [peer.peer for peer in wanderer.peers()], "that one was wanted"
            assert await others[9].dht.providers(KEY, limit=1, timeout_s=30) == [wanderer.peer_id]


async def test_with_the_setting_off_nobody_is_told_and_nobody_is_answered(alice: Network, bob: Network) -> None:
    async with member("silent", dht=False) as silent:
        await meet(alice, bob, silent)
        key = key_of("kept to himself")
        with trio.fail_after(30):
            assert await silent.dht.provide(key) == 0
            assert await bob.dht.provide(key) == 1
            assert await silent.dht.providers(key, limit=1, timeout_s=5) == []


async def told(blocks: EmbeddedBlocks) -> None:
    """Wait until peers keep a record of something that is offered."""
    assert blocks.provided is not None
    with trio.fail_after(30):
        while not blocks.provided.providing:
            await trio.sleep(0.01)


async def test_a_restarted_provider_tells_its_pins_again(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(700_000)
    cid = root_of(data)
    async with member("bob") as bob, member("carol") as carol, open_embedded(tmp_path / "c", carol) as asking:
        await meet(bob, carol)
        for turn in (1, 2):
            async with member("alice") as alice, open_embedded(tmp_path / "a", alice) as mine:
                await meet(bob, alice)
                if turn == 1:
                    await mine.add(data)
                await told(mine)
                assert await asking.fetch(cid, providers=[], max_bytes=len(data), timeout_s=60) == data
            await asking.collect_garbage()
            for keeper in (bob, carol):
                keeper.dht.records.sweep(float("inf"))
            with pytest.raises(NotFound):
                await asking.fetch(cid, providers=[], max_bytes=len(data), timeout_s=60)


async def test_what_is_unpinned_is_told_no_more(alice: Network, bob: Network, tmp_path: Path) -> None:
    await meet(alice, bob)
    async with open_embedded(tmp_path, alice) as mine:
        cid = await mine.add(b"on offer")
        await told(mine)
        await mine.unpin(cid)
        assert mine.provided is not None
        with trio.fail_after(30):
            while mine.provided.providing:
                await trio.sleep(0.01)
        bob.dht.records.sweep(float("inf"))
        assert await bob.dht.providers(key_of("on offer"), limit=1, timeout_s=10) == []


# -- hostile peers


async def send(who: Network, whom: Network, *messages: bytes) -> int:
    """Messages on one Kademlia stream; how many were answered before the other side ended it."""
    ahead, answered = bytearray(), 0
    try:
        stream = await who.host.new_stream(to_id(whom.peer_id), [KAD])
    except BROKEN:
        return 0
    try:
        for message in messages:
            await stream.write(message)
            if await dhtwire.receive(stream, ahead, dhtwire.MAX_REPLY_BYTES) is None:
                break
            answered += 1
    except BROKEN:
        pass
    await Dialogue(stream).reset()
    return answered


def framed(**fields: Any) -> bytes:
    body: bytes = Message(**fields).SerializeToString()
    return encode_uvarint(len(body)) + body


ADD = dhtwire.ADD_PROVIDER
CROWD = [Message.Peer(id=ids.bytes_of(ghost(number).peer)) for number in range(10_000)]
NONSENSE = {
    "a length of 4 GB": b"\xff\xff\xff\xff\x0f",
    "a length over the bound": encode_uvarint(dhtwire.MAX_REQUEST_BYTES + 1) + bytes(dhtwire.MAX_REQUEST_BYTES + 1),
    "garbage": b"\x7f" + random.Random(1).randbytes(127),
    "no key": framed(type=dhtwire.FIND_NODE),
    "a value": framed(type=Message.PUT_VALUE, key=b"k", record={"key": b"k", "value": b"v"}),
    "in another's name": framed(type=ADD, key=KEY, providerPeers=CROWD[:20]),
    "10,000 providers": framed(type=ADD, key=KEY, providerPeers=CROWD),
}


@pytest.mark.parametrize("what", NONSENSE)
async def test_nonsense_ends_its_stream_and_nothing_is_kept(alice: Network, bob: Network, what: str) -> None:
    await meet(alice, bob)
    with trio.fail_after(30):
        assert await send(alice, bob, NONSENSE[what]) == 0
    assert len(bob.dht.records) == 0


async def test_who_sends_nonsense_again_and_again_is_sent_away(alice: Network, bob: Network) -> None:
    await meet(alice, bob)
    with trio.fail_after(30):
        while bob.peers():
            with suppress(*BROKEN):
                await send(alice, bob, NONSENSE["garbage"])


async def test_one_peer_neither_fills_the_store_nor_asks_without_end(alice: Network, bob: Network) -> None:
    await meet(alice, bob)
    own = Message.Peer(id=ids.bytes_of(alice.peer_id))
    flood = [framed(type=ADD, key=key_of(str(number)), providerPeers=[own]) for number in range(3_000)]
    with trio.fail_after(60):
        answered = await send(alice, bob, *flood)
    assert answered == len(bob.dht.records)
    assert QUESTIONS_AT_ONCE <= answered <= KEYS_OF_PEER  # … and what a second or two of waiting has refilled


async def test_silent_streams_hold_no_place_of_others(alice: Network, bob: Network, carol: Network) -> None:
    await meet(bob, alice, carol)
    silent = []
    with trio.fail_after(60):
        for _ in range(3 * STREAMS_OF_PEER):
            stream = await alice.host.new_stream(to_id(bob.peer_id), [KAD])
            await stream.write(b"\x7f")  # the length of what never comes
            silent.append(stream)
        assert await carol.dht.provide(KEY) >= 1
        assert bob.dht.answering.streams_of(alice.peer_id) == STREAMS_OF_PEER
        assert await bob.dht.providers(KEY, limit=1, timeout_s=20) == [carol.peer_id]
        for stream in silent:
            await Dialogue(stream).reset()


async def test_who_has_said_no_hello_is_not_answered(alice: Network) -> None:
    async with member("stranger", network_id="another") as stranger:
        await stranger._links.dial(alice.peer_id, alice.addresses[:1])
        with trio.fail_after(30):
            assert await send(stranger, alice, dhtwire.question(dhtwire.FIND_NODE, KEY)) == 0


async def test_a_liar_beside_the_key_hides_nobody() -> None:
    """Mallory names providers that have nothing and peers that are nowhere, all nearer to the key than anybody."""
    near = sorted((ghost(number) for number in range(500)), key=lambda one: place(one.peer) ^ point(KEY))
    asked: list[PeerId] = []

    async def lie(stream: Any) -> None:
        raw = await dhtwire.receive(stream, bytearray(), dhtwire.MAX_REQUEST_BYTES)
        asked.append(PeerId(str(stream.muxed_conn.peer_id)))
        kind = dhtwire.read_question(raw).kind if raw else dhtwire.FIND_NODE
        await stream.write(dhtwire.answer(kind, KEY, near[:20], near[20:40]))

    async with members(6) as nodes, member("mallory") as mallory:
        mallory.host.set_stream_handler(KAD, lie)
        with trio.fail_after(120):
            await meet(mallory, *nodes)
            assert await nodes[0].dht.provide(KEY) >= 5
            found = await nodes[5].dht.providers(KEY, limit=4, timeout_s=60)
            assert found[0] == nodes[0].peer_id
            assert nodes[5].peer_id in asked


async def test_a_payload_comes_although_liars_stand_in_the_records(
    alice: Network, bob: Network, carol: Network, tmp_path: Path
) -> None:
    """Mallory says that he has it, and has not: who asks goes on to the one who has."""
    data = random.Random(3).randbytes(3_000_000)
    async with (
        member("mallory") as mallory,
        open_embedded(tmp_path / "a", alice) as mine,
        open_embedded(tmp_path / "c", carol) as asking,
    ):
        await meet(bob, alice, carol, mallory)
        cid = await mine.add(data)
        await told(mine)
        with trio.fail_after(60):
            assert await mallory.dht.provide(key_of_root(cid)) >= 1
            assert await asking.fetch(cid, providers=[], max_bytes=len(data), timeout_s=50) == data


async def test_a_transfer_whose_seller_vanishes_goes_on_with_a_holder_found_by_his_record(
    alice: Network, bob: Network, carol: Network, tmp_path: Path
) -> None:
    """The holder comes up while the transfer runs: nobody has named him to the one who fetches."""
    data = random.Random(4).randbytes(60_000_000)
    await meet(bob, alice, carol)
    async with open_embedded(tmp_path / "b", None) as offline:
        cid = await offline.add(data)
    async with open_embedded(tmp_path / "a", alice) as seller, open_embedded(tmp_path / "c", carol) as asking:
        await seller.add(data)
        came: list[bytes] = []

        async def fetch() -> None:
            came.append(await asking.fetch(cid, providers=[alice.peer_id], max_bytes=len(data), timeout_s=120))

        with trio.fail_after(150):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fetch)
                while seller.serving.sent_bytes < 10_000_000:
                    await trio.sleep(0.002)
                await alice.close()
                async with open_embedded(tmp_path / "b", bob) as holder:
                    await told(holder)
                    while not came:
                        await trio.sleep(0.01)
                    assert holder.serving.sent_bytes < len(data) - 5_000_000
        assert came == [data]
