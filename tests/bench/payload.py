"""A payload from node to node, verified and stored: `python -m tests.bench.payload [--sizes 20 200 1000] [--runs 3]`.

Beside it, in the same run and in turns so that a loaded machine slows all of them: real Kubo to real Kubo (the same
bytes, from its disk to its disk), asyncio with TLS 1.3 and raw trio TCP (from memory to nowhere: what the line gives).
`--memory 2000` carries one payload of that many MB and prints what both ends' memory grew by. `--delay 200` fetches
over a line of that many milliseconds there and back (a proxy in a process of its own). `--cores 0 1` pins all
processes.

The last two columns are what a MB costs of all cores together, fetcher and provider: unlike the rates they hold on a
machine that others use too.

What bounds us is said by the first line: the provider's one thread seals and sends, the fetcher's one thread receives
and opens, and its worker threads hash and write, which asyncio's TLS does not do. On idle cores all of them run side
by side; on a busy machine it adds up, and the ratio to TLS falls.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import structlog
import trio
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from node.blocks import open_embedded
from node.network.substrate.inlet import Inlet
from node.network.substrate.outlet import BATCH_BYTES, Outlet
from protocols.ids import Cid
from tests.bench.network import MEGABYTE, Servers, _certificate, _push_tcp, _push_tls, _tcp_server, _tls_server
from tests.support import kubo
from tests.support.network import member
from tests.support.slowline import slow_line

TIMEOUT_S = 600
SETTLE_S = 0.3  # after a connection, until both sides have told each other what they speak


def _memory() -> int:
    """The most this process has held since the last reset, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM: not Linux")


def _reset_memory() -> int:
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is held now
    return _memory()


def _provider(pipe: Any, folder: str) -> None:
    """Adds the files it is told of and serves them."""

    async def main() -> None:
        async with member("bench-provider") as network, open_embedded(Path(folder) / "ours-a", network) as blocks:
            pipe.send(network.addresses[0])
            idle = _reset_memory()
            while path := await trio.to_thread.run_sync(pipe.recv):
                if path in ("memory", "cpu"):
                    pipe.send(_memory() - idle if path == "memory" else time.process_time())
                    continue
                start = time.perf_counter()
                cid = await blocks.add_file(Path(path))
                pipe.send((cid, time.perf_counter() - start))

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    trio.run(main)


class Fetched(NamedTuple):
    """What a fetch took, from asking to durable: seconds, the fetcher's and the provider's CPU, the fetcher's bytes."""

    seconds: float
    cpu: float
    provider_cpu: float
    grew: int


async def _fetch(pipe: Any, address: str, cid: Cid, size: int, folder: Path) -> Fetched:
    def provider_cpu() -> float:
        pipe.send("cpu")
        return float(pipe.recv())

    with tempfile.TemporaryDirectory(dir=folder) as place:
        async with member("bench-fetcher") as network, open_embedded(Path(place), network) as blocks:
            peer = await network.connect(address)
            await trio.sleep(SETTLE_S)
            idle = _reset_memory()
            theirs, ours, start = provider_cpu(), time.process_time(), time.perf_counter()
            await blocks.fetch_mapped(cid, providers=[peer], max_bytes=size, timeout_s=TIMEOUT_S)
            taken, ours = time.perf_counter() - start, time.process_time() - ours
            return Fetched(taken, ours, provider_cpu() - theirs, _memory() - idle)


def _long_line(pipe: Any, address: str, round_trip_s: float) -> None:
    async def main() -> None:
        async with slow_line(address, delay_s=round_trip_s / 2) as far:
            pipe.send(far)
            await trio.sleep_forever()

    trio.run(main)


def far(sizes: list[int], delay_ms: int, runs: int) -> None:
    """The rate over a long line, beside what a window of 4 MiB that stood still could give."""
    with Servers() as servers, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pipe, near = servers.talk(_provider, name)
        _, address = servers.talk(_long_line, near, delay_ms / 1e3)
        print(f"load {os.getloadavg()[0]:.1f}, {delay_ms} ms there and back, medians of {runs}")
        for size in sizes:
            source = folder / f"source{size}"
            _random_file(source, size)
            pipe.send(str(source))
            cid, _ = pipe.recv()
            taken = [trio.run(_fetch, pipe, address, cid, size, folder).seconds for _ in range(runs)]
            standing = (4 << 20) / MEGABYTE / (delay_ms / 1e3)
            print(
                f"{size // MEGABYTE:>6} MB {_rate(size, taken):>7.0f} MB/s   a window of 4 MiB: {standing:.0f} at most"
            )
        pipe.send("")


async def _kubo_to_kubo(source: Path, folder: Path, runs: int) -> list[float]:
    taken = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(dir=folder) as name:
            places = [Path(name) / side for side in ("one", "two")]
            for place in places:
                place.mkdir()
            async with kubo.node(places[0]) as one, kubo.node(places[1]) as two:
                cid = await one.add(source)
                await two.connect(one.address)
                start = time.perf_counter()
                await two.get(cid, places[1] / "got")
                taken.append(time.perf_counter() - start)
            assert (places[1] / "got").stat().st_size == source.stat().st_size
    return taken


def _rate(size: int, taken: list[float]) -> float:
    return size / MEGABYTE / statistics.median(taken)


def _timed(runs: int, once: Callable[[], float]) -> list[float]:
    return [once() for _ in range(runs)]


def table(sizes: list[int], runs: int) -> None:
    """One row a size: MB/s, and our ratio to each of the others."""
    with Servers() as servers, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tcp, tls = servers.start(_tcp_server), servers.start(_tls_server, str(_certificate(folder)))
        pipe, address = servers.talk(_provider, name)
        print(f"load {os.getloadavg()[0]:.1f}, cores {sorted(os.sched_getaffinity(0))}, medians of {runs}")
        print(f"{'payload':>9} {'add':>7} {'ours':>7} {'Kubo':>7} {'TLS':>7} {'TCP':>7}   MB/s", end="   ")
        print("of Kubo  of TLS  of TCP   ms CPU a MB")
        for size in sizes:
            source = folder / f"source{size}"
            _random_file(source, size)
            pipe.send(str(source))
            cid, added = pipe.recv()
            fetched, secure, raw = [], [], []
            for _ in range(runs):
                fetched.append(trio.run(_fetch, pipe, address, cid, size, folder))
                secure.append(asyncio.run(_push_tls(tls, size)))
                raw.append(trio.run(_push_tcp, tcp, size))
            rates = [_rate(size, taken) for taken in ([one.seconds for one in fetched], secure, raw)]
            theirs = 0.0 if kubo.missing() else _rate(size, trio.run(_kubo_to_kubo, source, folder, min(runs, 2)))
            row = f"{size // MEGABYTE:>6} MB {size / MEGABYTE / added:>7.0f} {rates[0]:>7.0f} {theirs:>7.0f}"
            print(f"{row} {rates[1]:>7.0f} {rates[2]:>7.0f}", end="          ")
            print(
                f"{rates[0] / (theirs or 1):>7.2f} {rates[0] / rates[1]:>7.2f} {rates[0] / rates[2]:>7.2f}", end="   "
            )
            cpu = [statistics.median(sides) / size * MEGABYTE * 1e3 for sides in list(zip(*fetched, strict=True))[1:3]]
            print(f"{cpu[0]:>6.2f} {cpu[1]:>5.2f}")
            source.unlink()
        pipe.send("")


def memory(size: int) -> None:
    """One large payload: how much more than when idle each end holds at its worst."""
    with Servers() as servers, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pipe, address = servers.talk(_provider, name)
        source = folder / "source"
        _random_file(source, size)
        pipe.send(str(source))
        cid, _ = pipe.recv()
        taken, _, _, grew = trio.run(_fetch, pipe, address, cid, size, folder)
        pipe.send("memory")
        print(f"{size // MEGABYTE} MB in {taken:.1f} s ({size / MEGABYTE / taken:.0f} MB/s)", end="   ")
        print(f"memory over idle: fetcher {grew / MEGABYTE:.0f} MB, provider {pipe.recv() / MEGABYTE:.0f} MB")
        pipe.send("")


def parts() -> None:
    """What a megabyte costs where, in CPU time of one core: no payload can be faster than its slowest process."""
    megabytes = 64
    data = os.urandom(MEGABYTE)
    leaf = memoryview(data)[:262_144]
    sealing, opening, muxer = _Cipher(), _Cipher(), _Muxer()
    outlet = Outlet(sealing)
    frames = [bytes(outlet.seal(1, memoryview(data)[at : at + BATCH_BYTES])) for at in range(0, MEGABYTE, BATCH_BYTES)]
    wire = b"".join(frames)

    def seal() -> None:
        for at in range(0, MEGABYTE, BATCH_BYTES):
            outlet.seal(1, memoryview(data)[at : at + BATCH_BYTES])

    def open_() -> None:
        opening.n = 0
        inlet = Inlet(muxer, muxer, None, opening, wire)
        inlet._run()
        assert len(muxer.stream_buffers[1]) == MEGABYTE
        muxer.stream_buffers[1].clear()

    def digest() -> None:
        for _ in range(4):
            hashlib.sha256(leaf).digest()

    with tempfile.TemporaryFile() as file:
        spots = iter(range(0, 4 * megabytes * MEGABYTE, MEGABYTE))

        def write() -> None:
            os.pwrite(file.fileno(), data, next(spots))

        print("ms of one core a MB", end="   ")
        for name, act in [("seal", seal), ("open", open_), ("SHA-256", digest), ("write", write)]:
            before = time.process_time()
            for _ in range(megabytes):
                act()
            print(f"{name} {(time.process_time() - before) / megabytes * 1e3:.2f}", end="   ")
    print()


class _Cipher:
    """Stands for a connection's cipher state."""

    def __init__(self) -> None:
        self.n = 0
        self.cipher: Any = self
        self.key = ChaCha20Poly1305(bytes(32))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.key, name)


class _Muxer:
    """Stands for a connection with one stream that may send what it likes."""

    def __init__(self) -> None:
        self.stream_buffers = {1: bytearray()}
        self.streams = {1: self}
        self.stream_events: dict[int, Any] = {}
        self.recv_window = 1 << 60

    def _drain(self, _n: int | None) -> bytes:
        return b""


def _random_file(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for at in range(0, size, MEGABYTE):
            file.write(os.urandom(min(MEGABYTE, size - at)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[20, 200], metavar="MB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--memory", type=int, metavar="MB")
    parser.add_argument("--delay", type=int, metavar="MS")
    parser.add_argument("--cores", type=int, nargs="*")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    if given.cores:
        os.sched_setaffinity(0, given.cores)
    parts()
    if given.delay:
        far([size * MEGABYTE for size in given.sizes], given.delay, given.runs)
    elif given.memory:
        memory(given.memory * MEGABYTE)
    else:
        table([size * MEGABYTE for size in given.sizes], given.runs)


if __name__ == "__main__":
    main()
