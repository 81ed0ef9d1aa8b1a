// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// What RewardPool tells the world: epochs, their accounts, events, refusals.
abstract contract RewardTypes {
    enum State {
        None,
        Proposed, // to be challenged until `readyAt`, then claimed from
        Void,
        Finished // claimed from, the proposer's stake is home
    }

    /// alpha: all rewards against all fees burnt; beta: one reward against its own fee. Times in seconds.
    struct Rules {
        uint256 alphaPpm;
        uint256 betaPpm;
        uint96 proposerStake;
        uint64 epochLength;
        uint64 challengeWindow;
    }

    /// A payer rated a model, and up to here its settled vouchers have been counted.
    struct Line {
        bytes32 modelId;
        uint96 upTo;
    }

    /// One payer of a proposal: every lane he ever rated, what that entitles him to since ever, and what is new of it.
    struct Account {
        address payer;
        uint96 cumulative;
        uint96 delta;
        Line[] lines;
    }

    /// An account as it stands in an epoch's tree.
    struct Leaf {
        uint256 index;
        address payer;
        uint96 cumulative;
        uint96 delta;
        bytes32 linesHash;
    }

    struct Epoch {
        address proposer;
        uint64 readyAt;
        State state;
        bytes32 root;
        uint256 total; // of all deltas
    }

    event Funded(address indexed from, uint256 amount);
    /// `ticket` is the sale id; `itemHash` names the feedback item that was gossiped.
    event Rewarded(address indexed who, bytes32 indexed ticket, uint8 rating, bytes32 itemHash, uint256 amount);
    /// `evidence` is the hash of the list of signed feedback items that the proposal rests on; nothing on chain judges it.
    event Proposed(
        uint256 indexed epoch,
        address indexed proposer,
        bytes32 root,
        uint256 total,
        uint64 readyAt,
        bytes32 evidence,
        Account[] accounts
    );
    event Voided(uint256 indexed epoch, address indexed challenger, address indexed payer, bytes32 modelId);
    event Finished(uint256 indexed epoch);
    event Claimed(uint256 indexed epoch, address indexed payer, uint256 amount);
    event Withdrawn(address indexed who, uint256 amount);

    error ShareTooHigh();
    error BadRules();
    error NotReporter();
    error NotSlasher();
    error NotBuyer();
    error NotPaid();
    error AlreadyRated();
    error TooEarly();
    error TooLate();
    error NoAccounts();
    error TooManyLines();
    error NotAscending();
    error WrongCumulative();
    error DeltaTooHigh();
    error OverBudget();
    error NotProposed();
    error BadProof();
    error NoFault();
    error AlreadyClaimed();
}
