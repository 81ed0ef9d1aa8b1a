"""The contracts' own tests, run by forge: part of the suite wherever npm has brought forge.

The invariants run shortened here; `contracts/README.md` says how to run them in full.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import contracts

HERE = Path(contracts.__file__).parent
TIMEOUT_S = 600
SHORT = {"FOUNDRY_FUZZ_RUNS": "32", "FOUNDRY_INVARIANT_RUNS": "2", "FOUNDRY_INVARIANT_DEPTH": "200"}


@pytest.mark.interop
def test_forge_finds_the_contracts_sound(tmp_path: Path) -> None:
    forge = next((HERE / "node_modules" / "@foundry-rs").glob("forge-*/bin/forge*"), None)
    if forge is None:
        pytest.skip("no forge: run `npm ci --ignore-scripts --no-audit --no-fund` in contracts/ for this test")
    # Build folders of its own: a run by hand in contracts/ must not meet this one's cache.
    folders = {"FOUNDRY_OUT": str(tmp_path / "out"), "FOUNDRY_CACHE_PATH": str(tmp_path / "cache")}
    done = subprocess.run(
        [str(forge), "test"],
        cwd=HERE,
        env=os.environ | SHORT | folders,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    units = ("KeySaleTest", "VoucherBankTest", "ReputationTest", "DirectoryTest")
    for suite in (*units, "KeySaleInvariant", "VoucherBankInvariant", "FlywheelInvariant"):
        assert suite in done.stdout  # forge succeeds when it finds no test at all, too
