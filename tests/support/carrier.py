"""Nodes of payloads as processes that can be killed: one provides, one fetches, one adds and collects for ever.

    python -m tests.support.carrier provide NAME FOLDER FILE       →  ADDRESS CID
    python -m tests.support.carrier fetch NAME FOLDER CID BYTES ADDRESS…   →  SECONDS GREW
    python -m tests.support.carrier churn FOLDER SEED              →  pinned SEED CID · unpinning CID · …

GREW is by how many bytes the process's memory went over what it held when it was idle.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from node.blocks import open_embedded
from protocols.ids import Cid
from tests.support.network import member

ROOT = Path(__file__).parents[2]
CHURN_QUOTA_BYTES = 12_000_000
CHURN_BYTES = 700_000


def held_most() -> int:
    """The most memory this process has held since `forget_most`, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM: not Linux")


def forget_most() -> int:
    """Let the high-water mark fall to what is held now, and give that."""
    Path("/proc/self/clear_refs").write_text("5")
    return held_most()


def churned(seed: int) -> bytes:
    """A content of the churning process: two of three chunks are shared with its neighbours."""
    return b"".join(random.Random(seed + step).randbytes(262_144) for step in range(3))[:CHURN_BYTES]


async def _provide(name: str, folder: str, file: str) -> None:
    async with member(name) as network, open_embedded(Path(folder), network) as blocks:
        print(network.addresses[0], await blocks.add_file(Path(file)), flush=True)
        await trio.sleep_forever()


async def _fetch(name: str, folder: str, cid: str, size: str, *addresses: str) -> None:
    async with member(name) as network, open_embedded(Path(folder), network) as blocks:
        peers = [await network.connect(address) for address in addresses]
        idle, start = forget_most(), time.perf_counter()
        await blocks.fetch_mapped(Cid(cid), providers=peers, max_bytes=int(size), timeout_s=120)
        print(f"{time.perf_counter() - start:.3f}", held_most() - idle, flush=True)


async def _churn(folder: str, seed: str) -> None:
    dice = random.Random(int(seed))
    pinned: dict[int, Cid] = {}
    async with open_embedded(Path(folder), None, quota_bytes=CHURN_QUOTA_BYTES) as blocks:
        while True:
            number = dice.choice([number for number in range(40) if number not in pinned])
            pinned[number] = await blocks.add(churned(number))
            print("pinned", number, pinned[number], flush=True)
            if len(pinned) > 8:
                gone = pinned.pop(dice.choice(list(pinned)))
                print("unpinning", gone, flush=True)
                await (blocks.drop(gone) if dice.random() < 0.5 else blocks.unpin(gone))
            if dice.random() < 0.3:
                await blocks.collect_garbage(dice.randrange(CHURN_QUOTA_BYTES))


@asynccontextmanager
async def carrier(*words: object) -> AsyncIterator[trio.Process]:
    """One of them, killed at the end."""
    command = [sys.executable, "-m", "tests.support.carrier", *map(str, words)]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            if process.stdout is not None:
                await process.stdout.aclose()


async def line(process: trio.Process) -> list[str]:
    """The next line of its words; what it logs is skipped."""
    assert process.stdout is not None
    said = bytearray()
    while True:
        byte = await process.stdout.receive_some(1)
        if not byte:
            raise RuntimeError("the process ended")
        if byte != b"\n":
            said += byte
            continue
        words = said.decode().split()
        if words and not words[0].startswith("20"):
            return words
        said.clear()


def main() -> None:
    verb, *words = sys.argv[1:]
    acts: dict[str, Callable[..., Awaitable[None]]] = {"provide": _provide, "fetch": _fetch, "churn": _churn}
    trio.run(acts[verb], *words)


if __name__ == "__main__":
    main()
