"""The committed artifacts: ABI and bytecode of every contract, so that running a node needs no compiler.

`contracts/build.py` writes them; `source_hash` binds each to the Solidity sources it was made from.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

NAMES = (
    "SchwungToken",
    "DataRegistry",
    "PriceOracle",
    "KeySale",
    "VoucherBank",
    "ModelRegistry",
    "StakeVault",
    "RewardPool",
    "Reputation",
    "Directory",
)

_LOCAL_IMPORT = re.compile(r'^import .*?"\./([A-Za-z0-9]+\.sol)";', re.MULTILINE)


class Artifact(msgspec.Struct, frozen=True):
    """One compiled contract. `bytecode` is the creation code, "0x…" without constructor arguments."""

    name: str
    compiler: str
    settings: dict[str, Any]
    libraries: dict[str, str]
    source_hash: str
    abi: list[dict[str, Any]]
    bytecode: str


@cache
def load(name: str) -> Artifact:
    """The artifact of one of NAMES. Raises KeyError for any other name."""
    if name not in NAMES:
        raise KeyError(f"no contract is called {name!r}: one of {', '.join(NAMES)}")
    text = files("contracts").joinpath("artifacts", f"{name}.json").read_bytes()
    return msgspec.json.decode(text, type=Artifact)


def source_files(source_dir: Path, name: str) -> list[Path]:
    """The contract's own source and all of ours that it imports, sorted by name."""
    found: set[str] = set()
    todo = [f"{name}.sol"]
    while todo:
        file = todo.pop()
        if file not in found:
            found.add(file)
            todo += _LOCAL_IMPORT.findall((source_dir / file).read_text("utf-8"))
    return [source_dir / file for file in sorted(found)]


def source_hash(source_dir: Path, name: str) -> str:
    """sha256 over names and texts of `source_files`, hex."""
    digest = hashlib.sha256()
    for path in source_files(source_dir, name):
        text = path.read_bytes()
        digest.update(f"{path.name}\0{len(text)}\0".encode() + text)
    return digest.hexdigest()
