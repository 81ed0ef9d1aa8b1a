"""Holes in Reputation."""

from holes.mutant import Mutant

MUTANTS = [
    Mutant("Reputation", "a sale counts twice", "if (_sales.get(saleId)) return false;"),
    Mutant("Reputation", "a counted sale is not remembered", "_sales.set(saleId);"),
    Mutant(
        "Reputation",
        "what was never paid counts",
        "if (s.state != KeySaleTypes.State.Paid && s.state != KeySaleTypes.State.Reclaimed) return false;",
    ),
    Mutant(
        "Reputation",
        "a sale whose share was taken back is lost",
        " && s.state != KeySaleTypes.State.Reclaimed",
    ),
    Mutant(
        "Reputation",
        "one bad sale stops the batch",
        "if (_countSale(saleIds[i])) ++counted;",
        "require(_countSale(saleIds[i])); ++counted;",
    ),
    Mutant(
        "Reputation",
        "the messenger is the seller",
        "address seller = sale.sellerOf(saleId >> 64);",
        "address seller = msg.sender;",
    ),
    Mutant("Reputation", "the seller is credited as a buyer", "++f.sold;", "++f.bought;"),
    Mutant("Reputation", "the price is not the seller's", "f.soldWei += s.price;"),
    Mutant("Reputation", "the price is not the buyer's", "f.spentWei += s.price;"),
    Mutant(
        "Reputation",
        "a good offer is a fault",
        "if (sale.offers(offerId).status != KeySaleTypes.Status.Bad) revert NotBad();",
    ),
    Mutant("Reputation", "a fault counts twice", "if (_faults.get(offerId)) revert AlreadyCounted();"),
    Mutant("Reputation", "a counted fault is not remembered", "_faults.set(offerId);"),
    Mutant("Reputation", "faults and sales share a bitmap", "_faults.set(offerId);", "_sales.set(offerId);"),
    Mutant("Reputation", "a lane counts twice", "laneCounted[modelId][payer] = paid;"),
    Mutant(
        "Reputation",
        "a lane counts all anew",
        "amount = paid - laneCounted[modelId][payer];",
        "amount = paid;",
    ),
    Mutant("Reputation", "an unknown model's lane counts", "if (publisher == address(0)) revert UnknownModel();"),
    Mutant("Reputation", "nothing counts as something", "if (amount == 0) revert NothingNewSettled();"),
    Mutant("Reputation", "what a model earned is not its publisher's", "f.soldWei += uint128(amount);"),
    Mutant("Reputation", "the newest fact is the first", "time < f.since", "time > f.since"),
    Mutant("Reputation", "the first fact in the books is the earliest", " || time < f.since"),
]
