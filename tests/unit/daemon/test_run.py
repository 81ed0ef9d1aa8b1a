"""`schwung run` before anything heavy: mistakes are one sentence, signals are owned from the start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from config.paths import NodePaths
from node.daemon import first_known, notify
from node.lock import Lock
from tests.unit.config.test_loader import FILLED

SCHWUNG = Path(sys.executable).with_name("schwung")


@pytest.fixture
def garden(tmp_path: Path) -> Path:
    path = tmp_path / "garden.toml"
    path.write_text(FILLED)
    return path


def run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "SCHWUNG_DATADIR": str(tmp_path / "d"), "SCHWUNG_DEVNET_DIR": str(tmp_path / "none")}
    return subprocess.run(
        [str(SCHWUNG), "run", *words], capture_output=True, text=True, env=environ, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--network", "nowhere"], 1, "unknown network 'nowhere': known are devnet, testnet"),
        ([], 1, "no devnet runs on this machine"),
        (["--network", "testnet"], 1, "is a template: fill in chain.id"),
        (["--set", "market.open_sales"], 2, "write section.key=value"),
        (["--set", "market.opne_sales=3"], 1, "unknown key market.opne_sales"),
        (["--set", "network.max_peers=0"], 1, "flag network.max_peers: network.max_peers: Expected `int` >= 1"),
        (["--socket", "/" + "x" * 130], 1, "socket path is 131 bytes, the limit is 107: set --socket"),
        (["--frobnicate"], 2, "unrecognized arguments"),
    ],
)
def test_a_mistake_is_one_sentence_and_the_right_code(
    tmp_path: Path, words: list[str], code: int, sentence: str
) -> None:
    done = run(tmp_path, *words)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_daemon_is_refused_with_the_pid(tmp_path: Path, garden: Path) -> None:
    paths = NodePaths(tmp_path / "d", "garden")
    paths.create()
    with Lock(paths):
        done = run(tmp_path, "--network", str(garden))
    assert done.returncode == 1
    assert f"another node (pid {os.getpid()}) runs on" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_while_loading_ends_it_at_once(tmp_path: Path, garden: Path, number: int, code: int) -> None:
    process = subprocess.Popen(
        [str(SCHWUNG), "--datadir", str(tmp_path / "d"), "--network", str(garden), "run"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("schwung loads")
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == code
        assert time.monotonic() - began < 2


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        notify("READY=1")
        assert heard.recv(100) == b"READY=1"


def test_systemd_that_is_gone_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify("READY=1")


def test_a_known_error_is_found_in_a_group_and_a_bug_is_not_hidden_by_it() -> None:
    class Known(Exception):
        kind = "listen_failed"

    group = ExceptionGroup("x", [ExceptionGroup("y", [Known("port 1 is taken")])])
    assert str(first_known(group)) == "port 1 is taken"
    assert first_known(ExceptionGroup("x", [Known("port 1 is taken"), KeyError("bug")])) is None
    assert first_known(KeyError("bug")) is None


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core has one thread in any case")
@pytest.mark.parametrize(("given", "threads"), [({}, 1), ({"OPENBLAS_NUM_THREADS": "2"}, 2)])
def test_algebra_keeps_to_one_thread_unless_the_owner_says_otherwise(given: dict[str, str], threads: int) -> None:
    bare = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    code = "import os, node.daemon, numpy as np; np.ones((500, 500)) @ np.ones((500, 500))"
    count = "print(len(os.listdir('/proc/self/task')))"
    told = subprocess.check_output([sys.executable, "-c", f"{code}; {count}"], env=bare | given, text=True)
    assert int(told) == threads
