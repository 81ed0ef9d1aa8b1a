"""Things to sell: reviews that nobody wrote, different enough that no two are near duplicates."""

from __future__ import annotations

import random
from collections.abc import Sequence

OPENINGS = (
    "I ordered this {what} for {where} and wore it the whole day",
    "My sister gave me this {what} and I did not expect much of it",
    "After three washes the {what} still looks like new",
    "The {what} arrived on {when} and went back the same evening",
    "Honestly, I have owned a {what} like this one for years",
    "This {what} looked {how} in the pictures, so I took two",
    "Nobody at {where} believed how little this {what} had cost",
)
MIDDLES = (
    "the sleeves are {how} and the seams hold well",
    "the fabric feels {how} on the skin, even when it is warm",
    "it runs small in the shoulders, so order one size up",
    "the colour is closer to {colour} than to what the page shows",
    "the zip caught twice before I had even left the house",
    "the waist sits {how} and the hem ends just below the knee",
    "pockets would have made it perfect, and there are none",
    "the lining is {colour}, which nobody had told me",
)
ENDINGS = (
    "I would buy it again for {where}",
    "for the price one can hardly complain",
    "I have written to the shop and hope for an answer by {when}",
    "it hangs in the wardrobe now and waits for {where}",
    "my daughter wants the same one in {colour}",
    "the next one will come from somebody else",
)
WORDS = {
    "what": ("dress", "cardigan", "blouse", "skirt", "jacket", "jumper", "coat", "pair of trousers", "scarf"),
    "where": ("a wedding", "the office", "a long walk", "my holidays", "dinner with friends", "the theatre"),
    "when": ("Monday", "Thursday", "the weekend", "the end of the month"),
    "how": ("soft", "rather stiff", "a little loose", "tight", "surprisingly elegant", "cheap", "sturdy"),
    "colour": ("navy", "emerald", "rust", "ivory", "a dusty pink", "charcoal"),
}


def goods(lots: Sequence[str], each: int, seed: int = 0) -> dict[str, list[dict[str, str]]]:
    """`each` items for every lot, labelled with its name, as `collect.put` takes them."""
    dice = random.Random(seed)
    return {lot: [{"text": _review(dice), "lot": lot} for _ in range(each)] for lot in lots}


def _review(dice: random.Random) -> str:
    sentences = [dice.choice(OPENINGS), *dice.sample(MIDDLES, 3), dice.choice(ENDINGS)]
    told = [sentence.format(**{name: dice.choice(words) for name, words in WORDS.items()}) for sentence in sentences]
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in told)


def vocabulary() -> list[str]:
    """Texts with every word that any item can have."""
    return [*OPENINGS, *MIDDLES, *ENDINGS, *(word for words in WORDS.values() for word in words)]
