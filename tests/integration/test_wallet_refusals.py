"""Endpoints that refuse a transaction, refuse it and mine it all the same, or take it and lose the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from contracts.chain import Chain
from contracts.errors import RpcError, RpcUnavailable
from contracts.rpc import ChainRpc
from node.journal import open_journal
from node.journal.transactions import Transactions
from node.wallet.errors import InsufficientFunds, SendRefused
from node.wallet.transact import Transactor, open_transactor
from tests.support.accounts import wallet_of
from tests.support.money import fresh_suite, suite
from tests.support.spender import RECEIVER
from tests.support.suite import Suite

__all__ = ["fresh_suite", "suite"]

pytestmark = pytest.mark.chain


class Moody(ChainRpc):
    """Raises `trouble` at the next transaction; with `takes_it` only after passing it on."""

    trouble: Exception | None = None
    takes_it = False

    async def call(self, method: str, *params: Any, timeout_s: float | None = None) -> Any:
        trouble = self.trouble if method == "eth_sendRawTransaction" else None
        if trouble is None:
            return await super().call(method, *params, timeout_s=timeout_s)
        self.trouble = None
        if self.takes_it:
            await super().call(method, *params, timeout_s=timeout_s)
        raise trouble


@asynccontextmanager
async def moody(suite: Suite, folder: Path) -> AsyncIterator[tuple[Moody, Chain, Transactor, Transactions]]:
    rpc = Moody(suite.anvil.rpc_url, timeout_s=5)
    chain = Chain(rpc, suite.addresses, suite.deployment.chain_id)
    try:
        async with (
            open_journal(folder / "journal.db") as journal,
            open_transactor(chain, wallet_of("alice"), journal, poll_s=0.05) as transactor,
        ):
            yield rpc, chain, transactor, Transactions(journal)
    finally:
        await rpc.close()


async def test_a_refused_transaction_is_named_and_tried_again_under_its_nonce(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with moody(suite, tmp_path) as (rpc, chain, transactor, store):
            rpc.trouble = RpcError(-32000, "exceeds block gas limit")
            with pytest.raises(SendRefused, match="exceeds block gas limit"):
                await transactor.once("pay", chain.token.transfer(RECEIVER, 5))
            assert await store.open(wallet_of("alice").address) == []
            await transactor.once("pay", chain.token.transfer(RECEIVER, 5))
            assert [attempt.nonce for attempt in await store.attempts("pay")][-1] == 0
            assert await chain.token.balance(RECEIVER) == 5


async def test_two_equal_payments_stay_two_when_the_first_was_refused(suite: Suite, tmp_path: Path) -> None:
    """The second takes the nonce that the first was refused under, and signing is deterministic."""
    with trio.fail_after(20):
        async with moody(suite, tmp_path) as (rpc, chain, transactor, _):
            call = chain.token.transfer(RECEIVER, 5)
            rpc.trouble = RpcError(-32000, "exceeds block gas limit")
            with pytest.raises(SendRefused):
                await transactor.once("first", call)
            await transactor.once("second", call)
            await transactor.once("first", call)
            assert await chain.token.balance(RECEIVER) == 10


async def test_an_endpoint_that_says_no_and_mines_it_does_not_make_us_pay_twice(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with moody(suite, tmp_path) as (rpc, chain, transactor, store):
            rpc.trouble, rpc.takes_it = RpcError(-32000, "internal error"), True
            with pytest.raises(SendRefused):
                await transactor.once("pay", chain.token.transfer(RECEIVER, 5))
            suite.anvil.call("evm_mine")
            receipt = await transactor.once("pay", chain.token.transfer(RECEIVER, 5))
            assert receipt.ok
            assert await chain.token.balance(RECEIVER) == 5
            assert len(await store.attempts("pay")) == 1


async def test_a_lost_answer_is_no_trouble(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with moody(suite, tmp_path) as (rpc, chain, transactor, store):
            rpc.trouble, rpc.takes_it = RpcUnavailable("cut"), True
            await transactor.once("pay", chain.token.transfer(RECEIVER, 5))
            rpc.trouble, rpc.takes_it = RpcUnavailable("cut"), False
            await transactor.once("again", chain.token.transfer(RECEIVER, 5))
            assert await chain.token.balance(RECEIVER) == 10
            assert [len(await store.attempts(key)) for key in ("pay", "again")] == [1, 1]


async def test_money_that_went_between_check_and_sending_is_said_with_amounts(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with moody(suite, tmp_path) as (rpc, chain, transactor, _):
            rpc.trouble = RpcError(-32003, "Insufficient funds for gas * price + value")
            with pytest.raises(InsufficientFunds, match="native"):
                await transactor.once("pay", chain.token.transfer(RECEIVER, 5))


@pytest.mark.parametrize(
    "text", ["already known", "AlreadyKnown", "nonce too low", "replacement transaction underpriced"]
)
async def test_what_the_endpoint_knows_better_is_left_to_the_watcher(suite: Suite, tmp_path: Path, text: str) -> None:
    with trio.fail_after(20):
        async with moody(suite, tmp_path) as (rpc, chain, transactor, _):
            rpc.trouble = RpcError(-32000, text)
            await transactor.once("pay", chain.token.transfer(RECEIVER, 5))
            assert await chain.token.balance(RECEIVER) == 5
