"""Entries that an application hands over: a text, or an object with one."""

from __future__ import annotations

from typing import Any

from node.collect.errors import NoTextColumn, WrongEntry
from node.collect.fields import find_fields
from node.refine.item import RawItem


def raw_item(entry: Any, place: int) -> RawItem:
    """An entry as a raw item. Raises WrongEntry."""
    if isinstance(entry, str):
        return RawItem(entry)
    if not isinstance(entry, dict):
        raise WrongEntry(f"items[{place}] is neither a text nor an object: send texts or objects with a `text`")
    try:
        return find_fields(list(entry), [entry]).item(entry)
    except NoTextColumn as err:
        raise WrongEntry(f"items[{place}] has no `text`: its keys are {', '.join(map(repr, entry))[:200]}") from err
