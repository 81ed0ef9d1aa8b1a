"""A process that makes payments and dies by SIGKILL at a chosen instant of it: `python -m tests.support.spender …`.

Arguments: rpc url, addresses (JSON), chain id, journal folder, instant ("" for none), number of payments (1).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import trio

from contracts.chain import Chain
from contracts.rpc import ChainRpc
from node.journal import open_journal
from node.journal.transactions import Attempt, State, Step, Transactions
from node.wallet import transact
from node.wallet.transact import Transactor, open_transactor
from tests.support.accounts import wallet_of

INSTANTS = ("before_journal", "after_journal", "after_send", "before_receipt", "after_receipt")
KEY = "test:payment"
WORKERS = 4  # payments at once, so that a kill meets several in different states
AMOUNT = 7
RECEIVER = "0x000000000000000000000000000000000000bEEF"


def die_at(instant: str, here: str) -> None:
    if instant == here:
        os.kill(os.getpid(), signal.SIGKILL)


class DyingRpc(ChainRpc):
    instant = ""

    async def call(self, method: str, *params: Any, timeout_s: float | None = None) -> Any:
        result = await super().call(method, *params, timeout_s=timeout_s)
        if method == "eth_sendRawTransaction":
            die_at(self.instant, "after_send")
        return result


class DyingTransactions(Transactions):
    instant = ""

    async def sign(self, step: Step, attempt: Attempt) -> None:
        die_at(self.instant, "before_journal")
        await super().sign(step, attempt)
        die_at(self.instant, "after_journal")

    async def finish(
        self, key: str, state: State, now: int, *, mined: str = "", receipt: bytes | None = None, note: str = ""
    ) -> None:
        die_at(self.instant, "before_receipt")
        await super().finish(key, state, now, mined=mined, receipt=receipt, note=note)
        die_at(self.instant, "after_receipt")


async def spend(url: str, addresses: dict[str, str], chain_id: int, folder: Path, instant: str, payments: int) -> None:
    DyingRpc.instant = DyingTransactions.instant = instant
    vars(transact)["Transactions"] = DyingTransactions
    rpc = DyingRpc(url)
    chain = Chain(rpc, addresses, chain_id)
    async with (
        open_journal(folder / "journal.db") as journal,
        open_transactor(chain, wallet_of("alice"), journal, poll_s=0.05) as transactor,
    ):
        print("paying", flush=True)
        async with trio.open_nursery() as nursery:
            for worker in range(min(payments, WORKERS)):
                nursery.start_soon(pay, chain, transactor, range(worker, payments, WORKERS))
    await rpc.close()


async def pay(chain: Chain, transactor: Transactor, places: Iterable[int]) -> None:
    for place in places:
        await transactor.once(f"{KEY}:{place}", chain.token.transfer(RECEIVER, AMOUNT), timeout_s=60)


if __name__ == "__main__":
    trio.run(
        spend,
        sys.argv[1],
        json.loads(sys.argv[2]),
        int(sys.argv[3]),
        Path(sys.argv[4]),
        sys.argv[5],
        int((sys.argv[6:] or ["1"])[0]),
    )
