"""Work that two hands share."""

from __future__ import annotations

import threading

import pytest
import trio

from node.network import helping
from node.network.helping import MAX_HELPERS, share


async def test_every_piece_is_done_once() -> None:
    for count in (0, 1, 2, 50):
        done: list[int] = []
        await share(lambda place, _hand, done=done: done.append(place), count)  # type: ignore[misc]
        assert sorted(done) == list(range(count))


async def test_a_helper_takes_what_is_left() -> None:
    """The loop's thread waits in its first piece until the helper has done all others."""
    others = threading.Semaphore(0)
    hands: dict[int, int] = {}

    def work(place: int, hand: int) -> None:
        hands[place] = hand
        if hand:
            others.release()
        else:
            for _ in range(4):
                assert others.acquire(timeout=30)

    await share(work, 5)
    assert sorted(hands.values()) == [0, 1, 1, 1, 1]


async def test_without_a_free_helper_it_is_done_alone() -> None:
    taken = [helping._helpers.acquire(blocking=False) for _ in range(MAX_HELPERS + 1)]
    try:
        hands: list[int] = []
        await share(lambda _place, hand: hands.append(hand), 3)
        assert hands == [0, 0, 0]
    finally:
        helping._helpers.release(sum(taken))


async def test_what_goes_wrong_is_raised_whoever_did_it() -> None:
    helped = threading.Event()

    def work(_place: int, hand: int) -> None:
        if hand:
            helped.set()
            raise ValueError("a helper's")
        assert helped.wait(timeout=30)

    with trio.fail_after(60), pytest.raises(ValueError, match="a helper's"):
        await share(work, 2)

    def fail(_place: int, _hand: int) -> None:
        raise ValueError("somebody's")

    with pytest.raises(ValueError, match="somebody's"):
        await share(fail, 1)
