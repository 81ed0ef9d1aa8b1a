"""A full catalogue, and catching up with one: `python -m tests.bench.catalog [--offers 100000] [--missed 10000]`.

Offers have 16 centroids of 384 dimensions, no two alike, of 64 sellers. Memory is what the process grows by when it
reads them at a start. The bound beside a query is one float32 product with as many means, in the same run and on one
core, as everything here. The bound beside the catching up is one libp2p stream that brings as many bytes between the
same two processes; what one core takes to decode and to check the signatures stands beside it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one core, before numpy reads it

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from node.journal import open_journal
from node.market.catalog.catalog import Catalog, Listed
from protocols.offers.offer import Offer
from tests.bench.catalog.away import behind, tell
from tests.bench.catalog.full import full, opened
from tests.support.crowd import fill, offers
from tests.support.items import ALICE, Purse, signed


def main() -> None:
    parser = argparse.ArgumentParser(description="A full catalogue, and catching up with one.")
    parser.add_argument("--offers", type=int, default=100_000)
    parser.add_argument("--missed", type=int, default=10_000)
    parser.add_argument("--tell", type=Path)
    parser.add_argument("--full", type=Path)
    args = parser.parse_args()
    if args.tell:
        trio.run(tell, args.tell)
    elif args.full:
        trio.run(full, args.full, args.offers)
    else:
        all_of_it(args)


def all_of_it(args: argparse.Namespace) -> None:
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)
    with TemporaryDirectory() as name:
        folder = Path(name)
        trio.run(prepare, folder, args.offers, args.missed)
        shutil.copy(folder / "full.db", folder / "asked.db")
        again = [sys.executable, "-m", "tests.bench.catalog", "--full", name, "--offers", str(args.offers)]
        subprocess.run(again, check=True)  # a process whose memory nothing else has grown
        print(f"load {os.getloadavg()[0]:.1f}", flush=True)
        trio.run(behind, folder / "empty.db", folder / "little.db", "from nothing")
        trio.run(behind, folder / "full.db", folder / "more.db", f"among {args.offers}")


async def prepare(folder: Path, count: int, missed: int) -> None:
    """Journals: nothing; `missed` offers; `count`; `count` and ten more."""
    for name in ("empty", "little"):
        async with open_journal(folder / f"{name}.db"):
            pass
    async with open_journal(folder / "little.db") as journal:
        await signed_into(opened(journal)[1], missed, 0)
    await fill(folder / "full.db", count)
    shutil.copy(folder / "full.db", folder / "more.db")
    async with open_journal(folder / "more.db") as journal:
        await signed_into(opened(journal)[1], 10, count)


async def signed_into(catalog: Catalog, count: int, first: int) -> None:
    purses = [Purse(number) for number in range(1, 65)]
    raws = [signed(one, purses[n % 64], ALICE).raw for n, one in enumerate(offers(count, first))]
    begun = time.process_time()
    examined: list[Listed[Offer]] = [catalog.examine(raw, None) for raw in raws]  # type: ignore[misc]
    if count > 10:
        print(f"{count} offers of {len(raws[0]) / 1e3:.1f} kB: {time.process_time() - begun:.2f} s to decode and check")
    for start in range(0, count, 500):
        await catalog.keep(examined[start : start + 500])  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
