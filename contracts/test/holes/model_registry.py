"""Holes in ModelRegistry, its challenges and its weights."""

from holes.mutant import Mutant


def registry(hole: str, before: str, after: str = "") -> Mutant:
    return Mutant("ModelRegistry", hole, before, after)


def challenges(hole: str, before: str, after: str = "") -> Mutant:
    return Mutant("ModelChallenges", hole, before, after, tests="ModelRegistry")


def weights(hole: str, before: str, after: str = "") -> Mutant:
    return Mutant("Weights", hole, before, after, tests="ModelRegistry")


MUTANTS = [
    registry("one model takes another's vouchers", "if (different != 0) revert WrongLane();"),
    registry("no fee", "uint256 fee = feeOf(gross);", "uint256 fee = 0;"),
    registry("the fee is credited too", "m.received += uint128(gross - fee);", "m.received += uint128(gross);"),
    registry("a claim is paid again", "        claimed[modelId][index] += uint128(amount);\n"),
    registry("payments are not counted", "        m.paidOut += uint128(amount);\n"),
    registry(
        "no proof is needed",
        "        _requireLeaf(m, index, dataset, weightPpm, proof);\n        amount",
        "        amount",
    ),
    registry("claims do not wait", "if (block.timestamp < m.activeAt) revert NotYetActive();"),
    registry("claims under a challenge", "if (m.phase == Phase.Challenged) revert UnderChallenge();"),
    registry("a share is the caller's", "dataset == 0 ? m.publisher : registry.owner(dataset)", "msg.sender"),
    registry(
        "dataset 0 pays nobody", "dataset == 0 ? m.publisher : registry.owner(dataset)", "registry.owner(dataset)"
    ),
    registry("the publisher claims twice", "        m.publisherPaid += uint128(amount);\n"),
    registry("the publisher's share is the heirs' too", "- _parentShare(m) - _publisherShare(m)", "- _parentShare(m)"),
    registry(
        "the parent's share is the heirs' too",
        "m.received - _parentShare(m) - _publisherShare(m)",
        "m.received - _publisherShare(m)",
    ),
    registry(
        "the publisher comes before the parent",
        "(m.received - _parentShare(m)) * m.publisherBps",
        "uint256(m.received) * m.publisherBps",
    ),
    registry("a parent is paid again", "        m.parentPaid += uint128(amount);\n"),
    registry("a parent's money is lost", "        _models[m.parent].received += uint128(amount);\n"),
    registry(
        "the fee burns again on the way up",
        "_models[m.parent].received += uint128(amount);",
        "_models[m.parent].received += uint128(amount - feeOf(amount));",
    ),
    registry("a child gives what it likes", "revert ParentShareTooLow();", ""),
    registry("a parent that is nobody", "_known(terms.parent).childBps", "_models[terms.parent].childBps"),
    registry("a share for no parent", "if (terms.parentBps != 0) revert UnknownModel();"),
    registry("a parent takes everything", "terms.parentBps > MAX_PARENT_BPS || "),
    registry("a parent asks for everything", " || terms.childBps > MAX_PARENT_BPS"),
    registry("the publisher takes everything", "(others ? MAX_PUBLISHER_BPS : BPS)", "BPS"),
    registry("two models earn on one lane", "if (modelOfLane[lane] != 0) revert LaneTaken();"),
    registry("a model is published again", "if (_models[modelId].publisher != address(0)) revert ModelExists();"),
    registry("the id that stands for none", "if (modelId == 0) revert BadModelId();"),
    registry("fees burn twice", "        feesDue = 0;\n"),
    registry("nobody stakes", "        if (others) _stakeFor(m);\n"),
    registry("everybody stakes", "if (others) _stakeFor(m);", "_stakeFor(m);"),
    challenges("anybody rules", "if (msg.sender != arbiter) revert NotArbiter();"),
    challenges("the arbiter rules late", "if (block.timestamp > challenges[modelId].rulingUntil) revert TooLate();"),
    challenges(
        "the arbiter brings his own list",
        "if (Weights.root(datasets, weightsPpm) != m.weightsRoot) revert WrongWeights();",
    ),
    challenges("a ruling changes nothing", "            m.weightsRoot = Weights.root(datasets, standing);\n"),
    challenges(
        "the winner is slashed",
        "wrong ? (publisher, challenger) : (challenger, publisher)",
        "wrong ? (challenger, publisher) : (publisher, challenger)",
    ),
    challenges("the winner's stake stays", "        stakes.free(winner, challengeStake);\n"),
    challenges(
        "the loser keeps his stake",
        "stakes.slash(loser, challengeStake, winner);",
        "stakes.free(loser, challengeStake);",
    ),
    challenges("a challenge costs nothing", "        stakes.bind(msg.sender, challengeStake);\n"),
    challenges("anybody challenges", "if (registry.owner(dataset) != msg.sender) revert NotOwner();"),
    challenges(
        "with any dataset of his",
        "        _requireLeaf(m, index, dataset, weightPpm, proof);\n        uint64 until",
        "        uint64 until",
    ),
    challenges("challenged after claims", "if (block.timestamp >= m.activeAt) revert TooLate();"),
    challenges(
        "challenged again",
        "if (m.phase != Phase.Staked) revert NotChallengeable();\n        if (block.timestamp >=",
        "if (block.timestamp >=",
    ),
    challenges("a lapse at once", "if (block.timestamp <= challenges[modelId].rulingUntil) revert StillRuling();"),
    challenges(
        "a lapse keeps the challenger's stake", "        stakes.free(challenges[modelId].challenger, challengeStake);\n"
    ),
    challenges(
        "a lapse is final for nobody", "        m.phase = Phase.Closed;\n        emit Lapsed", "        emit Lapsed"
    ),
    challenges(
        "the stake goes home before the window", "if (block.timestamp < m.activeAt) revert StillChallengeable();"
    ),
    challenges(
        "the stake goes home twice", "        m.phase = Phase.Closed;\n        emit Released", "        emit Released"
    ),
    challenges(
        "a vault of somebody else", "if (challengeable && !stakes_.isSlasher(address(this))) revert NotSlasher();"
    ),
    challenges("a window without end", "rules.challengeWindow > MAX_WINDOW || "),
    challenges("a ruling without end", " || rules.rulingWindow > MAX_WINDOW"),
    weights("trained on revoked data", "if (!active) revert DatasetNotActive(dataset);"),
    weights("a dataset counts twice", "if (i != 0 && datasets[i] <= datasets[i - 1]) revert DatasetsNotAscending();"),
    weights(
        "weights above the whole",
        "if (sum != WHOLE) revert WeightsNotWhole();",
        "if (sum < WHOLE) revert WeightsNotWhole();",
    ),
    weights(
        "weights below the whole",
        "if (sum != WHOLE) revert WeightsNotWhole();",
        "if (sum > WHOLE) revert WeightsNotWhole();",
    ),
    weights("nobody has a floor", "revert BelowFloor(datasets[i]);", ""),
    weights("the floor forgets quality", "records * (qualityPpm == 0 ? 1 : qualityPpm)", "records"),
    weights(
        "own data lower no floor",
        "uint256 shared = WHOLE - _checkForm(datasets, weightsPpm);",
        "_checkForm(datasets, weightsPpm); uint256 shared = WHOLE;",
    ),
    weights("own data take everything", "if (n > 1 && own > MAX_OWN_PPM) revert OwnWeightTooHigh();"),
    weights("own data lose nothing by a ruling", "weightsPpm[0] / 2 : 0", "weightsPpm[0] : 0"),
    weights("ruled weights are not whole", "(WHOLE - own) * upTo[i] / all", "(WHOLE - own) * upTo[i] / (all + 1)"),
    weights(
        "a leaf that is an inner node",
        "keccak256(bytes.concat(keccak256(abi.encode(index, dataset, weightPpm))))",
        "keccak256(abi.encode(index, dataset, weightPpm))",
    ),
    Mutant(
        "LeafTree",
        "the odd leaf is left out",
        "i + 1 < width ? Hashes.commutativeKeccak256(left, nodes[i + 1]) : left",
        "Hashes.commutativeKeccak256(left, nodes[i + 1 < width ? i + 1 : i])",
        tests="ModelRegistry",
    ),
]
