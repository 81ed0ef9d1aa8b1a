"""Item by item, before anything is embedded: clean, redact, refuse what is no text, recognise what is here already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from node.refine.clean import clean, clean_line
from node.refine.duplicates import SAME, DuplicateIndex
from node.refine.item import RawItem
from node.refine.language import detect
from node.refine.personal import redact
from node.refine.quality import joined, ppm, validity
from node.refine.script import tokens
from protocols.sealed.records import MAX_TEXT_CHARS, record_id

TOKENS_LEAST = 3  # "ok" and "+1" teach nobody anything
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


def sift(items: Sequence[RawItem], index: DuplicateIndex) -> tuple[list[Draft], Counter[str]]:
    """Drafts of what is worth embedding; the rest is counted by reason."""
    drafts: list[Draft] = []
    tally: Counter[str] = Counter()
    fresh = DuplicateIndex()  # of this batch; `index` must not change before the records are stored
    for item in items:
        found = _draft(item, index, fresh)
        if isinstance(found, str):
            tally[found] += 1
        else:
            drafts.append(found)
            fresh.add(found.id, found.whole)
    return drafts, tally


def _draft(item: RawItem, index: DuplicateIndex, fresh: DuplicateIndex) -> Draft | str:
    if len(item.text) > MAX_TEXT_CHARS:
        return "too long"
    title, text = redact(clean_line(item.title)[:TITLE_MOST]), redact(clean(item.text))
    whole = joined(title.text, text.text)
    if reason := _refusal(whole, text.text):
        return reason
    id = record_id(title.text, text.text)
    if id in index or id in fresh:
        return "duplicate"
    similarity = max(index.nearest(whole)[1], fresh.nearest(whole)[1])
    if similarity >= SAME:
        return "near duplicate"
    labels, hits = _labels(item.labels)
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


def _refusal(whole: str, text: str) -> str:
    if not text:
        return "empty"
    if len(text) > MAX_TEXT_CHARS:
        return "too long"
    if len(tokens(text)) < TOKENS_LEAST:
        return "too short"
    return "not a text" if validity(whole) < VALIDITY_LEAST else ""


def _labels(raw: Mapping[str, str]) -> tuple[dict[str, str], Counter[str]]:
    labels: dict[str, str] = {}
    hits: Counter[str] = Counter()
    for name, value in raw.items():
        key = clean_line(name)[:LABEL_MOST]
        if not key or key.casefold().replace(" ", "_") in PERSONAL_LABELS or len(labels) == LABELS_MOST:
            continue
        redacted = redact(clean_line(value))
        if redacted.text:
            labels[key] = redacted.text[:LABEL_MOST]
            hits.update(redacted.counts)
    return labels, hits
