"""Buyers who take the key and do not confirm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from node.exchange import acting
from node.exchange.acting import Acting
from protocols.exchange.confirmation import confirm_digest
from protocols.exchange.events import Confirm

Replace = Callable[[object, str, Any], None]


def signs_another_sale(replace: Replace, _: str) -> None:
    """Sends the seller a confirmation that is no confirmation of this sale, and none to the contract."""
    honest = Acting._call

    async def _call(self: Acting, terms: Any, action: Any) -> Any:
        return None if isinstance(action, Confirm) else await honest(self, terms, action)

    replace(acting, "confirm_digest", lambda domain, sale: confirm_digest(domain, sale + 1))
    replace(Acting, "_call", _call)


BEHAVIOURS: dict[str, Callable[[Replace, str], None]] = {"signs-another-sale": signs_another_sale}
