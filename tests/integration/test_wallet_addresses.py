"""A network file that gives the directory alone, and a directory that changes its mind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from contracts.chain import open_chain
from contracts.errors import RpcUnavailable
from contracts.params import text32
from node.journal import open_journal
from node.journal.addresses import AddressBook
from node.wallet.addresses import Addresses, Unfollowed, Used, WrongDirectory, money_left, resolve
from tests.integration.test_wallet_vouchers import vault
from tests.support.accounts import TOKEN
from tests.support.money import Quiet, fresh_suite, suite
from tests.support.suite import Suite

__all__ = ["fresh_suite", "suite"]

pytestmark = pytest.mark.chain


@asynccontextmanager
async def book(suite: Suite, folder: Path) -> AsyncIterator[AddressBook]:
    folder.mkdir(exist_ok=True)
    async with open_journal(folder / "journal.db") as journal:
        yield AddressBook(journal, suite.addresses["directory"])


def given(suite: Suite, *names: str) -> dict[str, str]:
    """A network file with these addresses only, and the directory's."""
    return {name: suite.addresses[name] if name in (*names, "directory") else "" for name in suite.addresses}


async def find(suite: Suite, known: AddressBook, *names: str, url: str = "") -> dict[str, Used]:
    return await resolve(url or suite.anvil.rpc_url, suite.deployment.chain_id, given(suite, *names), known, 1)


@asynccontextmanager
async def watched(suite: Suite, known: AddressBook, *names: str) -> AsyncIterator[Addresses]:
    used = await find(suite, known, *names)
    endpoints, addresses = suite.anvil.rpc_url, {name: one.address for name, one in used.items()}
    async with open_chain(endpoints, addresses, suite.deployment.chain_id) as chain:
        yield Addresses(chain, used, known, Quiet())


def announce(suite: Suite, name: str, target: str) -> None:
    suite.send(suite.admin, "directory", "schedule", text32(name), target)


def enact(suite: Suite, name: str) -> None:
    suite.pass_time(suite.view("directory", "delay") + 1)
    suite.send(suite.admin, "directory", "enact", text32(name))


async def test_the_directory_alone_is_enough_and_is_asked_once(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with book(suite, tmp_path) as known:
            used = await find(suite, known, "token")
            assert {name: one.address for name, one in used.items()} == suite.addresses
            origins = {name: one.origin for name, one in used.items()}
            assert origins.pop("token") == origins.pop("directory") == "network file"
            assert set(origins.values()) == {"directory"}
        async with book(suite, tmp_path) as known:  # after a restart, with no chain at all
            assert await find(suite, known, "token", url="http://127.0.0.1:9") == used
            with pytest.raises(RpcUnavailable):
                await find(suite, AddressBook(known._journal, suite.admin), url="http://127.0.0.1:9")


async def test_a_name_the_directory_does_not_know_is_said(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with book(suite, tmp_path) as known:
            addresses = {**given(suite), "lottery": ""}
            with pytest.raises(WrongDirectory, match="does not name lottery"):
                await resolve(suite.anvil.rpc_url, suite.deployment.chain_id, addresses, known, 1)
            assert await known.all() == {}


async def test_a_change_is_told_when_announced_and_when_made_and_never_followed_by_itself(
    suite: Suite, tmp_path: Path
) -> None:
    with trio.fail_after(20):
        async with book(suite, tmp_path) as known:
            async with watched(suite, known) as addresses:
                assert await addresses.look() == []
                announce(suite, "bank", suite.addresses["sale"])
                (note,) = await addresses.look()
                assert note.startswith(f"bank is to become {suite.addresses['sale']} at 20")
                assert await addresses.look() == [note]
                assert len(addresses._events.events) == 1  # told once, shown as long as it lasts
                enact(suite, "bank")
                (note,) = await addresses.look()
                old = suite.addresses["bank"]
                assert note == f"the directory names {suite.addresses['sale']} for bank, this node works with {old}"
                assert len(addresses._events.events) == 2
            async with watched(suite, known) as addresses:  # a restart does not follow either
                assert addresses.used["bank"].address == old
                assert len(await addresses.look()) == 1


async def test_following_is_the_owners_word_and_waits_for_his_money(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with vault(suite, tmp_path, "alice") as alice, book(suite, tmp_path / "node") as known:
            await alice.service.deposit(2 * TOKEN)
            who, chain = alice.purse.address, alice.purse.chain
            async with watched(suite, known, "sale") as addresses:
                with pytest.raises(Unfollowed, match="nothing new"):
                    await addresses.follow("bank", [], 2)
                announce(suite, "bank", suite.addresses["oracle"])
                announce(suite, "sale", suite.addresses["oracle"])
                enact(suite, "bank")
                suite.send(suite.admin, "directory", "enact", text32("sale"))
                with pytest.raises(Unfollowed, match=f"still holds money of this node: {2 * TOKEN} wei deposited"):
                    await addresses.follow("bank", await money_left(chain, who, "bank"), 2)
                with pytest.raises(Unfollowed, match="the network file names sale"):
                    await addresses.follow("sale", [], 2)
                await alice.service.withdraw()
                suite.pass_time(301)
                await alice.deposits.finish_exit()
                await addresses.follow("bank", await money_left(chain, who, "bank"), 2)
                assert addresses.used["bank"].address == suite.addresses["bank"]  # not in this run
            async with watched(suite, known, "sale") as addresses:
                assert addresses.used["bank"].address == suite.addresses["oracle"]
                assert [one.name for one in await addresses.standings() if one.moved] == ["sale"]


async def test_money_left_is_looked_for_where_it_can_be(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with vault(suite, tmp_path, "alice") as alice:
            who, chain = alice.purse.address, alice.purse.chain
            await alice.service.deposit(2 * TOKEN)
            left = {name: await money_left(chain, who, name) for name in suite.addresses}
            assert {name for name, found in left.items() if found} == {"bank"}
            suite.anvil.call("anvil_impersonateAccount", who)
            suite.send(who, "token", "approve", suite.addresses["stakes"], TOKEN)
            suite.send(who, "stakes", "stake", TOKEN)
            assert await money_left(chain, who, "stakes") == [f"{TOKEN} wei staked"]
