"""Whose data is in a model, and is he weighed fairly? The contributor's watch over published weights.

    card ─ names my dataset ─ weight below `low_ppm` of my share by facts ─ event `underweighted`
    models.challenge ─ stake ─ ModelRegistry.challenge    until the window closes, once a model
    tend ─ release, lapse                                 stakes go home when nobody doubted, or nobody ruled

What a contributor's node can recompute are the facts: records × quality of every dataset in the registry. What his
data was worth in the training only the builder can compute, and only the arbiter can ask him to show it; so a low
weight is a warning, and doubting it is the owner's decision: whoever is wrong loses his stake.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog
import trio

from contracts.bindings.models import Challenge, Model, Phase
from contracts.errors import ChainError, Reverted
from contracts.values import Call
from node.identity.errors import IdentityError
from node.journal.models import Models as ModelStore
from node.market.catalog.catalog import Listed
from node.market.kinds import Body
from node.models.directory import Directory
from node.models.earnings import Earnings, Part
from node.models.errors import NotYours, TooLate
from node.models.ports import Events, Registry, Surety, Transactor, Wallet
from node.wallet.errors import WalletError
from protocols.inference.card import ModelCard
from protocols.inference.weights import OWN, WHOLE_PPM

log = structlog.get_logger(__name__)

TEND_EVERY_S = 10.0  # windows last hours where money is real
TOLD = 10_000  # cards compared already
TROUBLE = (ChainError, IdentityError, WalletError)


class Dispute(msgspec.Struct, frozen=True):
    """Where the doubt about a model's weights stands. `state`:

    settled (nothing can be doubted any more), open (until `until_at`), over (nobody doubted, the stake is not home),
    challenged (by `challenger`, to be ruled until `until_at`), silent (the arbiter let the time pass).
    """

    state: str
    until_at: int = 0
    challenger: str = ""
    stake_wei: int = 0


class Challenged(msgspec.Struct, frozen=True):
    """A challenge that was brought."""

    model: str
    dataset: int
    weight_ppm: int
    fact_ppm: int
    stake_wei: int
    tx: str


class Challenges:
    """Warns, challenges, and brings stakes home. Run `tend` in the node's nursery."""

    def __init__(
        self,
        *,
        directory: Directory,
        earnings: Earnings,
        registry: Registry,
        surety: Surety,
        transactor: Transactor,
        store: ModelStore,
        wallet: Wallet,
        events: Events,
        low_ppm: int,
        clock: Callable[[], int],
    ) -> None:
        self._directory = directory
        self._earnings = earnings
        self._registry = registry
        self._surety = surety
        self._transactor = transactor
        self._store = store
        self._wallet = wallet
        self._events = events
        self._low_ppm = low_ppm
        self._clock = clock
        self._compared: dict[str, None] = {}
        self._home: set[str] = set()  # models about which nothing can happen any more
        self._cards = trio.Event()

    def heard(self, listed: Listed[Body]) -> None:
        """To be called for every new item of the catalogue."""
        if isinstance(listed.body, ModelCard):
            self._cards.set()

    async def state(self, model: str) -> Dispute:
        """The doubt about a published model's weights, from the chain."""
        return await self._dispute(model)

    async def challenge(self, model: str) -> Challenged:
        """Doubt a model's weights as the owner of one of its datasets, with this wallet's stake. Safe to repeat.

        Raises UnknownModel, NotYours, TooLate, WalletLocked, InsufficientFunds, Reverted.
        """
        self._transactor.require_unlocked()
        listed = await self._directory.find(model)
        parts = [part for part in await self._earnings.parts(listed) if part.dataset != OWN]
        if not parts:
            raise NotYours(f"no dataset of this wallet trained model {listed.body.model}")
        worst = min(parts, key=lambda part: (part.weight_ppm / max(1, part.fact_ppm), part.dataset))
        found = await self._dispute(listed.body.model)
        if found.challenger != self._wallet.address:  # else a killed process brought it, and the outbox knows
            _require_open(found)
            await self._surety.cover(found.stake_wei)
        receipt = await self._transactor.once(
            f"model:{listed.body.model}:challenge", self._registry.challenge(worst.share)
        )
        log.info("weights challenged", model=listed.body.model, dataset=worst.dataset, transaction=receipt.hash)
        self._events.publish("models", {"model": listed.body.model, "state": "challenged", "dataset": worst.dataset})
        return Challenged(
            listed.body.model, worst.dataset, worst.weight_ppm, worst.fact_ppm, found.stake_wei, receipt.hash
        )

    async def tend(self) -> None:
        """Until cancelled: compare new cards with the facts, bring stakes home."""
        while True:
            self._cards = trio.Event()
            try:
                await self.compare()
                if self._wallet.exists and not self._wallet.locked:
                    await self.bring_home()
            except TROUBLE as err:
                log.warning("weights could not be looked at", kind=err.kind, reason=str(err))
            with trio.move_on_after(TEND_EVERY_S):
                await self._cards.wait()

    async def compare(self) -> None:
        """Warn of every card not compared yet in which a dataset of ours weighs less than it should by facts."""
        if not self._wallet.exists:
            return
        for listed in await self._directory.cards():
            if listed.item.id in self._compared or listed.item.signer == self._wallet.address:
                continue
            for part in await self._earnings.parts(listed):
                if self.is_low(part):
                    self._warn(listed, part)
            self._compared[listed.item.id] = None
            while len(self._compared) > TOLD:
                del self._compared[next(iter(self._compared))]

    def is_low(self, part: Part) -> bool:
        """Whether a dataset has less than `low_ppm` of its share by facts."""
        return part.weight_ppm * WHOLE_PPM < part.fact_ppm * self._low_ppm

    async def bring_home(self) -> None:
        """Release and lapse what may be: own models that nobody doubted, and doubts (ours, or of ours) left unruled."""
        for model, owner in await self._concerned():
            if model in self._home:
                continue
            found, me, model_id = await self._dispute(model), self._wallet.address, bytes.fromhex(model)
            if found.state == "over" and owner == me:
                await self._once(model, "release", self._registry.release(model_id))
            elif found.state == "silent" and me in (owner, found.challenger):
                await self._once(model, "lapse", self._registry.lapse(model_id))
            elif found.state == "settled":
                self._home.add(model)

    async def _concerned(self) -> list[tuple[str, str]]:
        """Models whose stakes may be ours, with their publishers: published here, or with a dataset of ours."""
        own = [(row.model, self._wallet.address) for row in await self._store.all() if row.state == "published"]
        known = {model for model, _ in own}
        others = [one for one in await self._directory.cards() if one.body.model not in known]
        return [*own, *[(one.body.model, one.item.signer) for one in others if await self._earnings.has_part(one)]]

    async def _once(self, model: str, step: str, call: Call) -> None:
        try:
            receipt = await self._transactor.once(f"model:{model}:{step}", call)
        except Reverted as err:  # somebody else was quicker; the chain says so at the next look
            log.debug("a stake is home already", model=model, reason=err.name)
            return
        log.info("stake comes home", model=model, step=step, transaction=receipt.hash)
        self._events.publish("models", {"model": model, "state": step})

    async def _dispute(self, model: str) -> Dispute:
        model_id = bytes.fromhex(model)
        row, challenge = await self._registry.model(model_id), await self._registry.challenge_of(model_id)
        return dispute(row, challenge, await self._registry.challenge_stake(), self._clock())

    def _warn(self, listed: Listed[ModelCard], part: Part) -> None:
        log.warning(
            "a dataset of ours weighs little in a model",
            model=listed.body.model,
            dataset=part.dataset,
            weight_ppm=part.weight_ppm,
            fact_ppm=part.fact_ppm,
        )
        self._events.publish(
            "models",
            {
                "model": listed.body.model,
                "state": "underweighted",
                "dataset": part.dataset,
                "weight_ppm": part.weight_ppm,
                "fact_ppm": part.fact_ppm,
                "publisher": listed.item.signer,
            },
        )


def dispute(model: Model, challenge: Challenge, stake_wei: int, now: int) -> Dispute:
    """Where a doubt stands at a time."""
    if model.phase == Phase.STAKED:
        return Dispute("open" if now < model.active_at else "over", model.active_at, "", stake_wei)
    if model.phase == Phase.CHALLENGED:
        state = "challenged" if now <= challenge.ruling_until else "silent"
        return Dispute(state, challenge.ruling_until, challenge.challenger, stake_wei)
    challenger = challenge.challenger if challenge.ruling_until else ""
    return Dispute("settled", 0, challenger, stake_wei if challenger else 0)


def _require_open(found: Dispute) -> None:
    if found.state == "challenged":
        raise TooLate(f"{found.challenger} has challenged these weights already: they are looked at as a whole")
    if found.state != "open":
        raise TooLate("the time in which these weights can be challenged is over, or there was none")
