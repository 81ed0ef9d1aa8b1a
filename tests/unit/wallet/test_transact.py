"""Which nonce a new transaction takes."""

from __future__ import annotations

from pathlib import Path

from node.journal import open_journal
from node.journal.transactions import Attempt, Step, Transactions
from node.wallet.transact import Transactor
from tests.support.accounts import wallet_of


class Endpoint:
    """A chain whose endpoint has seen `seen` transactions of anybody."""

    def __init__(self, seen: int) -> None:
        self.seen = seen

    async def nonce(self, account: str, block: str = "pending") -> int:
        return self.seen


def step(nonce: int, state: str, sender: str) -> tuple[Step, Attempt]:
    key, name = f"step:{nonce}", f"0x{nonce:064x}"
    row = Step(key, sender, "0x", b"", "0", state, nonce, 21_000, name, None, "", 0, 0)  # type: ignore[arg-type]
    return row, Attempt(name, key, nonce, b"", "0", "0", 0, 0)


async def test_what_is_journalled_and_not_yet_seen_by_the_endpoint_is_counted(tmp_path: Path) -> None:
    wallet = wallet_of("alice")
    async with open_journal(tmp_path / "journal.db") as journal:
        store = Transactions(journal)

        async def next_nonce(seen: int) -> int:
            transactor = Transactor(
                Endpoint(seen),  # type: ignore[arg-type]
                wallet,
                store,
                max_fee_wei=0,
                poll_s=1,
                clock=int,
                watcher=None,  # type: ignore[arg-type]
            )
            return await transactor._next_nonce()

        assert await next_nonce(3) == 3
        await store.sign(*step(3, "open", wallet.address))
        await store.sign(*step(4, "open", wallet.address))
        assert await next_nonce(3) == 5
        assert await next_nonce(9) == 9  # another process was faster
        await store.sign(*step(20, "open", wallet_of("bob").address))
        await store.sign(*step(21, "lost", wallet.address))
        assert await next_nonce(3) == 5
