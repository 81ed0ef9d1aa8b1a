"""Payloads between processes: killed in the middle, started anew, and watched for how much memory they take."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest
import trio

from node.blocks import open_embedded
from node.blocks.store import BlockStore
from protocols.ids import Cid
from tests.support.carrier import CHURN_QUOTA_BYTES, carrier, churned, line

MB = 1_000_000
LIMIT_S = 120.0  # a busy machine takes its time


def payload(path: Path, megabytes: int) -> Path:
    dice = random.Random(megabytes)
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(dice.randbytes(MB))
    return path


def part_of(folder: Path) -> int:
    """How much of a part has been written; its holes take no room."""
    return sum(path.stat().st_blocks * 512 for path in (folder / "payloads").glob("*.part"))


async def test_a_transfer_survives_the_death_of_its_provider_and_of_its_fetcher(tmp_path: Path) -> None:
    source, size = payload(tmp_path / "source", 80), 80 * MB
    with trio.fail_after(LIMIT_S):
        async with (
            carrier("provide", "one", tmp_path / "one", source) as one,
            carrier("provide", "two", tmp_path / "two", source) as two,
        ):
            (first, cid), (second, _) = await line(one), await line(two)
            async with carrier("fetch", "me", tmp_path / "me", cid, size, first) as fetcher:
                while part_of(tmp_path / "me") < 15 * MB:
                    await trio.sleep(0.002)
                fetcher.send_signal(signal.SIGKILL)
            kept = BlockStore(tmp_path / "me").payloads.find(Cid(cid))
            assert kept is not None
            kept.check()
            assert 10 * MB < sum(kept.have) * 262_144 < size
            before = part_of(tmp_path / "me")
            async with carrier("fetch", "me", tmp_path / "me", cid, size, first, second) as fetcher:
                while part_of(tmp_path / "me") < before + 10 * MB and list((tmp_path / "me").rglob("*.part")):
                    await trio.sleep(0.002)
                one.send_signal(signal.SIGKILL)
                await line(fetcher)
    async with open_embedded(tmp_path / "me", None) as blocks:
        assert await blocks.fetch(Cid(cid), providers=[], max_bytes=size, timeout_s=30) == source.read_bytes()


async def test_a_large_payload_takes_little_memory(tmp_path: Path) -> None:
    source, size = payload(tmp_path / "source", 300), 300 * MB
    with trio.fail_after(LIMIT_S):
        async with carrier("provide", "one", tmp_path / "one", source) as one:
            address, cid = await line(one)
            at_rest = _held(one)
            async with carrier("fetch", "me", tmp_path / "me", cid, size, address) as fetcher:
                _, grew = await line(fetcher)
            assert int(grew) < 60 * MB
            assert _held(one) - at_rest < 60 * MB


def _held(process: trio.Process) -> int:
    """The most memory a process has held."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(row.split()[1] for row in status.splitlines() if row.startswith("VmHWM"))) * 1024


@pytest.mark.parametrize("seed", range(2))
async def test_a_kill_in_a_collection_loses_nothing_that_is_pinned(tmp_path: Path, seed: int) -> None:
    """Adding, unpinning, dropping and collecting over a small quota, killed at any moment, three times over."""
    dice = random.Random(seed)
    pinned: dict[Cid, int] = {}
    for life in range(3):
        with trio.fail_after(LIMIT_S):
            async with carrier("churn", tmp_path, seed * 10 + life) as churning:
                for _ in range(dice.randrange(20, 45)):
                    match await line(churning):
                        case ["pinned", number, cid]:
                            pinned[Cid(cid)] = int(number)
                        case ["unpinning", cid]:
                            del pinned[Cid(cid)]
                await trio.sleep(dice.random() * 0.02)
                churning.send_signal(signal.SIGKILL)
                with_it = churning.stdout  # what it said before it died counts
                assert with_it is not None
                rest = b"".join([piece async for piece in with_it]).decode().split("\n")
                for words in [said.split() for said in rest if said]:
                    if words[0] == "pinned" and len(words) == 3 and len(words[2]) == 59:
                        pinned[Cid(words[2])] = int(words[1])
                    elif words[0] == "unpinning":
                        pinned.pop(Cid(words[1]), None)
        async with open_embedded(tmp_path, None, quota_bytes=CHURN_QUOTA_BYTES) as blocks:
            assert set(pinned) <= set(await blocks.pins())
            for cid, seed_of in pinned.items():
                data = await blocks.fetch(cid, providers=[], max_bytes=MB, timeout_s=10)
                assert data == churned(seed_of)
            for extra in set(await blocks.pins()) - set(pinned):
                await blocks.drop(extra)  # it died between the pin and its word
            await blocks.collect_garbage()
            assert all([await blocks.has(cid) for cid in pinned])
        for cid in list(pinned):  # the next life knows nothing of these
            async with open_embedded(tmp_path, None) as blocks:
                await blocks.drop(cid)
            del pinned[cid]
