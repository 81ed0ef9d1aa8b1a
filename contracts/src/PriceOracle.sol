// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {DataRegistry} from "./DataRegistry.sol";

/// What a dataset is worth by rule, so that buyer and seller start from one number:
///
///     quote = base(domain) * records * quality * demand * freshness * licence          (WAD fixed point, rounded down)
///
///     quality    0.5 + claimed quality                                   0.5 ... 1.5, monotone
///     demand     moves with every paid and rated purchase of this dataset; 0.25 ... 4, at most x(1 -+ clamp) an epoch
///     freshness  1 on the first day, falling by the day to 0.5 after a year
///     licence    a factor per licence, 1 by default
///
/// A quote binds nobody: the seller names his price, the buyer his maximum. Only the immutable reporter (the RewardPool, which
/// checks that money was paid and a fee burnt) moves demand. A purchase weighs by what was paid for it against the quote, so
/// pushing a price costs fees on that price.
contract PriceOracle is Ownable2Step {
    struct Demand {
        uint64 epoch;
        uint96 factor; // WAD; zero means never reported: 1
        uint96 start; // the factor when the epoch began
    }

    uint256 private constant WAD = 1e18;
    uint256 private constant PPM = 1e6;
    uint256 public constant MIN_DEMAND = 0.25e18;
    uint256 public constant MAX_DEMAND = 4e18;
    /// A purchase at the quoted price, rated 3. Small against the clamp: an epoch's limit takes several buyers.
    uint256 public constant DEMAND_STEP = 0.02e18;
    /// For each star above or below 3.
    uint256 public constant RATING_STEP = 0.02e18;
    /// An epoch without a report moves the factor towards 1 by this share.
    uint256 public constant DECAY = 0.05e18;
    /// (1 - DECAY)^28 < 1/4 and (1 + DECAY)^29 > 4: after this many silent epochs every factor is 1 again.
    uint256 private constant DECAY_EPOCHS = 30;
    uint256 public constant MIN_BASE = 1;
    uint256 public constant MAX_BASE = 1e24;
    uint256 public constant MIN_LICENCE = 0.01e18;
    uint256 public constant MAX_LICENCE = 100e18;

    DataRegistry public immutable registry;
    address public immutable reporter;
    uint64 public immutable epochLength; // seconds
    uint64 public immutable genesis;
    uint256 public immutable clampPpm;

    uint256 public immutable defaultBase; // base units a record, for domains without their own
    mapping(bytes32 domain => uint256 weiPerRecord) public baseOf;
    mapping(bytes32 licence => uint256 wad) public licenceFactorOf;
    mapping(uint64 dataset => Demand) public demands;

    event BaseSet(bytes32 indexed domain, uint256 weiPerRecord);
    event LicenceFactorSet(bytes32 indexed licence, uint256 wad);
    event DemandMoved(uint64 indexed dataset, uint8 rating, uint256 paid, uint256 factor);

    error OutOfBounds();
    error NotReporter();
    error UnknownDataset();
    error BadRating();

    constructor(
        DataRegistry registry_,
        address reporter_,
        address admin,
        uint256 defaultBase_,
        uint64 epochLength_,
        uint256 clampPpm_
    ) Ownable(admin) {
        if (defaultBase_ < MIN_BASE || defaultBase_ > MAX_BASE) revert OutOfBounds();
        // Decay is a movement too: it must lie within the clamp.
        if (clampPpm_ < DECAY * PPM / WAD || clampPpm_ > PPM / 2 || epochLength_ == 0) revert OutOfBounds();
        registry = registry_;
        // slither-disable-next-line missing-zero-check
        reporter = reporter_; // the RewardPool refuses to be deployed with an oracle that obeys another
        defaultBase = defaultBase_;
        epochLength = epochLength_;
        genesis = uint64(block.timestamp);
        clampPpm = clampPpm_;
    }

    /// Base units for the whole dataset. Reverts for an unknown one.
    function quote(uint64 dataset) public view returns (uint256) {
        (bytes32 domain, bytes32 licence, uint32 records, uint32 qualityPpm, uint64 registeredAt) =
            registry.pricing(dataset);
        if (records == 0) revert UnknownDataset();
        // Rounding down at every factor loses five base units at most, and no product can leave 256 bits.
        // slither-disable-start divide-before-multiply
        uint256 value = base(domain) * records;
        value = value * qualityFactor(qualityPpm) / WAD;
        value = value * demandFactor(dataset) / WAD;
        value = value * freshnessFactor(block.timestamp - registeredAt) / WAD;
        return value * licenceFactor(licence) / WAD;
        // slither-disable-end divide-before-multiply
    }

    function base(bytes32 domain) public view returns (uint256) {
        uint256 own = baseOf[domain];
        return own == 0 ? defaultBase : own;
    }

    function licenceFactor(bytes32 licence) public view returns (uint256) {
        uint256 own = licenceFactorOf[licence];
        return own == 0 ? WAD : own;
    }

    function qualityFactor(uint256 qualityPpm) public pure returns (uint256) {
        // slither-disable-next-line divide-before-multiply
        return WAD / 2 + qualityPpm * (WAD / PPM); // exact
    }

    /// By the day, so that a quote holds for some hours.
    function freshnessFactor(uint256 ageSeconds) public pure returns (uint256) {
        uint256 day = ageSeconds / 1 days;
        // slither-disable-next-line divide-before-multiply
        return day >= 365 ? WAD / 2 : WAD - (WAD / 2) * day / 365;
    }

    /// Now, with the decay of silent epochs.
    function demandFactor(uint64 dataset) public view returns (uint256) {
        return _rolled(demands[dataset]).factor;
    }

    function epoch() public view returns (uint64) {
        return (uint64(block.timestamp) - genesis) / epochLength;
    }

    /// One paid and rated purchase. `paid` in base units.
    function report(uint64 dataset, uint8 rating, uint256 paid) external {
        if (msg.sender != reporter) revert NotReporter();
        if (rating < 1 || rating > 5) revert BadRating();
        uint256 fair = quote(dataset);
        uint256 weight = paid >= fair ? WAD : paid * WAD / fair;
        Demand memory d = _rolled(demands[dataset]);
        d.factor = uint96(_moved(d, rating, weight));
        demands[dataset] = d;
        emit DemandMoved(dataset, rating, paid, d.factor);
    }

    function setBase(bytes32 domain, uint256 weiPerRecord) external onlyOwner {
        if (weiPerRecord < MIN_BASE || weiPerRecord > MAX_BASE) revert OutOfBounds();
        baseOf[domain] = weiPerRecord;
        emit BaseSet(domain, weiPerRecord);
    }

    function setLicenceFactor(bytes32 licence, uint256 wad) external onlyOwner {
        if (wad < MIN_LICENCE || wad > MAX_LICENCE) revert OutOfBounds();
        licenceFactorOf[licence] = wad;
        emit LicenceFactorSet(licence, wad);
    }

    /// A purchase adds DEMAND_STEP, each star RATING_STEP, by weight; then the bounds of the epoch, then those of all time.
    function _moved(Demand memory d, uint8 rating, uint256 weight) private view returns (uint256 factor) {
        uint256 up = WAD + weight * (DEMAND_STEP + (rating > 3 ? (rating - 3) * RATING_STEP : 0)) / WAD;
        uint256 down = WAD - weight * (rating < 3 ? (3 - rating) * RATING_STEP : 0) / WAD;
        // slither-disable-next-line divide-before-multiply
        factor = uint256(d.factor) * up / WAD * down / WAD; // down to the last of 18 digits
        uint256 low = _max(uint256(d.start) * (PPM - clampPpm) / PPM, MIN_DEMAND);
        uint256 high = _min(uint256(d.start) * (PPM + clampPpm) / PPM, MAX_DEMAND);
        return _max(low, _min(high, factor));
    }

    /// Brings a stored factor to the present epoch.
    function _rolled(Demand memory d) private view returns (Demand memory) {
        uint64 present = epoch();
        if (d.factor == 0) return Demand(present, uint96(WAD), uint96(WAD));
        if (present == d.epoch) return d;
        // The epoch of the last report was not silent; those after it were, up to this one.
        uint256 silent = present - d.epoch - 1;
        uint256 factor = silent >= DECAY_EPOCHS ? WAD : d.factor;
        if (factor > WAD) {
            for (; silent != 0 && factor > WAD; --silent) factor = _max(WAD, factor * (WAD - DECAY) / WAD);
        } else {
            for (; silent != 0 && factor < WAD; --silent) factor = _min(WAD, factor * (WAD + DECAY) / WAD);
        }
        return Demand(present, uint96(factor), uint96(factor));
    }

    function _max(uint256 a, uint256 b) private pure returns (uint256) {
        return a > b ? a : b;
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
