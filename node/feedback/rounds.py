"""The beat of the rewards: read the chain, refute what is false, propose what is due."""

from __future__ import annotations

import structlog
import trio

from contracts.errors import ChainError
from node.feedback.distributor import Distributor
from node.feedback.epochs import Epochs
from node.feedback.ports import Wallet
from node.feedback.watch import Watch
from node.identity.errors import IdentityError
from node.wallet.errors import WalletError

log = structlog.get_logger(__name__)

TROUBLE = (ChainError, IdentityError, WalletError)
TROUBLE_S = 10.0  # an endpoint or a purse in trouble is asked again after this


class Rounds:
    """Run `run` in the node's nursery. Without a distributor nothing is proposed, without a watch nothing refuted."""

    def __init__(
        self, *, wallet: Wallet, epochs: Epochs, watch: Watch | None, distributor: Distributor | None, every_s: float
    ) -> None:
        self._wallet = wallet
        self._epochs = epochs
        self._watch = watch
        self._distributor = distributor
        self._every_s = every_s

    async def run(self) -> None:
        """Turn after turn; trouble is told once and tried again."""
        trouble = ""
        while True:
            try:
                await self.turn()
                trouble = ""
            except TROUBLE as err:
                if str(err) != trouble:
                    log.warning("rewards wait", kind=err.kind, reason=str(err))
                trouble = str(err)
            await trio.sleep(TROUBLE_S if trouble else self._every_s)

    async def turn(self) -> None:
        """One round. Raises ChainError, WalletError."""
        await self._epochs.read()
        if self._watch is not None:
            await self._watch.look()
        if self._distributor is not None and self._wallet.exists and not self._wallet.locked:
            await self._distributor.turn()
