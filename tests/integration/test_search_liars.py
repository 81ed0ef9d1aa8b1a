"""One that lies about its sketch: it promises what its shard does not hold. It is believed at first, not for long."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from node.market.search.trust import LOWEST
from protocols.ids import PeerId
from tests.integration.test_search_peers import QUERY, Reply, Stage, hits, open_stage

HONEST = 3


def counted(asked: Counter[str], name: str, *previews: str) -> Reply:
    """Answers with what it has, and keeps count of being asked."""

    async def answer(offer: str) -> bytes:
        asked[name] += 1
        return hits(*previews, offer=offer)

    return answer


async def set_up(stage: Stage, asked: Counter[str]) -> PeerId:
    """Honest peers with a little of what is wanted, and one that promises ten times as much and has none of it."""
    liar = await stage.peer("liar", counted(asked, "liar"), records=3_000)
    for number in range(HONEST):
        await stage.peer(f"good-{number}", counted(asked, f"good-{number}", f"navy {number}", f"dress {number}"))
    return liar


async def test_who_lies_about_his_sketch_is_asked_no_more_and_the_honest_are_found(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        asked: Counter[str] = Counter()
        liar = await set_up(stage, asked)
        first = await stage.search.run(QUERY, domain=None, limit=10, max_peers=1)
        assert (asked["liar"], first.items) == (1, []), "he promises most and is believed"
        for _ in range(12):
            await stage.search.run(QUERY, domain=None, limit=10, max_peers=4)
        believed = asked["liar"]
        assert believed < 10
        factors = stage.search._trust.factors
        assert LOWEST <= factors[liar] < 0.1
        for _ in range(20):
            found = await stage.search.run(QUERY, domain=None, limit=10, max_peers=4)
            assert {one.peer for one in found.items} == set(stage.offers) - {liar}
            assert len(found.items) == 2 * HONEST
        assert asked["liar"] <= believed + 1, (
            "there is room for a fourth, and it is not for him, but once to prove himself"
        )
        assert all(factors[peer] > factors[liar] for peer in stage.offers if peer != liar)


async def test_a_liar_who_turns_honest_wins_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_stage(tmp_path) as stage:
        asked: Counter[str] = Counter()
        shown: list[str] = []

        async def answer(offer: str) -> bytes:
            asked["liar"] += 1
            return hits(*shown, offer=offer)

        liar = await stage.peer("liar", answer, records=3_000)
        await stage.peer("good", counted(asked, "good", "navy", "dress"))
        for _ in range(12):
            await stage.search.run(QUERY, domain=None, limit=10)
        believed = asked["liar"]
        shown.extend(f"{QUERY} {number}" for number in range(8))
        monkeypatch.setattr("node.market.search.trust.REST", 1.5)  # not after some hundred searches
        for _ in range(20):
            found = await stage.search.run(QUERY, domain=None, limit=10)
        assert asked["liar"] > believed
        assert liar in {one.peer for one in found.items}
        assert stage.search._trust.factors[liar] > 0.3
