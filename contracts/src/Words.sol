// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Packed storage words. Assigning a struct writes its slot once for every field; these write once.

/// An offer, all that its sales touch:
/// price 88 | dataset 48 | maxOpen 24 | open 24 | sold 24 | uncollected 24 | desks 16 | status 8   (from the low end)
type OfferWord is uint256;

/// A sale: buyer 160 | deadline 64 | state 8 | desk 8. Once paid, the deadline is the time of the payment.
type SaleWord is uint256;

/// What an offer's paid sales have left in the contract, counted in sales:
/// bucket 64 | recent 24 | older 24 | ripe 24 | closedAt 64
/// `recent` were paid in this bucket of time, `older` in the one before it, `ripe` are the seller's. No sum of them can
/// exceed `sold`, so none runs over.
type HeldWord is uint256;

using OfferWords for OfferWord global;
using SaleWords for SaleWord global;
using HeldWords for HeldWord global;

library OfferWords {
    uint256 private constant DATASET = 88;
    uint256 private constant MAX_OPEN = 136;
    uint256 private constant OPEN = 160;
    uint256 private constant SOLD = 184;
    uint256 private constant UNCOLLECTED = 208;
    uint256 private constant DESKS = 232;
    uint256 private constant STATUS = 248;
    uint256 private constant COUNT = type(uint24).max;

    /// Desks 0 ... 15 keep the commitments of open sales and are used again; a sale that finds none free gets a slot of its own.
    uint256 internal constant DESK_COUNT = 16;

    function make(uint256 price_, uint256 dataset_, uint256 maxOpen_, uint256 status_) internal pure returns (OfferWord) {
        return OfferWord.wrap(price_ | dataset_ << DATASET | maxOpen_ << MAX_OPEN | status_ << STATUS);
    }

    function price(OfferWord w) internal pure returns (uint256) {
        return OfferWord.unwrap(w) & type(uint88).max;
    }

    function dataset(OfferWord w) internal pure returns (uint64) {
        return uint64(OfferWord.unwrap(w) >> DATASET & type(uint48).max);
    }

    function maxOpen(OfferWord w) internal pure returns (uint256) {
        return OfferWord.unwrap(w) >> MAX_OPEN & COUNT;
    }

    function open(OfferWord w) internal pure returns (uint256) {
        return OfferWord.unwrap(w) >> OPEN & COUNT;
    }

    function sold(OfferWord w) internal pure returns (uint256) {
        return OfferWord.unwrap(w) >> SOLD & COUNT;
    }

    function uncollected(OfferWord w) internal pure returns (uint256) {
        return OfferWord.unwrap(w) >> UNCOLLECTED & COUNT;
    }

    function status(OfferWord w) internal pure returns (uint256) {
        return OfferWord.unwrap(w) >> STATUS;
    }

    function withStatus(OfferWord w, uint256 status_) internal pure returns (OfferWord) {
        return OfferWord.wrap(OfferWord.unwrap(w) & (1 << STATUS) - 1 | status_ << STATUS);
    }

    function withNoneUncollected(OfferWord w) internal pure returns (OfferWord) {
        return OfferWord.wrap(OfferWord.unwrap(w) & ~(COUNT << UNCOLLECTED));
    }

    /// One more sale, and its desk. The caller has checked that open < maxOpen and that `sold` is not at its end.
    function opened(OfferWord w) internal pure returns (OfferWord, uint256 desk) {
        uint256 busy = OfferWord.unwrap(w) >> DESKS;
        while (desk < DESK_COUNT && busy >> desk & 1 == 1) ++desk;
        uint256 next = OfferWord.unwrap(w) + (1 << OPEN) + (1 << SOLD);
        if (desk < DESK_COUNT) next |= 1 << DESKS + desk;
        return (OfferWord.wrap(next), desk);
    }

    /// One sale less, its desk free again.
    function finished(OfferWord w, uint256 desk, bool paid) internal pure returns (OfferWord) {
        uint256 next = OfferWord.unwrap(w) - (1 << OPEN);
        if (desk < DESK_COUNT) next &= ~(1 << DESKS + desk);
        // uncollected <= sold, so it cannot run over
        return OfferWord.wrap(paid ? next + (1 << UNCOLLECTED) : next);
    }

    /// `sold` has 24 bits: after 16,777,215 sales an offer is exhausted.
    function exhausted(OfferWord w) internal pure returns (bool) {
        return sold(w) == COUNT;
    }
}

library SaleWords {
    uint256 private constant DEADLINE = 160;
    uint256 private constant STATE = 224;
    uint256 private constant DESK = 232;

    function make(address buyer_, uint256 deadline_, uint256 state_, uint256 desk_) internal pure returns (SaleWord) {
        return SaleWord.wrap(uint160(buyer_) | deadline_ << DEADLINE | state_ << STATE | desk_ << DESK);
    }

    function buyer(SaleWord w) internal pure returns (address) {
        return address(uint160(SaleWord.unwrap(w)));
    }

    function deadline(SaleWord w) internal pure returns (uint256) {
        return SaleWord.unwrap(w) >> DEADLINE & type(uint64).max;
    }

    function state(SaleWord w) internal pure returns (uint256) {
        return SaleWord.unwrap(w) >> STATE & 0xff;
    }

    function desk(SaleWord w) internal pure returns (uint256) {
        return SaleWord.unwrap(w) >> DESK;
    }

    function withState(SaleWord w, uint256 state_) internal pure returns (SaleWord) {
        return SaleWord.wrap(SaleWord.unwrap(w) & ~(uint256(0xff) << STATE) | state_ << STATE);
    }
}

library HeldWords {
    uint256 private constant RECENT = 64;
    uint256 private constant OLDER = 88;
    uint256 private constant RIPE = 112;
    uint256 private constant CLOSED_AT = 136;
    uint256 private constant COUNT = type(uint24).max;

    /// Never zero, so that the first payment writes over a used slot as the later ones do.
    function make(uint256 bucket_) internal pure returns (HeldWord) {
        return HeldWord.wrap(bucket_);
    }

    function bucket(HeldWord h) internal pure returns (uint256) {
        return HeldWord.unwrap(h) & type(uint64).max;
    }

    function unripe(HeldWord h) internal pure returns (uint256) {
        return (HeldWord.unwrap(h) >> RECENT & COUNT) + (HeldWord.unwrap(h) >> OLDER & COUNT);
    }

    function ripe(HeldWord h) internal pure returns (uint256) {
        return HeldWord.unwrap(h) >> RIPE & COUNT;
    }

    function closedAt(HeldWord h) internal pure returns (uint64) {
        return uint64(HeldWord.unwrap(h) >> CLOSED_AT);
    }

    function withClosedAt(HeldWord h, uint256 time) internal pure returns (HeldWord) {
        return HeldWord.wrap(HeldWord.unwrap(h) | time << CLOSED_AT);
    }

    /// Time goes on to `bucket_`: what was paid two buckets ago or earlier is ripe.
    function aged(HeldWord h, uint256 bucket_) internal pure returns (HeldWord) {
        uint256 word = HeldWord.unwrap(h);
        uint256 passed = bucket_ - bucket(h);
        if (passed == 0) return h;
        uint256 ripe_ = ripe(h) + (word >> OLDER & COUNT);
        uint256 older = word >> RECENT & COUNT;
        if (passed > 1) (ripe_, older) = (ripe_ + older, 0);
        return HeldWord.wrap(bucket_ | older << OLDER | ripe_ << RIPE | word >> CLOSED_AT << CLOSED_AT);
    }

    /// One more sale was paid, in the bucket `h` stands at.
    function paid(HeldWord h) internal pure returns (HeldWord) {
        return HeldWord.wrap(HeldWord.unwrap(h) + (1 << RECENT));
    }

    /// The offer was proved bad: what is not ripe now is the buyers', all in `recent`.
    function frozen(HeldWord h) internal pure returns (HeldWord) {
        uint256 others = HeldWord.unwrap(h) & ~(COUNT << RECENT | COUNT << OLDER);
        return HeldWord.wrap(others | unripe(h) << RECENT);
    }

    /// One of them was given back. The caller has seen that it is among them.
    function reclaimed(HeldWord h) internal pure returns (HeldWord) {
        return HeldWord.wrap(HeldWord.unwrap(h) - (1 << RECENT));
    }

    function withNoneRipe(HeldWord h) internal pure returns (HeldWord) {
        return HeldWord.wrap(HeldWord.unwrap(h) & ~(COUNT << RIPE));
    }
}
