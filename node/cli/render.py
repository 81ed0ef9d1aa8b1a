"""Results for people: tables, aligned facts, amounts in tokens. Scripts take --json."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from config.amounts import tokens

AMOUNTS = {
    "token", "native", "deposited", "credit", "owed", "balance", "paid", "price", "amount", "promised", "leaving",
    "session_left", "cumulative", "settled",
}  # fmt: skip
# the columns of a listing that matter, in the order of mattering; ids stand whole so that they can be copied
COLUMNS = {
    "offers.list": ("title", "domain", "records", "price_wei", "mine", "offer"),
    "demands.list": ("domain", "max_price_wei", "mine", "text", "demand"),
    "demands.matches": ("score", "title", "domain", "records", "price_wei", "offer"),
    "profiles.list": ("domain", "price_wei", "sources", "epsilon", "mine", "seller"),
    "profiles.query": ("weight", "wants", "consumers", "max_price_wei", "records", "unoffered", "score", "nearest"),
    "deals.list": ("role", "state", "price_wei", "updated_at", "deal"),
    "peers.list": ("peer", "inbound", "version", "addresses"),
    "search.run": ("score", "text", "offer", "peer"),
    "records.search": ("score", "text", "domain", "id"),
    "records.erasures": ("state", "forgotten", "begun_at", "waiting", "erasure"),
    "records.list": ("text", "domain", "language", "origin", "id"),
    "models.list": ("title", "domain", "task", "price_wei", "model"),
    "jobs.list": ("kind", "state", "done", "total", "note", "started_at", "job"),
    "collect.list": ("source", "domain", "records", "state"),
    "feedback.list": ("rating", "ticket_ok", "comment", "subject"),
    "rewards.list": ("source", "amount_wei"),
    "rewards.claim": ("source", "amount_wei", "tx"),
    "wallet.history": ("at", "what", "state", "value", "cost", "hash"),  # the last two amounts are native wei
    "wallet.lanes": ("side", "cumulative", "settled", "at", "payer", "payee"),
    "devnet": ("name", "state", "pid", "peers", "address", "socket"),
    "config.get": ("key", "value", "origin"),
    "node.health": ("ok", "name", "note", "hint"),
}
IDS = (
    "offer",
    "demand",
    "deal",
    "model",
    "job",
    "id",
    "feedback",
    "record",
    "peer",
    "address",
    "tx",
    "hash",
    "source",
    "socket",
)


def result(method: str, value: Any) -> str:
    """A result as text."""
    if isinstance(value, Mapping) and isinstance(value.get("items"), list):
        return _listing(method, value)
    if isinstance(value, Mapping):
        return facts(value)
    return str(value)


def ids(value: Any) -> list[str]:
    """The bare ids of a result, one a row; what --quiet prints."""
    rows = value["items"] if isinstance(value, Mapping) and isinstance(value.get("items"), list) else [value]
    found = [next((str(row[name]) for name in IDS if row.get(name)), "") for row in rows if isinstance(row, Mapping)]
    return [id for id in found if id]


def facts(value: Mapping[str, Any]) -> str:
    """Aligned `key  value` lines, nested objects by dotted keys."""
    pairs = list(_flat(value))
    width = max((len(key) for key, _ in pairs), default=0)
    return "\n".join(f"{key:<{width}}  {text}" for key, text in pairs)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], width: int) -> str:
    """A table; the texts give way so that the ids fit."""
    cells = [[cell(row.get(name), name) for name in columns] for row in rows]
    heads = [name.removesuffix("_wei").replace("_", " ") for name in columns]
    wide = [max(len(line[n]) for line in [heads, *cells]) for n in range(len(columns))]
    spare = width - sum(wide) - 2 * (len(wide) - 1)
    for n, name in enumerate(columns):
        if spare < 0 and name not in IDS:
            cut = min(-spare, max(0, wide[n] - max(12, len(heads[n]))))
            wide[n] -= cut
            spare += cut
    return "\n".join(_line(line, wide) for line in [heads, *cells])


def cell(value: Any, name: str = "") -> str:
    """One value in one line."""
    if value is None or value in ("", [], {}, ()):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if (name.endswith("_wei") or name in AMOUNTS) and str(value).lstrip("-").isdecimal():
        return tokens(int(value))
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={cell(item, key)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(cell(item) for item in value)
    return _printable(" ".join(str(value).split()))


def _printable(text: str) -> str:
    """Texts come from strangers: control characters would rule the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _listing(method: str, value: Mapping[str, Any]) -> str:
    rows = value["items"]
    others = {key: item for key, item in value.items() if key not in ("items", "next")}
    parts = [facts(others)] if others else []
    if not rows:
        parts.append("none")
    elif isinstance(rows[0], Mapping):
        wanted = COLUMNS.get(method) or tuple(_scalars(rows))
        present = [name for name in wanted if any(name in row for row in rows)] or _scalars(rows)
        width = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 10_000
        parts.append(table(rows, present, width))
    else:
        parts += [cell(row) for row in rows]
    if value.get("next"):
        parts.append(f"more: --after {value['next']}")
    return "\n".join(parts)


def _scalars(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    names = {key: None for row in rows for key, value in row.items() if not isinstance(value, (dict, list))}
    return list(names)[:8]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    fitted = [
        text if len(text) <= width else text[: width - 1] + "…" for text, width in zip(cells, widths, strict=True)
    ]
    return "  ".join(f"{text:<{width}}" for text, width in zip(fitted, widths, strict=True)).rstrip()


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{prefix}{key}.")
        elif isinstance(item, list) and item and isinstance(item[0], Mapping):
            yield f"{prefix}{key}", f"{len(item)} entries"
            for entry in item[:20]:
                yield "", cell(entry)
        elif isinstance(item, list) and any(isinstance(entry, str) and " " in entry for entry in item):
            for line, entry in enumerate(item):  # sentences
                yield "" if line else f"{prefix}{key}", cell(entry)
        else:
            yield f"{prefix}{key}", cell(item, key)
