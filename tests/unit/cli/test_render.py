"""Results for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from node.cli import render, status


def test_amounts_are_shown_in_tokens() -> None:
    assert render.cell("1500000000000000000", "price_wei") == "1.5"
    assert render.facts({"token": "1500000000000000000"}) == "token  1.5"


def test_strangers_texts_cannot_rule_the_terminal() -> None:
    assert "\x1b" not in render.result("offers.list", {"items": [{"title": "\x1b[2Jhi\r\nthere"}], "next": None})


def test_a_narrow_terminal_shortens_texts_and_never_ids() -> None:
    id = "ab" * 32
    rows = [{"title": "a long title that goes on and on and on", "offer": id}]
    text = render.table(rows, ("title", "offer"), 90)
    assert id in text
    assert "…" in text
    assert max(map(len, text.splitlines())) <= 90


def test_an_empty_listing_says_so_and_a_long_one_how_to_go_on() -> None:
    assert render.result("offers.list", {"items": [], "next": None}) == "none"
    assert "more: --after x" in render.result("offers.list", {"items": [{"offer": "x"}], "next": "x"})


def test_the_home_screen() -> None:
    up = datetime.now(UTC) - timedelta(hours=2, minutes=14)
    text = status.screen(
        {
            "version": "0.1.0", "network": "devnet", "started_at": up.isoformat(), "peer_id": "12D3", "peers": [1, 2],
            "listen": ["/ip4/127.0.0.1/tcp/1"], "shard": {"records": 7}, "address": "0xab",
            "wallet": {"locked": True, "balance": "41200000000000000000"}, "chain": {"id": 31337, "block": 9},
            "reach": {"state": "private", "relays": ["12D3"]},
            "market": {"offers_seen": 3}, "warnings": ["chain is behind: schwung doctor"],
        }
    )  # fmt: skip
    assert text == (
        "schwung 0.1.0 · devnet · up 2 h 14 min\n"
        "peer      12D3   2 peers\n"
        "listen    /ip4/127.0.0.1/tcp/1\n"
        "reach     private: nobody can dial this node, it is reached through 1 relay\n"
        "market    3 offers seen\n"
        "shard     7 records\n"
        "wallet    0xab   41.2 tok   locked\n"
        "chain     31337   block 9\n"
        "! chain is behind: schwung doctor"
    )


def test_a_young_home_screen_has_gaps() -> None:
    text = status.screen({"version": "1", "network": "devnet", "chain": {"id": 1, "block": None}})
    assert "none yet: schwung wallet create" in text
