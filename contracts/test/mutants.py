"""Break the contracts on purpose and see the tests notice: `python contracts/test/mutants.py [--only NAME] [--jobs N]`.

Each mutant is one hole a careless hand could leave. It is made in a copy, compiled, and must be killed by the unit
tests of its contract or, failing that, by the invariants. A survivor is a hole in the tests. Needs `npm ci` in
contracts/; takes about ten seconds a mutant and core, so it is no part of CI.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
TIMEOUT_S = 900


@dataclass(frozen=True)
class Mutant:
    file: str  # under src/, without .sol
    hole: str
    before: str
    after: str = ""
    tests: str = ""  # the contract whose tests must notice; the file's own by default

    @property
    def subject(self) -> str:
        return self.tests or self.file


KEY_SALE = [
    Mutant("KeySale", "more open sales than the bond covers", "if (w.open() >= w.maxOpen()) revert BondFullyUsed();"),
    Mutant("KeySale", "revoked data is sold", "if (!registry.isActive(w.dataset())) revert DatasetNotActive();"),
    Mutant("KeySale", "revoked data is offered", "if (!registry.isActive(dataset)) revert DatasetNotActive();"),
    Mutant(
        "KeySale",
        "somebody else's data is offered",
        "if (registry.owner(dataset) != msg.sender) revert NotDatasetOwner();",
    ),
    Mutant("KeySale", "the buyer's maximum is ignored", "if (price > maxPrice) revert PriceAboveMax();"),
    Mutant("KeySale", "a key off the curve is locked", "if (!Curve.contains(bx, by)) revert NotOnCurve();"),
    Mutant(
        "KeySale",
        "anybody confirms",
        "if (s.buyer() != msg.sender) revert NotBuyer();\n        _requireLive(s);",
        "_requireLive(s);",
    ),
    Mutant(
        "KeySale",
        "a sale is confirmed twice",
        "_requireLive(s);\n        _finish(saleId, s, State.Paid);",
        "_finish(saleId, s, State.Paid);",
    ),
    Mutant(
        "KeySale",
        "a signature of anybody confirms",
        "if (signer == address(0) || signer != s.buyer()) continue;",
        "if (signer == address(0)) continue;",
    ),
    Mutant("KeySale", "a signed sale that has ended is paid again", "if (!_isLive(s)) continue;"),
    Mutant(
        "KeySale",
        "the seller delivers too late",
        "if (block.timestamp > s.deadline()) revert TooLate();\n        if (parity",
        "if (parity",
    ),
    Mutant(
        "KeySale",
        "claim without waiting",
        "if (block.timestamp <= s.deadline()) revert TooEarly();\n        if (_status",
        "if (_status",
    ),
    Mutant(
        "KeySale",
        "claim from a void offer",
        "if (_status(saleId >> 64) == Status.Bad) revert OfferIsBad();\n        _finish",
        "_finish",
    ),
    Mutant(
        "KeySale",
        "refund without waiting",
        "            if (block.timestamp <= s.deadline()) revert TooEarly();\n        }",
        "        }",
    ),
    Mutant(
        "KeySale",
        "refund after delivery",
        "if (s.state() != uint256(State.Locked)) revert WrongState();\n            if",
        "if",
    ),
    Mutant(
        "KeySale",
        "an honest seller loses a key dispute",
        "if (CellTree.hashKey(k) == keyHash) revert NoFault();",
    ),
    Mutant(
        "KeySale",
        "an honest seller loses a cell dispute",
        'if (sha256(bytes.concat(bytes1("p"), k, ChaCha20.xorStream(k, ct))) == ptHash) revert NoFault();',
    ),
    Mutant(
        "KeySale",
        "a key dispute after its window",
        "if (block.timestamp > s.deadline()) revert TooLate();\n        if (b == 0",
        "if (b == 0",
    ),
    Mutant("KeySale", "a one-time key that is no scalar", "if (b == 0 || b >= Curve.N) revert WrongKey();"),
    Mutant("KeySale", "a refunded buyer slashes", "if (s.state() == uint256(State.Refunded)) revert WrongState();"),
    Mutant(
        "KeySale",
        "a stranger slashes by a cell",
        "if (s.buyer() != msg.sender) revert NotBuyer();\n        if (s.state() == uint256(State.Refunded))",
        "if (s.state() == uint256(State.Refunded))",
    ),
    Mutant(
        "CellTree",
        "a path that is too long",
        "return used == path.length && h == root;",
        "return h == root;",
        tests="KeySale",
    ),
    Mutant("CellTree", "a leaf beyond the tree", "if (i >= cells) return false;", tests="KeySale"),
    Mutant("KeySale", "who slashes himself loses nothing", "uint96 reward = bond / 2;", "uint96 reward = bond;"),
    Mutant("KeySale", "a slashed bond stays", "_cold[offerId].bond = 0;"),
    Mutant("KeySale", "an offer pays twice", "_words[offerId] = w.withNoneUncollected();", "_words[offerId] = w;"),
    Mutant("KeySale", "credit is paid twice", "credit[msg.sender] = 0;"),
    Mutant(
        "KeySale", "the bond leaves before open sales end", "if (_words[offerId].open() != 0) revert SalesStillOpen();"
    ),
    Mutant("KeySale", "the bond leaves at once", " || block.timestamp <= cold.closedAt + disputeWindow"),
    Mutant("KeySale", "the bond leaves twice", "        cold.bond = 0;\n        credit", "        credit"),
    Mutant("KeySale", "penalties buy rewards", "feesBurnt += fees;", "feesBurnt += fees + penalties;"),
    Mutant("KeySale", "fees burn twice", "        feesDue = 0;\n"),
    Mutant("Words", "open sales share a desk", "if (desk < DESK_COUNT) next |= 1 << DESKS + desk;", tests="KeySale"),
    Mutant(
        "Words",
        "sales beyond the desks share a place",
        "busy >> desk & 1 == 1) ++desk;",
        "busy >> desk & 1 == 1 && desk < 15) ++desk;",
        tests="KeySale",
    ),
    Mutant(
        "Words",
        "an ended sale stays open",
        "uint256 next = OfferWord.unwrap(w) - (1 << OPEN);",
        "uint256 next = OfferWord.unwrap(w);",
        tests="KeySale",
    ),
    Mutant("Fees", "the fee rounds down", "(amount * bps + BPS - 1) / BPS", "amount * bps / BPS", tests="KeySale"),
    Mutant("ChaCha20", "a round too few", "lt(i, 10)", "lt(i, 9)", tests="ChaCha20"),
]

VOUCHER_BANK = [
    Mutant("VoucherBank", "an older voucher is paid again", "if (due <= paid) return 0;", "if (due == 0) return 0;"),
    Mutant(
        "VoucherBank",
        "nonsense signs for address zero",
        "if (signer == payer && signer != address(0))",
        "if (signer == payer)",
    ),
    Mutant("VoucherBank", "a delegate never expires", "if (d.until > block.timestamp) {", "if (d.until != 0) {"),
    Mutant(
        "VoucherBank",
        "a delegate's spending is forgotten",
        "if (allowed != UNLIMITED) delegates[payer][signer].spent += uint96(amount);",
    ),
    Mutant(
        "VoucherBank",
        "each voucher has the whole cap",
        "return (signer, d.cap > d.spent ? d.cap - d.spent : 0);",
        "return (signer, d.cap);",
    ),
    Mutant(
        "VoucherBank", "a reserve is used again and again", "sub(add(lane, amount), shl(96, hard))", "add(lane, amount)"
    ),
    Mutant(
        "VoucherBank",
        "the account is not debited",
        "if sub(amount, hard) { sstore(a.slot, sub(account, sub(amount, hard))) }",
    ),
    Mutant(
        "VoucherBank",
        "the lane forgets what it paid",
        "sub(add(lane, amount), shl(96, hard))",
        "sub(lane, shl(96, hard))",
    ),
    Mutant("VoucherBank", "more is paid than is there", "if (amount > due) amount = due;", "amount = due;"),
    Mutant("VoucherBank", "a payer leaves at once", "a.exiting == 0 || block.timestamp < a.exitAt", "a.exiting == 0"),
    Mutant("VoucherBank", "a payer leaves twice", "Account(a.free - amount, 0, 0)", "Account(a.free, 0, 0)"),
    Mutant(
        "VoucherBank", "a payer leaves with more than he has", "a.exiting < a.free ? a.exiting : a.free", "a.exiting"
    ),
    Mutant(
        "VoucherBank", "a reserve is released early", "if (block.timestamp < l.reservedUntil) revert StillReserved();"
    ),
    Mutant("VoucherBank", "a reserve is released twice", "        l.reserved = 0;\n"),
    Mutant("VoucherBank", "a reserve is still free money", "        a.free -= amount;\n"),
    Mutant(
        "VoucherBank",
        "a contract's money arrives unbooked",
        "if (msg.sender != payee && (intoBank || payee.code.length != 0)) revert NotPayee();",
    ),
    Mutant(
        "VoucherBank",
        "the lane is not signed",
        "mstore(add(m, 0x60), calldataload(add(item, 0x20)))",
        "mstore(add(m, 0x60), 0)",
    ),
    Mutant("VoucherBank", "the payee is not signed", "mstore(add(m, 0x40), payee)", "mstore(add(m, 0x40), 0)"),
    Mutant("VoucherBank", "a cap is lowered under vouchers in flight", "if (cap < d.cap) revert CapLowered();"),
    Mutant(
        "VoucherBank",
        "a delegate is revoked under vouchers in flight",
        "if (until < current && until < earliest) until = current < earliest ? current : earliest;",
    ),
    Mutant(
        "VoucherBank",
        "any answer of a wallet is a yes",
        " && answer == bytes32(IERC1271.isValidSignature.selector)",
    ),
    Mutant("VoucherBank", "a wallet may burn all gas", "staticcall(gasLimit,", "staticcall(gas(),"),
    Mutant(
        "VoucherBank",
        "a pause stops nothing",
        "function deposit(address payer, uint96 amount) public whenEntryOpen",
        "function deposit(address payer, uint96 amount) public",
    ),
]

MODEL_REGISTRY = [
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

REWARD_POOL = [
    Mutant("RewardPool", "the seller rates himself", "if (s.buyer != msg.sender) revert NotBuyer();"),
    Mutant("RewardPool", "an unpaid sale is rewarded", "if (s.state != KeySaleTypes.State.Paid) revert NotPaid();"),
    Mutant("RewardPool", "a sale is rewarded again", "if (rated[saleId]) revert AlreadyRated();"),
    Mutant("RewardPool", "no budget", "if (amount > left) amount = left;"),
    Mutant("RewardPool", "rewards are not counted", "        rewarded += amount;\n"),
    Mutant("RewardPool", "fees that wait are no budget", "            _burn(offerId);\n"),
    Mutant("RewardPool", "alpha is ignored", "* alphaPpm / PPM;", ";"),
    Mutant("RewardPool", "the whole fee comes back", "amount = fee * betaPpm / PPM;", "amount = fee;"),
    Mutant("RewardPool", "a lane is rewarded again", "ratedUpTo[modelId][msg.sender] = settled;"),
    Mutant(
        "RewardPool",
        "the old part is rewarded again",
        "(settled - before) * models.feeBps()",
        "settled * models.feeBps()",
    ),
    Mutant(
        "RewardPool",
        "a twin of the lane is a second ticket",
        " || models.modelOfLane(models.laneOf(modelId)) != modelId",
    ),
    Mutant("RewardPool", "credit is paid twice", "        credit[msg.sender] = 0;\n"),
    Mutant("RewardPool", "paid rewards stay owed", "        owed -= amount;\n"),
    Mutant(
        "RewardPool",
        "credits are spent again as budget",
        "token.balanceOf(address(this)) - owed",
        "token.balanceOf(address(this))",
    ),
    Mutant("RewardPool", "a share of one or more", "if (alphaPpm_ >= PPM || betaPpm_ >= PPM) revert ShareTooHigh();"),
    Mutant(
        "RewardPool", "an oracle of somebody else", "if (oracle_.reporter() != address(this)) revert NotReporter();"
    ),
    Mutant("RewardPool", "ratings out of range", "if (rating < 1 || rating > 5) revert BadRating();"),
    Mutant(
        "RewardPool", "price does not follow feedback", "oracle.report(sale.offers(offerId).dataset, rating, s.price);"
    ),
]

OTHERS = [
    Mutant("PriceOracle", "anybody reports", "if (msg.sender != reporter) revert NotReporter();"),
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

MUTANTS = [*KEY_SALE, *VOUCHER_BANK, *MODEL_REGISTRY, *REWARD_POOL, *OTHERS]
INVARIANTS = {"KeySale": "KeySaleInvariant", "VoucherBank": "VoucherBankInvariant"}


def forge() -> Path:
    found = sorted((HERE / "node_modules" / "@foundry-rs").glob("forge-*/bin/forge*"))
    if not found:
        sys.exit("forge is not installed: run `npm ci --ignore-scripts --no-audit --no-fund` in contracts/")
    return found[0]


def copy_to(folder: Path, subject: str) -> None:
    """What the subject's unit tests need; the invariants come later, for survivors only."""
    shutil.copytree(HERE / "src", folder / "src")
    (folder / "test").mkdir()
    for name in ("Base.sol", f"{subject}.t.sol"):
        shutil.copy(HERE / "test" / name, folder / "test" / name)
    for name in ("foundry.toml", "bin"):
        (folder / name).symlink_to(HERE / name)
    (folder / "node_modules").symlink_to(HERE / "node_modules")


def break_it(folder: Path, mutant: Mutant) -> None:
    path = folder / "src" / f"{mutant.file}.sol"
    text = path.read_text("utf-8")
    if mutant.before not in text:
        sys.exit(f"{mutant.file}: {mutant.hole}: the text to break is not there any more: {mutant.before!r}")
    path.write_text(text.replace(mutant.before, mutant.after), "utf-8")


def run(folder: Path, *arguments: str) -> str | None:
    """None when all tests pass; else the first failure. Raises RuntimeError when the mutant does not compile."""
    done = subprocess.run(
        [str(forge()), "test", "--fail-fast", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=os.environ | {"FOUNDRY_INVARIANT_RUNS": "8", "FOUNDRY_FUZZ_RUNS": "128"},
    )
    if "Compiler run failed" in done.stdout + done.stderr:
        raise RuntimeError(done.stdout[-2000:])
    if done.returncode == 0:
        return None
    failed = [line.strip() for line in done.stdout.splitlines() if line.startswith("[FAIL")]
    return failed[0][-90:] if failed else done.stdout.strip()[-90:]


def kill(mutant: Mutant) -> str | None:
    """What killed it, or None for a survivor."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        copy_to(folder, mutant.subject)
        break_it(folder, mutant)
        killer = run(folder)
        if killer is None:
            shutil.copytree(HERE / "test" / "invariant", folder / "test" / "invariant")
            killer = run(folder, "--match-contract", INVARIANTS.get(mutant.subject, "FlywheelInvariant"))
        return killer


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Break the contracts on purpose and see the tests notice.")
    parser.add_argument("--only", default="", help="mutants of this contract only")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once")
    args = parser.parse_args(argv)
    chosen = [m for m in MUTANTS if args.only in ("", m.subject, m.file)]
    survivors = 0
    with ThreadPoolExecutor(args.jobs) as pool:
        for mutant, killer in zip(chosen, pool.map(kill, chosen), strict=True):
            survivors += killer is None
            print(
                f"{'SURVIVED' if killer is None else 'killed'}  {mutant.subject}: {mutant.hole}  {killer or ''}",
                flush=True,
            )
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants killed")
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
