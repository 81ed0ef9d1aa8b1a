"""What must be right: journal, keys, chain, outbox."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

import msgspec
import trio

from config.loader import Loaded
from config.paths import NodePaths
from config.settings import Settings
from contracts.chain import Chain, open_chain
from node.identity.keyfile import network_key
from node.identity.keystore import Keystore
from node.identity.wallet_key import Wallet
from node.journal import Journal, open_journal
from node.journal.addresses import AddressBook
from node.market.kinds import Context
from node.observe.events import EventBus
from node.wallet.addresses import Addresses, resolve
from node.wallet.transact import Transactor, open_transactor


def now() -> int:
    """UTC seconds."""
    return int(time.time())


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """What must be right: journal, keys, chain, outbox."""

    loaded: Loaded
    paths: NodePaths
    events: EventBus
    journal: Journal
    seed: bytes
    wallet: Wallet
    chain: Chain
    addresses: Addresses
    transactor: Transactor
    context: Context
    nursery: trio.Nursery

    @property
    def settings(self) -> Settings:
        return self.loaded.settings

    @property
    def poll_s(self) -> float:
        return self.settings.chain.poll_ms / 1_000


async def open_base(stack: AsyncExitStack, loaded: Loaded, paths: NodePaths) -> Base:
    """Journal, keys, chain, outbox."""
    settings, profile = loaded.settings, loaded.settings.profile
    journal = await stack.enter_async_context(open_journal(paths.journal))
    # vouchers are signed on the journal's thread, where trio has no clock
    wallet = Wallet(Keystore(paths.keystore, scrypt_log2=settings.wallet.scrypt_log2), clock=time.monotonic)
    endpoints = settings.chain.rpc or profile.chain.rpc
    given, book = msgspec.structs.asdict(profile.contracts), AddressBook(journal, profile.contracts.directory)
    used = await resolve(endpoints, profile.chain.id, given, book, now())
    chain = await stack.enter_async_context(
        open_chain(
            endpoints,
            {name: one.address for name, one in used.items()},
            profile.chain.id,
            timeout_s=settings.chain.timeout_s,
        )
    )
    outbox = open_transactor(
        chain,
        wallet,
        journal,
        confirmations=settings.chain.confirmations,
        max_fee_gwei=settings.chain.max_fee_gwei,
        poll_s=settings.chain.poll_ms / 1_000,
    )
    transactor = await stack.enter_async_context(outbox)
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)
    events = EventBus()
    addresses = Addresses(chain, used, book, events)
    nursery.start_soon(addresses.run)
    return Base(
        loaded=loaded,
        paths=paths,
        events=events,
        journal=journal,
        seed=network_key(paths.identity),
        wallet=wallet,
        chain=chain,
        addresses=addresses,
        transactor=transactor,
        context=Context(network=profile.network_id, chain_id=profile.chain.id),
        nursery=nursery,
    )
