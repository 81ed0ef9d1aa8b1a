"""What the exchange can answer with.

ExchangeError
├── NoSuchDeal       no deal of that id in this journal
├── OwnOffer         a wallet does not buy from itself
├── CannotDispute    the deal is not in a state that can be disputed
└── SellerSilent     the seller did not open what he has to open
    └── SellerBusy   he says that he cannot do so yet
"""

from __future__ import annotations


class ExchangeError(Exception):
    """A deal that cannot be made or changed as asked."""

    kind = "exchange"
    hint = ""


class NoSuchDeal(ExchangeError):
    kind = "not_found"
    hint = "list the deals: schwung deals list"


class OwnOffer(ExchangeError):
    kind = "refused"
    hint = "choose an offer of somebody else: schwung offers list"


class CannotDispute(ExchangeError):
    kind = "refused"
    hint = "see where the deal stands: schwung deals get DEAL"


class SellerSilent(ExchangeError):
    kind = "peer_unreachable"
    hint = "try again when the seller is there: schwung peers list"


class SellerBusy(SellerSilent):
    hint = "try again in a moment"
