// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {DataRegistry} from "./DataRegistry.sol";
import {EntryPause} from "./EntryPause.sol";
import {Fees} from "./Fees.sol";
import {VoucherBank} from "./VoucherBank.sol";

/// Models, and the way of their revenue to the people whose data trained them. API users' vouchers name this contract as payee
/// and the model's lane; `settle` brings them in. After the fee, `publisherBps` belong to the publisher and the rest to the
/// contributors by the Merkle root of their weights: leaf = keccak(keccak(abi.encode(index, to, weight))).
///
/// Whatever the root says, a model never pays out more than it received, and the publisher's share is not the contributors'.
contract ModelRegistry is EntryPause {
    using SafeERC20 for IERC20;

    struct Model {
        address publisher; // slot 0, with the two below
        uint16 publisherBps;
        uint64 activeAt; // claims begin: until then contributors can compare the root with the training's attribution
        bytes32 weightsRoot;
        uint128 totalWeight;
        uint96 pricePerUnit;
        uint128 received; // net of fees, ever
        uint128 paidOut; // to contributors, ever
        uint128 publisherPaid;
    }

    struct Share {
        bytes32 modelId;
        uint256 index;
        address to;
        uint128 weight;
        bytes32[] proof;
    }

    uint256 private constant BPS = 10_000;
    uint256 public constant MAX_DATASETS = 256;
    uint256 public constant MAX_CID_BYTES = 128;

    IERC20 public immutable token;
    VoucherBank public immutable bank;
    DataRegistry public immutable registry;
    uint64 public immutable challengeWindow; // seconds
    uint16 public immutable feeBps;

    mapping(bytes32 modelId => Model) private _models;
    mapping(uint64 lane => bytes32 modelId) public modelOfLane;
    mapping(bytes32 modelId => mapping(uint256 index => uint128)) public claimed;
    uint128 public feesDue;
    uint128 public feesBurnt;

    event Published(
        bytes32 indexed modelId,
        address indexed publisher,
        uint64 lane,
        bytes32 weightsRoot,
        uint128 totalWeight,
        uint16 publisherBps,
        uint96 pricePerUnit,
        uint64[] datasets,
        bytes cid
    );
    event Paid(bytes32 indexed modelId, address indexed from, uint256 gross, uint256 fee);
    event Claimed(bytes32 indexed modelId, uint256 indexed index, address indexed to, uint256 amount);
    event PublisherClaimed(bytes32 indexed modelId, address indexed publisher, uint256 amount);
    event FeesBurnt(uint256 fees);

    error FeeTooHigh();
    error ModelExists();
    error LaneTaken();
    error UnknownModel();
    error NoWeights();
    error ShareTooHigh();
    error TooManyDatasets();
    error CidTooLong();
    error DatasetNotActive(uint64 dataset);
    error WrongLane();
    error NotYetActive();
    error BadProof();
    error WeightsExceedTotal();

    constructor(
        IERC20 token_,
        VoucherBank bank_,
        DataRegistry registry_,
        uint64 challengeWindow_,
        uint16 feeBps_,
        address guardian_
    ) EntryPause(guardian_) {
        if (feeBps_ > 1_000) revert FeeTooHigh();
        token = token_;
        bank = bank_;
        registry = registry_;
        challengeWindow = challengeWindow_;
        feeBps = feeBps_;
    }

    function laneOf(bytes32 modelId) public pure returns (uint64) {
        return uint64(uint256(modelId));
    }

    /// A new training run is a new model with a new id. The lane must be free, or two models would earn on one.
    function publish(
        bytes32 modelId,
        bytes32 weightsRoot,
        uint128 totalWeight,
        uint16 publisherBps,
        uint96 pricePerUnit,
        uint64[] calldata datasets,
        bytes calldata cid
    ) external whenEntryOpen {
        if (publisherBps > BPS) revert ShareTooHigh();
        // Without weights everything must be the publisher's, or money would have no owner.
        if ((totalWeight == 0 || weightsRoot == 0) && publisherBps != BPS) revert NoWeights();
        if (cid.length > MAX_CID_BYTES) revert CidTooLong();
        _bind(modelId, datasets);
        Model storage m = _models[modelId];
        m.publisher = msg.sender;
        m.publisherBps = publisherBps;
        m.activeAt = uint64(block.timestamp) + challengeWindow;
        m.weightsRoot = weightsRoot;
        m.totalWeight = totalWeight;
        m.pricePerUnit = pricePerUnit;
        _announce(modelId, m, datasets, cid);
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

    // ------------------------------------------------------------------------------------------------------ money out

    /// Sends a contributor what his weight earned since his last claim. Anyone may push it; it goes to `to`.
    function claim(bytes32 modelId, uint256 index, address to, uint128 weight, bytes32[] calldata proof)
        public
        returns (uint256 amount)
    {
        Model storage m = _known(modelId);
        if (block.timestamp < m.activeAt) revert NotYetActive();
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(index, to, weight))));
        if (!MerkleProof.verifyCalldata(proof, m.weightsRoot, leaf)) revert BadProof();
        uint256 pool = m.received - _publisherShare(m);
        uint256 due = pool * weight / m.totalWeight;
        uint256 before = claimed[modelId][index];
        if (due <= before) return 0;
        amount = due - before;
        // A root whose weights exceed the total must not eat the publisher's or other models' money.
        if (m.paidOut + amount > pool) revert WeightsExceedTotal();
        claimed[modelId][index] = uint128(due);
        m.paidOut += uint128(amount);
        emit Claimed(modelId, index, to, amount);
        token.safeTransfer(to, amount);
    }

    function claimMany(Share[] calldata shares) external returns (uint256 total) {
        for (uint256 i; i < shares.length; ++i) {
            Share calldata s = shares[i];
            total += claim(s.modelId, s.index, s.to, s.weight, s.proof);
        }
    }

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

    function models(bytes32 modelId) external view returns (Model memory) {
        return _models[modelId];
    }

    /// What the publisher may claim now.
    function publisherDue(bytes32 modelId) external view returns (uint256) {
        Model storage m = _models[modelId];
        return _publisherShare(m) - m.publisherPaid;
    }

    /// What a leaf may claim now; the caller's proof decides whether the leaf exists.
    function contributorDue(bytes32 modelId, uint256 index, uint128 weight) external view returns (uint256) {
        Model storage m = _models[modelId];
        if (m.totalWeight == 0) return 0;
        uint256 due = (m.received - _publisherShare(m)) * weight / m.totalWeight;
        uint256 before = claimed[modelId][index];
        return due > before ? due - before : 0;
    }

    /// All that the contract owes for one model.
    function owedFor(bytes32 modelId) external view returns (uint256) {
        Model storage m = _models[modelId];
        return uint256(m.received) - m.paidOut - m.publisherPaid;
    }

    function feeOf(uint256 amount) public view returns (uint256) {
        return Fees.share(amount, feeBps);
    }

    // ------------------------------------------------------------------------------------------------------ private

    function _known(bytes32 modelId) private view returns (Model storage m) {
        m = _models[modelId];
        if (m.publisher == address(0)) revert UnknownModel();
    }

    function _bind(bytes32 modelId, uint64[] calldata datasets) private {
        if (_models[modelId].publisher != address(0)) revert ModelExists();
        uint64 lane = laneOf(modelId);
        if (modelOfLane[lane] != 0) revert LaneTaken();
        if (datasets.length > MAX_DATASETS) revert TooManyDatasets();
        for (uint256 i; i < datasets.length; ++i) {
            if (!registry.isActive(datasets[i])) revert DatasetNotActive(datasets[i]);
        }
        modelOfLane[lane] = modelId;
    }

    function _announce(bytes32 modelId, Model storage m, uint64[] calldata datasets, bytes calldata cid) private {
        emit Published(
            modelId,
            msg.sender,
            laneOf(modelId),
            m.weightsRoot,
            m.totalWeight,
            m.publisherBps,
            m.pricePerUnit,
            datasets,
            cid
        );
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

    function _publisherShare(Model storage m) private view returns (uint256) {
        return uint256(m.received) * m.publisherBps / BPS;
    }
}
