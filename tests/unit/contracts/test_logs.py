"""The log follower against a chain that reorganises itself, moves while it is read, and refuses long ranges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import RpcError, RpcUnavailable, WrongChain
from contracts.logs import WINDOW, Cursor, LogTail
from contracts.values import Log

ADDRESS = "0x1111111111111111111111111111111111111111"


class FakeChain:
    """Blocks are (hash, event names); `fork` replaces the newest of them."""

    def __init__(self) -> None:
        self.made = 0
        self.blocks: list[tuple[str, list[str]]] = []
        self.largest_range = 10**9
        self.before_logs: Any = None
        self.silent = False
        self.grow(1)

    def grow(self, count: int, *events: str) -> None:
        """`count` blocks, all events in the last of them."""
        for place in range(count):
            self.made += 1
            self.blocks.append((f"0x{self.made:064x}", list(events) if place == count - 1 else []))

    def fork(self, depth: int, *names: list[str]) -> None:
        """Orphan `depth` blocks and put one in place for each list of events."""
        del self.blocks[len(self.blocks) - depth :]
        for events in names:
            self.grow(1, *events)

    @property
    def truth(self) -> list[str]:
        """All events of the chain as it stands."""
        return [f"{name}@{block_hash[-6:]}" for block_hash, events in self.blocks for name in events]

    async def block_number(self) -> int:
        if self.silent:
            raise RpcUnavailable("away")
        return len(self.blocks) - 1

    async def block_hashes(self, numbers: Sequence[int]) -> list[str | None]:
        return [self.blocks[one][0] if one < len(self.blocks) else None for one in numbers]

    async def genesis(self) -> str:
        return self.blocks[0][0]

    async def logs(self, *, addresses: Sequence[str], topics: Sequence[Any] = (), first: int, last: int) -> list[Log]:
        assert list(addresses) == [ADDRESS]
        if last - first + 1 > self.largest_range:
            raise RpcError(-32005, "query returned more than 10000 results")
        if self.before_logs is not None:
            self.before_logs()
        found = []
        for number in range(first, min(last, len(self.blocks) - 1) + 1):
            block_hash, events = self.blocks[number]
            found += [_log(number, block_hash, index, name) for index, name in enumerate(events)]
        return found

    def decode_log(self, plain: dict[str, Any]) -> Log:
        number, index = int(plain["blockNumber"], 16), int(plain["logIndex"], 16)
        return _log(number, plain["blockHash"], index, bytes.fromhex(plain["data"][2:]).decode())


def _log(number: int, block_hash: str, index: int, name: str) -> Log:
    data = "0x" + name.encode().hex()
    return Log(ADDRESS, name, {}, number, block_hash, "0x", index, (), data)


class Follower:
    """What a service does: keeps the cursor as JSON and applies the changes to a list."""

    def __init__(self, chain: FakeChain, **terms: Any) -> None:
        self.chain, self.terms = chain, terms
        self.cursor = "{}"
        self.seen: list[str] = []
        self.undone = 0

    async def poll(self) -> int:
        tail = LogTail(self.chain, [ADDRESS], **self.terms)  # a new one each time: a restart changes nothing
        cursor: Cursor = json.loads(self.cursor)
        batch = await tail.poll(cursor)
        for change in batch.changes:
            name = f"{change.log.name}@{change.log.block_hash[-6:]}"
            if change.removed:
                assert self.seen.pop() == name  # newest first
                self.undone += 1
            else:
                self.seen.append(name)
        self.cursor = json.dumps(batch.cursor)
        return batch.behind

    async def catch_up(self) -> None:
        for _ in range(30):
            if await self.poll() == 0:
                return


async def test_events_come_once_in_order_over_restarts() -> None:
    chain = FakeChain()
    follower = Follower(chain)
    chain.grow(3, "a", "b")
    await follower.poll()
    await follower.poll()
    chain.grow(1, "c")
    await follower.poll()
    assert follower.seen == chain.truth
    assert [name[0] for name in follower.seen] == ["a", "b", "c"]
    assert follower.undone == 0


async def test_a_reorganisation_undoes_newest_first_then_tells_the_new() -> None:
    chain = FakeChain()
    follower = Follower(chain)
    chain.grow(5, "kept")
    chain.grow(1, "gone1", "gone2")
    chain.grow(1, "gone3")
    await follower.poll()
    chain.fork(2, [], ["new"], [])
    await follower.poll()
    assert follower.undone == 3
    assert [name.split("@")[0] for name in follower.seen] == ["kept", "new"]
    assert follower.seen == chain.truth


async def test_events_that_a_reorganisation_puts_into_once_silent_blocks_are_found() -> None:
    """The follower was away for long, so it knows few of the blocks that are orphaned."""
    chain = FakeChain()
    follower = Follower(chain)
    chain.grow(300)
    chain.grow(1, "old")
    chain.grow(20)
    await follower.poll()
    chain.fork(10, ["early"], *[[] for _ in range(10)])
    await follower.poll()
    assert follower.seen == chain.truth
    assert len(follower.seen) == 2


async def test_a_shorter_chain_is_followed_back() -> None:
    chain = FakeChain()
    follower = Follower(chain)
    chain.grow(5, "kept")
    chain.grow(5, "gone")
    await follower.poll()
    chain.fork(5)
    await follower.poll()
    assert [name[:4] for name in follower.seen] == ["kept"]
    chain.grow(1, "next")
    await follower.poll()
    assert follower.seen == chain.truth


async def test_a_reorganisation_while_we_read_is_noticed() -> None:
    chain = FakeChain()
    follower = Follower(chain)
    chain.grow(4, "a")

    def fork_once() -> None:
        chain.before_logs = None
        chain.fork(1, ["b"])

    chain.before_logs = fork_once
    await follower.poll()
    await follower.poll()
    assert follower.seen == chain.truth == [f"b@{chain.blocks[-1][0][-6:]}"]


async def test_logs_of_a_branch_that_came_and_went_while_we_read_are_not_believed() -> None:
    chain = FakeChain()
    follower = Follower(chain)
    chain.grow(4, "kept")
    kept = list(chain.blocks)

    def detour() -> None:
        chain.before_logs = None
        chain.fork(1, ["detour"])

    chain.before_logs = detour
    await follower.poll()
    chain.blocks = kept
    await follower.poll()
    assert [name.split("@")[0] for name in follower.seen] == ["kept"]


async def test_an_endpoints_limit_on_ranges_is_met_by_halving() -> None:
    chain = FakeChain()
    follower = Follower(chain)
    for _ in range(40):
        chain.grow(10, "e")
    chain.largest_range = 17
    await follower.catch_up()
    assert follower.seen == chain.truth
    assert len(follower.seen) == 40


async def test_a_refusal_of_a_single_block_is_an_error() -> None:
    chain = FakeChain()
    chain.largest_range = 0
    with pytest.raises(RpcError):
        await Follower(chain).poll()


async def test_confirmations_hold_back_the_newest_blocks() -> None:
    chain = FakeChain()
    follower = Follower(chain, confirmations=3)
    chain.grow(1, "a")
    chain.grow(1)
    await follower.poll()
    assert follower.seen == []
    chain.grow(1)
    await follower.poll()
    assert follower.seen == chain.truth


async def test_one_confirmation_is_the_events_own_block() -> None:
    chain = FakeChain()
    follower = Follower(chain, confirmations=1)
    chain.grow(1, "a")
    await follower.poll()
    assert follower.seen == chain.truth


async def test_a_chain_that_was_reset_is_refused() -> None:
    chain = FakeChain()
    follower = Follower(chain)
    chain.grow(3, "a")
    await follower.poll()
    follower.chain = FakeChain()
    follower.chain.blocks[0] = ("0x" + "ee" * 32, [])
    with pytest.raises(WrongChain, match="fresh datadir"):
        await follower.poll()


async def test_an_outage_changes_nothing() -> None:
    chain = FakeChain()
    follower = Follower(chain)
    chain.grow(3, "a")
    await follower.poll()
    before = follower.cursor
    chain.silent = True
    with pytest.raises(RpcUnavailable):
        await follower.poll()
    assert follower.cursor == before


async def test_the_cursor_stays_small() -> None:
    chain = FakeChain()
    follower = Follower(chain)
    for _ in range(500):
        chain.grow(1, "e")
        await follower.poll()
    assert len(json.loads(follower.cursor)["hashes"]) <= 70


steps = st.one_of(
    st.tuples(st.just("grow"), st.integers(1, 80), st.integers(0, 3)),
    st.tuples(st.just("fork"), st.integers(1, 70), st.lists(st.integers(0, 2), max_size=75)),
    st.tuples(st.just("poll"), st.just(0), st.just(0)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=30), st.sampled_from([3, 50, 2_000]))
def test_whatever_the_chain_does_the_follower_ends_with_its_events(
    history: list[tuple[str, int, Any]], step: int
) -> None:
    import trio

    async def run() -> None:
        chain = FakeChain()
        follower = Follower(chain, step=step)
        final = 1  # blocks that no fork reaches: what was read and lies deeper than the window
        for what, count, more in history:
            if what == "grow":
                chain.grow(count, *["e"] * more)
            elif what == "fork":
                depth = min(count, len(chain.blocks) - final)
                chain.fork(depth, *[["f"] * events for events in more])
            else:
                await follower.catch_up()
                final = max(final, len(chain.blocks) - WINDOW)
        await follower.catch_up()
        await follower.catch_up()
        assert follower.seen == chain.truth

    trio.run(run)
