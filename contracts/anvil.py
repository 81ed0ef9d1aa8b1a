"""Find and run anvil, the devnet's chain: one process, ended with the block that started it.

    with start_anvil(chain_id=31337) as chain:
        deploy(chain.rpc_url, chain.keys[0], DeployParams())

Blocking and free of trio, so that scripts, tests and worker threads can use it alike.

AnvilError
├── AnvilMissing    no binary: the message says how to get one
└── AnvilFailed     it did not start or did not answer in time
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections import deque
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Self

from contracts import blocking

HERE = Path(__file__).parent
START_TIMEOUT_S = 20  # ready in 0.2 s on an idle machine
STOP_TIMEOUT_S = 10  # on SIGTERM it writes its state first
CALL_TIMEOUT_S = 10

# The ten accounts of anvil's well-known test mnemonic ("test test … junk"), each funded by anvil. For devnets only.
TEST_KEYS = (
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
    "0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
    "0x4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
    "0xdbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
    "0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
)


class AnvilError(Exception):
    """Something about the devnet's chain."""


class AnvilMissing(AnvilError):
    """There is no anvil on this machine."""


class AnvilFailed(AnvilError):
    """anvil did not come up; the message carries its last words."""


def find_anvil() -> Path | None:
    """$SCHWUNG_ANVIL, then the npm package under contracts/ (any platform's), then the PATH; None if there is none."""
    named = os.environ.get("SCHWUNG_ANVIL")
    if named:
        return Path(named) if os.access(named, os.X_OK) else None
    for binary in sorted((HERE / "node_modules" / "@foundry-rs").glob("anvil-*/bin/anvil*")):
        if binary.is_file() and os.access(binary, os.X_OK):
            return binary
    found = shutil.which("anvil")
    return Path(found) if found else None


def require_anvil() -> Path:
    """`find_anvil` or AnvilMissing with what to do."""
    binary = find_anvil()
    if binary is None:
        raise AnvilMissing(
            "anvil was not found: run `npm ci --ignore-scripts --no-audit --no-fund` in contracts/ "
            "(Linux x86-64; elsewhere install Foundry's anvil and put it on the PATH or name it in SCHWUNG_ANVIL)"
        )
    return binary


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port nobody listens on now; another process may still take it before it is used."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def require_free(host: str, port: int) -> None:
    """Raise AnvilFailed when somebody listens there: his answers would pass for anvil's."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex((host, port)) == 0:
            raise AnvilFailed(f"port {port} on {host} is in use: stop what listens there or choose another port")


def _guard(pid: int) -> subprocess.Popen[bytes]:
    """A shell that ends `pid` when we are gone: its input closes with us, even by SIGKILL. No anvil is left over."""
    script = 'cat > /dev/null; kill "$1" 2> /dev/null'
    return subprocess.Popen(["sh", "-c", script, "sh", str(pid)], stdin=subprocess.PIPE, start_new_session=True)


class Anvil:
    """A running anvil, or one about to run. `with` starts and stops it; `stop` lets it write its state."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        chain_id: int = 31_337,
        state: Path | None = None,
        state_interval_s: int = 5,
        block_time_s: int | None = None,
        log_path: Path | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.chain_id = chain_id
        self.state = state
        self.state_interval_s = state_interval_s
        self.block_time_s = block_time_s
        self.log_path = log_path
        self.keys = TEST_KEYS
        self.process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._last_words: deque[str] = deque(maxlen=20)

    @property
    def rpc_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> Self:
        """Run anvil and wait until it answers with the right chain id. Raises AnvilMissing, AnvilFailed."""
        binary = require_anvil()
        self.port = self.port or free_port(self.host)
        require_free(self.host, self.port)
        self.process = subprocess.Popen(
            [str(binary), *self._arguments()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal is for the parent, which stops anvil in order
        )
        self._guard = _guard(self.process.pid)
        Thread(target=self._drain, args=(self.process,), daemon=True).start()
        try:
            self._await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """SIGTERM, so that the state is written; SIGKILL when it does not end in time. Safe to call twice."""
        process, guard = self.process, self._guard
        if process is None or guard is None:
            return
        guard.kill()  # first: it must not meet the pid when somebody else has it
        guard.communicate()
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def call(self, method: str, *params: Any) -> Any:
        """One JSON-RPC call: enough for `anvil_*` and `evm_*`. Raises AnvilFailed."""
        try:
            return blocking.call(self.rpc_url, method, *params, timeout_s=CALL_TIMEOUT_S)
        except blocking.RpcFailed as err:
            raise AnvilFailed(str(err)) from err

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _arguments(self) -> list[str]:
        arguments = ["--host", self.host, "--port", str(self.port), "--chain-id", str(self.chain_id)]
        if self.state is not None:
            # A SIGKILL loses what came after the last interval.
            arguments += ["--state", str(self.state), "--state-interval", str(self.state_interval_s)]
        if self.log_path is None:
            arguments.append("--quiet")  # it still says why it ends
        if self.block_time_s is not None:
            arguments += ["--block-time", str(self.block_time_s)]
        return arguments

    def _drain(self, process: subprocess.Popen[bytes]) -> None:
        """Keep the pipe empty (anvil would block on a full one), its last words, and the log file if asked for."""
        assert process.stdout is not None
        log = self.log_path.open("ab") if self.log_path else None
        with process.stdout as lines:
            for line in lines:
                self._last_words.append(line.decode("utf-8", "replace").rstrip())
                if log:
                    log.write(line)
                    log.flush()
        if log:
            log.close()

    def _await_ready(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            if self.process.poll() is not None:
                raise AnvilFailed(f"anvil ended at once (port {self.port} in use?): {self._words()}")
            try:
                chain_id = int(self.call("eth_chainId"), 16)
            except AnvilFailed as err:
                if time.monotonic() > deadline:
                    raise AnvilFailed(f"anvil was not ready after {START_TIMEOUT_S} s: {self._words()}") from err
                time.sleep(0.02)
                continue
            if chain_id != self.chain_id:
                raise AnvilFailed(f"port {self.port} is taken by another chain ({chain_id}): choose a free port")
            return

    def _words(self) -> str:
        return " | ".join(line for line in self._last_words if line)[-500:]


def start_anvil(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    chain_id: int = 31_337,
    state: Path | None = None,
    state_interval_s: int = 5,
    block_time_s: int | None = None,
    log_path: Path | None = None,
) -> Anvil:
    """An anvil to be entered by `with` (or started by `.start()`); port 0 takes a free one."""
    return Anvil(
        host=host,
        port=port,
        chain_id=chain_id,
        state=state,
        state_interval_s=state_interval_s,
        block_time_s=block_time_s,
        log_path=log_path,
    )
