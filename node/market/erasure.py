"""Erasure: a record leaves this machine, and every offer that holds it ends.

    find ────── the records, the own publications with one of them                        nothing changed yet
    begin ───── one transaction: content keys destroyed, proof journalled                 state `begun`
    here ────── shard, indices, caches, bought keys, ciphertext, the journal's log        state `here`
    on chain ── withdrawal told, DataRegistry.revoke, KeySale.close, for each publication state `done`

The first three need no wallet. A step may be cut off anywhere and begun again: each asks what is there, and the chain's
go through the wallet's outbox. What was read into memory by a caller before `begin` is not followed.

Collecting its source again does not bring a record back: the journal keeps the hash of the raw item, and only that,
because an erasure that the next run of a timer undoes is none. Whoever means it removes the source (`collect.remove`)
and adds it again, or collects the text from another one: a fresh decision with a consent of its own.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import structlog
import trio

from contracts.chain import Chain
from contracts.errors import ChainError, Reverted
from contracts.values import Call, Receipt
from node.blocks import Blocks, BlocksError
from node.identity.errors import IdentityError
from node.journal.catalog import CatalogStore
from node.journal.deals import Deals
from node.journal.erasures import ErasureRow, Erasures
from node.journal.errors import JournalError
from node.journal.publications import Publications
from node.journal.transactions import Transactions
from node.market.catalog.catalog import Catalog, Listed
from node.market.offers import Offers
from node.market.ports import Events
from node.market.proof import Gone, Proof, RevokedOffer, remains_of, revoked, without_sketch
from node.network.errors import NetworkError
from node.shard import Filter, Shard
from node.shard.errors import ShardError
from node.wallet.errors import WalletError
from node.wallet.transact import Transactor
from protocols.ids import Cid
from protocols.offers.offer import Offer

log = structlog.get_logger(__name__)

ANSWER_S = 120.0  # whoever asks hears by then how far it is; the rest goes on with the next unlock, or in a minute
TROUBLE_HERE = (BlocksError, JournalError, ShardError)
TROUBLE_ON_CHAIN = (ChainError, WalletError, IdentityError, NetworkError)

# Drops what it holds of the gone records; answers what it cannot undo, in sentences for a person. Safe to repeat.
Hook = Callable[[Gone], Awaitable[list[str]]]


class Erasure:
    """Forgets records, one erasure after the other."""

    def __init__(
        self,
        *,
        shard: Shard,
        blocks: Blocks,
        chain: Chain,
        transactor: Transactor,
        offers: Offers,
        catalog: Catalog,
        catalog_store: CatalogStore,
        publications: Publications,
        deals: Deals,
        transactions: Transactions,
        store: Erasures,
        events: Events,
        clock: Callable[[], int],
    ) -> None:
        self._shard = shard
        self._blocks = blocks
        self._chain = chain
        self._transactor = transactor
        self._offers = offers
        self._catalog = catalog
        self._catalog_store = catalog_store
        self._publications = publications
        self._deals = deals
        self._transactions = transactions
        self._store = store
        self._events = events
        self._clock = clock
        self._hooks: list[Hook] = []
        self._here = trio.Lock()
        self._on_chain = trio.Lock()
        self.waiting = False  # something is left to do: ask `resume` again

    def on_forget(self, hook: Hook) -> None:
        """Call `hook` for whatever is forgotten from now on."""
        self._hooks.append(hook)

    @asynccontextmanager
    async def undisturbed(self) -> AsyncIterator[None]:
        """No erasure begins within: for those who read a record and write it back."""
        async with self._here:
            yield

    async def forget(self, *, id: str = "", subject: str = "") -> Proof:
        """Erase a record, or all about a subject; the proof of it, with what still waits. Forgetting again is harmless.

        Raises what the shard and the journal raise; then the erasure is not begun, or goes on by itself.
        """
        ids = [id] if id else (await self._shard.matrix(Filter(subject=subject)))[0]
        known = await self._store.of_record(id) if id else None
        async with self._here:
            proof = await self._begin(ids, subject)
            if proof is None:
                proof = _proof(known) if known is not None else Proof(erasure="", state="done")
            if proof.state == "begun":
                proof = await self._destroy(proof)
        if proof.state == "here":
            with trio.move_on_after(ANSWER_S):
                await self._finish(proof)
            proof = await self._read(proof)
        self.waiting = bool(await self._store.unfinished())
        if proof.state == "here" and not proof.waiting:
            return _with(proof, waiting=f"the chain did not answer within {ANSWER_S:.0f} s; it goes on by itself")
        return proof

    async def newest(self, limit: int) -> list[Proof]:
        """What was erased, newest first."""
        return [_proof(row) for row in await self._store.newest(limit)]

    async def resume(self, *, here_only: bool = False) -> None:
        """Go on with what a crash, a lock or trouble cut off; `here_only` needs no wallet."""
        rows = await self._store.unfinished()
        self.waiting = bool(rows)
        for row in rows:
            proof = _proof(row)
            async with self._here:
                proof = await self._destroy(proof) if proof.state == "begun" else proof
            if proof.state == "here" and not here_only:
                await self._finish(proof)
        self.waiting = bool(await self._store.unfinished())

    # --- on this machine ---

    async def _begin(self, ids: Sequence[str], subject: str) -> Proof | None:
        """The journalled erasure, from which on every content key is gone; None when there is nothing to erase."""
        async with self._offers.choosing:
            held = await self._shard.fetch(ids)
            rows = await self._publications.containing(ids)
            if not held and not rows:
                return None
            offers = [revoked(row, await self._deals.of_offer("seller", row.offer)) for row in rows]
            proof = Proof(
                erasure=os.urandom(16).hex(),
                records=list(ids),
                forgotten=len(held),
                domains=sorted({record.domain for record in held} | {offer.domain for offer in offers}),
                offers=offers,
                purchases=sorted({record.deal for record in held if record.deal}),
                remains=[said for offer in offers for said in remains_of(offer)],
                begun_at=self._clock(),
            )
            row = ErasureRow(proof.erasure, "begun", msgspec.json.encode(proof), proof.begun_at)
            drafts = {row.publication: without_sketch(row) for row in rows}
            await self._store.begin(row, ids, drafts, subject)
        log.info("erasure begun", erasure=proof.erasure, records=len(ids), offers=len(offers))
        return proof

    async def _destroy(self, proof: Proof) -> Proof:
        """Everything that this machine holds."""
        for row in await self._publications.all():
            if any(row.publication == offer.publication for offer in proof.offers):
                self._offers.unindex(row)
        said = []
        try:
            await self._shard.forget(proof.records)
            for hook in self._hooks:
                said += await hook(Gone(proof.records, proof.domains, proof.purchases))
            offers = [await self._drop(offer) for offer in proof.offers]
            await self._store.scrub()
        except TROUBLE_HERE as err:
            log.warning("erasure waits", erasure=proof.erasure, kind=err.kind, reason=str(err))
            return await self._keep(_with(proof, waiting=str(err)))
        proof = _with(proof, state="here", offers=offers, remains=proof.remains + said, waiting="")
        proof = await self._keep(proof if offers else _with(proof, state="done", done_at=self._clock()))
        self._events.publish("records", {"erasure": proof.erasure, "state": proof.state, "forgotten": proof.forgotten})
        return proof

    async def _drop(self, offer: RevokedOffer) -> RevokedOffer:
        removed = await self._blocks.drop(Cid(offer.cid))
        return msgspec.structs.replace(offer, ciphertext_removed=removed)

    # --- on chain, and to the peers ---

    async def _finish(self, proof: Proof) -> None:
        async with self._on_chain:
            proof = await self._read(proof)  # another may have finished it meanwhile
            if proof.state == "done":
                return
            for place, offer in enumerate(proof.offers):
                if not offer.settled:
                    proof = await self._settle(proof, place)
            if all(offer.settled for offer in proof.offers):
                await self._store.scrub()  # the withdrawn envelopes held sketches
                await self._keep(_with(proof, state="done", done_at=self._clock(), waiting=""))
                log.info("erasure done", erasure=proof.erasure, offers=len(proof.offers))
                self._events.publish("records", {"erasure": proof.erasure, "state": "done"})

    async def _settle(self, proof: Proof, place: int) -> Proof:
        offers = list(proof.offers)
        try:
            offers[place] = await self._retract(offers[place])
        except TROUBLE_ON_CHAIN as err:
            log.warning("erasure waits", erasure=proof.erasure, kind=err.kind, reason=str(err))
            return await self._keep(_with(proof, waiting=f"{offers[place].title!r} has still to be withdrawn: {err}"))
        return await self._keep(_with(proof, offers=offers))

    async def _retract(self, offer: RevokedOffer) -> RevokedOffer:
        """Tell the withdrawal, revoke the dataset, close the offer; whatever of them there is."""
        self._transactor.require_unlocked()
        await self._offers.rest(offer.publication)  # a publication under way ends at its next step: its key is gone
        key, registry, sale = f"publication:{offer.publication}", self._chain.registry, self._chain.sale
        dataset = offer.dataset or await self._made(f"{key}:register", registry.registered)
        told = {offer.offer} - {""}
        for listed in self._listed(dataset):
            await self._offers.tell_withdrawn(listed)
            told.add(listed.item.id)
        for item in told:
            await self._catalog_store.remove(item)
        active = bool(dataset) and await registry.is_active(dataset)
        revoke_tx = await self._undo(f"{key}:revoke", registry.revoke(dataset), needed=active)
        offer_no = offer.offer_no or await self._made(f"{key}:offer", sale.offered)
        is_open = bool(offer_no) and (await sale.offer_terms(offer_no)).is_open
        close_tx = await self._undo(f"{key}:close", sale.close(offer_no), needed=is_open)
        return msgspec.structs.replace(
            offer, dataset=dataset, offer_no=offer_no, withdrawn=bool(told), revoke_tx=revoke_tx, close_tx=close_tx,
            settled=True,
        )  # fmt: skip

    def _listed(self, dataset: int) -> list[Listed[Offer]]:
        return [
            listed
            for listed in self._catalog.every(Offer, signer=self._transactor.address)
            if dataset and listed.body.dataset == dataset
        ]

    async def _undo(self, key: str, call: Call, *, needed: bool) -> str:
        """The transaction that did it: now, or at an earlier try; '' when there was nothing to undo."""
        if needed:
            return (await self._transactor.once(key, call)).hash
        step = await self._transactions.get(key)
        return step.hash if step is not None and step.state == "done" else ""

    async def _made(self, key: str, read: Callable[[Receipt], int]) -> int:
        """What a step of the publication made on chain; 0 when it was never sent, or had no effect."""
        step = await self._transactions.get(key)
        if step is None or step.state not in ("open", "done"):
            return 0
        try:
            return read(await self._transactor.once(key, Call(to=step.target, data=step.data)))
        except Reverted:
            return 0

    # --- the journal ---

    async def _keep(self, proof: Proof) -> Proof:
        await self._store.move(proof.erasure, proof.state, msgspec.json.encode(proof))  # type: ignore[arg-type]
        return proof

    async def _read(self, proof: Proof) -> Proof:
        row = await self._store.get(proof.erasure)
        return proof if row is None else _proof(row)


def _proof(row: ErasureRow) -> Proof:
    return msgspec.json.decode(row.body, type=Proof)


def _with(proof: Proof, **changes: Any) -> Proof:
    return msgspec.structs.replace(proof, **changes)
