"""Hostile peers against a node at work: each is stopped, told why and remembered, and nobody else suffers.

The stories begin with what the foe does; `siege` sees to it that the honest pair's requests are answered and its gossip
arrives, and that memory, files and tasks are what they were before.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import trio

from protocols.framing import frame
from tests.support.mallory import GONE, Mallory
from tests.support.siege import ECHO, Attack, Scene, repelled

THOUSAND = 1_000


# --- streams ---


async def silent(foe: Mallory, _scene: Scene) -> None:
    """Opens a thousand streams and says nothing on any."""
    for _ in range(THOUSAND):
        await foe.bare()


async def half_negotiated(foe: Mallory, _scene: Scene) -> None:
    """Opens a thousand streams and stops after the first words."""
    for _ in range(THOUSAND):
        stream = await foe.bare()
        await stream.write(b"\x13/multistream/1.0.0\n")


async def endless_name(foe: Mallory, _scene: Scene) -> None:
    """Names a protocol of 16 MiB."""
    for _ in range(THOUSAND):
        stream = await foe.bare()
        await stream.write(b"\x13/multistream/1.0.0\n" + b"\x80\x80\x80\x08" + bytes(65_536))


async def rapid_reset(foe: Mallory, _scene: Scene) -> None:
    """Opens streams and takes them back at once, as HTTP/2's "rapid reset" does."""
    while True:
        await (await foe.bare()).reset()


async def half_closed(foe: Mallory, _scene: Scene) -> None:
    """Has its requests answered, never closes its side and fills the buffers."""
    while True:
        stream = await foe.stream(ECHO)
        await stream.write(frame(b"x") + bytes(200_000))


async def one_protocol(foe: Mallory, _scene: Scene) -> None:
    """A thousand requests of one protocol, none of which is ever written."""
    for _ in range(THOUSAND):
        await foe.stream(ECHO)


async def dribble(foe: Mallory, _scene: Scene) -> None:
    """Announces a request and sends a byte of it now and then."""

    async def one() -> None:
        with suppress(*GONE):
            stream = await foe.stream(ECHO)
            await stream.write((900).to_bytes(4, "big"))
            while True:
                await trio.sleep(0.1)
                await stream.write(b"x")

    while True:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(one)


async def requests_without_end(foe: Mallory, _scene: Scene) -> None:
    """Asks as fast as it can."""

    async def one() -> None:
        with suppress(*GONE):
            while True:
                await foe.ask(ECHO, b"again")

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(one)


async def oversize(foe: Mallory, _scene: Scene) -> None:
    """Announces frames of 4 GiB."""
    for _ in range(THOUSAND):
        stream = await foe.stream(ECHO)
        await stream.write(b"\xff\xff\xff\xff")


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (silent, "more than its share"),
        (half_negotiated, "more than its share"),
        (endless_name, "messages that cannot be read"),
        (rapid_reset, "more than its share"),
        (one_protocol, "requests begun and not finished|more than its share"),  # whichever comes first
        (dribble, "requests begun and not finished"),
        (half_closed, "more than its share"),
        (requests_without_end, "more than its share"),
        (oversize, "frames over the bound"),
    ],
)
async def test_streams(
    tmp_path: Path,
    attack: Attack,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("node.network.serving.REQUEST_S", 1.0)  # a dribbler is given ten seconds; 13 times
    monkeypatch.setattr("node.network.guard.border.STREAM_BURST", 300.0)
    monkeypatch.setattr("node.network.guard.border.STREAMS_PER_S", 50.0)
    monkeypatch.setattr("node.network.guard.border.LINGER_S", 1.0)
    assert await repelled(tmp_path, attack) in reason.split("|")
