// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {DataRegistry} from "./DataRegistry.sol";
import {ModelTypes} from "./ModelTypes.sol";
import {StakeVault} from "./StakeVault.sol";
import {Weights} from "./Weights.sol";

/// Who may doubt a model's weights, and what comes of it. Within the window after `publish`, before anybody can claim, the
/// owner of one of the datasets stakes as much as the publisher has at stake and doubts the list as a whole; once a model.
/// The immutable arbiter says by evidence that lies off chain whether the weights are what the training gave.
///
/// His power is bounded: he chooses between the published weights and those by the registry's facts, and who of the two loses
/// his stake, half of which burns. He can name no receiver and no number, touches nothing that the publisher or the parent
/// earns, and when he is silent until the ruling window has passed, anyone lapses the challenge: both stakes go home.
abstract contract ModelChallenges is ModelTypes {
    uint256 internal constant BPS = 10_000;
    /// Of each window: nobody waits longer for his share than a year and a year.
    uint256 public constant MAX_WINDOW = 365 days;

    DataRegistry public immutable registry;
    StakeVault public immutable stakes;
    address public immutable arbiter;
    uint64 public immutable challengeWindow; // seconds
    uint64 public immutable rulingWindow; // seconds
    uint96 public immutable challengeStake;

    mapping(bytes32 modelId => Model) internal _models;
    mapping(bytes32 modelId => Challenge) public challenges;

    constructor(DataRegistry registry_, StakeVault stakes_, Rules memory rules) {
        bool challengeable = rules.arbiter != address(0) && rules.challengeWindow != 0;
        // The vault was deployed for this address, computed beforehand: neither pointer can ever change.
        if (challengeable && !stakes_.isSlasher(address(this))) revert NotSlasher();
        if (challengeable && rules.rulingWindow == 0) revert BadRules();
        if (rules.challengeWindow > MAX_WINDOW || rules.rulingWindow > MAX_WINDOW) revert BadRules();
        registry = registry_;
        stakes = stakes_;
        arbiter = rules.arbiter;
        challengeWindow = rules.challengeWindow;
        rulingWindow = rules.rulingWindow;
        challengeStake = rules.challengeStake;
    }

    /// By the owner of one of the model's datasets, who proves its leaf.
    // slither-disable-next-line reentrancy-no-eth
    function challenge(bytes32 modelId, uint256 index, uint64 dataset, uint32 weightPpm, bytes32[] calldata proof)
        external
    {
        Model storage m = _known(modelId);
        if (m.phase != Phase.Staked) revert NotChallengeable();
        if (block.timestamp >= m.activeAt) revert TooLate();
        if (registry.owner(dataset) != msg.sender) revert NotOwner();
        _requireLeaf(m, index, dataset, weightPpm, proof);
        uint64 until = uint64(block.timestamp) + rulingWindow;
        m.phase = Phase.Challenged;
        challenges[modelId] = Challenge(msg.sender, until);
        emit Challenged(modelId, msg.sender, dataset, until);
        stakes.bind(msg.sender, challengeStake);
    }

    /// By the arbiter, with the published list. Wrong: the weights become those by facts and the challenger gets half of the
    /// publisher's stake. Right: the publisher gets half of the challenger's.
    function rule(bytes32 modelId, bool wrong, uint64[] calldata datasets, uint32[] calldata weightsPpm) external {
        if (msg.sender != arbiter) revert NotArbiter();
        Model storage m = _challenged(modelId);
        if (block.timestamp > challenges[modelId].rulingUntil) revert TooLate();
        if (Weights.root(datasets, weightsPpm) != m.weightsRoot) revert WrongWeights();
        (address publisher, address challenger) = (m.publisher, challenges[modelId].challenger);
        m.phase = Phase.Closed;
        uint32[] memory standing = weightsPpm;
        if (wrong) {
            standing = Weights.byFacts(registry, datasets, weightsPpm);
            m.weightsRoot = Weights.root(datasets, standing);
        }
        emit Ruled(modelId, wrong, m.weightsRoot, standing);
        (address loser, address winner) = wrong ? (publisher, challenger) : (challenger, publisher);
        stakes.free(winner, challengeStake);
        stakes.slash(loser, challengeStake, winner);
    }

    /// The arbiter was silent: the weights stand, nobody loses anything. Anyone may say so.
    function lapse(bytes32 modelId) external {
        Model storage m = _challenged(modelId);
        if (block.timestamp <= challenges[modelId].rulingUntil) revert StillRuling();
        m.phase = Phase.Closed;
        emit Lapsed(modelId);
        stakes.free(m.publisher, challengeStake);
        stakes.free(challenges[modelId].challenger, challengeStake);
    }

    /// Nobody doubted: the publisher's stake goes home. Anyone may push it.
    function release(bytes32 modelId) external {
        Model storage m = _known(modelId);
        if (m.phase != Phase.Staked) revert NotChallengeable();
        if (block.timestamp < m.activeAt) revert StillChallengeable();
        m.phase = Phase.Closed;
        emit Released(modelId);
        stakes.free(m.publisher, challengeStake);
    }

    function models(bytes32 modelId) external view returns (Model memory) {
        return _models[modelId];
    }

    function _known(bytes32 modelId) internal view returns (Model storage m) {
        m = _models[modelId];
        if (m.publisher == address(0)) revert UnknownModel();
    }

    function _stakeFor(Model storage m) internal {
        if (arbiter == address(0) || challengeWindow == 0) return;
        m.phase = Phase.Staked;
        stakes.bind(m.publisher, challengeStake);
    }

    function _requireLeaf(Model storage m, uint256 index, uint64 dataset, uint32 weightPpm, bytes32[] calldata proof)
        internal
        view
    {
        bytes32 leaf = Weights.leaf(index, dataset, weightPpm);
        if (!MerkleProof.verifyCalldata(proof, m.weightsRoot, leaf)) revert BadProof();
    }

    function _challenged(bytes32 modelId) private view returns (Model storage m) {
        m = _known(modelId);
        if (m.phase != Phase.Challenged) revert NotChallenged();
    }
}
