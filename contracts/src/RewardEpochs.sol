// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {LeafTree} from "./LeafTree.sol";
import {ModelRegistry} from "./ModelRegistry.sol";
import {RewardTypes} from "./RewardTypes.sol";
import {StakeVault} from "./StakeVault.sol";
import {VoucherBank} from "./VoucherBank.sol";

/// Rewards for rating models. Once an epoch anybody with a stake proposes who is to be rewarded for how much of which lane.
/// Form, sums, root and budget are checked here at once; that no line counts more than the bank settled on its lane is left to
/// whoever looks: a false line, shown with its proof within the window, voids the proposal and costs the proposer his stake.
/// No judge is needed: the bank and the model registry hold the facts.
///
/// Lines count from the beginning of a lane, so an account's `cumulative` is what he is entitled to since ever and `claimed`
/// what he got of it: whatever proposals say, no settled unit is rewarded twice. A payer who is left out of one epoch is
/// owed the same in the next.
abstract contract RewardEpochs is RewardTypes {
    uint256 internal constant PPM = 1e6;
    uint256 internal constant BPS = 10_000;
    uint256 public constant MAX_LINES = 64; // an account
    uint256 public constant MAX_WINDOW = 365 days; // between proposals, and to challenge one

    IERC20 public immutable token;
    VoucherBank public immutable bank;
    ModelRegistry public immutable models;
    StakeVault public immutable stakes;
    uint256 public immutable betaPpm;
    uint256 public immutable laneFeeBps;
    uint96 public immutable proposerStake;
    uint64 public immutable epochLength; // seconds between proposals
    uint64 public immutable challengeWindow; // seconds

    uint256 public rewarded; // credited, ever
    uint256 public owed; // credited, not withdrawn
    uint256 public promised; // by proposals, not yet credited
    uint64 public nextProposalAt;
    uint64 public epochCount;
    mapping(address => uint256) public credit;
    mapping(address payer => uint256) public claimed; // by epochs, ever
    mapping(uint256 epoch => Epoch) private _epochs;
    mapping(uint256 epoch => mapping(uint256 word => uint256 bits)) private _taken;

    constructor(
        IERC20 token_,
        VoucherBank bank_,
        ModelRegistry models_,
        StakeVault stakes_,
        Rules memory rules
    ) {
        // The vault was deployed for this address, computed beforehand: neither pointer can ever change.
        if (!stakes_.isSlasher(address(this))) revert NotSlasher();
        if (rules.epochLength == 0) revert BadRules();
        if (rules.epochLength > MAX_WINDOW || rules.challengeWindow > MAX_WINDOW) revert BadRules();
        token = token_;
        bank = bank_;
        models = models_;
        stakes = stakes_;
        betaPpm = rules.betaPpm;
        laneFeeBps = models_.feeBps();
        proposerStake = rules.proposerStake;
        epochLength = rules.epochLength;
        challengeWindow = rules.challengeWindow;
    }

    function budget() public view virtual returns (uint256);
    function _burnWaiting(uint256 offerId) internal virtual;

    // ------------------------------------------------------------------------------------------------------ epochs

    /// Accounts ascending by payer, their lines ascending by model. Binds the proposer's stake; `epoch` counts from 1.
    /// The vault and the fees' contracts are the suite's own and call nobody but the token.
    // slither-disable-next-line reentrancy-no-eth,reentrancy-benign,reentrancy-events
    function propose(Account[] calldata accounts, bytes32 evidence) external returns (uint256 epoch) {
        if (block.timestamp < nextProposalAt) revert TooEarly();
        (bytes32 root, uint256 total) = _commit(accounts);
        if (total > budget()) _burnWaiting(0);
        if (total > budget()) revert OverBudget();
        epoch = ++epochCount;
        uint64 readyAt = uint64(block.timestamp) + challengeWindow;
        nextProposalAt = uint64(block.timestamp) + epochLength;
        promised += total;
        _epochs[epoch] = Epoch(msg.sender, readyAt, State.Proposed, root, total);
        emit Proposed(epoch, msg.sender, root, total, readyAt, evidence, accounts);
        stakes.bind(msg.sender, proposerStake);
    }

    /// Shows that an account of the proposal counts what was never settled. Nothing of a void proposal is ever paid, and the
    /// next one may come at once.
    function challenge(uint256 epoch, uint256 index, Account calldata account, bytes32[] calldata proof) external {
        Epoch storage e = _proposed(epoch);
        if (block.timestamp >= e.readyAt) revert TooLate();
        if (!MerkleProof.verifyCalldata(proof, e.root, leafHash(_leaf(index, account)))) revert BadProof();
        bytes32 modelId = falseLine(account.payer, account.lines);
        if (modelId == 0) revert NoFault();
        address proposer = e.proposer;
        e.state = State.Void;
        promised -= e.total;
        nextProposalAt = uint64(block.timestamp);
        emit Voided(epoch, msg.sender, account.payer, modelId);
        stakes.slash(proposer, proposerStake, msg.sender);
    }

    /// Credits an account of an unchallenged proposal with what he has not had yet. Anyone may push it, once an account; what
    /// another claim has paid already goes back to the budget. Epochs claimed out of their order may pay less than both
    /// promised; the rest is due in the next.
    function claim(uint256 epoch, Leaf calldata leaf, bytes32[] calldata proof) external returns (uint256 amount) {
        Epoch storage e = _epochs[epoch];
        if (e.state != State.Proposed && e.state != State.Finished) revert NotProposed();
        if (block.timestamp < e.readyAt) revert TooEarly();
        if (!MerkleProof.verifyCalldata(proof, e.root, leafHash(leaf))) revert BadProof();
        if (isClaimed(epoch, leaf.index)) revert AlreadyClaimed();
        _taken[epoch][leaf.index >> 8] |= 1 << (leaf.index & 0xff);
        uint256 before = claimed[leaf.payer];
        amount = leaf.cumulative > before ? leaf.cumulative - before : 0;
        if (amount > leaf.delta) amount = leaf.delta;
        promised -= leaf.delta;
        claimed[leaf.payer] = before + amount;
        _credit(leaf.payer, amount);
        emit Claimed(epoch, leaf.payer, amount);
    }

    /// The window is over: the proposer's stake goes home. Anyone may push it; claims do not wait for it.
    function finish(uint256 epoch) external {
        Epoch storage e = _proposed(epoch);
        if (block.timestamp < e.readyAt) revert TooEarly();
        e.state = State.Finished;
        emit Finished(epoch);
        stakes.free(e.proposer, proposerStake);
    }

    // ------------------------------------------------------------------------------------------------------ views

    function epochs(uint256 epoch) external view returns (Epoch memory) {
        return _epochs[epoch];
    }

    function isClaimed(uint256 epoch, uint256 index) public view returns (bool) {
        return _taken[epoch][index >> 8] >> (index & 0xff) & 1 == 1;
    }

    /// What money settled on lanes entitles their payer to: beta of the fee, both rounded down.
    function entitlement(uint256 settled) public view returns (uint256) {
        // slither-disable-next-line divide-before-multiply
        return settled * laneFeeBps / BPS * betaPpm / PPM;
    }

    /// The first model whose line counts more than the payer settled on its lane, or that does not exist; 0 when all is true.
    function falseLine(address payer, Line[] calldata lines) public view returns (bytes32) {
        for (uint256 i; i < lines.length; ++i) {
            bytes32 modelId = lines[i].modelId;
            uint64 lane = models.laneOf(modelId);
            // slither-disable-next-line unused-return
            (uint96 paid,,) = bank.lanes(payer, address(models), lane);
            if (lines[i].upTo > paid || models.modelOfLane(lane) != modelId) return modelId;
        }
        return 0;
    }

    function leafHash(Leaf memory leaf) public pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(leaf))));
    }

    // ------------------------------------------------------------------------------------------------------ private

    function _credit(address who, uint256 amount) internal {
        rewarded += amount;
        owed += amount;
        credit[who] += amount;
    }

    /// Checks all that calldata and the own books can tell. A delta beyond what is unclaimed would only tie up the budget.
    function _commit(Account[] calldata accounts) private view returns (bytes32 root, uint256 total) {
        if (accounts.length == 0) revert NoAccounts();
        bytes32[] memory leaves = new bytes32[](accounts.length);
        address last = address(0);
        for (uint256 i; i < accounts.length; ++i) {
            Account calldata account = accounts[i];
            if (account.payer <= last) revert NotAscending();
            last = account.payer;
            if (account.cumulative != entitlement(_settled(account.lines))) revert WrongCumulative();
            if (account.delta == 0 || claimed[last] + account.delta > account.cumulative) revert DeltaTooHigh();
            total += account.delta;
            leaves[i] = leafHash(_leaf(i, account));
        }
        root = LeafTree.root(leaves);
    }

    function _settled(Line[] calldata lines) private pure returns (uint256 sum) {
        if (lines.length > MAX_LINES) revert TooManyLines();
        bytes32 last = 0;
        for (uint256 i; i < lines.length; ++i) {
            if (lines[i].modelId <= last) revert NotAscending();
            last = lines[i].modelId;
            sum += lines[i].upTo;
        }
    }

    function _leaf(uint256 index, Account calldata account) private pure returns (Leaf memory) {
        return Leaf(index, account.payer, account.cumulative, account.delta, keccak256(abi.encode(account.lines)));
    }

    function _proposed(uint256 epoch) private view returns (Epoch storage e) {
        e = _epochs[epoch];
        if (e.state != State.Proposed) revert NotProposed();
    }
}
