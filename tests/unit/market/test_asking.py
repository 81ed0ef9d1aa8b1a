from __future__ import annotations

import pytest

from node.market.search.asking import OWN, Answer, Found, affordable, merge, opened, sift
from protocols.codec import decode, encode
from protocols.errors import ProtocolError
from protocols.search.messages import MAX_REPLY_BYTES, SearchHit, SearchReply, SearchTerms
from tests.support.items import ALICE, BOB, CAROL, Purse

OURS, OTHERS = "a" * 64, "b" * 64


def hit(score: int, preview: str = "", offer: str = OURS) -> SearchHit:
    return SearchHit(offer=offer, preview=preview, score=score)


def terms(price_wei: int) -> SearchTerms:
    return SearchTerms(payee=Purse(1).address, price_wei=str(price_wei))


def found(score: float, text: str = "", peer: str = ALICE) -> Found:
    return Found(text=text, score=score, peer=peer, offer=OURS, record="", language="")  # type: ignore[arg-type]


def test_a_reply_is_sorted_and_cut_and_its_doubles_and_strangers_count_for_nothing() -> None:
    hits = [hit(10, "low"), hit(900, "best"), hit(900, "best"), hit(950, "foreign", OTHERS), hit(500, "middle")]
    answer = sift(ALICE, SearchReply(hits=hits), 2, lambda offer: offer == OURS)
    assert [(place, one.text) for place, one in answer.found] == [(1, "best"), (4, "middle")]


def test_hits_that_cost_are_told_apart_by_their_scores() -> None:
    answer = sift(ALICE, SearchReply(hits=[hit(9), hit(9), hit(8)], terms=terms(5)), 10, lambda _offer: True)
    assert [place for place, _ in answer.found] == [0, 2]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), 1_000_001, -1_000_001, "1", None, 0.5])
def test_a_score_that_is_no_cosine_is_no_reply(score: object) -> None:
    raw = encode({"hits": [{"offer": OURS, "preview": "", "language": "", "score": score}]})
    with pytest.raises(ProtocolError):
        decode(raw, SearchReply, max_bytes=MAX_REPLY_BYTES)


def test_own_hits_and_others_are_merged_by_score() -> None:
    answers = {BOB: Answer(b"", None, [(3, found(0.8, peer=BOB)), (1, found(0.2, peer=BOB))])}
    best = merge([found(0.9, "mine"), found(0.1, "mine too")], answers, 3)
    assert [(whose, place) for whose, place, _ in best] == [(ALICE, OWN), (BOB, 3), (BOB, 1)]


def test_a_budget_goes_to_the_best_hits_whoever_answered_first() -> None:
    answers = {
        BOB: Answer(b"", terms(10), [(0, found(0.7, peer=BOB)), (1, found(0.5, peer=BOB))]),
        CAROL: Answer(b"", terms(30), [(4, found(0.9, peer=CAROL)), (0, found(0.6, peer=CAROL))]),
        ALICE: Answer(b"", None, [(0, found(0.8, "free"))]),
    }
    best = merge([], answers, 5)
    assert affordable(best, answers, 45) == {CAROL: ([4], 30), BOB: ([0], 10)}
    assert affordable(best, answers, 25) == {BOB: ([0, 1], 20)}, "what is too dear leaves the budget to the next"
    assert affordable(best, answers, 0) == {}


def test_bought_previews_come_to_their_hits_and_no_others() -> None:
    answers = {BOB: Answer(b"", terms(10), [(2, found(0.7, peer=BOB)), (0, found(0.5, peer=BOB))])}
    best = merge([found(0.6, "mine")], answers, 3)
    chosen = affordable(best, answers, 20)
    assert [one.text for one in opened(best, {BOB: ["two", "none"]}, chosen)] == ["two", "mine", "none"]
    assert [one.text for one in opened(best, {BOB: ["two"]}, chosen)] == ["two", "mine", ""]
    assert [one.text for one in opened(best, {}, chosen)] == ["", "mine", ""]
