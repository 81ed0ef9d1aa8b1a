"""The home screen: one glance, the facts that matter, and one line with the fix if something is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from config.amounts import tokens


def screen(status: Mapping[str, Any]) -> str:
    """`node.status` for people."""
    lines = [f"schwung {status['version']} · {status['network']} · up {_age(status.get('started_at'))}"]
    lines += [f"{name:<9} {text}" for name, text in _rows(status) if text]
    lines += [f"! {warning}" for warning in status.get("warnings") or []]
    return "\n".join(lines)


def _rows(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    wallet, chain = status.get("wallet") or {}, status.get("chain") or {}
    shard, market = status.get("shard") or {}, status.get("market") or {}
    listen = status.get("listen") or []
    peers = status.get("peers")
    count = len(peers) if isinstance(peers, list) else peers
    return [
        ("peer", f"{status.get('peer_id') or '?'}   {count if count is not None else '?'} peers"),
        ("listen", "  ".join(way for way in listen if "/p2p-circuit" not in way)),
        ("reach", _reach(status.get("reach") or {})),
        ("market", " · ".join(f"{value} {key.replace('_', ' ')}" for key, value in market.items())),
        ("shard", f"{shard.get('records', '?')} records"),
        ("wallet", _wallet(status.get("address"), wallet)),
        ("chain", f"{chain.get('id')}   block {chain.get('block') if chain.get('block') is not None else '?'}"),
    ]


def _reach(reach: Mapping[str, Any]) -> str:
    state, relays = reach.get("state"), len(reach.get("relays") or ())
    if state == "private":
        ways = f"it is reached through {relays} relay{'s' if relays != 1 else ''}" if relays else "and it has no relay"
        return f"private: nobody can dial this node, {ways}"
    if state != "public":
        return ""
    count = len(reach.get("dialled_back") or ())
    return f"public: {count} peer{'s' if count != 1 else ''} dialled back" if count else "public"


def _wallet(address: Any, wallet: Mapping[str, Any]) -> str:
    if not address:
        return "none yet: schwung wallet create"
    balance = wallet.get("balance")
    money = f"{tokens(int(balance))} tok   " if balance is not None and str(balance).isdecimal() else ""
    return f"{address}   {money}{'locked' if wallet.get('locked') else 'unlocked'}"


def _age(started_at: Any) -> str:
    if not started_at:
        return "?"
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(str(started_at))).total_seconds())
    days, rest = divmod(max(0, seconds), 86_400)
    hours, minutes = rest // 3_600, rest % 3_600 // 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest % 60, "s")]
    shown = [f"{value} {unit}" for value, unit in parts if value][:2]
    return " ".join(shown) or "0 s"
