"""Proposes who is rewarded for rating models, epoch by epoch: a role that any node may take (`rewards.distribute`).

    draft in the journal ─ stake ─ RewardPool.propose ─ epoch noted        the outbox key names the draft
    once the window is over: RewardPool.finish                             the stake comes home

A proposal rests on signed items of the catalogue whose authors have settled money on the lane, by the chain's word. The
list of items stays in the journal, its hash goes on chain.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import structlog

from contracts.chain import Chain
from contracts.errors import Reverted
from node.feedback.drafting import Draft, Fresh, Terms, draft, within
from node.feedback.epochs import Epochs, accounts_of, packed
from node.feedback.ports import Events, Wallet
from node.feedback.stakes import Stakes
from node.feedback.tickets import Tickets
from node.journal.epochs import Proposal, Proposals
from node.market.catalog.catalog import Catalog, Listed
from node.wallet.transact import Transactor
from protocols.feedback.epoch import PPM
from protocols.feedback.rating import Rating
from protocols.ids import Address

log = structlog.get_logger(__name__)

REST_S = 60  # after a refusal: what the contract does not take now it will not take a moment later


class Distributor:
    """One per node; `turn` does what is due."""

    def __init__(
        self,
        *,
        wallet: Wallet,
        chain: Chain,
        transactor: Transactor,
        stakes: Stakes,
        catalog: Catalog,
        tickets: Tickets,
        epochs: Epochs,
        store: Proposals,
        events: Events,
        least_wei: int,
        clock: Callable[[], int],
    ) -> None:
        self._wallet = wallet
        self._chain = chain
        self._transactor = transactor
        self._stakes = stakes
        self._catalog = catalog
        self._tickets = tickets
        self._epochs = epochs
        self._store = store
        self._events = events
        self._least_wei = least_wei
        self._clock = clock
        self._rest_until = 0

    async def turn(self) -> None:
        """Finish what is over, take up what was cut off, propose what is new. Raises WalletLocked, ChainError,
        InsufficientFunds.
        """
        self._transactor.require_unlocked()
        await self._finish()
        left = await self._store.drafted()
        if left is not None:
            await self._propose(left)
            return
        if await self._chain.timestamp() < max(self._rest_until, await self._chain.rewards.next_proposal_at()):
            return
        made = within(await self.draft(), await self._room())
        if made.accounts and made.total_wei >= self._least_wei:
            items = json.dumps(made.items).encode()
            await self._propose(await self._store.draft(packed(made.accounts), items, made.evidence, self._clock()))

    async def draft(self) -> Draft:
        """What would be proposed now."""
        fresh = [found for heard in self._catalog.every(Rating) if (found := await self._fresh(heard)) is not None]
        pool = self._chain.rewards
        terms = Terms(await self._chain.models.fee_bps(), await pool.beta_ppm())
        claimed: dict[str, int] = {rating.payer: await pool.claimed(rating.payer) for rating in fresh}
        return draft(fresh, await self._epochs.standings(), claimed, terms)

    async def _room(self) -> int:
        """Base units that may be rewarded, when the fees that wait are burnt, as `propose` does if it has to."""
        pool, models, sale = self._chain.rewards, self._chain.models, self._chain.sale
        waiting = await models.fees_due() + await sale.fees_due()
        return await pool.budget() + waiting * await pool.alpha_ppm() // PPM

    async def _fresh(self, heard: Listed[Rating]) -> Fresh | None:
        body, payer = heard.body, heard.item.signer
        if body.subject_kind != "model" or body.ticket != body.subject:
            return None
        paid_wei = await self._tickets.settled(body.subject, payer)
        if not paid_wei:
            return None
        return Fresh(Address(payer), bytes.fromhex(body.subject), heard.item.id, body.created_at, paid_wei)

    async def _propose(self, row: Proposal) -> None:
        if not await self._is_on_chain(row):  # else a process that was killed got this far, and the stake is bound
            await self._stakes.cover(await self._chain.rewards.proposer_stake())
        accounts = accounts_of(row.accounts)
        try:
            call = self._chain.rewards.propose(accounts, row.evidence)
            receipt = await self._transactor.once(f"rewards:propose:{row.proposal}", call)
        except Reverted as err:  # another node was quicker, or the budget is spent: the next draft looks anew
            await self._store.refused(row.proposal, err.name)
            self._rest_until = await self._chain.timestamp() + REST_S
            log.info("a proposal was not taken", proposal=row.proposal, reason=err.name)
            return
        epoch = self._chain.rewards.proposed(receipt)
        await self._store.proposed(row.proposal, epoch)
        total = sum(account.delta_wei for account in accounts)
        log.info("rewards proposed by this node", epoch=epoch, accounts=len(accounts), total_wei=total)
        self._events.publish(
            "rewards", {"state": "proposed", "epoch": epoch, "accounts": len(accounts), "total_wei": str(total)}
        )

    async def _is_on_chain(self, row: Proposal) -> bool:
        told = (self._wallet.address, row.evidence, row.accounts)
        return any(told == (one.proposer, one.evidence, one.accounts) for one in await self._epochs.all())

    async def _finish(self) -> None:
        now, mine = await self._chain.timestamp(), self._wallet.address
        for row in await self._epochs.all():
            if row.state != "proposed" or row.proposer != mine or now < row.ready_at:
                continue
            try:
                await self._transactor.once(f"rewards:finish:{row.epoch}", self._chain.rewards.finish(row.epoch))
            except Reverted as err:
                log.debug("an epoch is finished already", epoch=row.epoch, reason=err.name)
