"""`/schwung/payload/1` between real hosts on loopback: transfers that break, and providers that lie."""

from __future__ import annotations

import mmap
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from node.blocks import NotFound, StoreFull, TooLarge, open_embedded
from node.blocks.dag import root_of
from node.blocks.payloads import Payload
from node.blocks.room import SHARED_RUNS
from node.blocks.serving import Allowances
from node.blocks.store import BlockStore
from node.blocks.taking import Keeper
from node.blocks.transfer import Transfer
from node.network import Dialogue, Network, NetworkError
from protocols.codec import decode, encode
from protocols.framing import frame
from protocols.ids import Cid, PeerId
from protocols.payload import LEAF_BYTES, PROTOCOL, Leaves, Nodes, Open, Opened
from tests.support.network import meet, member
from tests.support.slowline import slow_line

MB = 1_000_000


def some(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture(autouse=True)
def no_bitswap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests see arrive came by the payload protocol."""
    monkeypatch.setattr("node.blocks.embedded.complete", _nothing)
    monkeypatch.setattr("node.blocks.transfer.PAUSE_S", 0.05)


async def _nothing(*_words: object) -> None:
    return None


@pytest.mark.parametrize("size", [0, 1, LEAF_BYTES, LEAF_BYTES + 1, 5 * MB, 175 * LEAF_BYTES + 1])
async def test_contents_of_all_shapes_arrive(alice: Network, bob: Network, tmp_path: Path, size: int) -> None:
    data = some(size)
    async with open_embedded(tmp_path / "a", alice) as mine, open_embedded(tmp_path / "b", bob) as theirs:
        await meet(alice, bob)
        cid = await mine.add(data)
        assert cid == root_of(data)
        assert await theirs.fetch(cid, providers=[alice.peer_id], max_bytes=size, timeout_s=20) == data
        assert await theirs.has(cid)
        assert await theirs.pins() == []
        assert mine.serving.sent_bytes >= size
        content = await theirs.fetch_mapped(cid, providers=[], max_bytes=size, timeout_s=5)
        assert bytes(content) == data
        assert isinstance(content, mmap.mmap) == (size > LEAF_BYTES)


async def test_a_file_is_added_and_a_mapped_one_outlives_its_collection(
    alice: Network, bob: Network, tmp_path: Path
) -> None:
    data = some(3 * MB)
    (tmp_path / "file").write_bytes(data)
    async with open_embedded(tmp_path / "a", alice) as mine, open_embedded(tmp_path / "b", bob) as theirs:
        await meet(alice, bob)
        cid = await mine.add_file(tmp_path / "file")
        assert cid == root_of(data)
        content = await theirs.fetch_mapped(cid, providers=[alice.peer_id], max_bytes=len(data), timeout_s=10)
        await theirs.drop(cid)
        assert not await theirs.has(cid)
        assert content[:] == data


async def test_a_content_over_the_bound_is_refused_before_its_leaves(
    alice: Network, bob: Network, tmp_path: Path
) -> None:
    async with open_embedded(tmp_path / "a", alice) as mine, open_embedded(tmp_path / "b", bob) as theirs:
        await meet(alice, bob)
        for size in (MB, 1_000):
            cid = await mine.add(some(size))
            with pytest.raises(TooLarge):
                await theirs.fetch(cid, providers=[alice.peer_id], max_bytes=size - 1, timeout_s=10)
        assert theirs.size_bytes == 0


async def test_a_content_over_the_quota_is_refused_before_its_leaves(
    alice: Network, bob: Network, tmp_path: Path
) -> None:
    async with (
        open_embedded(tmp_path / "a", alice) as mine,
        open_embedded(tmp_path / "b", bob, quota_bytes=MB) as theirs,
    ):
        await meet(alice, bob)
        cid = await mine.add(some(2 * MB))
        with pytest.raises(StoreFull):
            await theirs.fetch(cid, providers=[alice.peer_id], max_bytes=2 * MB, timeout_s=10)
        assert theirs.size_bytes == 0
        assert mine.serving.sent_bytes < 10_000


async def test_only_what_is_pinned_is_served(alice: Network, bob: Network, tmp_path: Path) -> None:
    async with open_embedded(tmp_path / "a", alice) as mine, open_embedded(tmp_path / "b", bob) as theirs:
        await meet(alice, bob)
        for size in (1_000, MB):
            cid = await mine.add(some(size))
            await mine.unpin(cid)
            with pytest.raises(NotFound):
                await theirs.fetch(cid, providers=[alice.peer_id], max_bytes=size, timeout_s=1)
            await mine.pin(cid)
            assert len(await theirs.fetch(cid, providers=[alice.peer_id], max_bytes=size, timeout_s=5)) == size


async def test_several_providers_share_the_work(alice: Network, bob: Network, carol: Network, tmp_path: Path) -> None:
    data = some(40 * MB)
    async with (
        open_embedded(tmp_path / "a", alice) as first,
        open_embedded(tmp_path / "b", bob) as second,
        open_embedded(tmp_path / "c", carol) as asking,
    ):
        await meet(carol, alice, bob)
        cid = await first.add(data)
        await second.add(data)
        providers = [alice.peer_id, bob.peer_id]
        assert await asking.fetch(cid, providers=providers, max_bytes=len(data), timeout_s=30) == data
        assert first.serving.sent_bytes > 5 * MB
        assert second.serving.sent_bytes > 5 * MB
        assert first.serving.sent_bytes + second.serving.sent_bytes < len(data) + MB


async def test_who_is_found_meanwhile_joins_in(alice: Network, bob: Network, carol: Network, tmp_path: Path) -> None:
    """The first one has nothing; the search ends only when that is known, and who is found brings all of it."""
    data = some(3 * MB)
    async with (
        open_embedded(tmp_path / "a", alice),
        open_embedded(tmp_path / "b", bob) as theirs,
        open_embedded(tmp_path / "c", carol) as mine,
    ):
        await meet(carol, alice, bob)
        cid = await theirs.add(data)
        keeper = Keeper(mine._begin, mine._keep, mine._keep_single, mine._room)
        transfer = Transfer(carol, cid, len(data), keeper, None)

        async def search() -> list[PeerId]:
            await trio.sleep(0.3)
            return [alice.peer_id, bob.peer_id]

        with trio.fail_after(20):
            await transfer.run([alice.peer_id], search)
        assert transfer.complete
        assert theirs.serving.sent_bytes >= len(data)


async def test_others_are_searched_for_late_unless_the_known_ones_have_nothing(
    alice: Network, bob: Network, carol: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.blocks.transfer.SEARCH_AFTER_S", 60.0)
    searched = 0
    async with (
        open_embedded(tmp_path / "a", alice),
        open_embedded(tmp_path / "b", bob) as theirs,
        open_embedded(tmp_path / "c", carol) as mine,
    ):
        await meet(carol, alice, bob)

        async def search() -> list[PeerId]:
            nonlocal searched
            searched += 1
            return [bob.peer_id]

        for number, known, searches in [(1, bob, 0), (2, alice, 1)]:
            cid = await theirs.add(some(3 * MB, number))
            keeper = Keeper(mine._begin, mine._keep, mine._keep_single, mine._room)
            transfer = Transfer(carol, cid, 3 * MB, keeper, None)
            with trio.fail_after(20):
                await transfer.run([known.peer_id], search)
            assert transfer.complete
            assert searched == searches


async def test_a_search_that_takes_its_time_holds_up_nobody(
    alice: Network, bob: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.blocks.transfer.SEARCH_AFTER_S", 0.0)
    data = some(MB)
    async with open_embedded(tmp_path / "a", alice) as theirs, open_embedded(tmp_path / "b", bob) as mine:
        await meet(alice, bob)
        cid = await theirs.add(data)
        keeper = Keeper(mine._begin, mine._keep, mine._keep_single, mine._room)
        transfer = Transfer(bob, cid, len(data), keeper, None)

        async def search() -> list[PeerId]:
            await trio.sleep_forever()
            raise AssertionError

        with trio.fail_after(20):
            await transfer.run([alice.peer_id], search)
        assert transfer.complete


async def test_a_transfer_goes_on_with_another_provider_when_one_vanishes(
    alice: Network, bob: Network, carol: Network, tmp_path: Path
) -> None:
    data = some(60 * MB)
    async with (
        open_embedded(tmp_path / "a", alice) as first,
        open_embedded(tmp_path / "b", bob) as second,
        open_embedded(tmp_path / "c", carol) as asking,
    ):
        await meet(carol, alice, bob)
        cid = await first.add(data)
        await second.add(data)
        async with trio.open_nursery() as nursery:

            async def pull_the_plug() -> None:
                while first.serving.sent_bytes < 10 * MB:
                    await trio.sleep(0.002)
                await alice.close()

            nursery.start_soon(pull_the_plug)
            providers = [alice.peer_id, bob.peer_id]
            assert await asking.fetch(cid, providers=providers, max_bytes=len(data), timeout_s=30) == data
        assert first.serving.sent_bytes < len(data) / 2 + 10 * MB


async def test_a_restarted_fetcher_asks_only_for_what_is_missing(
    alice: Network, bob: Network, carol: Network, tmp_path: Path
) -> None:
    data = some(60 * MB)
    async with open_embedded(tmp_path / "a", alice) as first, open_embedded(tmp_path / "b", bob) as second:
        await meet(carol, alice, bob)
        cid = await first.add(data)
        await second.add(data)
        async with open_embedded(tmp_path / "c", carol) as asking, trio.open_nursery() as nursery:

            async def pull_the_plug() -> None:
                while first.serving.sent_bytes < 20 * MB:
                    await trio.sleep(0.002)
                nursery.cancel_scope.cancel()

            nursery.start_soon(pull_the_plug)
            await asking.fetch(cid, providers=[alice.peer_id], max_bytes=len(data), timeout_s=30)
        part = BlockStore(tmp_path / "c").payloads.find(cid)
        assert part is not None
        assert not part.check()
        missing = len(part.missing()) * LEAF_BYTES
        assert 0 < missing < len(data) - 5 * MB
        sent = first.serving.sent_bytes + second.serving.sent_bytes
        async with open_embedded(tmp_path / "c", carol) as asking:  # knows only what is on the disk
            assert await asking.fetch(cid, providers=[bob.peer_id], max_bytes=len(data), timeout_s=30) == data
        assert first.serving.sent_bytes + second.serving.sent_bytes - sent < missing + 4 * MB  # what was on its way


async def test_leaves_that_came_by_bitswap_are_not_asked_for_again(
    alice: Network, bob: Network, tmp_path: Path
) -> None:
    data = some(10 * LEAF_BYTES)
    async with open_embedded(tmp_path / "a", alice) as mine, open_embedded(tmp_path / "b", bob) as theirs:
        await meet(alice, bob)
        cid = await mine.add(data)
        payload = mine._store.payloads.find(cid)
        assert payload is not None
        known = [(leaf, mine._store.get(leaf)) for leaf in list(payload.outline.leaf_cids())[:7]]
        theirs._store.put([(leaf, block) for leaf, block in known if block is not None])
        assert await theirs.fetch(cid, providers=[alice.peer_id], max_bytes=len(data), timeout_s=30) == data
        assert mine.serving.sent_bytes < 4 * LEAF_BYTES


async def test_on_a_long_line_more_is_under_way_and_all_of_it_is_given_back(
    alice: Network, bob: Network, tmp_path: Path
) -> None:
    """A fifth of a second there and back: a window that stood still would be used once in that time."""
    data = some(40 * MB)
    granted: list[int] = []
    async with (
        open_embedded(tmp_path / "a", alice) as blocks,
        open_embedded(tmp_path / "b", bob) as mine,
        slow_line(alice.addresses[0], delay_s=0.1) as address,
    ):
        cid = await blocks.add(data)
        peer = await bob.connect(address)
        take = mine._room.take

        def noted(wanted: int) -> int:
            granted.append(take(wanted))
            return granted[-1]

        mine._room.take = noted  # type: ignore[method-assign]
        got = await mine.fetch_mapped(cid, providers=[peer], max_bytes=len(data), timeout_s=60)
        assert got[:] == data
        assert sum(granted) > 0
        assert mine._room.left == SHARED_RUNS


# -- providers that lie


Lie = Callable[[Dialogue, Payload, Leaves], Awaitable[None]]


def lying(network: Network, payload: Payload, lie: Lie) -> None:
    """Serve a payload's tree honestly, and its leaves not."""

    async def handle(_peer: PeerId, dialogue: Dialogue) -> None:
        decode(await dialogue.receive(max_bytes=100), Open, max_bytes=100)
        await dialogue.send(encode(Opened()))
        while ask := await dialogue.receive(max_bytes=100):
            match decode(ask, Nodes | Leaves, max_bytes=100):
                case Nodes() as nodes:
                    for _, block in payload.outline.nodes[nodes.first : nodes.first + nodes.count]:
                        await dialogue.send(block)
                case Leaves() as leaves:
                    await lie(dialogue, payload, leaves)

    network.serve_stream(PROTOCOL, handle)


async def wrong_bytes(dialogue: Dialogue, payload: Payload, ask: Leaves) -> None:
    for place in range(ask.first, ask.first + ask.count):
        leaf = bytearray(payload.leaf(place) or b"")
        leaf[-1] ^= 1
        await dialogue.send(bytes(leaf))


async def too_short(dialogue: Dialogue, payload: Payload, ask: Leaves) -> None:
    await dialogue.send((payload.leaf(ask.first) or b"")[:-1])


async def too_long(dialogue: Dialogue, payload: Payload, ask: Leaves) -> None:
    await dialogue.send((payload.leaf(ask.first) or b"") + b"x")


async def endless(dialogue: Dialogue, _payload: Payload, _ask: Leaves) -> None:
    await dialogue.send_framed(memoryview(b"\xff\xff\xff\xff" + bytes(400_000)))


async def stalls(_dialogue: Dialogue, _payload: Payload, _ask: Leaves) -> None:
    await trio.sleep_forever()


async def dribbles(dialogue: Dialogue, payload: Payload, ask: Leaves) -> None:
    data = memoryview(frame(payload.leaf(ask.first) or b""))
    for at in range(len(data)):
        await dialogue.send_framed(data[at : at + 1])
        await trio.sleep(0.05)


async def more_than_asked(dialogue: Dialogue, payload: Payload, ask: Leaves) -> None:
    for _ in range(3):
        for place in range(ask.first, ask.first + ask.count):
            await dialogue.send(payload.leaf(place) or b"")


async def gives_up(dialogue: Dialogue, _payload: Payload, _ask: Leaves) -> None:
    await dialogue.reset()


LIES = (wrong_bytes, too_short, too_long, endless, more_than_asked)


@pytest.mark.parametrize(
    "lie", [wrong_bytes, too_short, too_long, endless, stalls, dribbles, more_than_asked, gives_up]
)
async def test_a_lying_provider_is_left_and_another_finishes(
    alice: Network, bob: Network, carol: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: Lie
) -> None:
    monkeypatch.setattr("node.blocks.taking.LEAF_S", 0.5)
    monkeypatch.setattr("node.blocks.runs.SLOW_S", 0.2)
    data = some(3 * MB)
    async with (
        open_embedded(tmp_path / "a", alice) as liar,
        open_embedded(tmp_path / "b", bob) as honest,
        open_embedded(tmp_path / "c", carol) as asking,
    ):
        await meet(carol, alice, bob)
        cid = await liar.add(data)
        payload = liar._store.payloads.find(cid)
        assert payload is not None
        lying(alice, payload, lie)
        with pytest.raises(NotFound):  # alone, it brings nothing, and nothing of it is taken for true
            await asking.fetch(cid, providers=[alice.peer_id], max_bytes=len(data), timeout_s=2.5)
        scores = {peer.peer: peer.score for peer in carol.peers()}
        assert (scores[alice.peer_id] < 0) == (lie in LIES)  # who breaks off or is slow has told no lie
        assert scores[bob.peer_id] == 0
        await honest.add(data)
        providers = [alice.peer_id, bob.peer_id]
        assert await asking.fetch(cid, providers=providers, max_bytes=len(data), timeout_s=10) == data


async def test_a_tree_of_other_nodes_is_refused(alice: Network, bob: Network, tmp_path: Path) -> None:
    async with open_embedded(tmp_path / "a", alice) as liar, open_embedded(tmp_path / "b", bob) as asking:
        await meet(alice, bob)
        other = liar._store.payloads.find(await liar.add(some(2 * MB, seed=2)))
        assert other is not None
        lying(alice, other, wrong_bytes)
        with pytest.raises(NotFound):
            await asking.fetch(root_of(some(MB)), providers=[alice.peer_id], max_bytes=2 * MB, timeout_s=2)
        assert asking.size_bytes == 0


# -- askers that lie


async def _ask(network: Network, peer: PeerId, first: bytes, second: bytes) -> None:
    async with network.open_stream(peer, PROTOCOL) as dialogue:
        await dialogue.send(first)
        if second:
            await dialogue.receive(max_bytes=100, timeout_s=2)
            await dialogue.send(second)
        await dialogue.receive(max_bytes=1 << 20, timeout_s=2)


async def test_hostile_asks_end_their_stream_and_nothing_else(alice: Network, bob: Network, tmp_path: Path) -> None:
    data = some(MB)
    async with open_embedded(tmp_path / "a", alice) as mine, open_embedded(tmp_path / "b", bob) as theirs:
        await meet(alice, bob)
        cid = await mine.add(data)
        good = encode(Open(root=cid))
        leaf = encode(Leaves(first=4, count=1))
        for first, second in [
            (b"", b""),
            (b"\xff" * 100, b""),
            (b"x" * 129, b""),
            (encode(Open(root=Cid("../../../etc/passwd"))), b""),
            (good, b"\xc1"),
            (good, encode({"type": "leaves", "first": -1, "count": 1})),
            (good, encode({"type": "leaves", "first": 0, "count": 1 << 40})),
            (good, encode({"type": "leaves", "first": 4, "count": 4})),
            (good, encode({"type": "nodes", "first": 1, "count": 1})),
            (good, leaf.replace(b"leaves", b"sleeve")),
        ]:
            with pytest.raises(NetworkError):
                await _ask(bob, alice.peer_id, first, second)
        assert await theirs.fetch(cid, providers=[alice.peer_id], max_bytes=len(data), timeout_s=10) == data


async def test_who_has_taken_his_allowance_is_told_to_wait(alice: Network, bob: Network, tmp_path: Path) -> None:
    async with open_embedded(tmp_path / "a", alice) as mine, open_embedded(tmp_path / "b", bob) as theirs:
        await meet(alice, bob)
        mine.serving._allowances = Allowances(burst=2 * MB, rate=10)
        one, two = await mine.add(some(3 * MB)), await mine.add(some(3 * MB, seed=2))
        await theirs.fetch(one, providers=[alice.peer_id], max_bytes=3 * MB, timeout_s=5)
        with pytest.raises(NotFound):
            await theirs.fetch(two, providers=[alice.peer_id], max_bytes=3 * MB, timeout_s=2)


async def test_a_reader_that_pauses_does_not_lose_its_stream(
    alice: Network, bob: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs for longer than the muxer waits stops the asking, not the reading."""
    monkeypatch.setattr("node.network.substrate.substrate.STREAM_STALL_S", 0.5)
    data = some(30 * MB)
    async with open_embedded(tmp_path / "a", alice) as mine, open_embedded(tmp_path / "b", bob) as theirs:
        await meet(alice, bob)
        cid = await mine.add(data)
        keep = theirs._keep
        hung: list[int] = []

        async def hang(payload: Payload, first: int, leaves: list[memoryview]) -> None:
            if len(hung) < 6:
                hung.append(first)
                await trio.sleep(2)
            await keep(payload, first, leaves)

        theirs._keep = hang  # type: ignore[method-assign,assignment]
        assert await theirs.fetch(cid, providers=[alice.peer_id], max_bytes=len(data), timeout_s=30) == data
        assert mine.serving.sent_bytes < len(data) + MB  # in one stream, nothing twice


async def test_a_peer_without_the_protocol_is_left_to_bitswap(alice: Network, tmp_path: Path) -> None:
    async with member("dave") as dave, open_embedded(tmp_path / "b", dave) as theirs:
        await meet(alice, dave)
        with pytest.raises(NotFound):
            await theirs.fetch(root_of(some(MB)), providers=[alice.peer_id], max_bytes=MB, timeout_s=5)
