"""The committed artifacts are those of the committed sources."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import contracts
from contracts.abi import Abi
from contracts.artifact import NAMES, load, source_files, source_hash
from contracts.build import SETTINGS, build, render

HERE = Path(contracts.__file__).parent
MAX_RUNTIME_BYTES = 24_576  # EIP-170


@pytest.mark.parametrize("name", NAMES)
def test_artifact_was_made_from_the_sources_beside_it(name: str) -> None:
    assert load(name).source_hash == source_hash(HERE / "src", name), "run `make contracts` and commit the artifacts"


@pytest.mark.parametrize("name", NAMES)
def test_artifact_is_whole_and_fits_a_chain(name: str) -> None:
    artifact = load(name)
    assert artifact.name == name
    assert artifact.settings == SETTINGS
    assert artifact.compiler.startswith("solc 0.8.")
    assert len(bytes.fromhex(artifact.bytecode[2:])) < MAX_RUNTIME_BYTES
    assert Abi(artifact.abi).functions  # no overloads, which the bindings refuse


def test_source_hash_sees_a_change_in_an_imported_file(tmp_path: Path) -> None:
    shutil.copytree(HERE / "src", tmp_path / "src")
    before = source_hash(tmp_path / "src", "KeySale")
    assert [path.name for path in source_files(tmp_path / "src", "KeySale")] == [
        "CellTree.sol",
        "ChaCha20.sol",
        "Curve.sol",
        "DataRegistry.sol",
        "EntryPause.sol",
        "Fees.sol",
        "KeySale.sol",
        "KeySaleTypes.sol",
        "Words.sol",
    ]
    library = tmp_path / "src" / "ChaCha20.sol"
    library.write_text(library.read_text("utf-8").replace("lt(i, 10)", "lt(i, 9)"), "utf-8")
    assert source_hash(tmp_path / "src", "KeySale") != before


def test_unknown_artifact_is_named_in_the_error() -> None:
    with pytest.raises(KeyError, match="Nonsense"):
        load("Nonsense")


@pytest.mark.interop
def test_a_rebuild_gives_the_committed_artifacts() -> None:
    if shutil.which("node") is None or not (HERE / "node_modules" / "solc").is_dir():
        pytest.skip("no rebuild: run `npm ci --ignore-scripts --no-audit --no-fund` in contracts/ for this test")
    for name, artifact in build().items():
        assert (HERE / "artifacts" / f"{name}.json").read_text("utf-8") == render(artifact), name
