"""One node a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.paths import NodePaths
from node.lock import LayoutTooNew, Lock, LockError


@pytest.fixture
def paths(tmp_path: Path) -> NodePaths:
    found = NodePaths(tmp_path, "devnet")
    found.create()
    return found


def test_a_second_node_on_the_folder_is_told_the_pid_of_the_first(paths: NodePaths) -> None:
    with Lock(paths), pytest.raises(LockError, match=rf"pid {os.getpid()}\) runs on .*devnet"), Lock(paths):
        pass


def test_the_lock_is_free_again_afterwards_and_after_a_kill(paths: NodePaths) -> None:
    with Lock(paths):
        pass
    program = f"""
import os
from config.paths import NodePaths
from node.lock import Lock
with Lock(NodePaths({str(paths.datadir)!r}, "devnet")):
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    with Lock(paths):
        assert paths.lock.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("text", ["2\n", "x", ""])
def test_a_folder_of_a_newer_program_is_refused(paths: NodePaths, text: str) -> None:
    paths.version.write_text(text)
    with pytest.raises(LayoutTooNew), Lock(paths):
        pass
    paths.version.write_text("1\n")
    with Lock(paths):
        pass
