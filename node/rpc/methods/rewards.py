"""rewards: what the contracts owe this wallet."""

from __future__ import annotations

from node.feedback.rewards import Rewards
from node.rpc.method import Method
from node.rpc.values import Result, items


def methods(rewards: Rewards) -> list[Method]:
    """List and claim."""

    async def listed() -> Result:
        """What could be claimed now: sales, feedback, shares of models' revenue."""
        return items(await rewards.list())

    async def claim() -> Result:
        """Claim everything."""
        return items(await rewards.claim())

    return [Method("rewards.list", listed), Method("rewards.claim", claim, deadline_s=600)]
