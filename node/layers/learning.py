"""What it is for: models, feedback, rewards, insights."""

from __future__ import annotations

import msgspec

from node.feedback.rewards import Rewards
from node.feedback.service import Feedback
from node.insights.service import Insights
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
from node.models.directory import Directory
from node.models.earnings import Earnings
from node.models.publishing import Publishing, PublishPolicy
from node.models.service import Models
from node.models.serving import Serving
from node.models.workshop import Workshop
from protocols.ids import Address


class Learning(msgspec.Struct, frozen=True, kw_only=True):
    """What it is for: models, feedback, rewards, insights."""

    models: Models
    feedback: Feedback
    rewards: Rewards
    insights: Insights


def open_learning(base: Base, carriage: Carriage, market: Market, exchange: Exchange, money: Money) -> Learning:
    """Models, feedback, rewards, insights."""
    models = open_models(base, carriage, market, money)
    feedback = Feedback(
        wallet=base.wallet,
        chain=base.chain,
        transactor=base.transactor,
        store=FeedbackStore(base.journal),
        deals=exchange.deals,
        catalog=market.catalog,
        gossip=market.gossip,
        context=base.context,
        clock=now,
    )
    rewards = Rewards(
        wallet=base.wallet,
        chain=base.chain,
        transactor=base.transactor,
        publications=market.publications,
        models=models,
    )
    insights = Insights(
        shard=carriage.shard,
        catalog=market.catalog,
        deals=exchange.deals,
        rewards=rewards,
        wallet=base.wallet,
    )
    return Learning(models=models, feedback=feedback, rewards=rewards, insights=insights)


def open_models(base: Base, carriage: Carriage, market: Market, money: Money) -> Models:
    """Workshop, publishing, serving, calling, earnings."""
    chain, settings = base.chain, base.settings
    store, accounts = ModelStore(base.journal), ModelAccounts(base.journal)
    artifacts = Artifacts(base.paths.models)
    workshop = Workshop(
        shard=carriage.shard,
        embedder=carriage.embedder,
        store=store,
        artifacts=artifacts,
        wallet=base.wallet,
        events=base.events,
        held_out_ppm=settings.models.held_out_ppm,
        threads=settings.models.threads,
        clock=now,
    )
    market.erasure.on_forget(workshop.forget)
    publishing = Publishing(
        workshop=workshop,
        store=store,
        registry=chain.models,
        transactor=base.transactor,
        blocks=carriage.blocks,
        announcer=market.gossip,
        events=base.events,
        policy=PublishPolicy(
            network=base.context.network,
            chain_id=base.context.chain_id,
            publisher_bps=settings.models.publisher_bps,
            default_price_wei=settings.models.price_wei,
        ),
        clock=now,
    )
    serving = Serving(
        store=store,
        accounts=accounts,
        artifacts=artifacts,
        embedder=carriage.embedder,
        registry=chain.models,
        till=money.till,
        wallet=base.wallet,
        wire=carriage.network,
        events=base.events,
        chain_id=chain.chain_id,
        clock=now,
    )
    directory = Directory(market.catalog, chain.models, now)
    calling = Calling(
        directory=directory,
        calls=ModelCalls(base.journal),
        own=serving,
        purse=money.lanes,
        bank=chain.bank,
        wallet=base.wallet,
        wire=carriage.network,
        events=base.events,
        payee=Address(chain.models.address),
        chain_id=chain.chain_id,
        clock=now,
    )
    earnings = Earnings(
        store=store,
        directory=directory,
        registry=chain.models,
        settler=money.settler,
        transactor=base.transactor,
        wallet=base.wallet,
        events=base.events,
        clock=now,
    )
    models = Models(
        workshop=workshop,
        publishing=publishing,
        serving=serving,
        calling=calling,
        earnings=earnings,
        directory=directory,
    )
    models.serve()
    return models
