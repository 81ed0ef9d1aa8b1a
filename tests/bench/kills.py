"""Two hundred power cuts in a busy town: `python -m tests.bench.kills [--kills 200] [--seed N]`.

Four daemons publish, buy, call a model by voucher, settle, claim and rate, while one, two or three of them at a time
are killed with SIGKILL, at any moment, also while they start. Afterwards every deal must be over, the journals of payer
and payee must agree with the chain to the last unit, and the books must balance; the table says what happened.
"""

from __future__ import annotations

import argparse
import random
import secrets
import time
from typing import Any

from tests.support.town import NAMES, Town, open_town

KILLS = 200
PAUSE_S = (0.1, 1.6)  # between two cuts; a deal takes about half a second
START_S = (0.0, 1.2)  # a start takes about one
AT_ONCE = (1, 1, 1, 1, 1, 2, 2, 3)
AGAIN = 0.3  # of the cuts have a second one while the node starts
PAST_A_WINDOW_S = 125  # of chain time
LATE = 0.04  # of the cuts last so long: somebody misses a deadline
MOST_LATE = 5
TELL_EVERY = 25


def run(kills: int, seed: int) -> dict[str, Any]:
    """The table's row. Raises AssertionError when something was lost, or paid twice."""
    dice, began = random.Random(seed), time.monotonic()
    with open_town(seed) as town:
        with town.busy():
            killed = rage(town, kills, dice)
        town.rest()
        row = {"kills": killed, **town.reckon(), "seconds": round(time.monotonic() - began)}
    return {**row, "done": dict(town.done), "refusals": dict(town.refusals)}


def rage(town: Town, kills: int, dice: random.Random) -> int:
    """Kill until there were enough; how many there were."""
    killed = late = told = 0
    while killed < kills:
        time.sleep(dice.uniform(*PAUSE_S))
        victims = dice.sample(NAMES, dice.choice(AT_ONCE))
        killed += cut(town, victims)
        if dice.random() < AGAIN:
            for name in victims:
                town.start(name, ready=False)
            time.sleep(dice.uniform(*START_S))
            killed += cut(town, victims)
        if dice.random() < LATE and late < MOST_LATE:
            town.cluster.leap(PAST_A_WINDOW_S)
            late += 1
        if killed - told >= TELL_EVERY:
            told = killed
            print(f"{killed} of {kills} kills, done: {dict(town.done)}", flush=True)
        dice.shuffle(victims)
        for name in victims:
            town.start(name)
    return killed


def cut(town: Town, victims: list[str]) -> int:
    for name in victims:
        town.cluster.kill(name)
    return len(victims)


def table(row: dict[str, Any]) -> str:
    """Head and row, aligned."""
    columns = ["kills", "deals", "paid", "refunded", "refused", "calls", "offers", "ratings", "seconds", "balanced"]
    cells = [str(row[column]) for column in columns]
    widths = [max(len(column), len(cell)) for column, cell in zip(columns, cells, strict=True)]
    lines = (columns, cells)
    return "\n".join("  ".join(f"{w:>{n}}" for w, n in zip(line, widths, strict=True)) for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    row = run(chosen.kills, chosen.seed)
    print(table(row))
    print(f"paid for answers that never came: {row['lost_wei']} wei; done: {row['done']}; refused: {row['refusals']}")


if __name__ == "__main__":
    main()
