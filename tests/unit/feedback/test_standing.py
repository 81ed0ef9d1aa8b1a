from __future__ import annotations

import pytest

from node.feedback.standing import NEUTRAL, Heard, newest, standing


def heard(author: str, rating: int, outcome: str = "", at: int = 1) -> Heard:
    return Heard(author, rating, outcome, at)


def test_few_ratings_move_little_and_many_move_much():
    one, many = (standing([heard(str(n), 5) for n in range(count)]) for count in (1, 50))
    assert NEUTRAL < one.score < 0.7 < 0.95 < many.score < 1
    assert standing([]).score == NEUTRAL
    assert standing([heard("a", 3)]).score == NEUTRAL


def test_an_author_has_one_word_the_last():
    words = newest([heard("a", 5, at=3), heard("a", 1, at=9), heard("b", 4, at=2), heard("a", 2, at=5)])
    assert sorted((one.author, one.rating) for one in words) == [("a", 1), ("b", 4)]


@pytest.mark.parametrize(("outcome", "worth"), [("", 1.0), ("used", 1.0), ("not_used", 0.5), ("returned", 0.0)])
def test_what_became_of_it_says_more_than_stars(outcome: str, worth: float):
    assert heard("a", 5, outcome).worth == worth
