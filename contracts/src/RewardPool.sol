// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {KeySale} from "./KeySale.sol";
import {KeySaleTypes} from "./KeySaleTypes.sol";
import {ModelRegistry} from "./ModelRegistry.sol";
import {PriceOracle} from "./PriceOracle.sol";
import {VoucherBank} from "./VoucherBank.sol";

/// Pays for feedback, out of a grant, to people who really bought: one reward a sale, and one for each newly settled part of a
/// lane. A reward is beta of the fee burnt for that very money, beta < 1, and all rewards together stay within alpha of all
/// fees burnt: trading with oneself always loses.
contract RewardPool {
    using SafeERC20 for IERC20;

    uint256 private constant PPM = 1e6;

    IERC20 public immutable token;
    KeySale public immutable sale;
    VoucherBank public immutable bank;
    ModelRegistry public immutable models;
    PriceOracle public immutable oracle;
    uint256 public immutable alphaPpm;
    uint256 public immutable betaPpm;

    uint256 public rewarded; // ever
    uint256 public owed; // credited, not withdrawn
    mapping(address => uint256) public credit;
    mapping(uint256 saleId => bool) public rated;
    mapping(bytes32 modelId => mapping(address payer => uint256 settled)) public ratedUpTo;

    event Funded(address indexed from, uint256 amount);
    /// `ticket` is the sale id or the model id; `itemHash` names the feedback item that was gossiped.
    event Rewarded(address indexed who, bytes32 indexed ticket, uint8 rating, bytes32 itemHash, uint256 amount);
    event Withdrawn(address indexed who, uint256 amount);

    error ShareTooHigh();
    error NotReporter();
    error NotBuyer();
    error NotPaid();
    error AlreadyRated();
    error NothingNewSettled();
    error BadRating();

    constructor(
        IERC20 token_,
        KeySale sale_,
        VoucherBank bank_,
        ModelRegistry models_,
        PriceOracle oracle_,
        uint256 alphaPpm_,
        uint256 betaPpm_
    ) {
        if (alphaPpm_ >= PPM || betaPpm_ >= PPM) revert ShareTooHigh();
        // The oracle was deployed for this address, computed beforehand: neither pointer can ever change.
        if (oracle_.reporter() != address(this)) revert NotReporter();
        token = token_;
        sale = sale_;
        bank = bank_;
        models = models_;
        oracle = oracle_;
        alphaPpm = alphaPpm_;
        betaPpm = betaPpm_;
    }

    function fund(uint256 amount) external {
        emit Funded(msg.sender, amount);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// The buyer of a paid sale rates it once. When the budget is spent the rating still counts, unpaid.
    // slither-disable-next-line reentrancy-events
    function rewardSale(uint256 saleId, uint8 rating, bytes32 itemHash) external returns (uint256 amount) {
        KeySaleTypes.Sale memory s = sale.sales(saleId);
        if (s.buyer != msg.sender) revert NotBuyer();
        if (s.state != KeySaleTypes.State.Paid) revert NotPaid();
        if (rated[saleId]) revert AlreadyRated();
        _requireRating(rating);
        rated[saleId] = true;
        uint256 offerId = saleId >> 64;
        amount = _reward(bytes32(saleId), sale.feeOf(s.price), offerId, rating, itemHash);
        oracle.report(sale.offers(offerId).dataset, rating, s.price);
    }

    /// A payer rates a model by what he newly settled on its lane.
    function rewardLane(bytes32 modelId, uint8 rating, bytes32 itemHash) external returns (uint256 amount) {
        _requireRating(rating);
        // slither-disable-next-line unused-return
        (uint256 settled,,) = bank.lanes(msg.sender, address(models), models.laneOf(modelId));
        uint256 before = ratedUpTo[modelId][msg.sender];
        if (settled <= before || models.modelOfLane(models.laneOf(modelId)) != modelId) revert NothingNewSettled();
        ratedUpTo[modelId][msg.sender] = settled;
        amount = _reward(modelId, (settled - before) * models.feeBps() / 10_000, 0, rating, itemHash);
    }

    function withdraw() external returns (uint256 amount) {
        amount = credit[msg.sender];
        credit[msg.sender] = 0;
        owed -= amount;
        emit Withdrawn(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// What may still be rewarded: alpha of the fees burnt so far, and no more than the grant holds.
    function budget() public view returns (uint256) {
        uint256 cap = (sale.feesBurnt() + models.feesBurnt()) * alphaPpm / PPM;
        uint256 open = cap > rewarded ? cap - rewarded : 0;
        uint256 held = token.balanceOf(address(this)) - owed;
        return open < held ? open : held;
    }

    function _requireRating(uint8 rating) private pure {
        if (rating < 1 || rating > 5) revert BadRating();
    }

    /// The calls before the books go to the suite's own contracts, which call nobody but the token; the budget is read after them.
    // slither-disable-start reentrancy-no-eth,reentrancy-benign,reentrancy-events
    function _reward(bytes32 ticket, uint256 fee, uint256 offerId, uint8 rating, bytes32 itemHash)
        private
        returns (uint256 amount)
    {
        amount = fee * betaPpm / PPM;
        uint256 left = budget();
        if (amount > left) {
            _burn(offerId);
            left = budget();
        }
        if (amount > left) amount = left;
        rewarded += amount;
        owed += amount;
        credit[msg.sender] += amount;
        emit Rewarded(msg.sender, ticket, rating, itemHash, amount);
    }
    // slither-disable-end reentrancy-no-eth,reentrancy-benign,reentrancy-events

    /// The budget follows what is burnt, not what is due: burn what waits, the rated sale's own fee too.
    function _burn(uint256 offerId) private {
        if (offerId != 0) {
            uint256[] memory offers = new uint256[](1);
            offers[0] = offerId;
            sale.collect(offers);
        }
        sale.burnFees();
        models.burnFees();
    }
}
