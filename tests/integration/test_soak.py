"""The soak in small (`tests.bench.soak` is the hour): nothing leaks, nothing is lost, and a leak would be seen."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.bench import soak
from tests.support.field import Field, Node, ask_all, open_field, until

LIMIT_MB_H = 8_000.0  # half a minute tells only of gross leaks: caches and catalogue fill by 1 MB a second
LIMIT_S = 240.0


async def gathered(field: Field, count: int) -> list[Node]:
    hub = await field.start("node0", lifetime_s=soak.LIFETIME_S, target_peers=count - 1)
    plan = {"lifetime_s": soak.LIFETIME_S, "target_peers": count - 1, "bootstrap": [hub.address]}
    nodes = [hub, *await field.start_all([f"node{number}" for number in range(1, count)], **plan)]

    async def met() -> bool:
        return bool(min(await ask_all(nodes, "listeners")) >= count - 1)

    await until(met)
    return nodes


async def test_nothing_leaks_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "SETTLE_S", 5.0)
    monkeypatch.setattr(soak, "LATE_S", 12.0)
    with trio.fail_after(LIMIT_S):
        async with open_field(tmp_path) as field:
            nodes = await gathered(field, 4)
            run = soak.Soak(field, nodes, rate=20.0, every_s=2.0, show=False)
            verdict = await run.run(24.0, churn_s=8.0)
    assert verdict.failed(LIMIT_MB_H) == []
    assert verdict.restarts > 0
    assert verdict.checked > 100


@pytest.mark.slow
async def test_what_leaks_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "REST_S", 5.0)
    with trio.fail_after(LIMIT_S):
        async with open_field(tmp_path) as field:
            nodes = await gathered(field, 2)

            async def leak() -> None:
                while True:
                    await trio.sleep(1)
                    for node in nodes:
                        await node.ask("leak", tasks=1, sockets=1, megabytes=5)

            async with trio.open_nursery() as nursery:
                run = soak.Soak(field, nodes, rate=2.0, every_s=0.5, show=False)
                nursery.start_soon(leak)
                verdict = await run.run(12.0, churn_s=100.0)
                nursery.cancel_scope.cancel()
    wrong = " ".join(verdict.failed(LIMIT_MB_H))
    assert "tasks leaked" in wrong
    assert "fds leaked" in wrong
    assert "memory grows" in wrong
