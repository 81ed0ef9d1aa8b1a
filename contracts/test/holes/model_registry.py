"""Holes in ModelRegistry."""

from holes.mutant import Mutant

MUTANTS = [
    Mutant("ModelRegistry", "one model takes another's vouchers", "if (different != 0) revert WrongLane();"),
    Mutant("ModelRegistry", "no fee", "uint256 fee = feeOf(gross);", "uint256 fee = 0;"),
    Mutant(
        "ModelRegistry",
        "the fee is credited too",
        "m.received += uint128(gross - fee);",
        "m.received += uint128(gross);",
    ),
    Mutant("ModelRegistry", "a claim is paid again", "claimed[modelId][index] = uint128(due);"),
    Mutant("ModelRegistry", "payments are not counted", "m.paidOut += uint128(amount);"),
    Mutant(
        "ModelRegistry",
        "a false root eats the publisher's share",
        "m.paidOut + amount > pool",
        "m.paidOut + amount > m.received",
    ),
    Mutant(
        "ModelRegistry",
        "a false root eats other models' money",
        "if (m.paidOut + amount > pool) revert WeightsExceedTotal();",
    ),
    Mutant(
        "ModelRegistry",
        "no proof is needed",
        "if (!MerkleProof.verifyCalldata(proof, m.weightsRoot, leaf)) revert BadProof();",
    ),
    Mutant("ModelRegistry", "claims do not wait", "if (block.timestamp < m.activeAt) revert NotYetActive();"),
    Mutant("ModelRegistry", "the publisher claims twice", "m.publisherPaid += uint128(amount);"),
    Mutant(
        "ModelRegistry",
        "the publisher's share is paid to heirs too",
        "uint256 pool = m.received - _publisherShare(m);",
        "uint256 pool = m.received;",
    ),
    Mutant("ModelRegistry", "two models earn on one lane", "if (modelOfLane[lane] != 0) revert LaneTaken();"),
    Mutant(
        "ModelRegistry",
        "a model is published again",
        "if (_models[modelId].publisher != address(0)) revert ModelExists();",
    ),
    Mutant(
        "ModelRegistry",
        "trained on revoked data",
        "if (!registry.isActive(datasets[i])) revert DatasetNotActive(datasets[i]);",
    ),
    Mutant(
        "ModelRegistry",
        "a leaf that is an inner node",
        "keccak256(bytes.concat(keccak256(abi.encode(index, to, weight))))",
        "keccak256(abi.encode(index, to, weight))",
    ),
    Mutant("ModelRegistry", "fees burn twice", "        feesDue = 0;\n"),
    Mutant(
        "ModelRegistry",
        "money without an owner",
        "if ((totalWeight == 0 || weightsRoot == 0) && publisherBps != BPS) revert NoWeights();",
    ),
]
