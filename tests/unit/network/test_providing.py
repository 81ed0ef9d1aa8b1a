"""Telling records and telling them again: when, how often, and for how long."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import trio
from trio.testing import MockClock

from node.network.dht.providing import AGAIN_S, LOOK_S, REPUBLISH_S, Providing
from node.network.dht.records import LIFETIME_S


class Shelf:
    """What is offered, and a DHT that notes what it is told."""

    def __init__(self) -> None:
        self.offered: list[bytes] = []
        self.peers = 3
        self.told: list[tuple[bytes, float]] = []
        self.withdrawn: list[bytes] = []
        self.looks = 0

    async def keys(self) -> list[bytes]:
        await trio.lowlevel.checkpoint()
        self.looks += 1
        return list(self.offered)

    async def provide(self, key: bytes) -> int:
        await trio.lowlevel.checkpoint()
        self.told.append((key, trio.current_time()))
        return self.peers

    def withdraw(self, key: bytes) -> None:
        self.withdrawn.append(key)

    def times(self, key: bytes) -> list[float]:
        return [at for told, at in self.told if told == key]


@asynccontextmanager
async def telling(shelf: Shelf) -> AsyncIterator[Providing]:
    providing = Providing(shelf, shelf.keys, random.Random(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(providing.run)
        yield providing
        nursery.cancel_scope.cancel()


async def test_a_record_is_told_soon_again_and_then_before_it_runs_out(autojump_clock: MockClock) -> None:
    shelf = Shelf()
    shelf.offered = [b"a"]
    async with telling(shelf) as providing:
        await trio.sleep(3 * LIFETIME_S)
        assert providing.providing == 1
    times = shelf.times(b"a")
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(wait * 0.7 < gap <= wait + 1 for gap, wait in zip(gaps, AGAIN_S, strict=False))
    assert all(REPUBLISH_S * 0.7 < gap <= REPUBLISH_S + 1 for gap in gaps[len(AGAIN_S) :])
    assert len(times) < 25
    assert REPUBLISH_S * 3 < LIFETIME_S


async def test_what_nobody_hears_is_told_again_and_counts_only_when_it_was_heard(autojump_clock: MockClock) -> None:
    shelf = Shelf()
    shelf.offered, shelf.peers = [b"a"], 0
    async with telling(shelf) as providing:
        await trio.sleep(600)
        assert providing.providing == 0
        assert 6 <= len(shelf.told) <= 14
        shelf.peers = 1
        await trio.sleep(400)
        assert providing.providing == 1


async def test_new_keys_are_told_at_once_and_old_ones_no_more(autojump_clock: MockClock) -> None:
    shelf = Shelf()
    async with telling(shelf) as providing:
        await trio.sleep(10)
        shelf.offered = [b"a", b"b"]
        providing.stir()
        await trio.sleep(1)
        assert {key for key, _ in shelf.told} == {b"a", b"b"}
        shelf.offered = [b"b"]
        providing.stir()
        await trio.sleep(1)
        assert shelf.withdrawn == [b"a"]
        assert providing.providing == 1
        await trio.sleep(LIFETIME_S)
    assert len(shelf.times(b"a")) == 1


async def test_a_thousand_keys_are_spread_and_the_shelf_is_not_read_for_each(autojump_clock: MockClock) -> None:
    shelf = Shelf()
    shelf.offered = [str(number).encode() for number in range(1_000)]
    async with telling(shelf) as providing:
        await trio.sleep(AGAIN_S[0] / 2)
        assert 100 < len(shelf.told) < 1_000
        await trio.sleep(1_000)
        assert providing.providing == 1_000
    assert shelf.looks <= 2 + 1_030 / LOOK_S


async def test_a_change_that_nobody_stirred_for_is_seen_all_the_same(autojump_clock: MockClock) -> None:
    shelf = Shelf()
    async with telling(shelf):
        await trio.sleep(10)
        shelf.offered = [b"late"]
        await trio.sleep(2 * LOOK_S)
    assert len(shelf.times(b"late")) >= 1
