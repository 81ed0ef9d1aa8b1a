"""The control plane: a cold `schwung status`, calls a second over the socket, a journal write.

python -m tests.bench.rpc
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from node.journal import open_journal
from node.rpc.dispatch import Dispatcher
from node.rpc.registry import Registry
from node.rpc.server import open_rpc
from tests.unit.cli.daemon import daemon
from tests.unit.rpc import toy
from tests.unit.rpc.client import connect

COLD, CALLS, WRITES = 10, 5_000, 500


def cold(folder: Path) -> float:
    """CPU seconds of one `schwung status --json` against an answering socket."""
    command = [
        str(Path(sys.executable).with_name("schwung")),
        "--json",
        "--socket",
        str(folder / "cold.sock"),
        "status",
    ]
    with daemon(folder / "cold.sock", lambda method, params: {"version": "0"}):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(COLD):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / COLD


async def calls(folder: Path) -> float:
    """Sequential calls a second, client and server in this process."""
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "toy.add", "params": {"a": 1}})
    async with open_rpc(folder / "s", Dispatcher(Registry(toy.methods()))), connect(folder / "s") as client:
        began = time.perf_counter()
        for _ in range(CALLS):
            await client.send(line)
            await client.line()
        return CALLS / (time.perf_counter() - began)


async def writes(folder: Path) -> float:
    """Milliseconds of one durable journal transaction."""
    async with open_journal(folder / "j.db") as journal:
        await journal.write(lambda conn: conn.execute("CREATE TABLE t (n INTEGER)"))
        began = time.perf_counter()
        for n in range(WRITES):
            await journal.write(lambda conn, n=n: conn.execute("INSERT INTO t VALUES (?)", (n,)))  # type: ignore[misc]
        return 1_000 * (time.perf_counter() - began) / WRITES


def main() -> None:
    """Print one line a figure."""
    with tempfile.TemporaryDirectory(prefix="schwung-") as name:
        folder = Path(name)
        print(f"cold `schwung status --json`  {cold(folder) * 1_000:.0f} ms CPU")
        print(f"calls over the socket         {trio.run(calls, folder):,.0f} a second, one after the other")
        print(f"durable journal write         {trio.run(writes, folder):.2f} ms")


if __name__ == "__main__":
    main()
