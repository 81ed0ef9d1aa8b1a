"""The devnet's network file: the shipped template, filled in with what runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit

from config.networks import SHIPPED, read

TEMPLATE = SHIPPED / "devnet.toml"


def write(path: Path, *, chain_id: int, rpc: str, addresses: Mapping[str, str], block: int) -> None:
    """Write the file of a new deployment, at once or not at all."""
    document: Any = tomlkit.parse(TEMPLATE.read_text(encoding="utf-8"))
    document["chain"]["id"] = chain_id
    document["chain"]["rpc"] = [rpc]
    for name, address in addresses.items():
        document["contracts"][name] = address
    document["deployed_block"] = block
    _replace(path, document)


def set_bootstrap(path: Path, addresses: Sequence[str]) -> None:
    """Name the bootstrap node's addresses."""
    document: Any = tomlkit.parse(path.read_text(encoding="utf-8"))
    document["bootstrap"] = list(addresses)
    _replace(path, document)


def set_rpc(path: Path, url: str) -> None:
    """Name the chain's endpoint, if it has moved."""
    document: Any = tomlkit.parse(path.read_text(encoding="utf-8"))
    if list(document["chain"]["rpc"]) != [url]:
        document["chain"]["rpc"] = [url]
        _replace(path, document)


def facts(path: Path) -> dict[str, Any]:
    """What stands in the file."""
    return read(path)


def _replace(path: Path, document: Any) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(tomlkit.dumps(document), encoding="utf-8")
    os.replace(draft, path)
