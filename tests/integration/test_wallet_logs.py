"""The log follower on a real chain: events decoded, a reorganisation undone, an outage waited out."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from contracts.errors import RpcUnavailable
from contracts.logs import Batch, LogTail
from tests.support.accounts import TOKEN
from tests.support.money import fresh_suite, open_purse, suite
from tests.support.suite import Suite

__all__ = ["fresh_suite", "suite"]

pytestmark = pytest.mark.chain


def told(batch: Batch) -> list[tuple[str, bool]]:
    return [(change.log.name, change.removed) for change in batch.changes]


async def test_deposits_are_followed_through_a_reorganisation(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with open_purse(suite, tmp_path, "alice") as alice:
            chain = alice.chain
            first = await chain.block_number() + 1
            tail = LogTail(chain, [chain.bank.address], [[chain.bank.topic("Deposited")]], first=first)
            cursor = (await tail.poll({})).cursor
            await alice.transactor.allow(chain.bank.address, 10 * TOKEN)
            for place in range(2):
                await alice.transactor.once(f"deposit:{place}", chain.bank.deposit(alice.address, TOKEN + place))
            batch = await tail.poll(cursor)
            assert told(batch) == [("Deposited", False)] * 2
            assert [change.log.args for change in batch.changes] == [
                {"payer": alice.address, "amount": TOKEN},
                {"payer": alice.address, "amount": TOKEN + 1},
            ]
            suite.anvil.call("anvil_reorg", 2, [])
            undone = await tail.poll(batch.cursor)
            assert told(undone)[:2] == [("Deposited", True)] * 2
            assert undone.changes[0].log.args["amount"] == TOKEN + 1
            assert (await tail.poll(undone.cursor)).changes == ()


async def test_a_restart_in_an_outage_loses_nothing(suite: Suite, tmp_path: Path) -> None:
    assert suite.anvil.process is not None
    with trio.fail_after(30):
        async with open_purse(suite, tmp_path, "alice") as alice:
            chain = alice.chain
            tail = LogTail(chain, [chain.token.address], first=await chain.block_number() + 1)
            cursor = (await tail.poll({})).cursor
            suite.send(suite.admin, "token", "transfer", alice.address, 1)
            suite.anvil.process.send_signal(19)
            try:
                await trio.sleep(0.1)
                chain.rpc._timeout_s = 0.2
                with pytest.raises(RpcUnavailable):
                    await tail.poll(cursor)
            finally:
                suite.anvil.process.send_signal(18)
                chain.rpc._timeout_s = 10
            again = LogTail(chain, [chain.token.address], first=0)
            assert told(await again.poll(cursor)) == [("Transfer", False)]


async def test_what_the_chain_says_of_itself(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with open_purse(suite, tmp_path, "alice") as alice:
            chain = alice.chain
            head = await chain.block()
            assert head is not None
            assert head.number == await chain.block_number()
            assert head.timestamp == await chain.timestamp()
            assert await chain.block(head.number + 1_000) is None
            assert await chain.block_hashes([0, head.number, head.number + 1_000]) == [
                await chain.genesis(),
                head.hash,
                None,
            ]
            assert await chain.token.supply() == 10**27
            assert await chain.sale.min_bond() == TOKEN
            assert await chain.registry.is_active(1) is False
            assert await chain.models.model_of_lane(1) == bytes(32)
            assert (await chain.sale.sale(1)).is_locked is False
