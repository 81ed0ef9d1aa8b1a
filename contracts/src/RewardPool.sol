// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {KeySale} from "./KeySale.sol";
import {KeySaleTypes} from "./KeySaleTypes.sol";
import {ModelRegistry} from "./ModelRegistry.sol";
import {PriceOracle} from "./PriceOracle.sol";
import {RewardEpochs} from "./RewardEpochs.sol";
import {StakeVault} from "./StakeVault.sol";
import {VoucherBank} from "./VoucherBank.sol";

/// Pays for feedback, out of a grant, to people who really bought. The buyer of a sale is rewarded at once, and his rating
/// moves the oracle; the payers of models' lanes are rewarded together, by epochs that anybody with a stake may propose (see
/// RewardEpochs). A reward is beta of the fee burnt for that very money, beta < 1, and all rewards together stay within alpha
/// of all fees burnt: trading with oneself always loses.
contract RewardPool is RewardEpochs {
    using SafeERC20 for IERC20;

    KeySale public immutable sale;
    PriceOracle public immutable oracle;
    uint256 public immutable alphaPpm;

    mapping(uint256 saleId => bool) public rated;

    constructor(
        IERC20 token_,
        KeySale sale_,
        VoucherBank bank_,
        ModelRegistry models_,
        PriceOracle oracle_,
        StakeVault stakes_,
        Rules memory rules
    ) RewardEpochs(token_, bank_, models_, stakes_, rules) {
        if (rules.alphaPpm >= PPM || rules.betaPpm >= PPM) revert ShareTooHigh();
        // The oracle was deployed for this address, computed beforehand: neither pointer can ever change.
        if (oracle_.reporter() != address(this)) revert NotReporter();
        sale = sale_;
        oracle = oracle_;
        alphaPpm = rules.alphaPpm;
    }

    function fund(uint256 amount) external {
        emit Funded(msg.sender, amount);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// The buyer of a paid sale rates it once, 1 to 5 (the oracle refuses any other). When the budget is spent the rating still
    /// counts, unpaid.
    /// The calls before the books go to the suite's own contracts, which call nobody but the token; the budget is read after them.
    // slither-disable-start reentrancy-no-eth,reentrancy-benign,reentrancy-events
    function rewardSale(uint256 saleId, uint8 rating, bytes32 itemHash) external returns (uint256 amount) {
        KeySaleTypes.Sale memory s = sale.sales(saleId);
        if (s.buyer != msg.sender) revert NotBuyer();
        if (s.state != KeySaleTypes.State.Paid) revert NotPaid();
        if (rated[saleId]) revert AlreadyRated();
        rated[saleId] = true;
        uint256 offerId = saleId >> 64;
        amount = sale.feeOf(s.price) * betaPpm / PPM;
        if (amount > budget()) _burnWaiting(offerId);
        uint256 left = budget();
        if (amount > left) amount = left;
        _credit(msg.sender, amount);
        emit Rewarded(msg.sender, bytes32(saleId), rating, itemHash, amount);
        oracle.report(sale.offers(offerId).dataset, rating, s.price);
    }
    // slither-disable-end reentrancy-no-eth,reentrancy-benign,reentrancy-events

    function withdraw() external returns (uint256 amount) {
        amount = credit[msg.sender];
        credit[msg.sender] = 0;
        owed -= amount;
        emit Withdrawn(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// What may still be rewarded or promised: alpha of the fees burnt so far, and no more than the grant holds.
    function budget() public view override returns (uint256) {
        uint256 cap = (sale.feesBurnt() + models.feesBurnt()) * alphaPpm / PPM;
        uint256 given = rewarded + promised;
        uint256 open = cap > given ? cap - given : 0;
        uint256 held = token.balanceOf(address(this)) - owed - promised;
        return open < held ? open : held;
    }

    /// The budget follows what is burnt, not what is due: burn what waits, the rated sale's own fee too.
    function _burnWaiting(uint256 offerId) internal override {
        if (offerId != 0) {
            uint256[] memory offers = new uint256[](1);
            offers[0] = offerId;
            sale.collect(offers);
        }
        sale.burnFees();
        models.burnFees();
    }
}
