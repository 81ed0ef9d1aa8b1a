"""Accounts and transactors over an anvil with the deployed suite, for tests of money."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path

import coincurve
import pytest

from contracts.anvil import find_anvil, start_anvil
from contracts.chain import Chain, open_chain
from contracts.deploy import DeployParams
from node.journal import Journal, open_journal
from node.wallet.cover import Cover
from node.wallet.deposits import Deposits
from node.wallet.erc1271 import ContractPayers
from node.wallet.lanes import Lanes
from node.wallet.service import WalletService
from node.wallet.settle import Policy, Settler
from node.wallet.till import Credit, Till
from node.wallet.transact import Transactor, open_transactor
from protocols import eip712
from protocols.ids import Address
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
        folder.mkdir(parents=True, exist_ok=True)
        journal = await stack.enter_async_context(open_journal(folder / "journal.db"))
        transactor = await stack.enter_async_context(
            open_transactor(chain, wallet, journal, confirmations=confirmations, max_fee_gwei=max_fee_gwei, poll_s=0.05)
        )
        yield Purse(wallet, chain, journal, transactor)


class Quiet:
    """An event bus nobody listens to; what was published stands in `events`."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def publish(self, topic: str, data: dict[str, object]) -> None:
        self.events.append((topic, data))


class Vault:
    """All of one node's money, on the clock of the chain's newest block."""

    def __init__(
        self,
        purse: Purse,
        suite: Suite,
        *,
        session_ttl_s: int = 86_400,
        session_cap_wei: int = 50 * TOKEN,
        credit_wei: int = 0,
        soft_limit_wei: int = 1_000 * TOKEN,
        policy: Policy = Policy(above_wei=10 * TOKEN, every_s=600),  # noqa: B008 (frozen)
    ) -> None:
        self.purse, self.suite = purse, suite
        chain, journal, wallet, transactor = purse.chain, purse.journal, purse.wallet, purse.transactor
        self.session = coincurve.PrivateKey(sha256(b"session" + wallet.key.secret).digest())
        hot, bank = eip712.address_of(self.session.public_key), Address(chain.bank.address)
        self.events = Quiet()
        self.cover = Cover(chain, fresh_s=0.0)
        self.lanes = Lanes(
            journal,
            self.cover,
            wallet,
            self.session,
            chain_id=chain.chain_id,
            bank=bank,
            max_spend_wei=10**30,
            clock=self.now,
        )
        self.contracts = ContractPayers(chain, fresh_s=0.0)
        self.settler = Settler(
            chain, transactor, journal, self.cover, self.contracts, policy=policy, events=self.events, clock=self.now
        )
        self.till = Till(
            journal,
            self.cover,
            self.contracts,
            chain_id=chain.chain_id,
            bank=bank,
            credit=Credit(soft_limit_wei, credit_wei),
            half_full=self.settler.wake,
            clock=self.now,
            reread_s=0,
        )
        self.deposits = Deposits(
            chain,
            transactor,
            wallet,
            hot,
            self.cover,
            session_ttl_s=session_ttl_s,
            session_cap_wei=session_cap_wei,
            events=self.events,
        )
        self.service = WalletService(
            wallet=wallet,  # type: ignore[arg-type]
            session=hot,
            chain=chain,
            transactor=transactor,
            journal=journal,
            deposits=self.deposits,
            settler=self.settler,
            max_spend_wei=10**30,
            events=self.events,
            clock=self.now,
        )

    def now(self) -> int:
        return int(self.suite.anvil.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
