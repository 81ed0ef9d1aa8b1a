"""The devnet's chain: anvil as a process of its own that keeps its state, and money from its public keys."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from node.devnet.errors import DevnetError, NotADevnet
from node.devnet.places import Places
from node.devnet.processes import Processes

CHAIN_ID = 31_337
BLOCK_S = 1  # a transaction is mined at once, and blocks come without any: samples and deadlines wait for them
STATE_INTERVAL_S = 2  # a SIGKILL loses at most this much
START_S = 20.0
TRANSFER = "a9059cbb"  # transfer(address,uint256)


class DevChain:
    """Calls to the chain's endpoint. Raises DevnetError when it does not answer."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, method: str, *params: Any) -> Any:
        """One JSON-RPC call."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.url, body, {"content-type": "application/json"})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=15) as reply:  # noqa: S310 - http, checked by `check`
                answer = json.loads(reply.read())
        except (OSError, ValueError) as err:
            raise DevnetError(f"the devnet's chain at {self.url} does not answer: {err}") from err
        if "error" in answer:
            raise DevnetError(f"{method}: {answer['error'].get('message')}")
        return answer["result"]

    def check(self) -> None:
        """Raises NotADevnet for any chain but a devnet on this machine."""
        host = urlsplit(self.url).hostname or ""
        served = int(self.call("eth_chainId"), 16)
        if served != CHAIN_ID or not (host == "localhost" or host.startswith("127.") or host == "::1"):
            raise NotADevnet(f"{self.url} serves chain {served}, not a devnet on this machine ({CHAIN_ID})")

    def block(self) -> int:
        return int(self.call("eth_blockNumber"), 16)

    def fund(self, address: str, token: str, *, native_wei: int, token_wei: int) -> list[str]:
        """Send native coins and tokens from the deployer, whose key everybody knows. The transactions' hashes."""
        self.check()
        holder = self.call("eth_accounts")[0]
        data = f"0x{TRANSFER}{address[2:].lower():0>64}{token_wei:064x}"
        wanted = [(address, native_wei, "0x"), (token, 0, data if token_wei else "")]
        return [self._send(holder, to, value, data) for to, value, data in wanted if value or data not in ("", "0x")]

    def _send(self, sender: str, to: str, value_wei: int, data: str) -> str:
        sent: str = self.call("eth_sendTransaction", {"from": sender, "to": to, "value": hex(value_wei), "data": data})
        deadline = time.monotonic() + START_S
        while (receipt := self.call("eth_getTransactionReceipt", sent)) is None:
            if time.monotonic() > deadline:
                raise DevnetError(f"transaction {sent} is not mined after {START_S:g} s")
            time.sleep(0.02)
        if receipt["status"] != "0x1":
            raise DevnetError(f"transaction {sent} was reverted")
        return sent


def start(places: Places, processes: Processes, port: int) -> DevChain:
    """Run anvil on a port, with the state of its last run if there is one. Raises DevnetError."""
    from contracts.anvil import AnvilError, require_anvil

    try:
        binary = require_anvil()
    except AnvilError as err:
        raise DevnetError(str(err)) from err
    command = [
        str(binary), "--host", "127.0.0.1", "--port", str(port), "--chain-id", str(CHAIN_ID), "--quiet",
        "--state", str(places.chain_state), "--state-interval", str(STATE_INTERVAL_S),
        "--block-time", str(BLOCK_S), "--mixed-mining",
    ]  # fmt: skip
    processes.start("chain", command, places.chain_log, {})
    chain = DevChain(f"http://127.0.0.1:{port}")
    deadline = time.monotonic() + START_S
    while True:
        try:
            chain.check()
        except NotADevnet:
            raise
        except DevnetError as err:
            gone = "chain" not in processes.running()
            if gone or time.monotonic() > deadline:
                raise DevnetError(f"anvil did not start on port {port}; its words are in {places.chain_log}") from err
            time.sleep(0.05)
        else:
            return chain
