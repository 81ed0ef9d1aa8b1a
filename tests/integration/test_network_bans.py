"""A ban as the operator of a daemon meets it: shown, kept over a kill, lifted."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
import trio

from node.cli.client import Client
from node.devnet.devnet import Devnet
from node.network.peers import HELLO
from tests.support.daemon import call
from tests.support.mallory import GONE, mallory

pytestmark = [pytest.mark.chain, pytest.mark.e2e]

NAME = "watchful"


async def nonsense(address: str) -> str:
    """Says what is no hello until the connection ends; who it was."""
    async with mallory("nonsense") as foe:
        with trio.move_on_after(30):
            await foe.connect(address)
            while foe.is_connected():
                with suppress(*GONE):
                    await foe.ask(HELLO, os.urandom(100))
                await trio.sleep(0.05)
        return foe.peer_id


def banned(devnet: Devnet) -> list[dict[str, Any]]:
    return list(call(devnet, NAME, "peers.banned")["items"])


def test_a_ban_is_shown_kept_over_a_kill_and_lifted(devnet: Devnet) -> None:
    address = str(devnet.add(NAME)["listen"][0])
    foe = trio.run(nonsense, address)
    (ban,) = banned(devnet)
    assert (ban["peer"], ban["reason"], ban["times"]) == (foe, "messages that cannot be read", 1)
    begins, ends = (datetime.fromisoformat(ban[name]) for name in ("banned_at", "ends_at"))
    assert begins <= datetime.now(UTC) < ends
    assert (ends - begins).total_seconds() == 900
    with Client(devnet.places.node(NAME).socket, 20) as client:
        client.call("events.subscribe", {"topics": ["peers"], "since": 0})
        told = (note["params"]["data"] for note in client.notifications())
        event = next(data for data in told if data["event"] == "peer.banned")
    assert (event["peer"], event["reason"]) == (foe, ban["reason"])
    devnet.kill(NAME)
    devnet.add(NAME)
    assert banned(devnet) == [ban]
    assert call(devnet, NAME, "peers.pardon", peer=foe) == {"peer": foe, "lifted": True}
    assert call(devnet, NAME, "peers.pardon", peer=foe) == {"peer": foe, "lifted": False}
    assert banned(devnet) == []
    assert all(peer["score"] == 0 for peer in call(devnet, NAME, "peers.list")["items"])
