"""What it is for: models, feedback, rewards, insights."""

from __future__ import annotations

import msgspec

from node.feedback.border import Border
from node.feedback.distributor import Distributor
from node.feedback.epochs import Epochs
from node.feedback.rewards import Rewards
from node.feedback.rounds import Rounds
from node.feedback.service import Feedback
from node.feedback.stakes import Stakes
from node.feedback.standing import Standings
from node.feedback.tickets import Tickets
from node.feedback.watch import Watch
from node.insights.service import Insights
from node.journal.cursors import Cursors
from node.journal.epochs import Epochs as EpochStore
from node.journal.epochs import Proposals
from node.journal.feedback import FeedbackStore
from node.journal.model_accounts import ModelAccounts
from node.journal.model_calls import ModelCalls
from node.journal.models import Models as ModelStore
from node.layers.base import Base, now
from node.layers.carriage import Carriage
from node.layers.exchange import Exchange
from node.layers.market import Market
from node.layers.money import Money
from node.models.artifacts import Artifacts
from node.models.calling import Calling
from node.models.challenges import Challenges
from node.models.directory import Directory
from node.models.earnings import Earnings
from node.models.facts import Facts
from node.models.publishing import Publishing, PublishPolicy
from node.models.service import Models
from node.models.serving import Serving
from node.models.workshop import Workshop
from protocols.ids import Address

ROUND_POLLS = 5  # rewards are in no hurry: a round for every few looks at the chain


class Learning(msgspec.Struct, frozen=True, kw_only=True):
    """What it is for: models, feedback, rewards, insights."""

    models: Models
    feedback: Feedback
    rewards: Rewards
    stakes: Stakes
    standings: Standings
    insights: Insights


def open_learning(base: Base, carriage: Carriage, market: Market, exchange: Exchange, money: Money) -> Learning:
    """Models, feedback, rewards, insights."""
    stakes = Stakes(wallet=base.wallet, chain=base.chain, transactor=base.transactor)
    tickets = Tickets(base.chain, market.catalog)
    standings = Standings(wallet=base.wallet, chain=base.chain, catalog=market.catalog, tickets=tickets)
    market.gossip.on_item(standings.heard)
    base.nursery.start_soon(standings.tend)
    market.demands.weigh_by(standings.weight)
    models = open_models(base, carriage, market, money, stakes, standings)
    feedback = open_feedback(base, market, exchange, tickets)
    epochs = open_rounds(base, market, stakes, tickets)
    rewards = Rewards(
        wallet=base.wallet,
        chain=base.chain,
        transactor=base.transactor,
        publications=market.publications,
        models=models,
        epochs=epochs,
        stakes=stakes,
        standing=exchange.standing,
    )
    insights = Insights(
        shard=carriage.shard,
        catalog=market.catalog,
        deals=exchange.deals,
        rewards=rewards,
        models=models,
        wallet=base.wallet,
    )
    return Learning(
        models=models, feedback=feedback, rewards=rewards, stakes=stakes, standings=standings, insights=insights
    )


def open_feedback(base: Base, market: Market, exchange: Exchange, tickets: Tickets) -> Feedback:
    """Ratings, and the border that lets none in without a ticket."""
    border = Border(tickets, market.gossip.take)
    market.gossip.on_border(border.lets_in)
    base.nursery.start_soon(border.tend)
    return Feedback(
        wallet=base.wallet,
        chain=base.chain,
        transactor=base.transactor,
        store=FeedbackStore(base.journal),
        deals=exchange.deals,
        catalog=market.catalog,
        tickets=tickets,
        gossip=market.gossip,
        context=base.context,
        clock=now,
    )


def open_rounds(base: Base, market: Market, stakes: Stakes, tickets: Tickets) -> Epochs:
    """The rewards' epochs, and this node's part in them."""
    chosen = base.settings.rewards
    epochs = Epochs(
        base.chain,
        EpochStore(base.journal),
        Cursors(base.journal),
        first_block=base.settings.profile.deployed_block,
        confirmations=base.settings.chain.confirmations,
    )
    watch = Watch(
        wallet=base.wallet,
        chain=base.chain,
        transactor=base.transactor,
        tickets=tickets,
        epochs=epochs,
        events=base.events,
    )
    distributor = Distributor(
        wallet=base.wallet,
        chain=base.chain,
        transactor=base.transactor,
        stakes=stakes,
        catalog=market.catalog,
        tickets=tickets,
        epochs=epochs,
        store=Proposals(base.journal),
        events=base.events,
        least_wei=chosen.least_wei,
        clock=now,
    )
    rounds = Rounds(
        wallet=base.wallet,
        epochs=epochs,
        watch=watch if chosen.watch else None,
        distributor=distributor if chosen.distribute else None,
        every_s=ROUND_POLLS * base.poll_s,
    )
    base.nursery.start_soon(rounds.run)
    return epochs


def open_models(
    base: Base, carriage: Carriage, market: Market, money: Money, stakes: Stakes, standings: Standings
) -> Models:
    """Workshop, publishing, serving, calling, earnings."""
    store, facts = ModelStore(base.journal), Facts(base.chain.registry)
    artifacts = Artifacts(base.paths.models)
    workshop = open_workshop(base, carriage, standings, store, artifacts)
    market.erasure.on_forget(workshop.forget)
    directory = Directory(market.catalog, base.chain.models, facts, now)
    serving = open_serving(base, carriage, money, store, artifacts)
    earnings = Earnings(
        store=store,
        directory=directory,
        registry=base.chain.models,
        facts=facts,
        settler=money.settler,
        transactor=base.transactor,
        wallet=base.wallet,
        events=base.events,
        chain_time=base.chain.timestamp,
    )
    challenges = Challenges(
        directory=directory,
        earnings=earnings,
        registry=base.chain.models,
        surety=stakes,
        transactor=base.transactor,
        store=store,
        wallet=base.wallet,
        events=base.events,
        low_ppm=base.settings.models.low_weight_ppm,
        clock=now,
    )
    market.gossip.on_item(challenges.heard)
    models = Models(
        workshop=workshop,
        publishing=open_publishing(base, carriage, market, stakes, store, facts, workshop),
        serving=serving,
        calling=open_calling(base, carriage, money, directory, serving),
        earnings=earnings,
        challenges=challenges,
        directory=directory,
        registry=base.chain.models,
        facts=facts,
        standings=standings,
    )
    models.serve()
    base.nursery.start_soon(models.tend)
    return models


def open_workshop(
    base: Base, carriage: Carriage, standings: Standings, store: ModelStore, artifacts: Artifacts
) -> Workshop:
    """Where models are trained."""
    return Workshop(
        shard=carriage.shard,
        embedder=carriage.embedder,
        store=store,
        artifacts=artifacts,
        wallet=base.wallet,
        events=base.events,
        lessons=standings,
        held_out_ppm=base.settings.models.held_out_ppm,
        threads=base.settings.models.threads,
        clock=now,
    )


def open_publishing(
    base: Base,
    carriage: Carriage,
    market: Market,
    stakes: Stakes,
    store: ModelStore,
    facts: Facts,
    workshop: Workshop,
) -> Publishing:
    """How a model comes to the chain and is told."""
    chosen = base.settings.models
    return Publishing(
        workshop=workshop,
        store=store,
        registry=base.chain.models,
        facts=facts,
        surety=stakes,
        transactor=base.transactor,
        blocks=carriage.blocks,
        announcer=market.gossip,
        events=base.events,
        policy=PublishPolicy(
            network=base.context.network,
            chain_id=base.context.chain_id,
            publisher_bps=chosen.publisher_bps,
            default_price_wei=chosen.price_wei,
            child_bps=chosen.child_bps,
            own_ppm=chosen.own_data_ppm,
        ),
        clock=now,
    )


def open_serving(base: Base, carriage: Carriage, money: Money, store: ModelStore, artifacts: Artifacts) -> Serving:
    """The provider's side of a call."""
    return Serving(
        store=store,
        accounts=ModelAccounts(base.journal),
        artifacts=artifacts,
        embedder=carriage.embedder,
        registry=base.chain.models,
        till=money.till,
        wallet=base.wallet,
        wire=carriage.network,
        events=base.events,
        chain_id=base.chain.chain_id,
        clock=now,
    )


def open_calling(base: Base, carriage: Carriage, money: Money, directory: Directory, own: Serving) -> Calling:
    """The consumer's side of a call."""
    return Calling(
        directory=directory,
        calls=ModelCalls(base.journal),
        own=own,
        purse=money.lanes,
        bank=base.chain.bank,
        wallet=base.wallet,
        wire=carriage.network,
        events=base.events,
        payee=Address(base.chain.models.address),
        chain_id=base.chain.chain_id,
        clock=now,
    )
