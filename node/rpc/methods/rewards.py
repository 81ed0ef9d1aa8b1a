"""rewards: what the contracts owe this wallet."""

from __future__ import annotations

from node.feedback.rewards import Rewards
from node.feedback.stakes import Stakes
from node.rpc.method import Method
from node.rpc.values import Amount, Result, items, shown


def methods(rewards: Rewards, stakes: Stakes) -> list[Method]:
    """List, claim, stake, unstake."""

    async def listed() -> Result:
        """What could be claimed now: sales, feedback, epochs of rewards, shares of models' revenue, stake set free.

        `held` is what the sales contract keeps of own sales until buyers have looked, by offer.
        """
        return {**items(await rewards.list()), "held": shown(await rewards.held())}

    async def claim() -> Result:
        """Claim everything."""
        return items(await rewards.claim())

    async def stake(amount: Amount) -> Result:
        """Put money into the vault of stakes: it answers for own models' weights, challenges and proposed rewards."""
        return dict(shown(await stakes.stake(int(amount))))

    async def unstake(amount: Amount) -> Result:
        """Take free stake out; after the vault's delay `rewards.claim` fetches it."""
        return dict(shown(await stakes.unstake(int(amount))))

    return [
        Method("rewards.list", listed),
        Method("rewards.claim", claim, deadline_s=600),
        Method("rewards.stake", stake, deadline_s=300),
        Method("rewards.unstake", unstake, deadline_s=300),
    ]
