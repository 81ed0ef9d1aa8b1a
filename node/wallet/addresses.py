"""Which contracts this node works with: those of the network file and, where it leaves one out, those that the
network's directory named when the node first asked.

What was used once is used for good: money may be in it. When the directory says something else later, or announces that
it will, that is shown (`node.health`, `node.contracts`, topic `chain`) and nothing changes, until the owner says
`node.follow`, which is refused while money of his is in the old contract.

WrongDirectory: the directory does not name a contract that the network file leaves out
Unfollowed: nothing new is named, or money is still where it was
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
import structlog
import trio

from contracts.abi import Abi
from contracts.artifact import load
from contracts.bindings.directory import Directory
from contracts.chain import Chain
from contracts.errors import ChainError
from contracts.params import ZERO_ADDRESS
from contracts.rpc import open_rpc
from node.journal.addresses import AddressBook
from node.wallet.errors import WalletError
from node.wallet.moment import moment

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 600.0  # a change is announced days before it counts


class WrongDirectory(WalletError):
    kind = "wrong_directory"
    hint = "give the address in the network file, or correct contracts.directory"


class Unfollowed(WalletError):
    kind = "unfollowed"
    hint = "node.contracts shows what is used and what the directory says"


class Used(msgspec.Struct, frozen=True):
    """A contract in use and where its address comes from: "network file" or "directory"."""

    address: str
    origin: str


class Standing(msgspec.Struct, frozen=True):
    """A contract in use beside what the directory says: `named` now ("" for nothing), `announced` for later."""

    name: str
    address: str
    origin: str
    named: str
    announced: str
    announced_for: str | None

    @property
    def moved(self) -> bool:
        """Whether the directory names another contract than the one in use."""
        return self.named != "" and self.named.lower() != self.address.lower()

    @property
    def note(self) -> str:
        """What is worth a warning; "" when all is as it was."""
        if self.moved:
            return f"the directory names {self.named} for {self.name}, this node works with {self.address}"
        if self.announced:
            return f"{self.name} is to become {self.announced} at {self.announced_for}"
        return ""


class Publisher(Protocol):
    """Where a change is told."""

    def publish(self, topic: str, data: dict[str, object]) -> object: ...


async def resolve(
    endpoints: str | Sequence[str], chain_id: int, given: Mapping[str, str], book: AddressBook, now: int
) -> dict[str, Used]:
    """Every contract's address by short name. Raises WrongDirectory or ChainError; the chain is asked only for what
    neither the network file nor the journal has.
    """
    used = {name: Used(address, "network file") for name, address in given.items() if address}
    known = await book.all()
    used |= {name: Used(known[name], "directory") for name in given if name not in used and name in known}
    missing = [name for name in given if name not in used]
    if not missing:
        return used
    async with open_rpc(endpoints, chain_id=chain_id) as rpc:
        directory = Directory(rpc, given["directory"], Abi(load("Directory").abi))
        named = {name: target for name, target, _ in await directory.standing(missing)}
    if unnamed := [name for name in missing if named[name] == ZERO_ADDRESS]:
        raise WrongDirectory(f"the directory at {given['directory']} does not name {', '.join(unnamed)}")
    await book.put(named, now)
    log.info("contracts found in the directory", directory=given["directory"], names=missing)
    return used | {name: Used(named[name], "directory") for name in missing}


class Addresses:
    """What is in use, and an eye on the directory."""

    def __init__(self, chain: Chain, used: Mapping[str, Used], book: AddressBook, events: Publisher) -> None:
        self.used = dict(used)
        self._chain = chain
        self._book = book
        self._events = events
        self._told: dict[str, str] = {}

    async def standings(self) -> list[Standing]:
        """Each contract beside what the directory says now. Raises ChainError."""
        listing = await self._chain.directory.standing(list(self.used))
        return [
            Standing(
                name=name,
                address=self.used[name].address,
                origin=self.used[name].origin,
                named="" if named == ZERO_ADDRESS else named,
                announced="" if change.target == ZERO_ADDRESS else change.target,
                announced_for=moment(change.ready_at) if change.target != ZERO_ADDRESS else None,
            )
            for name, named, change in listing
        ]

    async def look(self) -> list[str]:
        """What is worth a warning; each is published once. Raises ChainError."""
        notes = {one.name: one.note for one in await self.standings() if one.note}
        for name, note in notes.items():
            if self._told.get(name) != note:
                log.warning("the directory says otherwise", name=name, note=note)
                self._events.publish("chain", {"state": "directory", "name": name, "note": note})
        self._told = notes
        return list(notes.values())

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            try:
                await self.look()
            except ChainError as err:
                log.debug("the directory cannot be read", reason=str(err))
            await trio.sleep(LOOK_EVERY_S)

    async def follow(self, name: str, left: Sequence[str], now: int) -> Standing:
        """Work with what the directory names, from the next start on. `left`: what money is still in the old contract.

        Raises Unfollowed or ChainError.
        """
        found = next((one for one in await self.standings() if one.name == name), None)
        if found is None or not found.moved:
            raise Unfollowed(f"the directory names nothing new for {name}")
        if found.origin != "directory":
            raise Unfollowed(f"the network file names {name}: change it there")
        if left:
            raise Unfollowed(f"{name} still holds money of this node: {'; '.join(left)}")
        await self._book.put({name: found.named}, now)
        log.info("directory followed", name=name, address=found.named, before=found.address)
        return found


async def money_left(chain: Chain, who: str, name: str) -> list[str]:
    """What an account still has in one of the contracts, in words; nothing for those that hold none.

    Raises ChainError.
    """
    found: dict[str, int] = {}
    if name == "bank":
        account = await chain.bank.account(who)
        found["deposited"] = account.free_wei
    elif name == "sale":
        found["credit"] = await chain.sale.credit(who)
    elif name == "rewards":
        found["credit"] = await chain.rewards.credit(who)
    elif name == "stakes":
        stake = await chain.stakes.account(who)
        found = {"staked": stake.free_wei, "leaving": stake.leaving_wei, "credit": await chain.stakes.credit(who)}
        for slasher in (chain.models.address, chain.rewards.address):
            found[f"bound by {slasher}"] = await chain.stakes.bound(who, slasher)
    return [f"{amount} wei {what}" for what, amount in found.items() if amount]
