// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// What ModelRegistry tells the world: terms, states, events, refusals.
abstract contract ModelTypes {
    enum Phase {
        Unstaked, // nobody's data but the publisher's, or a registry without challenges
        Staked, // may be challenged until `activeAt`
        Challenged, // nobody claims by the weights
        Closed // ruled, lapsed or released: the weights stand for good
    }

    /// What a publisher says beside the weights. `parentBps` of what the model earns goes to the model it was built on, which
    /// asks for at least its `childBps`.
    struct Terms {
        bytes32 modelId;
        uint16 publisherBps;
        uint96 pricePerUnit;
        bytes32 parent;
        uint16 parentBps;
        uint16 childBps;
    }

    /// Times in seconds. A zero arbiter or window switches challenges and stakes off.
    struct Rules {
        uint64 challengeWindow;
        uint64 rulingWindow;
        uint96 challengeStake;
        uint16 feeBps;
        address arbiter;
    }

    struct Model {
        address publisher; // slot 0, with the five below
        uint16 publisherBps;
        uint16 parentBps;
        uint16 childBps;
        uint40 activeAt; // claims by the weights begin
        Phase phase;
        bytes32 weightsRoot;
        bytes32 parent;
        uint96 pricePerUnit; // with `received`: the first payment finds the slot written
        uint128 received; // net of fees, ever; with what children gave
        uint128 paidOut; // to contributors, ever
        uint128 publisherPaid;
        uint128 parentPaid;
    }

    struct Challenge {
        address challenger;
        uint64 rulingUntil;
    }

    struct Share {
        bytes32 modelId;
        uint256 index;
        uint64 dataset;
        uint32 weightPpm;
        bytes32[] proof;
    }

    /// The event holds all that a claim needs.
    event Published(
        bytes32 indexed modelId,
        address indexed publisher,
        uint64 lane,
        bytes32 weightsRoot,
        Terms terms,
        uint64[] datasets,
        uint32[] weightsPpm,
        bytes cid
    );
    event Paid(bytes32 indexed modelId, address indexed from, uint256 gross, uint256 fee);
    event Claimed(bytes32 indexed modelId, uint256 indexed index, address indexed to, uint64 dataset, uint256 amount);
    event PublisherClaimed(bytes32 indexed modelId, address indexed publisher, uint256 amount);
    event ParentPaid(bytes32 indexed modelId, bytes32 indexed parent, uint256 amount);
    event FeesBurnt(uint256 fees);
    event Challenged(bytes32 indexed modelId, address indexed challenger, uint64 dataset, uint64 rulingUntil);
    event Ruled(bytes32 indexed modelId, bool wrong, bytes32 weightsRoot, uint32[] weightsPpm);
    event Lapsed(bytes32 indexed modelId);
    event Released(bytes32 indexed modelId);

    error FeeTooHigh();
    error NotSlasher();
    error BadRules();
    error BadModelId();
    error ModelExists();
    error LaneTaken();
    error UnknownModel();
    error ShareTooHigh();
    error ParentShareTooLow();
    error CidTooLong();
    error WrongLane();
    error NotYetActive();
    error UnderChallenge();
    error NotChallengeable();
    error NotChallenged();
    error TooLate();
    error NotOwner();
    error NotArbiter();
    error BadProof();
    error WrongWeights();
    error StillChallengeable();
    error StillRuling();
}
