"""Paths of a node."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from config.errors import SocketPathTooLong
from config.paths import NodePaths, default_datadir


def test_a_network_has_its_own_private_folder(tmp_path: Path) -> None:
    paths = NodePaths(tmp_path, "devnet")
    paths.create()
    assert paths.socket == tmp_path / "devnet" / "node.sock"
    assert stat.S_IMODE(paths.root.stat().st_mode) == 0o700
    assert stat.S_IMODE(paths.keystore.stat().st_mode) == 0o700


def test_a_socket_path_over_the_limit_says_what_to_set(tmp_path: Path) -> None:
    paths = NodePaths(tmp_path / ("x" * 100), "devnet")
    with pytest.raises(SocketPathTooLong, match=r"socket path is \d+ bytes, the limit is 107: set --socket"):
        paths.check_socket()
    assert NodePaths(tmp_path / ("x" * 100), "devnet", socket="/tmp/s").check_socket() == Path("/tmp/s")


def test_the_limit_is_the_kernels() -> None:
    assert NodePaths("/d", "n", socket="/" + "x" * 106).check_socket()
    with pytest.raises(SocketPathTooLong):
        NodePaths("/d", "n", socket="/" + "x" * 107).check_socket()


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHWUNG_DATADIR", str(tmp_path))
    assert default_datadir() == tmp_path
