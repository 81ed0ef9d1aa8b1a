"""A small network of real daemons for end-to-end tests: chain, contracts, bootstrap node, and nodes that come and go.

    with open_cluster(TEXTS) as cluster:
        seller = cluster.start("seller")                  # a Client of tests/support/client.py
        cluster.start("buyer", cut=PowerCut("buyer", "locked"))
        …
        cluster.died("buyer")                             # of its power cut
        cluster.start("buyer")                            # same folder, same keys, same port

The nodes are forked from one mould (tests/support/mould.py) and embed with a tiny model, so that a start costs a tenth
of a second of CPU and a test can afford dozens. The chain's clock can be moved. Whatever happens, everything ends with
the block, by process id.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import msgspec

from contracts import blocking
from contracts.abi import Abi
from contracts.artifact import load
from contracts.books import Books, audit
from node.devnet import nodes
from node.devnet.chain import BLOCK_S, DevChain
from node.devnet.devnet import Devnet, free_port, template
from node.devnet.errors import DevnetError
from node.devnet.places import BOOTSTRAP, NETWORK, Places
from tests.support.client import CallFailed, Client
from tests.support.killing import SENT, PowerCut, log_of
from tests.support.tiny_model import write_model

READY_S = 60.0
END_S = 60.0
CLI_S = 60.0
LOOK_S = 0.05
TOKEN = 10**18
FORGIVING = {"exchange.max_disputes_lost": "1000"}  # the same seller cheats in one test after the other
REWARD_CHALLENGE_S = 600  # a demo does not wait for it; here a false proposal of rewards can be refuted
CONTRACTS = {"token": "SchwungToken", "registry": "DataRegistry", "sale": "KeySale", "bank": "VoucherBank"}


class Trouble(Exception):
    """A daemon did not do what the test needs before it can begin; the message has its last words."""


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cluster:
    """The network; see the module."""

    def __init__(self, folder: Path, texts: Sequence[str]) -> None:
        patient = msgspec.structs.replace(template(), reward_challenge_window_s=REWARD_CHALLENGE_S)
        self.devnet = Devnet(Places(folder / "net"), lambda _line: None, parameters=patient)
        self.model = write_model(folder / "model", texts)
        self.environ = {"SCHWUNG_DEVNET_DIR": str(self.devnet.places.root)}
        self.abis = {key: Abi(load(name).abi) for key, name in CONTRACTS.items()}
        self._mould = Mould()
        self._pids: dict[str, int] = {}
        self._listen: dict[str, str] = {}
        self._clients: dict[str, Client] = {}
        self._ticking, self._over = Event(), Event()
        self._ticker: Thread | None = None

    def up(self) -> None:
        """Chain, contracts, bootstrap node."""
        self._mould.start()  # imports while the bootstrap node does
        self.devnet.places.create()
        self._configure(BOOTSTRAP)
        self.devnet.up(0)

    def down(self) -> None:
        """End everything."""
        self._over.set()
        for client in self._clients.values():
            client.close()
        try:
            self._mould.stop()
        finally:
            self.devnet.down()

    # --- nodes ---

    def start(
        self,
        name: str,
        *,
        cut: PowerCut | None = None,
        cheat: str = "",
        ready: bool = True,
        funded: bool = True,
        unlocked: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> Client:
        """Start a node, new or known; a new one gets a wallet and money. It lives until its `cut`, if there is one.

        `settings` (`section.key`) are of this life only.
        """
        paths = self.devnet.places.node(name)
        passphrase = self.devnet.places.passphrase
        address, new = nodes.create_wallet(paths, passphrase)
        if new:
            self._configure(name)
            if funded:
                self.devnet.fund(address)
            self._listen[name] = f"/ip4/127.0.0.1/tcp/{free_port()}"
        command = ["run", "--datadir", str(paths.datadir), "--network", NETWORK, "--socket", str(paths.socket)]
        for key, value in {"network.listen": self._listen[name], **FORGIVING, **(settings or {})}.items():
            command += ["--set", f"{key}={value}"]
        if unlocked:
            command += ["--passphrase-file", str(passphrase)]
        if cut is not None:
            self.arm(name, cut)
        log = self.devnet.places.log(name)
        self._pids[name] = self._mould.cast(command, log, self.environ, self._cut(name), cheat)
        client = self._client(name)
        if ready:
            self._await_ready(name, client, unlocked=unlocked)
        return client

    def arm(self, name: str, cut: PowerCut) -> None:
        """Lay down the next power cut of a node, running or not."""
        cut.lay(self._cut(name))

    def armed(self, name: str) -> bool:
        """Whether the power cut of a node has not happened yet."""
        return self._cut(name).exists()

    def disarm(self, name: str) -> None:
        """Take a power cut away that did not happen."""
        self._cut(name).unlink(missing_ok=True)

    def listen(self, name: str) -> None:
        """Have a node tell the steps that it takes from now on."""
        log_of(self._cut(name)).touch()

    def heard(self, name: str) -> set[str]:
        """The steps that a node has taken since `listen`, by name; it goes on unheard."""
        log = log_of(self._cut(name))
        steps = set(log.read_text().splitlines())
        log.unlink()
        return steps

    def client(self, name: str) -> Client:
        """The client of a node's present life."""
        return self._clients[name]

    def kill(self, name: str) -> None:
        """End a node as a power cut would."""
        os.kill(self._pids[name], signal.SIGKILL)
        self.died(name)

    def died(self, name: str) -> None:
        """Wait until SIGKILL has ended a node; nothing else may have. Raises Trouble."""
        status = self._mould.ended(self._pids[name], END_S)
        if status != -signal.SIGKILL:
            raise Trouble(f"{name} {'lives on' if status is None else f'ended with {status}'}: {self.words(name)}")

    def ended(self, name: str) -> int:
        """Wait until a node has ended by itself; its exit code. Raises Trouble."""
        status = self._mould.ended(self._pids[name], END_S)
        if status is None or status < 0:
            raise Trouble(f"{name} {'lives on' if status is None else f'ended with {status}'}: {self.words(name)}")
        return status

    def alive(self, name: str) -> bool:
        """Whether a node's process runs."""
        return name in self._pids and self._mould.ended(self._pids[name], 0) is None

    def words(self, name: str, lines: int = 12) -> str:
        """The end of a node's log."""
        return nodes.last_words(self.devnet.places.log(name), lines)

    def dies_of(self, name: str, cut: PowerCut, act: Callable[[], object]) -> None:
        """Do something that a node dies of. When it is to die of what was sent and is not mined, nobody mines."""
        self.arm(name, cut)
        with self.no_blocks() if cut.state.endswith(f":{SENT}") else nullcontext():
            act()
            self.died(name)

    # --- the chain ---

    @contextmanager
    def no_blocks(self) -> Iterator[None]:
        """What is sent waits, and no time passes."""
        self._ticking.clear()
        self.chain("evm_setAutomine", False)
        self.chain("evm_setIntervalMining", 0)
        try:
            yield
        finally:
            self.chain("evm_setAutomine", True)
            self._tick()

    def _tick(self) -> None:
        """A block every second again: anvil cannot go back to mixed mining by itself."""
        self._ticking.set()
        if self._ticker is None:
            self._ticker = Thread(target=self._mine_on, daemon=True)
            self._ticker.start()

    def _mine_on(self) -> None:
        while not self._over.wait(BLOCK_S):
            if self._ticking.is_set():
                with suppress(DevnetError):  # a test may have stopped the chain
                    self.mine(1)

    def chain(self, method: str, *params: Any) -> Any:
        """One call to the chain's endpoint."""
        return DevChain(self.devnet.rpc()).call(method, *params)

    def mine(self, blocks: int) -> None:
        """Blocks at once."""
        for _ in range(blocks):
            self.chain("evm_mine")

    def leap(self, seconds: int) -> None:
        """Move the chain's clock on."""
        self.chain("evm_increaseTime", seconds)
        self.chain("evm_mine")

    def view(self, contract: str, function: str, *args: Any) -> Any:
        """A contract's view at the newest block."""
        facts, abi = self.devnet.facts(), self.abis[contract]
        request = {"to": facts["contracts"][contract], "data": "0x" + abi.encode(function, *args).hex()}
        raw = blocking.call(self.devnet.rpc(), "eth_call", request, "latest")
        values = abi.result(function, bytes.fromhex(raw[2:]))
        return values[0] if len(values) == 1 else values

    def balance(self, name: str) -> int:
        """A node's tokens, as the chain has them."""
        address, _ = nodes.create_wallet(self.devnet.places.node(name), self.devnet.places.passphrase)
        return int(self.view("token", "balanceOf", address))

    def audit(self) -> Books:
        """The books, from the chain alone."""
        facts = self.devnet.facts()
        return audit(self.devnet.rpc(), facts["contracts"], facts["deployed_block"])

    # --- the command line ---

    def schwung(self, name: str, *words: str, environ: Mapping[str, str] | None = None) -> Said:
        """Run the console script about a node, as a process."""
        paths = self.devnet.places.node(name)
        place = ["--datadir", str(paths.datadir), "--network", NETWORK, "--socket", str(paths.socket)]
        return schwung(*place, *words, environ={**self.environ, **(environ or {})})

    # --- ---

    def _client(self, name: str) -> Client:
        """A new client: the connections of the last life are gone."""
        if name in self._clients:
            self._clients[name].close()
        client = self._clients[name] = Client(self.devnet.places.node(name).socket, name)
        return client

    def _cut(self, name: str) -> Path:
        return self.devnet.places.node(name).datadir / "cut.json"

    def _configure(self, name: str) -> None:
        datadir = self.devnet.places.node(name).datadir
        datadir.mkdir(mode=0o700, parents=True, exist_ok=True)
        embedding = f'[embedding]\nmodel_dir = "{self.model}"\nthreads = 1\n'
        (datadir / "config.toml").write_text(f"{embedding}[exchange]\nconfirm_wait_s = 0\n")

    def _await_ready(self, name: str, client: Client, *, unlocked: bool) -> None:
        def answers() -> bool:
            if not self.alive(name):
                raise Trouble(f"{name} ended instead of starting: {self.words(name)}")
            try:  # the socket answers a moment before the wallet is open
                return client.call("node.status")["wallet"]["locked"] is not unlocked
            except OSError:
                client.close()
                return False

        wait_for(answers, f"{name} to be ready", READY_S)


class Mould:
    """The forking process and what it tells."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._cast: queue.Queue[int] = queue.Queue()
        self._ended: dict[int, int] = {}

    def start(self) -> None:
        """Start importing; an order waits until that is done."""
        command = [sys.executable, "-m", "tests.support.mould"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            cwd=Path(__file__).parents[2],
        )
        Thread(target=self._listen, args=(self._process,), daemon=True).start()

    def cast(self, command: Sequence[str], log: Path, environ: Mapping[str, str], cut: Path, cheat: str) -> int:
        """Fork a daemon; its pid."""
        assert self._process is not None
        assert self._process.stdin is not None
        order = {
            "command": list(command), "log": str(log), "environ": dict(environ), "cut": str(cut), "cheat": cheat,
        }  # fmt: skip
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return self._cast.get(timeout=READY_S)

    def ended(self, pid: int, within_s: float) -> int | None:
        """A daemon's exit status (negative: the signal), or None while it lives."""
        deadline = time.monotonic() + within_s
        while pid not in self._ended and time.monotonic() < deadline:
            time.sleep(LOOK_S / 5)
        return self._ended.get(pid)

    def stop(self) -> None:
        """End the mould, which ends all that came from it."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(END_S)

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                told = json.loads(line)
                if "status" in told:
                    self._ended[told["pid"]] = told["status"]
                elif "pid" in told:
                    self._cast.put(told["pid"])


def schwung(*words: str, environ: Mapping[str, str] | None = None) -> Said:
    """Run the console script as a process."""
    done = subprocess.run(
        [*nodes.schwung(), *words],
        env={**os.environ, **(environ or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=CLI_S,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def wait_for(true: Callable[[], object], what: str, within_s: float = 120.0) -> None:
    """Poll until something is so. Raises TimeoutError."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within_s:g} s for {what}")
        time.sleep(LOOK_S)


@contextmanager
def open_cluster(texts: Sequence[str]) -> Iterator[Cluster]:
    """A cluster in a folder of its own, a short one: a socket's path has a limit."""
    folder = Path(tempfile.mkdtemp(prefix="schwung-"))
    cluster = Cluster(folder, texts)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
        shutil.rmtree(folder, ignore_errors=True)


__all__ = ["CallFailed", "Cluster", "PowerCut", "Said", "Trouble", "open_cluster", "schwung", "wait_for"]
