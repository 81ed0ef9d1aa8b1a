"""Ten nodes for an hour, and what they hold at its end: `python -m tests.bench.soak [--minutes 60] [--nodes 10]`.

Twenty signed offers of real size a second, told in turn; each lives for two minutes, so that the catalogue comes to a
steady size; once a minute one of the later half of the nodes is killed, or ended gently, and started again. Verdict:

- memory: the slope of the resident size of the nodes that ran all the time, in MB an hour, after a quarter of an hour
  in which caches fill (or half of the time); with the half-width of its 95 % interval over the nodes (Student's t)
- leaked: tasks, sockets and file descriptors at rest after all of it, over those at rest before it
- lost: offers that a node which had time to catch up did not have, while they were open

It exits with 1 when something leaked or was lost, or memory grew by more than `--limit` for certain.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import trio

from tests.support.field import Field, Node, Refused, ask_all, open_field, until

LIFETIME_S = 120
TELL_S = 5.0
SETTLE_S = 40.0  # a node that was started so long ago has caught up
LATE_S = 30.0  # an offer is everywhere by then, on a machine that has other things to do as well
REST_S = 60.0
WARM_S = 900.0
PATIENCE_S = 300.0  # with a machine that has other things to do
GONE = (Refused, trio.BrokenResourceError, trio.ClosedResourceError)  # it is being restarted
STUDENT_95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)  # two-sided, by degrees of freedom
HELD = ("tasks", "fds", "established")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `leaked` counts over all nodes that ran all the time."""

    minutes: float
    told: int
    checked: int
    lost: int
    restarts: int
    slope_mb_h: float
    margin_mb_h: float
    leaked: dict[str, int]

    def failed(self, limit_mb_h: float) -> list[str]:
        """What is wrong, in words."""
        found = [f"{count} {what} leaked" for what, count in self.leaked.items() if count]
        found += [f"{self.lost} offers lost"] if self.lost else []
        grew = self.slope_mb_h - self.margin_mb_h > limit_mb_h
        return found + ([f"memory grows by {self.slope_mb_h:.1f} ± {self.margin_mb_h:.1f} MB/h"] if grew else [])


Held = dict[str, dict[str, int]]  # by node: how many of each kind


def _more(before: Held, after: Held) -> dict[str, int]:
    """What there is more of, over all nodes; tasks by their names."""
    found = dict.fromkeys(HELD, 0)
    for name, held in after.items():
        for what, count in held.items():
            found[what] = found.get(what, 0) + max(0, count - before[name].get(what, 0))
    return {what: count for what, count in found.items() if count or what in HELD}


class Soak:
    """One run over a field."""

    def __init__(self, field: Field, nodes: list[Node], *, rate: float, every_s: float, show: bool) -> None:
        self._field = field
        self._names = [node.name for node in nodes]
        self._steady = self._names[: max(2, len(nodes) // 2)]
        self._rate = rate
        self._every_s = every_s
        self._show = show
        self._told: dict[str, float] = {}
        self._started = dict.fromkeys(self._names, time.monotonic())
        self._rss: dict[str, list[tuple[float, float]]] = {name: [] for name in self._steady}
        self._count = 0
        self.checked = self.lost = self.restarts = 0

    async def run(self, seconds: float, churn_s: float) -> Verdict:
        """Load, churn, samples; then rest, and the verdict."""
        before = await self._at_rest()
        start = time.monotonic()
        async with trio.open_nursery() as nursery:
            for name in self._names:
                nursery.start_soon(self._tell, name)
            nursery.start_soon(self._churn, churn_s)
            nursery.start_soon(self._sample, start)
            await trio.sleep(seconds)
            nursery.cancel_scope.cancel()
        after = await self._at_rest(before)
        slope, margin = self._slope(start + min(WARM_S, seconds / 2))
        return Verdict(
            minutes=seconds / 60,
            told=self._count,
            checked=self.checked,
            lost=self.lost,
            restarts=self.restarts,
            slope_mb_h=slope,
            margin_mb_h=margin,
            leaked=_more(before, after),
        )

    async def _tell(self, name: str) -> None:
        rate = self._rate / len(self._names)
        words = {"count": max(1, int(TELL_S * rate)), "rate": rate, "within_s": PATIENCE_S}
        while True:
            try:
                ids = await self._field.nodes[name].ask("tell", **words)
            except GONE:
                await trio.sleep(1)
                continue
            self._told |= dict.fromkeys(ids, time.monotonic())
            self._count += len(ids)

    async def _churn(self, every_s: float) -> None:
        turn = 0
        while True:
            await trio.sleep(every_s)
            late = self._names[len(self._steady) :]
            name = late[turn % len(late)]
            self._started[name] = float("inf")
            await self._field.nodes[name].end(gently=turn % 2 == 1)
            await self._field.start(name)
            self._started[name] = time.monotonic()
            self.restarts += 1
            turn += 1

    async def _sample(self, start: float) -> None:
        while True:
            await trio.sleep(self._every_s)
            for name in list(self._names):
                try:
                    await self._look_at(name, start)
                except GONE:
                    continue
            self._told = {id: at for id, at in self._told.items() if at > time.monotonic() - 2 * LIFETIME_S}

    async def _look_at(self, name: str, start: float) -> None:
        node = self._field.nodes[name]
        state = await node.ask("state", within_s=PATIENCE_S)
        await node.ask("delays", within_s=PATIENCE_S)
        now = time.monotonic()
        if name in self._rss:
            self._rss[name].append((now, state["rss"] / 1e6))
        if now - self._started[name] > SETTLE_S:
            due = {id for id, at in self._told.items() if now - LIFETIME_S + TELL_S + 15 < at < now - LATE_S}
            missing = due - set(await node.ask("catalog", within_s=PATIENCE_S))
            self.checked += len(due)
            self.lost += len(missing)
        if self._show:
            print(f"{(now - start) / 60:6.1f} min  {name:<8} {_line(state)}", flush=True)

    async def _at_rest(self, before: Held | None = None) -> Held:
        """The least that each steady node holds when nothing is told; waits until it is no more than before."""
        least: Held = {}

        async def looked() -> bool:
            states = await ask_all([self._field.nodes[name] for name in self._steady], "state")
            for name, state in zip(self._steady, states, strict=True):
                held = {what: state[what] for what in ("tasks", "fds")} | state["sockets"] | state["task_names"]
                so_far = least.get(name, held)
                least[name] = {what: min(count, so_far[what]) for what, count in held.items() if what in so_far}
            return before is not None and not any(_more(before, least).values())

        with trio.move_on_after(REST_S if before else 10):
            await until(looked, 2 * REST_S, 1)
        return least

    def _slope(self, since: float) -> tuple[float, float]:
        """MB an hour: the mean of the nodes' slopes, and the half-width of its interval."""
        slopes = []
        for samples in self._rss.values():
            late = [(at / 3_600, size) for at, size in samples if at >= since]
            if len(late) > 2:
                slopes.append(statistics.linear_regression(*zip(*late, strict=True)).slope)
        if len(slopes) < 2:
            return (slopes or [0.0])[0], float("inf")
        spread = statistics.stdev(slopes) / len(slopes) ** 0.5
        return statistics.mean(slopes), spread * STUDENT_95[min(len(slopes) - 2, len(STUDENT_95) - 1)]


def _line(state: dict[str, Any]) -> str:
    held = f"{state['rss'] / 1e6:6.1f} MB  {state['tasks']:>4} tasks  {state['fds']:>3} fds  {state['sockets']}"
    gossip = f"{state['catalog']} offers  {state['queued']} queued  {state['dropped']} dropped"
    return f"{held}  {state['peers']} peers  {gossip}"


async def soak(
    folder: Path, *, nodes: int, rate: float, seconds: float, churn_s: float, every_s: float, show: bool
) -> Verdict:
    async with open_field(folder) as field:
        plan = {"lifetime_s": LIFETIME_S, "target_peers": nodes - 1}
        hub = await field.start("node0", **plan)
        rest = await field.start_all([f"node{n}" for n in range(1, nodes)], bootstrap=[hub.address], **plan)
        everybody = [hub, *rest]

        async def met() -> bool:
            return bool(min(await ask_all(everybody, "listeners")) >= nodes - 1)

        await until(met, 600)
        return await Soak(field, everybody, rate=rate, every_s=every_s, show=show).run(seconds, churn_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--rate", type=float, default=20.0, help="offers a second, of all nodes together")
    parser.add_argument("--limit", type=float, default=5.0, help="MB an hour that memory may grow for certain")
    parser.add_argument("--quiet", action="store_true", help="the verdict only")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = chosen.minutes * 60
        told = trio.run(
            lambda: soak(
                Path(folder),
                nodes=chosen.nodes,
                rate=chosen.rate,
                seconds=seconds,
                churn_s=60,
                every_s=min(30.0, seconds / 20),
                show=not chosen.quiet,
            )
        )
    print(f"{chosen.nodes} nodes, {told.minutes:g} minutes, {told.told} offers told, {told.restarts} restarts")
    print(f"memory {told.slope_mb_h:+.1f} ± {told.margin_mb_h:.1f} MB/h, leaked {told.leaked}", end=", ")
    print(f"lost {told.lost} of {told.checked} looked for; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    wrong = told.failed(chosen.limit)
    if wrong:
        sys.exit("; ".join(wrong))


if __name__ == "__main__":
    main()
