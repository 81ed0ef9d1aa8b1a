"""Gas of every money step, from real receipts: `python -m tests.bench.gas`.

Whole transactions (21,000 base and calldata included) on anvil with the committed artifacts. "first" writes fresh
storage (a new buyer, a new lane), "again" does not. The parts are measured in tests/bench/money; the peers' figures
and what of ours stands beside them are in its table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from contracts.anvil import AnvilError, start_anvil
from contracts.params import DeployParams
from tests.bench.money.bank import Bank
from tests.bench.money.facts import Facts
from tests.bench.money.models import Models
from tests.bench.money.sales import Sales
from tests.bench.money.table import Table
from tests.support.suite import Suite

PARTS = (Sales, Bank, Models, Facts)


def measure(progress: Callable[[str], None] = lambda _: None) -> Table:
    """Run all steps on a fresh anvil. Raises AnvilError when there is none."""
    with start_anvil() as anvil:
        suite, table = Suite(anvil, DeployParams()), Table()
        for part in PARTS:
            progress(part.__name__.lower())
            part(suite, table).measure()
        for name, gas in suite.deployment.gas.items():
            if "." not in name:
                table.put(f"deploy {name}", gas)
        return table


def main() -> int:
    try:
        table = measure(lambda name: print(f"… {name}", file=sys.stderr))
    except AnvilError as err:
        print(err, file=sys.stderr)
        return 1
    print(table)
    print("\npeers, for comparison")
    print(table.beside())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
