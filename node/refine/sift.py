"""Item by item, before anything is embedded: clean, redact, refuse what is no text, recognise what is here already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from node.refine.clean import clean, clean_line
from node.refine.duplicates import DuplicateIndex
from node.refine.item import RawItem
from node.refine.language import detect
from node.refine.personal import Redacted, redact
from node.refine.quality import joined, ppm, validity
from node.refine.rules import Rules
from node.refine.script import unspaced_share
from protocols.quality import PPM
from protocols.sealed.records import MAX_TEXT_CHARS, record_id

UNSPACED_WORTH = 2  # a Chinese character says as much as three letters: it counts as two more
VALIDITY_LEAST = 500_000  # fewer than four of the seven rules: not a text
TITLE_MOST, LABEL_MOST, LABELS_MOST = 1_000, 256, 64  # characters and entries that a sold record may have
REASONS = ("empty", "too short", "too long", "not a text")
# Columns that name a person: dropped whole, because a name has no form that could be recognised.
PERSONAL_LABELS = {
    "address", "author", "birthday", "card", "customer", "customer_name", "dob", "email", "e-mail",
    "first_name", "firstname", "full_name", "fullname", "iban", "ip", "ip_address", "last_name", "lastname",
    "mail", "mobile", "name", "nickname", "phone", "phone_number", "reviewer", "reviewer_name", "ssn",
    "street", "surname", "tel", "telephone", "user", "user_id", "user_name", "userid", "username",
}  # fmt: skip


class Draft(msgspec.Struct, frozen=True):
    """An item that is worth embedding; `uniqueness` in ppm, `redactions` by kind."""

    id: str
    title: str
    text: str
    language: str
    labels: dict[str, str]
    created_at: int
    uniqueness: int
    redactions: dict[str, int]

    @property
    def whole(self) -> str:
        """Title and text, as they are embedded and scored."""
        return joined(self.title, self.text)


class Sifted(msgspec.Struct, frozen=True):
    """What is worth embedding with its place among the items, and how many were left out for which reason."""

    drafts: list[Draft]
    places: list[int]
    left_out: Counter[str]


def sift(items: Sequence[RawItem], index: DuplicateIndex, rules: Rules) -> Sifted:
    """Go through the items in their order. `index` is only read: nothing is stored yet."""
    drafts: list[Draft] = []
    places: list[int] = []
    left_out: Counter[str] = Counter()
    fresh = DuplicateIndex()
    for place, item in enumerate(items):
        found = _draft(item, (index, fresh), rules)
        if isinstance(found, str):
            left_out[found] += 1
        else:
            drafts.append(found)
            places.append(place)
            fresh.add(found.id, found.whole)
    return Sifted(drafts, places, left_out)


def _draft(item: RawItem, indices: Sequence[DuplicateIndex], rules: Rules) -> Draft | str:
    if len(item.text) > 4 * rules.max_chars:  # cleaning costs time too
        return "too long"
    hide = redact if rules.redact else _as_it_is
    title, text = _cut(hide(clean_line(item.title[: 4 * TITLE_MOST])), TITLE_MOST), hide(clean(item.text))
    whole = joined(title.text, text.text)
    if reason := _refusal(whole, text.text, rules):
        return reason
    id = record_id(title.text, text.text)
    if any(id in index for index in indices):
        return "duplicate"
    similarity = max(index.nearest(whole)[1] for index in indices)
    if similarity * PPM >= rules.near_duplicate_ppm:
        return "near duplicate"
    labels, hits = _labels(item.labels, hide)
    return Draft(
        id=id,
        title=title.text,
        text=text.text,
        language=detect(whole).code,
        labels=labels,
        created_at=max(0, item.created_at),
        uniqueness=ppm(1 - similarity),
        redactions=dict(Counter(title.counts) + Counter(text.counts) + hits),
    )


def _refusal(whole: str, text: str, rules: Rules) -> str:
    if not text:
        return "empty"
    if len(text) > min(rules.max_chars, MAX_TEXT_CHARS):
        return "too long"
    if len(text) * (1 + UNSPACED_WORTH * unspaced_share(text)) < rules.min_chars:
        return "too short"
    return "not a text" if validity(whole) < VALIDITY_LEAST else ""


def _cut(found: Redacted, most: int) -> Redacted:
    return Redacted(found.text[:most].rstrip(), found.counts)


def _as_it_is(text: str) -> Redacted:
    return Redacted(text, {})


def _labels(raw: Mapping[str, str], hide: Callable[[str], Redacted]) -> tuple[dict[str, str], Counter[str]]:
    labels: dict[str, str] = {}
    hits: Counter[str] = Counter()
    for name, value in raw.items():
        key = hide(clean_line(name)).text[:LABEL_MOST]
        if not key or key.casefold().replace(" ", "_") in PERSONAL_LABELS or len(labels) == LABELS_MOST:
            continue
        redacted = hide(clean_line(value))
        if redacted.text:
            labels[key] = redacted.text[:LABEL_MOST]
            hits.update(redacted.counts)
    return labels, hits
