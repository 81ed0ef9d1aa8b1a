"""What came back from those who were asked: which hits count, which are best, and which of them to pay for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from protocols.ids import PeerId
from protocols.quality import PPM
from protocols.search.messages import SearchHit, SearchReply, SearchTerms
from protocols.wei import parse_wei

OWN = -1  # the place of a hit of our own shard


class Found(msgspec.Struct, frozen=True):
    """One hit. `score` is a cosine; `text` is whole for own records, a preview for a peer's, and empty for one that
    costs more than the budget.
    """

    text: str
    score: float
    peer: PeerId
    offer: str
    record: str
    language: str


class Answer(msgspec.Struct, frozen=True):
    """What of a peer's reply counts; the place of a hit is its index in the reply."""

    query: bytes
    terms: SearchTerms | None
    found: list[tuple[int, Found]]


Best = list[tuple[PeerId, int, Found]]  # whose, at which place of his reply, and the hit


def sift(peer: PeerId, reply: SearchReply, limit: int, is_his: Callable[[str], bool]) -> Answer:
    """The best `limit` hits that name an offer of this peer, the same one once: the order of a reply means nothing."""
    kept: dict[SearchHit, int] = {}
    for place, hit in enumerate(reply.hits):
        if is_his(hit.offer):
            kept.setdefault(hit, place)
    best = sorted(kept.items(), key=lambda entry: -entry[0].score)[:limit]
    return Answer(reply.query, reply.terms, [(place, _found(peer, hit)) for hit, place in best])


def merge(here: Iterable[Found], answers: Mapping[PeerId, Answer], limit: int) -> Best:
    """The best `limit` of all hits, by score."""
    found = [(one.peer, OWN, one) for one in here]
    found += [(peer, place, one) for peer, answer in answers.items() for place, one in answer.found]
    return sorted(found, key=lambda entry: -entry[2].score)[:limit]


def affordable(best: Best, answers: Mapping[PeerId, Answer], budget_wei: int) -> dict[PeerId, tuple[list[int], int]]:
    """Which places of whose reply to open, and what that costs: from the best hit down, whatever the rest of the budget
    still pays for.
    """
    chosen: dict[PeerId, tuple[list[int], int]] = {}
    for peer, place, found in best:
        terms = answers[peer].terms if peer in answers else None
        if found.text or terms is None:
            continue
        price_wei = parse_wei(terms.price_wei)
        if price_wei <= budget_wei:
            places, cost_wei = chosen.get(peer, ([], 0))
            chosen[peer] = ([*places, place], cost_wei + price_wei)
            budget_wei -= price_wei
    return chosen


def opened(
    best: Best, texts: Mapping[PeerId, Sequence[str]], chosen: Mapping[PeerId, tuple[list[int], int]]
) -> list[Found]:
    """The hits with the previews that were bought."""
    bought = {
        (peer, place): text
        for peer, previews in texts.items()
        for place, text in zip(chosen[peer][0], previews, strict=False)
    }
    return [msgspec.structs.replace(one, text=bought.get((peer, place), one.text)) for peer, place, one in best]


def _found(peer: PeerId, hit: SearchHit) -> Found:
    return Found(text=hit.preview, score=hit.score / PPM, peer=peer, offer=hit.offer, record="", language=hit.language)
