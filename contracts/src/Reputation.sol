// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {BitMaps} from "@openzeppelin/contracts/utils/structs/BitMaps.sol";
import {KeySale} from "./KeySale.sol";
import {KeySaleTypes} from "./KeySaleTypes.sol";
import {ModelRegistry} from "./ModelRegistry.sol";
import {VoucherBank} from "./VoucherBank.sol";

/// Who sold, bought and lost disputes, and for how much: counted from what the money contracts say, by whoever cares to bring
/// it. Nothing here is claimed or trusted, nothing can be handed on, nobody administers it. A score is the reader's own.
///
/// Facts are as dear as the fees that were burnt for them, not more: who trades with himself buys himself facts at that price.
contract Reputation {
    using BitMaps for BitMaps.BitMap;

    /// Two slots.
    struct Facts {
        uint32 sold; // sales that were paid
        uint32 bought;
        uint32 disputesLost; // offers proved bad
        uint64 since; // UTC seconds of the earliest fact counted
        uint128 soldWei; // prices of the sales, and what models earned, before fees
        uint128 spentWei;
    }

    KeySale public immutable sale;
    VoucherBank public immutable bank;
    ModelRegistry public immutable models;

    mapping(address who => Facts) public facts;
    mapping(bytes32 modelId => mapping(address payer => uint256 amount)) public laneCounted;
    BitMaps.BitMap private _sales; // by sale id: 256 sales of an offer share a slot
    BitMaps.BitMap private _faults; // by offer id

    event SaleCounted(uint256 indexed saleId, address indexed seller, address indexed buyer, uint256 price);
    event FaultCounted(uint256 indexed offerId, address indexed seller);
    event LaneCounted(bytes32 indexed modelId, address indexed publisher, address indexed payer, uint256 amount);

    error NotBad();
    error AlreadyCounted();
    error UnknownModel();
    error NothingNewSettled();

    constructor(KeySale sale_, VoucherBank bank_, ModelRegistry models_) {
        sale = sale_;
        bank = bank_;
        models = models_;
    }

    /// Counts paid sales, each once. What is not paid (yet) or was counted before is skipped, so that one of them cannot stop
    /// the others. Returns how many were counted.
    function countSales(uint256[] calldata saleIds) external returns (uint256 counted) {
        for (uint256 i; i < saleIds.length; ++i) {
            if (_countSale(saleIds[i])) ++counted;
        }
    }

    /// Counts the fault of an offer that was proved bad, once.
    function countFault(uint256 offerId) external {
        if (sale.offers(offerId).status != KeySaleTypes.Status.Bad) revert NotBad();
        if (_faults.get(offerId)) revert AlreadyCounted();
        _faults.set(offerId);
        address seller = sale.sellerOf(offerId);
        Facts storage f = facts[seller];
        ++f.disputesLost;
        _known(f, uint64(block.timestamp));
        emit FaultCounted(offerId, seller);
    }

    /// Counts what a payer newly settled on a model's lane.
    function countLane(bytes32 modelId, address payer) external returns (uint256 amount) {
        address publisher = models.models(modelId).publisher;
        if (publisher == address(0)) revert UnknownModel();
        // slither-disable-next-line unused-return
        (uint256 paid,,) = bank.lanes(payer, address(models), models.laneOf(modelId));
        amount = paid - laneCounted[modelId][payer];
        if (amount == 0) revert NothingNewSettled();
        laneCounted[modelId][payer] = paid;
        Facts storage f = facts[payer];
        f.spentWei += uint128(amount);
        _known(f, uint64(block.timestamp));
        f = facts[publisher];
        f.soldWei += uint128(amount);
        _known(f, uint64(block.timestamp));
        emit LaneCounted(modelId, publisher, payer, amount);
    }

    function isSaleCounted(uint256 saleId) external view returns (bool) {
        return _sales.get(saleId);
    }

    function isFaultCounted(uint256 offerId) external view returns (bool) {
        return _faults.get(offerId);
    }

    function _countSale(uint256 saleId) private returns (bool) {
        if (_sales.get(saleId)) return false;
        KeySaleTypes.Sale memory s = sale.sales(saleId);
        // A share that was taken back does not unmake the sale; the fault is counted by itself.
        if (s.state != KeySaleTypes.State.Paid && s.state != KeySaleTypes.State.Reclaimed) return false;
        _sales.set(saleId);
        address seller = sale.sellerOf(saleId >> 64);
        Facts storage f = facts[seller];
        ++f.sold;
        f.soldWei += s.price;
        _known(f, s.deadline);
        f = facts[s.buyer];
        ++f.bought;
        f.spentWei += s.price;
        _known(f, s.deadline);
        emit SaleCounted(saleId, seller, s.buyer, s.price);
        return true;
    }

    /// `time` is when it happened, or now where nobody recorded it.
    function _known(Facts storage f, uint64 time) private {
        if (f.since == 0 || time < f.since) f.since = time;
    }
}
