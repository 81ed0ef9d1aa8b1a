"""A node whose network file names the directory and the token alone finds the rest, shows it, and warns of changes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from contracts import blocking
from contracts.abi import Abi
from contracts.artifact import load
from contracts.params import text32
from node.devnet.devnet import Devnet
from node.devnet.places import Places
from tests.support.daemon import call

pytestmark = [pytest.mark.chain, pytest.mark.e2e]

KEPT = ("directory", "token")


@pytest.fixture(scope="module")
def lean() -> Iterator[Devnet]:
    """A devnet of its own; its network file leaves all but two contracts to the directory."""
    folder = Path(tempfile.mkdtemp(prefix="schwung-"))
    local = Devnet(Places(folder / "net"), print)
    try:
        local.up(0)
        local.deployed = dict(local.facts()["contracts"])  # type: ignore[attr-defined]
        path = local.places.network_file
        document: Any = tomlkit.parse(path.read_text())
        for name in local.deployed:  # type: ignore[attr-defined]
            if name not in KEPT:
                del document["contracts"][name]
        path.write_text(tomlkit.dumps(document))
        yield local
    finally:
        local.down()
        shutil.rmtree(folder)


def announce(devnet: Devnet, name: str, target: str) -> None:
    """The directory's owner is the deployer, whose account the devnet's chain has unlocked."""
    url, directory = devnet.rpc(), devnet.facts()["contracts"]["directory"]
    owner = blocking.call(url, "eth_accounts")[0]
    data = Abi(load("Directory").abi).encode("schedule", text32(name), target)
    blocking.call(url, "eth_sendTransaction", {"from": owner, "to": directory, "data": "0x" + data.hex()})


def test_a_node_finds_its_contracts_shows_them_and_warns_of_a_change(lean: Devnet) -> None:
    deployed: dict[str, str] = lean.deployed  # type: ignore[attr-defined]
    status = lean.add("lean")
    assert status["chain"]["contracts"] == deployed
    assert not [one for one in status["warnings"] if one.startswith("contracts")]
    rows = {row["key"]: row for row in call(lean, "lean", "config.get")["items"] if row["key"].startswith("contracts.")}
    assert {key.removeprefix("contracts."): row["value"] for key, row in rows.items()} == deployed
    assert {key for key, row in rows.items() if row["origin"] == "network file"} == {f"contracts.{n}" for n in KEPT}
    call(lean, "lean", "wallet.unlock", passphrase=lean.places.passphrase.read_text().strip())
    call(lean, "lean", "wallet.deposit", amount=str(10**18))  # they are the real ones

    announce(lean, "bank", deployed["sale"])
    status = call(lean, "lean", "node.status")
    (warning,) = [one for one in status["warnings"] if one.startswith("contracts")]
    assert f"bank is to become {deployed['sale']}" in warning
    assert call(lean, "lean", "node.health")["ok"]  # a warning, not a failure
    (bank,) = [row for row in call(lean, "lean", "node.contracts")["items"] if row["name"] == "bank"]
    assert (bank["address"], bank["announced"]) == (deployed["bank"], deployed["sale"])
    lean.kill("lean")
    assert lean.add("lean")["chain"]["contracts"] == deployed
