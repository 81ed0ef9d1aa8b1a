"""The contracts on an anvil of their own, driven synchronously: for contract tests and the gas table.

Senders are impersonated through anvil's unlocked accounts, so no test needs a wallet; receipts are real.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from contracts import blocking
from contracts.abi import Abi
from contracts.anvil import Anvil, AnvilFailed
from contracts.artifact import load
from contracts.deploy import Deployment, DeployParams, deploy

CONTRACTS = {
    "token": "SchwungToken",
    "registry": "DataRegistry",
    "oracle": "PriceOracle",
    "sale": "KeySale",
    "bank": "VoucherBank",
    "models": "ModelRegistry",
    "rewards": "RewardPool",
    "stakes": "StakeVault",
    "reputation": "Reputation",
    "directory": "Directory",
}
GAS_LIMIT = hex(15_000_000)


class Refused(Exception):
    """A contract reverted; the message names its custom error."""


class Suite:
    """A deployed suite. `send` makes a transaction and keeps its gas, `view` reads."""

    def __init__(self, anvil: Anvil, params: DeployParams) -> None:
        self.anvil = anvil
        self.deployment: Deployment = deploy(anvil.rpc_url, anvil.keys[0], params)
        self.addresses = self.deployment.addresses
        self.abis = {key: Abi(load(name).abi) for key, name in CONTRACTS.items()}
        self.accounts: list[str] = [str(a) for a in anvil.call("eth_accounts")]
        self.admin = self.accounts[0]
        self.gas = 0  # of the last transaction

    def send(self, sender: str, contract: str, function: str, *args: Any) -> list[tuple[str, dict[str, Any]]]:
        """One transaction; the events of the called contract. Raises Refused."""
        data = "0x" + self.abis[contract].encode(function, *args).hex()
        request = {"from": sender, "to": self.addresses[contract], "data": data}
        try:
            blocking.call(self.anvil.rpc_url, "eth_call", request, "latest")
        except blocking.RpcFailed as err:
            raise Refused(f"{contract}.{function}: {self._reason(contract, err)}") from err
        digest = self.anvil.call("eth_sendTransaction", request | {"gas": GAS_LIMIT})
        receipt = self._receipt(digest)
        assert receipt["status"] == "0x1", (contract, function, receipt)
        self.gas = int(receipt["gasUsed"], 16)
        return self._events(contract, receipt["logs"])

    def view(self, contract: str, function: str, *args: Any) -> Any:
        data = "0x" + self.abis[contract].encode(function, *args).hex()
        raw = self.anvil.call("eth_call", {"to": self.addresses[contract], "data": data}, "latest")
        values = self.abis[contract].result(function, bytes.fromhex(raw[2:]))
        return values[0] if len(values) == 1 else values

    def now(self) -> int:
        return int(self.anvil.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def pass_time(self, seconds: int) -> None:
        self.anvil.call("evm_increaseTime", seconds)
        self.anvil.call("evm_mine")

    def give(self, to: str, amount_wei: int, *spenders: str) -> None:
        """Tokens from the deployer, and unlimited allowances for the named contracts."""
        self.send(self.admin, "token", "transfer", to, amount_wei)
        for spender in spenders:
            self.send(to, "token", "approve", self.addresses[spender], 2**256 - 1)

    def register(self, owner: str, root: bytes, cells: int, records: int = 100, parents: Sequence[int] = ()) -> int:
        domain, licence = b"reviews".ljust(32, b"\0"), b"CC-BY-4.0".ljust(32, b"\0")
        args = (root, cells, records, domain, licence, bytes(32), 800_000, list(parents), bytes(36))
        return int(self.send(owner, "registry", "register", *args)[0][1]["id"])

    def _reason(self, contract: str, err: blocking.RpcFailed) -> str:
        known = self.abis[contract].error(bytes.fromhex(err.data[2:])) if isinstance(err.data, str) else None
        return known[0] if known else str(err)

    def _receipt(self, digest: str) -> dict[str, Any]:
        for _ in range(1000):  # anvil mines a moment after it has answered
            receipt: dict[str, Any] | None = self.anvil.call("eth_getTransactionReceipt", digest)
            if receipt is not None:
                return receipt
            time.sleep(0.002)
        raise AnvilFailed(f"transaction {digest} was never mined")

    def _events(self, contract: str, logs: Sequence[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
        address = self.addresses[contract].lower()
        found = []
        for log in logs:
            if log["address"].lower() == address:
                topics = [bytes.fromhex(t[2:]) for t in log["topics"]]
                event = self.abis[contract].event(topics, bytes.fromhex(log["data"][2:]))
                if event is not None:
                    found.append(event)
        return found
