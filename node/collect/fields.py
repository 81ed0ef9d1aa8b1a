"""Which column of a table or key of an object is the text, the title, the time; the rest become labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from node.collect.errors import NoTextColumn
from node.refine.item import RawItem

TEXT = (
    "text", "review text", "review", "content", "body", "description", "comment", "message", "answer", "abstract",
    "article", "document", "post", "caption", "text content", "review body", "full text", "passage", "inhalt", "正文",
    "内容", "文本", "评论",
)  # fmt: skip
TITLE = (
    "title", "subject", "question", "headline", "heading", "review title", "summary", "name of article", "titel",
    "标题", "问题",
)  # fmt: skip
TIME = ("created at", "created", "date", "timestamp", "time", "published", "published at", "datetime")
ROLES = ("text", "title", "created_at")
PROSE = 40  # characters: a column whose cells are longer on average is prose


class Fields(msgspec.Struct, frozen=True):
    """Names of columns; '' where there is none."""

    text: str
    title: str = ""
    created_at: str = ""

    def item(self, row: Mapping[str, Any]) -> RawItem:
        """A row as a raw item; every other plain value becomes a label."""
        special = {self.text, self.title, self.created_at}
        labels = {str(name): _label(value) for name, value in row.items() if name not in special}
        return RawItem(
            text=_label(row.get(self.text)),
            title=_label(row.get(self.title)) if self.title else "",
            labels={name: value for name, value in labels.items() if value},
            created_at=_time(row.get(self.created_at)) if self.created_at else 0,
        )


def given_fields(wanted: Mapping[str, str], names: Sequence[str]) -> Fields:
    """The mapping a user gave, {"text": column, "title": …, "created_at": …}. Raises NoTextColumn."""
    if unknown := set(wanted) - set(ROLES):
        raise NoTextColumn(f"fields may name {', '.join(ROLES)}, not {', '.join(sorted(unknown))}")
    if "text" not in wanted:
        raise NoTextColumn("fields must say which column is the text")
    for role, name in wanted.items():
        if name not in names:
            raise NoTextColumn(f"fields name {name!r} as {role}, but the columns are {_listed(names)}")
    return Fields(**wanted)


def find_fields(names: Sequence[str], sample: Sequence[Mapping[str, Any]]) -> Fields:
    """Columns by their usual names, else the one that holds prose. Raises NoTextColumn."""
    plain = {_plain(name): name for name in reversed(names)}
    text = _first(TEXT, plain) or _prose(names, sample)
    if not text:
        raise NoTextColumn(f"no column looks like the text; name it with fields, the columns are {_listed(names)}")
    return Fields(text, _first(TITLE, plain, but=text), _first(TIME, plain, but=text))


def _first(usual: Sequence[str], plain: Mapping[str, str], but: str = "") -> str:
    return next((plain[name] for name in usual if name in plain and plain[name] != but), "")


def _prose(names: Sequence[str], sample: Sequence[Mapping[str, Any]]) -> str:
    lengths = {name: sum(len(_label(row.get(name))) for row in sample) / max(1, len(sample)) for name in names}
    longest = max(lengths, key=lengths.__getitem__, default="")
    return longest if longest and lengths[longest] >= PROSE else ""


def _plain(name: str) -> str:
    return " ".join(re.findall(r"\w+", name.casefold().replace("_", " ")))


def _label(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (str, int, float)):
        return str(value).strip()
    if isinstance(value, list):
        return ", ".join(part for part in map(_label, value) if part)
    return ""  # an object has no place in a flat record


def _time(value: Any) -> int:
    """UTC seconds; 0 when it cannot be told. Times without a zone are taken as UTC."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _seconds(float(value))
    text = str(value or "").strip()
    if re.fullmatch(r"\d{9,13}(\.\d+)?", text):
        return _seconds(float(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0
    return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))


def _seconds(value: float) -> int:
    seconds = value / 1_000 if value > 1e11 else value  # milliseconds, as JavaScript writes them
    return int(seconds) if 0 < seconds < 1e11 else 0


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:20])
    return shown + (" …" if len(names) > 20 else "")
