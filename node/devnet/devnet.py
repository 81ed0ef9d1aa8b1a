"""Up, down, fund: every step looks at what is there and does what is missing, so each may be repeated."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from config.loader import load_settings
from config.profile import Parameters
from node.cli.client import Client
from node.cli.errors import CliError
from node.devnet import chain, network_file, nodes
from node.devnet.chain import DevChain
from node.devnet.errors import DevnetError
from node.devnet.places import BOOTSTRAP, Places
from node.devnet.processes import Processes

CHAIN = "chain"
NATIVE_WEI = 10 * 10**18  # thousands of transactions
TOKEN_WEI = 10_000 * 10**18  # some hundred datasets at the oracle's base price
ROLES = {"node1": {"rewards.distribute": "true"}}  # who rates a model wants to see his reward

Say = Callable[[str], None]


class Devnet:
    """The network in one folder."""

    def __init__(self, places: Places, say: Say, *, parameters: Parameters | None = None) -> None:
        """`parameters` are a new devnet's; the shipped template's if there are none."""
        self.places = places
        self.processes = Processes(places.processes)
        self._say = say
        self._parameters = parameters

    def up(self, count: int) -> list[dict[str, Any]]:
        """Chain, contracts, bootstrap node and `count` nodes; the status of each node. Raises DevnetError."""
        with self.places.locked():
            self.places.create()
            self._chain()
            self._bootstrap()
            names = [f"node{n}" for n in range(1, count + 1)]
            for name in names:
                self._node(name, {}, funded=True)
            return [nodes.wait_ready(self.places, self.processes, name) for name in [BOOTSTRAP, *names]]

    def add(self, name: str, settings: Mapping[str, str] | None = None, *, funded: bool = True) -> dict[str, Any]:
        """A further node, or one that was stopped or killed; its status. Raises DevnetError."""
        with self.places.locked():
            self._node(name, settings or {}, funded=funded)
            return nodes.wait_ready(self.places, self.processes, name)

    def stop(self, name: str) -> None:
        """End a node in good order; `add` starts it again."""
        self.processes.stop([name])

    def kill(self, name: str) -> None:
        """End a node as a power cut would; `add` starts it again."""
        self.processes.kill(name)

    def down(self) -> list[str]:
        """End the nodes, then the chain, which writes its state. Returns whom it ended."""
        with self.places.locked():
            running = list(self.processes.running())
            self.processes.stop([name for name in running if name != CHAIN])
            self.processes.stop([CHAIN])
            return running

    def status(self) -> dict[str, Any]:
        """What runs, without changing it."""
        running = self.processes.running()
        rows = [self._row(name, running.get(name)) for name in self.places.names()]
        block = DevChain(self.rpc()).block() if CHAIN in running else None
        return {
            "folder": str(self.places.root),
            "chain": {"pid": running.get(CHAIN), "block": block, "rpc": self.rpc() if block is not None else None},
            "items": rows,
            "next": None,
        }

    def fund(self, address: str, *, native_wei: int = NATIVE_WEI, token_wei: int = TOKEN_WEI) -> list[str]:
        """Send money to an account of this devnet. Raises NotADevnet for any other chain."""
        token = self.facts()["contracts"]["token"]
        return DevChain(self.rpc()).fund(address, token, native_wei=native_wei, token_wei=token_wei)

    def rpc(self) -> str:
        """The chain's endpoint. Raises DevnetError when there is no devnet."""
        return str(self.facts()["chain"]["rpc"][0])

    def facts(self) -> dict[str, Any]:
        """What stands in the network file. Raises DevnetError when there is no devnet."""
        if not self.places.network_file.exists():
            raise DevnetError(f"there is no devnet in {self.places.root}: start one with `schwung devnet up`")
        return network_file.facts(self.places.network_file)

    def _chain(self) -> None:
        """A running chain with the contracts on it, and the network file that names them."""
        known = self.places.network_file.exists()
        if CHAIN not in self.processes.running():
            self._say("chain starts")
            port = free_port(urlsplit(self.rpc()).port or 0) if known else free_port()
            started = chain.start(self.places, self.processes, port)
            if known:
                network_file.set_rpc(self.places.network_file, started.url)
        dev_chain = DevChain(self.rpc()) if known else self._found()
        if dev_chain.call("eth_getCode", self.facts()["contracts"]["token"], "latest") == "0x":
            raise DevnetError(f"the chain lost its state: `schwung devnet down --wipe`, then `up` ({self.places.root})")

    def _found(self) -> DevChain:
        """Deploy on a new chain."""
        from contracts.anvil import TEST_KEYS
        from contracts.deploy import deploy

        self._say("contracts are deployed")
        url = self._started_url()
        deployment = deploy(url, TEST_KEYS[0], deploy_params(self._parameters or template()))
        network_file.write(
            self.places.network_file,
            chain_id=deployment.chain_id,
            rpc=url,
            addresses=deployment.addresses,
            block=deployment.block,
        )
        return DevChain(url)

    def _started_url(self) -> str:
        pid = self.processes.running()[CHAIN]
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        return f"http://127.0.0.1:{int(words[words.index(b'--port') + 1])}"

    def _bootstrap(self) -> None:
        """The first contact of everybody, on a port that stays."""
        if BOOTSTRAP in self.processes.running():
            return
        known = self.facts()["bootstrap"]
        port = free_port(int(known[0].split("/")[4]) if known else 0)
        self._say("bootstrap node starts")
        nodes.start(self.places, self.processes, BOOTSTRAP, {"network.listen": f"/ip4/127.0.0.1/tcp/{port}"})
        status = nodes.wait_ready(self.places, self.processes, BOOTSTRAP)
        network_file.set_bootstrap(self.places.network_file, _dialable(status))

    def _node(self, name: str, settings: Mapping[str, str], *, funded: bool) -> None:
        if name in self.processes.running():
            return
        address, new = nodes.create_wallet(self.places.node(name), self.places.passphrase)
        if new and funded:
            self.fund(address)
        self._say(f"{name} starts")
        nodes.start(self.places, self.processes, name, {**ROLES.get(name, {}), **settings})

    def _row(self, name: str, pid: int | None) -> dict[str, Any]:
        paths = self.places.node(name)
        row: dict[str, Any] = {"name": name, "pid": pid, "state": "down" if pid is None else "starting"}
        if pid is not None:
            try:
                with Client(paths.socket, 5) as client:
                    status = client.call("node.status")
                peers = status.get("peers")
                row |= {"state": "ready", "peers": len(peers) if isinstance(peers, list) else peers}
                row |= {"address": status.get("address"), "peer": status.get("peer_id")}
            except CliError:
                pass
        return {**row, "socket": str(paths.socket), "datadir": str(paths.datadir)}


def template() -> Parameters:
    """The parameters that the shipped devnet template asks for."""
    parameters: Parameters = load_settings(network=str(network_file.TEMPLATE), environ={}).settings.profile.parameters
    return parameters


def deploy_params(parameters: Parameters) -> Any:
    """A network file's parameters as constructor arguments; the rest as the contracts' defaults."""
    from contracts.params import ZERO_ADDRESS, DeployParams

    return DeployParams(
        fee_bps=parameters.fee_bps,
        deliver_window_s=parameters.deliver_window_s,
        dispute_window_s=parameters.dispute_window_s,
        exit_delay_s=parameters.exit_delay_s,
        challenge_window_s=parameters.challenge_window_s,
        ruling_window_s=parameters.ruling_window_s,
        challenge_stake_wei=int(parameters.challenge_stake_wei),
        arbiter=parameters.arbiter or ZERO_ADDRESS,
        unbonding_delay_s=parameters.unbonding_delay_s,
        reward_epoch_s=parameters.reward_epoch_s,
        reward_challenge_window_s=parameters.reward_challenge_window_s,
        proposer_stake_wei=int(parameters.proposer_stake_wei),
        holdback_bps=parameters.holdback_bps,
        feedback_window_s=parameters.feedback_window_s,
        directory_delay_s=parameters.directory_delay_s,
        min_bond_wei=int(parameters.min_bond_wei),
    )


def free_port(wanted: int = 0) -> int:
    """A TCP port on loopback that nobody listens on now: `wanted`, or another if that one is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that waits in TIME_WAIT is free
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
        return int(probe.getsockname()[1])


def _dialable(status: dict[str, Any]) -> list[str]:
    """The listen addresses of a status with the peer id at their end."""
    peer = status["peer_id"]
    return [address if "/p2p/" in address else f"{address}/p2p/{peer}" for address in status["listen"]]
