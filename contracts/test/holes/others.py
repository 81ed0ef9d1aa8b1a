"""Holes in the contracts that hold no money."""

from holes.mutant import Mutant

MUTANTS = [
    Mutant("PriceOracle", "anybody reports", "if (msg.sender != reporter) revert NotReporter();"),
    Mutant("PriceOracle", "ratings out of range", "if (rating < 1 || rating > 5) revert BadRating();"),
    Mutant("PriceOracle", "no clamp upwards", "_max(low, _min(high, factor))", "_max(low, factor)"),
    Mutant("PriceOracle", "no clamp downwards", "_max(low, _min(high, factor))", "_min(high, factor)"),
    Mutant(
        "PriceOracle",
        "a token buys a price",
        "uint256 weight = paid >= fair ? WAD : paid * WAD / fair;",
        "uint256 weight = WAD;",
    ),
    Mutant(
        "PriceOracle",
        "the epoch never begins anew",
        "return Demand(present, uint96(factor), uint96(factor));",
        "return Demand(present, uint96(factor), d.start);",
    ),
    Mutant("PriceOracle", "demand never falls back", "uint256 silent = present - d.epoch - 1;", "uint256 silent = 0;"),
    Mutant("PriceOracle", "quality has no price", "value = value * qualityFactor(qualityPpm) / WAD;"),
    Mutant(
        "PriceOracle",
        "the admin sets any price",
        "if (weiPerRecord < MIN_BASE || weiPerRecord > MAX_BASE) revert OutOfBounds();\n        baseOf",
        "baseOf",
    ),
    Mutant("DataRegistry", "anybody revokes", "if (d.owner != msg.sender) revert NotOwner();"),
    Mutant("DataRegistry", "made from revoked data", "!isActive(parents[i]) || "),
    Mutant("DataRegistry", "its own parent", " || parents[i] == datasetCount"),
    Mutant("DataRegistry", "revoking changes nothing", "        d.revoked = true;\n"),
    Mutant("SchwungToken", "an authorisation is used twice", "        authorizationState[from][nonce] = true;\n"),
    Mutant(
        "SchwungToken",
        "an authorisation never expires",
        "if (block.timestamp >= validBefore) revert AuthorizationExpired();",
    ),
    Mutant("SchwungToken", "anybody receives", "if (msg.sender != to) revert CallerIsNotPayee();"),
    Mutant("SchwungToken", "no signature is needed", "revert InvalidAuthorization();"),
    Mutant("EntryPause", "anybody pauses", "if (msg.sender != guardian) revert NotGuardian();", tests="KeySale"),
]
