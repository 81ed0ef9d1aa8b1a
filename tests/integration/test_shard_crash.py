from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from node.shard import open_shard
from tests.support.records import shard_record, unit

CRASHER = """
import sys, trio
from pathlib import Path
from node.shard import open_shard
from tests.support.records import shard_record, unit

async def main():
    async with open_shard(Path(sys.argv[1]), "test", 8) as shard:
        for i in range(int(sys.argv[2]), 10_000):
            await shard.put([shard_record(f"{i}/{j}", unit(1, i, j)) for j in range(4)])
            print(i, flush=True)

trio.run(main)
"""


async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    acknowledged = -1
    for victim in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", CRASHER, str(tmp_path), str(acknowledged + 1)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(5 + victim * 7):
            acknowledged = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, process.stdout.read().split())])
        process.stdout.close()
        process.wait(timeout=20)
        async with open_shard(tmp_path, "test", 8) as shard:
            texts = {record.text for record in await shard.list(limit=1_000)}
            assert {f"{i}/{j}" for i in range(acknowledged + 1) for j in range(4)} <= texts
            assert len(texts) % 4 == 0
            await shard.put([shard_record("alive", unit(1))])
            await shard.forget([shard_record("alive", unit(1)).id])
