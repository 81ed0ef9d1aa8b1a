"""A peer in a process of its own that is frozen and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from node.network import DeadlineExceeded, Network, PeerUnreachable
from tests.support.network import meet

ECHO = "/test/echo/1"
SERVER = f"""
import trio
from tests.support.network import member

async def echo(peer, body):
    return body

async def main():
    async with member("other-process") as network:
        network.serve({ECHO!r}, echo, max_request_bytes=100)
        print("answer", network.addresses[0], flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@asynccontextmanager
async def other() -> AsyncIterator[tuple[trio.Process, str]]:
    command = [sys.executable, "-c", SERVER]
    process = await trio.lowlevel.open_process(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    try:
        with trio.fail_after(30):
            said = b""
            while b"answer" not in said or not said.endswith(b"\n"):
                said += await process.stdout.receive_some()
        yield process, said.partition(b"answer ")[2].decode().strip()
    finally:
        process.kill()
        await process.stdout.aclose()
        with trio.CancelScope(shield=True):
            await process.wait()


async def test_a_frozen_peer_costs_its_deadline_and_nobody_else_anything(alice: Network, bob: Network) -> None:
    async with other() as (process, address):
        peer = await alice.connect(address)
        await meet(alice, bob)
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(DeadlineExceeded):
            await alice.request(peer, ECHO, b"x", timeout_s=0.5, max_reply_bytes=10)
        with pytest.raises(DeadlineExceeded):
            await alice.ping(peer, timeout_s=0.5)
        assert await alice.ping(bob.peer_id) < 1
        os.kill(process.pid, signal.SIGCONT)
        assert await alice.request(peer, ECHO, b"thawed", timeout_s=10, max_reply_bytes=10) == b"thawed"


async def test_a_frozen_peer_is_hung_up_by_the_pulse(alice: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    async with other() as (process, address):
        await alice.connect(address)
        os.kill(process.pid, signal.SIGSTOP)
        monkeypatch.setattr("node.network.dialing.PULSE_S", 0.3)
        await alice._keeper._feel(alice.peers()[0].peer)
        assert alice.peers() == []


async def test_a_killed_peer_is_gone_at_once_and_unreachable(alice: Network) -> None:
    async with other() as (process, address):
        peer = await alice.connect(address)
        process.kill()
        with trio.fail_after(5):
            while alice.peers():
                await trio.sleep(0.01)
        with pytest.raises(PeerUnreachable):
            await alice.request(peer, ECHO, b"x", timeout_s=10, max_reply_bytes=10)
