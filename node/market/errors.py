"""What the market can answer with.

MarketError
├── NotFound          no such offer, demand or record here
├── NothingToSell     the selection holds no record that may be sold
├── NotMine           only its signer may withdraw an item
├── Erased            a record of the offer was forgotten while it was published
└── CatalogFull       a signer is over his quota, or the catalogue over its size
"""

from __future__ import annotations


class MarketError(Exception):
    """A request to the market that cannot be met."""

    kind = "market"
    hint = ""


class NotFound(MarketError):
    kind = "not_found"
    hint = "list what is known: schwung offers list, schwung demands list"


class NothingToSell(MarketError):
    kind = "nothing_to_sell"
    hint = "see what the shard holds: schwung records stats"


class NotMine(MarketError):
    kind = "not_mine"
    hint = "an item is withdrawn by the wallet that signed it"


class Erased(MarketError):
    hint = "publish again: what is left of the selection can be offered"


class CatalogFull(MarketError):
    kind = "catalog_full"
    hint = "expired items make room; a signer over his quota waits"
