// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// What KeySale tells the world: states, views, events, refusals.
abstract contract KeySaleTypes {
    enum State {
        None,
        Locked,
        Delivered,
        Paid,
        Refunded,
        Reclaimed // paid, and the share held back was taken back
    }
    enum Status {
        None,
        Open,
        Closed,
        Bad
    }

    struct Offer {
        address seller;
        uint64 dataset;
        uint96 price;
        uint96 bond;
        bytes32 root;
        uint32 cells;
        uint32 maxOpen;
        uint32 open;
        uint32 sold;
        uint32 uncollected;
        Status status;
        uint64 closedAt;
    }

    struct Sale {
        address buyer;
        uint96 price;
        uint64 deadline; // of the next step; once paid, when that was
        State state;
        bytes32 commitment;
    }

    struct Signature {
        bytes32 r;
        bytes32 vs; // EIP-2098
    }

    event Offered(
        uint256 indexed offerId,
        address indexed seller,
        uint64 indexed dataset,
        bytes32 root,
        uint32 cells,
        uint96 price,
        uint96 bond
    );
    event Locked(
        uint256 indexed saleId,
        uint256 indexed offerId,
        address indexed buyer,
        bytes32 bx,
        bytes32 by,
        uint64 deliverBy
    );
    event Delivered(uint256 indexed saleId, bytes32 ex, uint8 parity, bytes32 c, uint64 disputeBy);
    event Finished(uint256 indexed saleId, State state);
    event Misbehaved(uint256 indexed offerId, address indexed reporter, uint8 kind, uint256 slashed);
    event Closed(uint256 indexed offerId, uint64 closedAt);
    event BondReturned(uint256 indexed offerId, uint256 amount);
    event Collected(uint256 indexed offerId, address indexed seller, uint256 amount, uint256 fee);
    event Reclaimed(uint256 indexed saleId, address indexed buyer, uint256 amount);
    event Withdrawn(address indexed who, uint256 amount);
    event FeesBurnt(uint256 fees, uint256 penalties);

    error FeeTooHigh();
    error HoldbackTooHigh();
    error NoFeedbackWindow();
    error NotDatasetOwner();
    error DatasetNotActive();
    error PriceOutOfRange();
    error BondTooSmall();
    error OfferNotOpen();
    error PriceAboveMax();
    error BondFullyUsed();
    error NotOnCurve();
    error NotSeller();
    error NotBuyer();
    error WrongState();
    error TooLate();
    error TooEarly();
    error BadDelivery();
    error WrongKey();
    error NotInTree();
    error NoFault();
    error OfferIsBad();
    error OfferIsNotBad();
    error AlreadyRipe();
    error SalesStillOpen();
    error NoBond();
    error LengthMismatch();
}
