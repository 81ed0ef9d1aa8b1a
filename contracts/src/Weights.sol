// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DataRegistry} from "./DataRegistry.sol";
import {LeafTree} from "./LeafTree.sol";

/// How a model's contributors share: one weight a dataset, parts per million that sum to a million, datasets ascending.
/// Dataset 0 stands for data of the publisher's own that nobody registered; it comes first, if at all.
///
/// The publisher weighs by what the data were worth to the model, which no contract can judge. What it can judge are facts:
/// records x claimed quality of the registry, at least 1. Of the part that is not dataset 0's, every dataset gets at least a
/// quarter of its share by facts, so nobody whose dataset is named can be left with nothing; and a publisher who was ruled to
/// be wrong falls back on the facts alone.
library Weights {
    uint256 internal constant WHOLE = 1e6;
    uint256 internal constant FLOOR_PPM = 250_000;
    /// What own unregistered data may take at most beside others'.
    uint256 internal constant MAX_OWN_PPM = 500_000;
    uint256 internal constant MAX_DATASETS = 256;

    error NoWeights();
    error TooManyDatasets();
    error DatasetsNotAscending();
    error DatasetNotActive(uint64 dataset);
    error WeightsNotWhole();
    error OwnWeightTooHigh();
    error BelowFloor(uint64 dataset);

    function leaf(uint256 index, uint64 dataset, uint32 weightPpm) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(index, dataset, weightPpm))));
    }

    function root(uint64[] calldata datasets, uint32[] memory weightsPpm) internal pure returns (bytes32) {
        if (datasets.length == 0 || datasets.length != weightsPpm.length) revert NoWeights();
        bytes32[] memory leaves = new bytes32[](datasets.length);
        for (uint256 i; i < leaves.length; ++i) leaves[i] = leaf(i, datasets[i], weightsPpm[i]);
        return LeafTree.root(leaves);
    }

    /// Reverts for weights that break a rule; says whether anybody else than `publisher` has a part.
    function check(DataRegistry registry, uint64[] calldata datasets, uint32[] calldata weightsPpm, address publisher)
        internal
        view
        returns (bool others)
    {
        uint256 shared = WHOLE - _checkForm(datasets, weightsPpm);
        uint256[] memory facts = new uint256[](datasets.length);
        uint256 all = 0;
        for (uint256 i; i < facts.length; ++i) {
            if (datasets[i] == 0) continue;
            (uint256 value, address owner) = _activeFact(registry, datasets[i]);
            if (owner != publisher) others = true;
            facts[i] = value;
            all += value;
        }
        for (uint256 i; i < facts.length; ++i) {
            if (facts[i] != 0 && weightsPpm[i] < shared * FLOOR_PPM * facts[i] / (WHOLE * all)) {
                revert BelowFloor(datasets[i]);
            }
        }
    }

    /// The weights by facts alone. Own unregistered data, for which there are no facts, keep half of what they were given.
    /// Rounded by running totals, so they sum to a million whatever the facts are. A dataset counts though it was revoked
    /// since: its records are in the model.
    function byFacts(DataRegistry registry, uint64[] calldata datasets, uint32[] calldata weightsPpm)
        internal
        view
        returns (uint32[] memory ruled)
    {
        uint256 n = datasets.length;
        ruled = new uint32[](n);
        uint256[] memory upTo = new uint256[](n); // facts of this dataset and those before it
        uint256 all = 0;
        for (uint256 i; i < n; ++i) {
            if (datasets[i] != 0) {
                // slither-disable-next-line unused-return
                (, uint32 records, uint32 qualityPpm,) = registry.facts(datasets[i]);
                all += fact(records, qualityPpm);
            }
            upTo[i] = all;
        }
        uint256 own = all == 0 ? WHOLE : datasets[0] == 0 ? weightsPpm[0] / 2 : 0;
        uint256 given = 0;
        for (uint256 i; i < n; ++i) {
            uint256 to = own + (all == 0 ? 0 : (WHOLE - own) * upTo[i] / all);
            ruled[i] = uint32(to - given);
            given = to;
        }
    }

    /// Ascending, whole, and not too much for own data, whose weight it returns.
    function _checkForm(uint64[] calldata datasets, uint32[] calldata weightsPpm) private pure returns (uint256 own) {
        uint256 n = datasets.length;
        if (n == 0 || n != weightsPpm.length) revert NoWeights();
        if (n > MAX_DATASETS) revert TooManyDatasets();
        uint256 sum = 0;
        for (uint256 i; i < n; ++i) {
            if (i != 0 && datasets[i] <= datasets[i - 1]) revert DatasetsNotAscending();
            sum += weightsPpm[i];
        }
        if (sum != WHOLE) revert WeightsNotWhole();
        if (datasets[0] == 0) own = weightsPpm[0];
        if (n > 1 && own > MAX_OWN_PPM) revert OwnWeightTooHigh();
    }

    function _activeFact(DataRegistry registry, uint64 dataset) private view returns (uint256, address) {
        (address owner, uint32 records, uint32 qualityPpm, bool active) = registry.facts(dataset);
        if (!active) revert DatasetNotActive(dataset);
        return (fact(records, qualityPpm), owner);
    }

    /// Never 0: the registry takes no dataset without records.
    function fact(uint256 records, uint256 qualityPpm) internal pure returns (uint256) {
        return records * (qualityPpm == 0 ? 1 : qualityPpm);
    }
}
