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
from pathlib import Path

from holes import directory, key_sale, model_registry, others, reputation, reward_pool, stake_vault, voucher_bank
from holes.mutant import Mutant

HERE = Path(__file__).resolve().parent.parent
TIMEOUT_S = 900

FILES = (key_sale, voucher_bank, model_registry, reward_pool, stake_vault, reputation, directory, others)
MUTANTS = [mutant for file in FILES for mutant in file.MUTANTS]
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
        # Not optimised: a third of the time, and a hole is a hole all the same.
        env=os.environ | {"FOUNDRY_INVARIANT_RUNS": "8", "FOUNDRY_FUZZ_RUNS": "128", "FOUNDRY_OPTIMIZER": "false"},
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
