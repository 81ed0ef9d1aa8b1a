"""A payload over a long line: `python -m tests.bench.line [--megabytes 20]`.

Two hosts with a network card each (`tests.support.cables`), and between them a delay and a loss of frames in both
directions. Beside the payload protocol, fetched, verified and stored: the same bytes over a plain TCP connection on the
same line, in turn with it. A new connection begins slowly; ours is the one that stands.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

import trio

from tests.support.cables import Card, missing
from tests.support.field import open_field, until

LINES = ((0.02, 0.0), (0.2, 0.0), (0.2, 0.01))  # seconds there and back, share of the frames lost each way
RUNS = 3
SEND = """
import socket
with socket.create_server(("0.0.0.0", 5001)) as door:
    print("up", flush=True)
    while True:
        wire, _ = door.accept()
        wire.sendall(bytes(int(wire.recv(20))))
        wire.close()
"""
TAKE = """
import socket, sys, time
start, left = time.perf_counter(), int(sys.argv[2])
with socket.create_connection((sys.argv[1], 5001)) as wire:
    wire.sendall(sys.argv[2].encode())
    while left:
        left -= len(wire.recv(1 << 20))
print(time.perf_counter() - start)
"""


async def plain(sender: Card, taker: Card, size: int) -> float:
    """Seconds over TCP, connecting included."""
    command = taker.within([sys.executable, "-c", TAKE, sender.address, str(size)])
    return float((await trio.run_process(command, capture_stdout=True)).stdout)


async def measure(folder: Path, delay_s: float, loss: float, size: int) -> None:
    async with open_field(folder, wired=True) as field, trio.open_nursery() as nursery:
        near = await field.start("near")
        card = await field.host("far")
        assert card is not None
        assert near.card is not None
        card.delay_s, card.loss = delay_s / 2, loss
        far = await field.start("far", bootstrap=[near.address])
        await until(lambda: far.ask("peers"))
        command = near.card.within([sys.executable, "-c", SEND])
        nursery.start_soon(partial(trio.run_process, command, capture_stdout=True))
        await trio.sleep(1)
        tcp, ours = [], []
        for number in range(RUNS):
            tcp.append(await plain(near.card, card, size))
            words = {"cid": await near.ask("add", size=size + number), "peer": near.peer, "size": size + number}
            ours.append(await far.ask("fetch", timeout_s=300, within_s=310, **words))
        nursery.cancel_scope.cancel()
    mine, raw = (size / 1e6 / statistics.median(some) for some in (ours, tcp))
    line = f"{delay_s * 1e3:>5.0f} ms {loss:>6.1%}"
    print(f"{line} {mine:>10.1f} {raw:>10.1f} {mine / raw:>8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=20)
    size = parser.parse_args().megabytes * 1_000_000
    if missing():
        print(missing())
        return
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; MB/s, median of {RUNS}")
    print(f"{'line':>8} {'loss':>6} {'payload':>10} {'TCP':>10} {'ratio':>8}")
    for delay_s, loss in LINES:
        with tempfile.TemporaryDirectory() as folder:
            trio.run(measure, Path(folder), delay_s, loss, size)


if __name__ == "__main__":
    main()
