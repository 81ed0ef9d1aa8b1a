"""Accounts and transactors over an anvil with the deployed suite, for tests of money."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from contracts.anvil import find_anvil, start_anvil
from contracts.chain import Chain, open_chain
from contracts.deploy import DeployParams
from node.journal import Journal, open_journal
from node.wallet.transact import Transactor, open_transactor
from tests.support.accounts import SECRETS, TOKEN, HotWallet, wallet_of
from tests.support.suite import Suite


@pytest.fixture(scope="module")
def fresh_suite() -> Iterator[Suite]:
    """One anvil and one deployment for a test module; tests take `suite`."""
    if find_anvil() is None:
        pytest.skip("anvil is missing: run `make contracts-deps`")
    with start_anvil() as anvil:
        yield Suite(anvil, DeployParams(exit_delay_s=300))


@pytest.fixture
def suite(fresh_suite: Suite) -> Iterator[Suite]:
    """The suite as deployed, whatever other tests did; every named account holds 100 coins and 1,000 tokens."""
    mark = fresh_suite.anvil.call("evm_snapshot")
    for name in SECRETS:
        address = wallet_of(name).address
        fresh_suite.anvil.call("anvil_setBalance", address, hex(100 * TOKEN))
        fresh_suite.send(fresh_suite.admin, "token", "transfer", address, 1_000 * TOKEN)
    yield fresh_suite
    fresh_suite.anvil.call("evm_setAutomine", True)
    fresh_suite.anvil.call("evm_revert", mark)


class Purse:
    """One account's wallet, journal and transactor on the suite's chain."""

    def __init__(self, wallet: HotWallet, chain: Chain, journal: Journal, transactor: Transactor) -> None:
        self.wallet = wallet
        self.address = wallet.address
        self.chain = chain
        self.journal = journal
        self.transactor = transactor


@asynccontextmanager
async def open_purse(
    suite: Suite, folder: Path, name: str, *, confirmations: int = 1, max_fee_gwei: float = 200
) -> AsyncIterator[Purse]:
    """Opening it twice over the same folder is a restart; over two folders, two processes with one wallet."""
    async with AsyncExitStack() as stack:
        wallet = wallet_of(name)
        chain = await stack.enter_async_context(
            open_chain(suite.anvil.rpc_url, suite.addresses, suite.deployment.chain_id, timeout_s=10)
        )
        folder.mkdir(exist_ok=True)
        journal = await stack.enter_async_context(open_journal(folder / "journal.db"))
        transactor = await stack.enter_async_context(
            open_transactor(chain, wallet, journal, confirmations=confirmations, max_fee_gwei=max_fee_gwei, poll_s=0.05)
        )
        yield Purse(wallet, chain, journal, transactor)
