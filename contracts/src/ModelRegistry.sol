// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {DataRegistry} from "./DataRegistry.sol";
import {EntryPause} from "./EntryPause.sol";
import {Fees} from "./Fees.sol";
import {ModelChallenges} from "./ModelChallenges.sol";
import {StakeVault} from "./StakeVault.sol";
import {VoucherBank} from "./VoucherBank.sol";
import {Weights} from "./Weights.sol";

/// Models, and the way of their revenue to the people whose data trained them. API users' vouchers name this contract as payee
/// and the model's lane; `settle` brings them in. In this order: the fee burns, `parentBps` go to the model this one was built
/// on, `publisherBps` of the rest to the publisher, what is left to the owners of the datasets by their weights.
///
/// The root of the weights is computed here from the list itself, so no root can leave out, exceed or pay a stranger: a share
/// goes to whom the DataRegistry says the dataset belongs, dataset 0's to the publisher.
contract ModelRegistry is ModelChallenges, EntryPause {
    using SafeERC20 for IERC20;

    uint256 public constant MAX_CID_BYTES = 128;
    /// Whatever the terms: a twentieth of the revenue is split by the weights, if others than the publisher have a part.
    uint256 public constant MAX_PUBLISHER_BPS = 9_000;
    uint256 public constant MAX_PARENT_BPS = 5_000;

    IERC20 public immutable token;
    VoucherBank public immutable bank;
    uint16 public immutable feeBps;

    mapping(uint64 lane => bytes32 modelId) public modelOfLane;
    mapping(bytes32 modelId => mapping(uint256 index => uint128)) public claimed;
    uint128 public feesDue;
    uint128 public feesBurnt;

    constructor(
        IERC20 token_,
        VoucherBank bank_,
        DataRegistry registry_,
        StakeVault stakes_,
        Rules memory rules,
        address guardian_
    ) ModelChallenges(registry_, stakes_, rules) EntryPause(guardian_) {
        if (rules.feeBps > 1_000) revert FeeTooHigh();
        token = token_;
        bank = bank_;
        feeBps = rules.feeBps;
    }

    function laneOf(bytes32 modelId) public pure returns (uint64) {
        return uint64(uint256(modelId));
    }

    /// A new training run is a new model with a new id. The lane must be free, or two models would earn on one.
    /// `datasets` ascending, 0 for the publisher's own unregistered data; `weightsPpm` sum to a million (see Weights). Binds
    /// the publisher's stake when others' data take part.
    function publish(
        Terms calldata terms,
        uint64[] calldata datasets,
        uint32[] calldata weightsPpm,
        bytes calldata cid
    ) external whenEntryOpen {
        if (cid.length > MAX_CID_BYTES) revert CidTooLong();
        bool others = Weights.check(registry, datasets, weightsPpm, msg.sender);
        if (terms.publisherBps > (others ? MAX_PUBLISHER_BPS : BPS)) revert ShareTooHigh();
        _checkParent(terms);
        _takeLane(terms.modelId);
        Model storage m = _models[terms.modelId];
        m.publisher = msg.sender;
        m.publisherBps = terms.publisherBps;
        m.parentBps = terms.parentBps;
        m.childBps = terms.childBps;
        m.activeAt = uint40(block.timestamp + challengeWindow);
        m.weightsRoot = Weights.root(datasets, weightsPpm);
        m.pricePerUnit = terms.pricePerUnit;
        if (terms.parent != 0) m.parent = terms.parent;
        emit Published(
            terms.modelId, msg.sender, laneOf(terms.modelId), m.weightsRoot, terms, datasets, weightsPpm, cid
        );
        if (others) _stakeFor(m);
    }

    // ------------------------------------------------------------------------------------------------------ money in

    /// Settles API users' vouchers on this model's lane. Anyone may bring them.
    /// Booked after the bank has paid: only then the sum is known. The bank calls nobody but the token.
    // slither-disable-next-line reentrancy-benign,reentrancy-events
    function settle(bytes32 modelId, VoucherBank.Item[] calldata items) external returns (uint256 total) {
        Model storage m = _known(modelId);
        _requireLane(items, laneOf(modelId));
        total = _settleAtBank(items);
        if (total != 0) _credit(modelId, m, total);
    }

    /// Pays a model without a voucher.
    function pay(bytes32 modelId, uint96 amount) external {
        Model storage m = _known(modelId);
        _credit(modelId, m, amount);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// Hands the parent's share of what a model received on to the parent, where it is split by the parent's terms: the fee
    /// was burnt when the money came in. Anyone may push it.
    function claimParent(bytes32 modelId) external returns (uint256 amount) {
        Model storage m = _known(modelId);
        amount = _parentShare(m) - m.parentPaid;
        if (amount == 0) return 0;
        m.parentPaid += uint128(amount);
        _models[m.parent].received += uint128(amount);
        emit ParentPaid(modelId, m.parent, amount);
    }

    // ------------------------------------------------------------------------------------------------------ money out

    /// Sends a dataset's owner what its weight earned since the last claim. Anyone may push it.
    function claim(bytes32 modelId, uint256 index, uint64 dataset, uint32 weightPpm, bytes32[] calldata proof)
        public
        returns (uint256 amount)
    {
        Model storage m = _known(modelId);
        if (m.phase == Phase.Challenged) revert UnderChallenge();
        if (block.timestamp < m.activeAt) revert NotYetActive();
        _requireLeaf(m, index, dataset, weightPpm, proof);
        amount = contributorDue(modelId, index, weightPpm);
        if (amount == 0) return 0;
        claimed[modelId][index] += uint128(amount);
        m.paidOut += uint128(amount);
        address to = dataset == 0 ? m.publisher : registry.owner(dataset);
        emit Claimed(modelId, index, to, dataset, amount);
        token.safeTransfer(to, amount);
    }

    function claimMany(Share[] calldata shares) external returns (uint256 total) {
        for (uint256 i; i < shares.length; ++i) {
            Share calldata s = shares[i];
            total += claim(s.modelId, s.index, s.dataset, s.weightPpm, s.proof);
        }
    }

    /// The publisher's share does not depend on the weights: neither window nor challenge holds it.
    function claimPublisher(bytes32 modelId) external returns (uint256 amount) {
        Model storage m = _known(modelId);
        amount = _publisherShare(m) - m.publisherPaid;
        if (amount == 0) return 0;
        m.publisherPaid += uint128(amount);
        emit PublisherClaimed(modelId, m.publisher, amount);
        token.safeTransfer(m.publisher, amount);
    }

    function burnFees() external {
        uint128 fees = feesDue;
        if (fees == 0) return;
        feesDue = 0;
        feesBurnt += fees;
        emit FeesBurnt(fees);
        Fees.burn(token, fees);
    }

    // ------------------------------------------------------------------------------------------------------ views

    /// What the publisher may claim now.
    function publisherDue(bytes32 modelId) external view returns (uint256) {
        Model storage m = _models[modelId];
        return _publisherShare(m) - m.publisherPaid;
    }

    /// What `claimParent` would move now.
    function parentDue(bytes32 modelId) external view returns (uint256) {
        Model storage m = _models[modelId];
        return _parentShare(m) - m.parentPaid;
    }

    /// What a leaf may claim, once claims are open; the caller's proof decides whether the leaf exists.
    function contributorDue(bytes32 modelId, uint256 index, uint32 weightPpm) public view returns (uint256) {
        Model storage m = _models[modelId];
        uint256 pool = m.received - _parentShare(m) - _publisherShare(m);
        uint256 due = pool * weightPpm / Weights.WHOLE;
        uint256 before = claimed[modelId][index];
        return due > before ? due - before : 0;
    }

    /// All that the contract owes for one model.
    function owedFor(bytes32 modelId) external view returns (uint256) {
        Model storage m = _models[modelId];
        return uint256(m.received) - m.paidOut - m.publisherPaid - m.parentPaid;
    }

    function feeOf(uint256 amount) public view returns (uint256) {
        return Fees.share(amount, feeBps);
    }

    // ------------------------------------------------------------------------------------------------------ private

    function _checkParent(Terms calldata terms) private view {
        if (terms.parentBps > MAX_PARENT_BPS || terms.childBps > MAX_PARENT_BPS) revert ShareTooHigh();
        if (terms.parent == 0) {
            if (terms.parentBps != 0) revert UnknownModel();
        } else if (terms.parentBps < _known(terms.parent).childBps) {
            revert ParentShareTooLow();
        }
    }

    function _takeLane(bytes32 modelId) private {
        if (modelId == 0) revert BadModelId();
        if (_models[modelId].publisher != address(0)) revert ModelExists();
        uint64 lane = laneOf(modelId);
        if (modelOfLane[lane] != 0) revert LaneTaken();
        modelOfLane[lane] = modelId;
    }

    function _requireLane(VoucherBank.Item[] calldata items, uint256 lane) private pure {
        uint256 different; // `lane` is a whole word: in assembly a uint64 may carry dirt above its bits
        assembly ("memory-safe") {
            let end := add(items.offset, mul(items.length, 0xa0))
            for { let item := items.offset } lt(item, end) { item := add(item, 0xa0) } {
                different := or(different, xor(calldataload(add(item, 0x20)), lane))
            }
        }
        if (different != 0) revert WrongLane();
    }

    /// `bank.settle(address(this), items, false)`, with the items passed on as they came: encoding them anew would cost 700 gas
    /// for each. The bank decodes and checks them like any caller's.
    function _settleAtBank(VoucherBank.Item[] calldata items) private returns (uint256 total) {
        address target = address(bank);
        bytes4 selector = VoucherBank.settle.selector;
        assembly ("memory-safe") {
            let m := mload(0x40) // scratch beyond the free pointer, not kept
            let size := mul(items.length, 0xa0) // five words an item; the ABI decoder has bounded the length
            mstore(m, selector)
            mstore(add(m, 0x04), address())
            mstore(add(m, 0x24), 0x60)
            mstore(add(m, 0x44), 0)
            mstore(add(m, 0x64), items.length)
            calldatacopy(add(m, 0x84), items.offset, size)
            if iszero(call(gas(), target, 0, m, add(0x84, size), 0, 0x20)) {
                returndatacopy(m, 0, returndatasize())
                revert(m, returndatasize())
            }
            total := mload(0)
        }
    }

    function _credit(bytes32 modelId, Model storage m, uint256 gross) private {
        uint256 fee = feeOf(gross);
        m.received += uint128(gross - fee);
        feesDue += uint128(fee);
        emit Paid(modelId, msg.sender, gross, fee);
    }

    function _parentShare(Model storage m) private view returns (uint256) {
        return uint256(m.received) * m.parentBps / BPS;
    }

    function _publisherShare(Model storage m) private view returns (uint256) {
        return (m.received - _parentShare(m)) * m.publisherBps / BPS;
    }
}
